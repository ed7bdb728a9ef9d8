#include "envd/files/files.h"

#include "common/base/cleanup.h"
#include "files_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

static void get(struct fixture *x, const char *target)
{
    fixture_request(x, "GET", target);
    files_download(&x->r);
}

static void set_time(const struct fixture *x, const char *name, time_t when)
{
    struct timespec times[2] = { { .tv_sec = when }, { .tv_sec = when } };
    assert_int_equal(utimensat(AT_FDCWD, tempdir_path(&x->dir, name), times, 0), 0);
}

static void test_whole_file(void **state)
{
    struct fixture *x = *state;
    tempdir_write(&x->dir, "home/a.txt", "hello");
    set_time(x, "home/a.txt", 784111777);
    get(x, "/files?path=a.txt");
    AUTO_FREE char *body = fixture_body(x);
    assert_string_equal(body, "hello");
    assert_int_equal(x->f.status, 200);
    assert_int_equal(x->f.content_length, 5);
    assert_true(x->f.ended);
    assert_string_equal(fixture_field(x, "content-type"), "text/plain; charset=utf-8");
    assert_string_equal(fixture_field(x, "content-disposition"), "inline; filename=a.txt");
    assert_string_equal(fixture_field(x, "last-modified"), "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_string_equal(fixture_field(x, "accept-ranges"), "bytes");
    assert_string_equal(fixture_field(x, "vary"), "Accept-Encoding");
}

static void test_paths(void **state)
{
    struct fixture *x = *state;
    tempdir_write(&x->dir, "home/a b", "1");
    assert_int_equal(symlink("a b", tempdir_path(&x->dir, "home/link")), 0);
    static const char *const targets[] = { "/files?path=a+b", "/files?path=a%20b",
                                           "/files?path=~/a%20b", "/files?path=link",
                                           "/files?path=../home/link" };
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        get(x, targets[i]);
        AUTO_FREE char *body = fixture_body(x);
        assert_string_equal(body, "1");
    }
}

static void test_empty_file_has_length_0(void **state)
{
    struct fixture *x = *state;
    tempdir_write(&x->dir, "home/empty", "");
    get(x, "/files?path=empty");
    assert_int_equal(x->f.status, 200);
    assert_int_equal(x->f.content_length, 0);
    assert_true(x->f.ended);
    assert_int_equal(buf_len(&x->f.body), 0);
}

static void test_head_has_no_body(void **state)
{
    struct fixture *x = *state;
    tempdir_write(&x->dir, "home/a", "hello");
    fixture_request(x, "HEAD", "/files?path=a");
    fake_stream_add(&x->f, "range", "bytes=0-1");
    files_download(&x->r);
    assert_int_equal(x->f.status, 200);
    assert_int_equal(x->f.content_length, 5);
    assert_true(x->f.ended);
    assert_int_equal(buf_len(&x->f.body), 0);
}

static void test_files_without_a_size_are_read(void **state)
{
    struct fixture *x = *state;
    get(x, "/files?path=/proc/self/status");
    AUTO_FREE char *body = fixture_body(x);
    assert_int_equal(x->f.status, 200);
    assert_non_null(strstr(body, "\nPid:"));
    assert_int_equal(x->f.content_length, strlen(body));
}

static void test_errors(void **state)
{
    struct fixture *x = *state;
    char message[PATH_MAX + 64];
    get(x, "/files?path=missing");
    snprintf(message, sizeof(message), "path '%s' does not exist",
             tempdir_path(&x->dir, "home/missing"));
    fixture_assert_error(x, 404, message);
    get(x, "/files?path=");
    snprintf(message, sizeof(message), "path '%s' is a directory", tempdir_path(&x->dir, "home"));
    fixture_assert_error(x, 400, message);
    get(x, "/files");
    fixture_assert_error(x, 400, message);
    get(x, "/files?path=~other/x");
    fixture_assert_error(x, 400, "cannot expand user-specific home dir");
    get(x, "/files?path=a&username=ghost");
    fixture_assert_error(x, 401, "error looking up user 'ghost': user 'ghost' does not exist");
    tempdir_write(&x->dir, "home/a", "hello");
    get(x, "/files?path=a/b");
    assert_int_equal(x->f.status, 404);
}

static void test_a_fifo_does_not_block(void **state)
{
    struct fixture *x = *state;
    char message[PATH_MAX + 64];
    const char *path = tempdir_path(&x->dir, "home/fifo");
    assert_int_equal(mkfifo(path, 0644), 0);
    get(x, "/files?path=fifo");
    snprintf(message, sizeof(message), "path '%s' is not a regular file", path);
    fixture_assert_error(x, 400, message);
}

