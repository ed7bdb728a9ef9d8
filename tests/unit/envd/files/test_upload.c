#include "envd/files/files.h"

#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "files_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
#define ZLIB_CONST
#include <zlib.h>

static void begin(struct fixture *x, const char *target, const char *type)
{
    fixture_request(x, "POST", target);
    fake_stream_add(&x->f, "content-type", type);
}

static void send_text(struct fixture *x, const char *text)
{
    fake_stream_data(&x->f, text, strlen(text));
}

/* A whole octet-stream upload. */
static void post(struct fixture *x, const char *target, const char *text)
{
    begin(x, target, "application/octet-stream");
    files_upload(&x->r);
    send_text(x, text);
    fake_stream_end(&x->f);
}

static void assert_text(const struct fixture *x, const char *name, const char *want)
{
    AUTO_FREE char *text = tempdir_read(&x->dir, name);
    assert_non_null(text);
    assert_string_equal(text, want);
}

static void assert_answer(const struct fixture *x, const char *want)
{
    AUTO_FREE char *body = fixture_body(x);
    assert_string_equal(body, want);
    assert_int_equal(x->f.status, 200);
    assert_string_equal(fixture_field(x, "content-type"), "application/json; charset=utf-8");
    assert_int_equal(x->f.consumed, x->f.given);
}

static struct stat stat_of(const struct fixture *x, const char *name)
{
    struct stat st;
    assert_int_equal(lstat(tempdir_path(&x->dir, name), &st), 0);
    return st;
}

static void test_octet_stream(void **state)
{
    struct fixture *x = *state;
    char want[PATH_MAX + 64];
    begin(x, "/files?path=new/dir/a.txt", "application/octet-stream");
    files_upload(&x->r);
    send_text(x, "hel");
    assert_false(tempdir_exists(&x->dir, "home/new/dir/a.txt"));
    send_text(x, "lo");
    fake_stream_end(&x->f);
    snprintf(want, sizeof(want), "[{\"path\":\"%s\",\"name\":\"a.txt\",\"type\":\"file\"}]",
             tempdir_path(&x->dir, "home/new/dir/a.txt"));
    assert_answer(x, want);
    assert_text(x, "home/new/dir/a.txt", "hello");
    struct stat st = stat_of(x, "home/new/dir/a.txt");
    assert_int_equal(st.st_mode, S_IFREG | 0644);
    assert_int_equal(st.st_nlink, 1);
    assert_int_equal(stat_of(x, "home/new").st_mode, S_IFDIR | 0755);
    if (geteuid() == 0) {
        assert_int_equal(st.st_uid, TESTER_UID);
        assert_int_equal(st.st_gid, TESTER_GID);
        assert_int_equal(stat_of(x, "home/new/dir").st_uid, TESTER_UID);
        assert_int_equal(stat_of(x, "home").st_uid, 0);
    }
    assert_int_equal(tempdir_count(&x->dir, "home/new/dir"), 1);
}

static void test_empty_file(void **state)
{
    struct fixture *x = *state;
    post(x, "/files?path=empty", "");
    assert_int_equal(x->f.status, 200);
    assert_text(x, "home/empty", "");
}

static void test_replacing_keeps_the_mode(void **state)
{
    struct fixture *x = *state;
    tempdir_write(&x->dir, "home/a", "old text");
    assert_int_equal(chmod(tempdir_path(&x->dir, "home/a"), 0755), 0);
    post(x, "/files?path=a", "new");
    assert_text(x, "home/a", "new");
    struct stat st = stat_of(x, "home/a");
    assert_int_equal(st.st_mode, S_IFREG | 0755);
    if (geteuid() == 0)
        assert_int_equal(st.st_uid, TESTER_UID);
    assert_int_equal(tempdir_count(&x->dir, "home"), 1);
}

static void test_a_dropped_upload_changes_nothing(void **state)
{
    struct fixture *x = *state;
    tempdir_write(&x->dir, "home/a", "old");
    begin(x, "/files?path=a", "application/octet-stream");
    files_upload(&x->r);
    send_text(x, "new te");
    fake_stream_close(&x->f, ECONNRESET);
    assert_text(x, "home/a", "old");
    assert_int_equal(tempdir_count(&x->dir, "home"), 1);

    begin(x, "/files?path=b", "multipart/form-data; boundary=B");
    files_upload(&x->r);
    send_text(x, "--B\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nabc\r\n--");
    fake_stream_close(&x->f, ECONNRESET);
    assert_int_equal(tempdir_count(&x->dir, "home"), 1);
}

static void test_links_are_followed(void **state)
{
    struct fixture *x = *state;
    tempdir_write(&x->dir, "elsewhere/real", "old");
    assert_int_equal(symlink("../elsewhere/real", tempdir_path(&x->dir, "home/one")), 0);
    assert_int_equal(symlink("one", tempdir_path(&x->dir, "home/two")), 0);
    post(x, "/files?path=two", "new");
    assert_int_equal(x->f.status, 200);
    assert_text(x, "elsewhere/real", "new");
    assert_true(S_ISLNK(stat_of(x, "home/two").st_mode));
    assert_true(S_ISLNK(stat_of(x, "home/one").st_mode));

    /* A link to nothing: the file it names is created. */
    assert_int_equal(symlink("../elsewhere/sub/x", tempdir_path(&x->dir, "home/dangling")), 0);
    post(x, "/files?path=dangling", "there");
    assert_text(x, "elsewhere/sub/x", "there");

    assert_int_equal(symlink("loop", tempdir_path(&x->dir, "home/loop")), 0);
    post(x, "/files?path=loop", "x");
    assert_int_equal(x->f.status, 500);
}

#define FILE_PART(filename, text)                                                                  \
    "--B\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" filename                   \
    "\"\r\nContent-Type: application/octet-stream\r\n\r\n" text "\r\n"

static void post_parts(struct fixture *x, const char *target, const char *body, size_t piece)
{
    begin(x, target, "multipart/form-data; boundary=B");
    files_upload(&x->r);
    for (size_t at = 0, n = strlen(body); at < n; at += piece)
        fake_stream_data(&x->f, body + at, n - at < piece ? n - at : piece);
    fake_stream_end(&x->f);
}

static void test_multipart(void **state)
{
    struct fixture *x = *state;
    char want[4 * PATH_MAX];
    static const char body[] = FILE_PART(
        "d/one", "1\r\n-") "--B\r\nContent-Disposition: "
                           "form-data; name=\"other\"; "
                           "filename=\"ignored\"\r\n\r\nx\r\n" FILE_PART("two", "") "--B--\r\n";
    for (size_t piece = 1; piece < sizeof(body); piece += 17) {
        post_parts(x, "/files", body, piece);
        snprintf(want, sizeof(want),
                 "[{\"path\":\"%s\",\"name\":\"one\",\"type\":\"file\"},"
                 "{\"path\":\"%s\",\"name\":\"two\",\"type\":\"file\"}]",
                 tempdir_path(&x->dir, "home/d/one"), tempdir_path(&x->dir, "home/two"));
        assert_answer(x, want);
        assert_text(x, "home/d/one", "1\r\n-");
        assert_text(x, "home/two", "");
        assert_int_equal(tempdir_count(&x->dir, "home"), 2);
    }
}

static void test_multipart_with_a_path_in_the_query(void **state)
{
    struct fixture *x = *state;
    post_parts(x, "/files?path=p", FILE_PART("ignored", "1") "--B--", 1000);
    assert_text(x, "home/p", "1");
    assert_false(tempdir_exists(&x->dir, "home/ignored"));
    post_parts(x, "/files", "--B--", 1000);
    assert_answer(x, "[]");
}

static void test_multipart_errors(void **state)
{
    struct fixture *x = *state;
    char message[PATH_MAX + 256];
    post_parts(x, "/files?path=p", FILE_PART("a", "1") FILE_PART("b", "2") "--B--", 1000);
    snprintf(message, sizeof(message),
             "you cannot upload multiple files to the same path '%s', only the first one was "
             "uploaded",
             tempdir_path(&x->dir, "home/p"));
    fixture_assert_error(x, 400, message);
    assert_text(x, "home/p", "1");
    post_parts(x, "/files", FILE_PART("", "1") "--B--", 1000);
    fixture_assert_error(x, 400,
                         "a file has no name: give the path in the query or as its filename");
    post_parts(x, "/files", FILE_PART("q", "1"), 1000);
    fixture_assert_error(x, 400, "the multipart body ends before its closing boundary");
    post_parts(x, "/files", "--B\r\nbad\r\n\r\n", 1000);
    fixture_assert_error(x, 400, "a part has a malformed header line");
}