static void test_access_is_checked(void **state)
{
    struct fixture *x = *state;
    strcpy(x->envd.access_token, "tok");
    get(x, "/files?path=missing");
    fixture_assert_error(x, 401, "missing signature query parameter");
}

static void with(struct fixture *x, const char *name, const char *value)
{
    fixture_request(x, "GET", "/files?path=data");
    fake_stream_add(&x->f, name, value);
    files_download(&x->r);
}

static void test_range(void **state)
{
    struct fixture *x = *state;
    tempdir_write(&x->dir, "home/data", "0123456789");
    with(x, "range", "bytes=2-4");
    AUTO_FREE char *body = fixture_body(x);
    assert_string_equal(body, "234");
    assert_int_equal(x->f.status, 206);
    assert_int_equal(x->f.content_length, 3);
    assert_string_equal(fixture_field(x, "content-range"), "bytes 2-4/10");
    with(x, "range", "bytes=10-");
    fixture_assert_error(x, 416, "the requested range is not satisfiable");
    assert_string_equal(fixture_field(x, "content-range"), "bytes */10");
    with(x, "range", "pages=1-2");
    assert_int_equal(x->f.status, 200);
    assert_int_equal(buf_len(&x->f.body), 10);
}

static void test_if_range(void **state)
{
    struct fixture *x = *state;
    tempdir_write(&x->dir, "home/data", "0123456789");
    set_time(x, "home/data", 784111777);
    static const struct {
        const char *value;
        int status;
    } cases[] = { { "Sun, 06 Nov 1994 08:49:37 GMT", 206 },
                  { "Sun, 06 Nov 1994 08:49:38 GMT", 200 } };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        fixture_request(x, "GET", "/files?path=data");
        fake_stream_add(&x->f, "range", "bytes=2-4");
        fake_stream_add(&x->f, "if-range", cases[i].value);
        files_download(&x->r);
        assert_int_equal(x->f.status, cases[i].status);
    }
}

static void test_conditions(void **state)
{
    struct fixture *x = *state;
    tempdir_write(&x->dir, "home/data", "0123456789");
    set_time(x, "home/data", 784111777);
    with(x, "if-modified-since", "Sun, 06 Nov 1994 08:49:37 GMT");
    assert_int_equal(x->f.status, 304);
    assert_true(x->f.ended);
    assert_int_equal(buf_len(&x->f.body), 0);
    with(x, "if-unmodified-since", "Sun, 06 Nov 1994 08:49:36 GMT");
    assert_int_equal(x->f.status, 412);
}

static void test_encodings(void **state)
{
    struct fixture *x = *state;
    tempdir_write(&x->dir, "home/data", "0123456789");
    with(x, "accept-encoding", "gzip, deflate");
    assert_int_equal(x->f.status, 200);
    assert_string_equal(fixture_field(x, "content-encoding"), "");
    with(x, "accept-encoding", "br, identity;q=0");
    fixture_assert_error(x, 406, "no acceptable encoding found, supported: identity, gzip");
}

static void check_gzip_body(struct fixture *x, const char *want, size_t want_len)
{
    AUTO_FREE uint8_t *out = malloc(want_len + 1);
    z_stream z = { 0 };
    assert_int_equal(inflateInit2(&z, 31), Z_OK);
    z.next_in = buf_head(&x->f.body);
    z.avail_in = (uInt)buf_len(&x->f.body);
    z.next_out = out;
    z.avail_out = (uInt)want_len + 1;
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(z.total_out, want_len);
    assert_memory_equal(out, want, want_len);
    inflateEnd(&z);
}

static void test_gzip(void **state)
{
    struct fixture *x = *state;
    tempdir_write(&x->dir, "home/data", "0123456789");
    with(x, "accept-encoding", "gzip");
    assert_int_equal(x->f.status, 200);
    assert_true(x->f.ended);
    assert_int_equal(x->f.content_length, -1);
    assert_string_equal(fixture_field(x, "content-encoding"), "gzip");
    check_gzip_body(x, "0123456789", 10);

    fixture_request(x, "GET", "/files?path=data");
    fake_stream_add(&x->f, "accept-encoding", "gzip");
    fake_stream_add(&x->f, "range", "bytes=0-1");
    files_download(&x->r);
    assert_int_equal(x->f.status, 206);
    assert_string_equal(fixture_field(x, "content-encoding"), "");

    tempdir_write(&x->dir, "home/data", "");
    with(x, "accept-encoding", "gzip");
    assert_int_equal(x->f.content_length, 0);
    assert_string_equal(fixture_field(x, "content-encoding"), "");
}