static void test_bad_targets(void **state)
{
    struct fixture *x = *state;
    char message[PATH_MAX + 64];
    tempdir_mkdir(&x->dir, "home/dir");
    tempdir_write(&x->dir, "home/file", "1");
    post(x, "/files?path=dir", "x");
    snprintf(message, sizeof(message), "path '%s' is a directory",
             tempdir_path(&x->dir, "home/dir"));
    fixture_assert_error(x, 400, message);
    post(x, "/files?path=dir/", "x");
    assert_int_equal(x->f.status, 400);
    char absolute[PATH_MAX + 32];
    snprintf(absolute, sizeof(absolute), "/files?path=%s/", tempdir_path(&x->dir, "home/new"));
    post(x, absolute, "x");
    assert_int_equal(x->f.status, 400);
    post(x, "/files?path=file/below", "x");
    snprintf(message, sizeof(message), "a parent of '%s' is not a directory",
             tempdir_path(&x->dir, "home/file/below"));
    fixture_assert_error(x, 400, message);
    assert_int_equal(mkfifo(tempdir_path(&x->dir, "home/fifo"), 0644), 0);
    post(x, "/files?path=fifo", "x");
    assert_int_equal(x->f.status, 400);
    assert_text(x, "home/file", "1");
    post(x, "/files?path=~ghost/x", "x");
    fixture_assert_error(x, 400, "cannot expand user-specific home dir");
}

static void test_bad_requests(void **state)
{
    struct fixture *x = *state;
    post(x, "/files", "x");
    fixture_assert_error(x, 400, "the query has no path");
    begin(x, "/files?path=a", "text/plain");
    files_upload(&x->r);
    fake_stream_end(&x->f);
    fixture_assert_error(x, 400,
                         "unsupported Content-Type 'text/plain', supported: multipart/form-data, "
                         "application/octet-stream");
    begin(x, "/files?path=a", "multipart/form-data");
    files_upload(&x->r);
    fake_stream_end(&x->f);
    fixture_assert_error(x, 400, "the Content-Type has no boundary");
    begin(x, "/files?path=a", "application/octet-stream");
    fake_stream_add(&x->f, "content-encoding", "br");
    files_upload(&x->r);
    fake_stream_end(&x->f);
    assert_int_equal(x->f.status, 400);
    assert_int_equal(tempdir_count(&x->dir, "home"), 0);
}

static void test_a_full_disk(void **state)
{
    struct fixture *x = *state;
    NEED_FAULT_POINTS();
    setenv("SANDPIT_FAULTS", "files.quota", 1);
    begin(x, "/files?path=f", "application/octet-stream");
    x->f.request.content_length = 12;
    files_upload(&x->r);
    send_text(x, "twelve bytes");
    fake_stream_end(&x->f);
    fixture_assert_error(x, 507, "attempted to write 12 bytes: not enough disk space available");
    post_parts(x, "/files?path=f", FILE_PART("a", "1") "--B--", 1000);
    fixture_assert_error(x, 507, "not enough disk space available");
    unsetenv("SANDPIT_FAULTS");
    assert_int_equal(tempdir_count(&x->dir, "home"), 0);
}

/* The text as one gzip member; returns its length. */
static size_t compress_text(const char *text, size_t n, uint8_t *out, size_t size)
{
    z_stream z = { 0 };
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY), Z_OK);
    z.next_in = (const Bytef *)text;
    z.avail_in = (uInt)n;
    z.next_out = out;
    z.avail_out = (uInt)size;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    deflateEnd(&z);
    return size - z.avail_out;
}

static void post_gzip(struct fixture *x, const char *type, const uint8_t *body, size_t n)
{
    begin(x, "/files?path=z", type);
    fake_stream_add(&x->f, "content-encoding", "gzip");
    files_upload(&x->r);
    for (size_t i = 0; i < n; i += 7)
        fake_stream_data(&x->f, body + i, n - i < 7 ? n - i : 7);
    fake_stream_end(&x->f);
}

static void test_gzip(void **state)
{
    struct fixture *x = *state;
    uint8_t bytes[4096];
    size_t n = compress_text("hello", 5, bytes, sizeof(bytes));
    post_gzip(x, "application/octet-stream", bytes, n);
    assert_int_equal(x->f.status, 200);
    assert_text(x, "home/z", "hello");

    const char parts[] = FILE_PART("ignored", "in a part") "--B--";
    n = compress_text(parts, sizeof(parts) - 1, bytes, sizeof(bytes));
    post_gzip(x, "multipart/form-data; boundary=B", bytes, n);
    assert_int_equal(x->f.status, 200);
    assert_text(x, "home/z", "in a part");

    post_gzip(x, "application/octet-stream", bytes, n - 4);
    fixture_assert_error(x, 400, "the body is no valid gzip: it is cut off");
    post_gzip(x, "application/octet-stream", (const uint8_t *)"plain text", 10);
    fixture_assert_error(x, 400, "the body is no valid gzip: incorrect header check");
    assert_text(x, "home/z", "in a part");
}