/* A large file is compressed over several turns of the loop, as the reader takes it. */
static void test_gzip_of_a_large_file(void **state)
{
    struct fixture *x = *state;
    size_t n = 3U << 20;
    uv_loop_t loop;
    AUTO_FREE char *text = malloc(n + 1);
    uint32_t seed = 1;
    for (size_t i = 0; i < n; i++) {
        seed = seed * 1664525U + 1013904223U;
        text[i] = (char)('a' + (seed >> 28));
    }
    text[n] = '\0';
    tempdir_write(&x->dir, "home/data", text);
    assert_int_equal(uv_loop_init(&loop), 0);
    defer_queue_init(&x->envd.defer, &loop);
    x->envd.loop = &loop;
    fixture_request(x, "GET", "/files?path=data");
    fake_stream_add(&x->f, "accept-encoding", "gzip");
    x->f.fills = true;
    files_download(&x->r);
    assert_false(x->f.ended);
    size_t before = buf_len(&x->f.body);
    x->f.writable = true;
    fake_stream_writable(&x->f);
    assert_true(buf_len(&x->f.body) > before);
    x->f.fills = false;
    x->f.writable = true;
    fake_stream_writable(&x->f);
    int turns = 0;
    for (; !x->f.ended && turns < 1000; turns++)
        uv_run(&loop, UV_RUN_NOWAIT);
    assert_true(turns > 1);
    check_gzip_body(x, text, n);

    /* The client goes away in the middle. */
    with(x, "accept-encoding", "gzip");
    assert_false(x->f.ended);
    fake_stream_close(&x->f, ECONNRESET);
    defer_queue_close(&x->envd.defer);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void check_byteranges(struct fixture *x)
{
    AUTO_FREE char *body = fixture_body(x);
    const char *type = fixture_field(x, "content-type");
    const char *boundary = strchr(type, '=') + 1;
    char want[512];
    snprintf(want, sizeof(want),
             "--%s\r\nContent-Range: bytes 1-2/10\r\nContent-Type: text/plain; charset=utf-8\r\n"
             "\r\n12\r\n"
             "--%s\r\nContent-Range: bytes 9-9/10\r\nContent-Type: text/plain; charset=utf-8\r\n"
             "\r\n9\r\n--%s--\r\n",
             boundary, boundary, boundary);
    assert_true(strncmp(type, "multipart/byteranges; boundary=", 31) == 0);
    assert_string_equal(body, want);
    assert_int_equal(x->f.content_length, strlen(want));
    assert_true(x->f.ended);
}

static void test_several_ranges(void **state)
{
    struct fixture *x = *state;
    tempdir_write(&x->dir, "home/data", "0123456789");
    with(x, "range", "bytes=1-2,-1");
    assert_int_equal(x->f.status, 206);
    check_byteranges(x);
}

static void test_several_ranges_wait_for_a_slow_reader(void **state)
{
    struct fixture *x = *state;
    tempdir_write(&x->dir, "home/data", "0123456789");
    fixture_request(x, "GET", "/files?path=data");
    fake_stream_add(&x->f, "range", "bytes=1-2,-1");
    x->f.fills = true;
    files_download(&x->r);
    int turns = 0;
    while (!x->f.ended && turns++ < 10) {
        size_t before = buf_len(&x->f.body);
        x->f.writable = true;
        fake_stream_writable(&x->f);
        assert_true(buf_len(&x->f.body) > before);
    }
    assert_in_range(turns, 1, 9);
    check_byteranges(x);
}

static void test_several_ranges_of_a_file_that_shrinks(void **state)
{
    struct fixture *x = *state;
    tempdir_write(&x->dir, "home/data", "0123456789");
    fixture_request(x, "GET", "/files?path=data");
    fake_stream_add(&x->f, "range", "bytes=1-2,-1");
    x->f.fills = true;
    files_download(&x->r);
    assert_int_equal(truncate(tempdir_path(&x->dir, "home/data"), 5), 0);
    x->f.writable = true;
    x->f.fills = false;
    fake_stream_writable(&x->f);
    assert_true(x->f.was_reset);
    assert_false(x->f.ended);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_whole_file),
        CASE(test_paths),
        CASE(test_empty_file_has_length_0),
        CASE(test_head_has_no_body),
        CASE(test_files_without_a_size_are_read),
        CASE(test_errors),
        CASE(test_a_fifo_does_not_block),
        CASE(test_access_is_checked),
        CASE(test_range),
        CASE(test_if_range),
        CASE(test_conditions),
        CASE(test_encodings),
        CASE(test_gzip),
        CASE(test_gzip_of_a_large_file),
        CASE(test_several_ranges),
        CASE(test_several_ranges_wait_for_a_slow_reader),
        CASE(test_several_ranges_of_a_file_that_shrinks),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