static void test_access_is_checked_at_once(void **state)
{
    struct fixture *x = *state;
    strcpy(x->envd.access_token, "tok");
    begin(x, "/files?path=a", "application/octet-stream");
    files_upload(&x->r);
    fixture_assert_error(x, 401, "missing signature query parameter");
}

static void test_an_error_waits_for_the_body(void **state)
{
    struct fixture *x = *state;
    begin(x, "/files?path=.", "application/octet-stream");
    files_upload(&x->r);
    assert_int_equal(x->f.status, 0);
    send_text(x, "some bytes");
    assert_int_equal(x->f.status, 0);
    assert_int_equal(x->f.consumed, 10);
    fake_stream_end(&x->f);
    assert_int_equal(x->f.status, 400);

    begin(x, "/files?path=.", "application/octet-stream");
    x->f.request.expect_continue = true;
    files_upload(&x->r);
    assert_int_equal(x->f.status, 400);
}

static void test_metadata(void **state)
{
    struct fixture *x = *state;
    const char *path = tempdir_path(&x->dir, "home/m");
    char value[64];
    tempdir_write(&x->dir, "home/probe", "");
    if (setxattr(tempdir_path(&x->dir, "home/probe"), "user.test", "1", 1, 0) < 0) {
        print_message("no extended attributes here: %s\n", strerror(errno));
        skip();
    }
    begin(x, "/files?path=m", "application/octet-stream");
    fake_stream_add(&x->f, "x-metadata-author", "me \"x\"");
    files_upload(&x->r);
    fake_stream_end(&x->f);
    AUTO_FREE char *body = fixture_body(x);
    assert_non_null(strstr(body, ",\"metadata\":{\"author\":\"me \\\"x\\\"\"}}]"));
    assert_int_equal(getxattr(path, "user.e2b.author", value, sizeof(value)), 6);
    assert_memory_equal(value, "me \"x\"", 6);
    /* The next upload replaces all of it. */
    post(x, "/files?path=m", "x");
    assert_true(getxattr(path, "user.e2b.author", value, sizeof(value)) < 0);
    begin(x, "/files?path=m", "application/octet-stream");
    fake_stream_add(&x->f, "x-metadata-a", "\x01");
    files_upload(&x->r);
    fake_stream_end(&x->f);
    assert_int_equal(x->f.status, 400);
    assert_text(x, "home/m", "x");
}

/* Whether a write to `name` is among the events that wait on fd. */
static bool has_write(int fd, const char *name)
{
    char events[4096] __attribute__((aligned(8)));
    ssize_t n = read(fd, events, sizeof(events));
    const struct inotify_event *e;
    bool found = false;
    for (ssize_t at = 0; at < n; at += (ssize_t)(sizeof(*e) + e->len)) {
        e = (const void *)(events + at);
        found = found || ((e->mask & IN_MODIFY) && e->len && strcmp(e->name, name) == 0);
    }
    return found;
}

/* A watcher of the directory sees a write, as of a file that was written where it stands. */
static void test_watchers_see_a_write(void **state)
{
    struct fixture *x = *state;
    tempdir_write(&x->dir, "home/old", "1");
    AUTO_CLOSE int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    assert_true(fd >= 0);
    assert_true(inotify_add_watch(fd, tempdir_path(&x->dir, "home"), IN_MODIFY) >= 0);
    post(x, "/files?path=new", "x");
    assert_true(has_write(fd, "new"));
    post(x, "/files?path=old", "x");
    assert_true(has_write(fd, "old"));
}

static void test_files_that_cannot_be_replaced_are_written(void **state)
{
    struct fixture *x = *state;
    if (access("/proc/self/comm", W_OK) < 0)
        skip();
    post(x, "/files?path=/proc/self/comm", "renamed");
    assert_int_equal(x->f.status, 200);
    struct buf comm = { 0 };
    assert_int_equal(file_read("/proc/self/comm", 64, &comm, NULL), 0);
    assert_str(buf_str(&comm), "renamed\n");
    buf_deinit(&comm);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_octet_stream),
        CASE(test_empty_file),
        CASE(test_replacing_keeps_the_mode),
        CASE(test_a_dropped_upload_changes_nothing),
        CASE(test_links_are_followed),
        CASE(test_multipart),
        CASE(test_multipart_with_a_path_in_the_query),
        CASE(test_multipart_errors),
        CASE(test_bad_targets),
        CASE(test_bad_requests),
        CASE(test_gzip),
        CASE(test_a_full_disk),
        CASE(test_access_is_checked_at_once),
        CASE(test_an_error_waits_for_the_body),
        CASE(test_metadata),
        CASE(test_watchers_see_a_write),
        CASE(test_files_that_cannot_be_replaced_are_written),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
