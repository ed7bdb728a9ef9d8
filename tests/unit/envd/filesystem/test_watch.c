#include "envd/filesystem/notifier.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/fileio.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define DEADLINE_MS 20000

struct seen {
    struct watch w;
    struct buf log; /* "C name\n" and so on */
    size_t creates;
    bool is_quiet; /* creations below "sub" and "race" are only counted */
    struct err lost;
};

static struct tempdir dir;
static uv_loop_t loop;
static struct notifier *notifier;
static struct seen a, b;

static void on_event(struct watch *w, enum watch_event event, const char *name)
{
    struct seen *s = container_of(w, struct seen, w);
    s->creates += event == WATCH_CREATE;
    bool is_bulk = strncmp(name, "sub/", 4) == 0 || strncmp(name, "race-", 5) == 0;
    if (!s->is_quiet || !is_bulk || event != WATCH_CREATE)
        buf_printf(&s->log, "%c %s\n", "?CWDRM"[event], name);
}

static void on_lost(struct watch *w, const struct err *err)
{
    container_of(w, struct seen, w)->lost = *err;
}

static const struct watch_events events = { .on_event = on_event, .on_lost = on_lost };

static int setup(void **state)
{
    struct err err = { 0 };
    (void)state;
    tempdir_init_in_memory(&dir);
    tempdir_mkdir(&dir, "t");
    assert_int_equal(uv_loop_init(&loop), 0);
    notifier = notifier_new(&loop, &err);
    assert_non_null(notifier);
    a = b = (struct seen){ 0 };
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    watch_stop(&a.w);
    watch_stop(&b.w);
    buf_deinit(&a.log);
    buf_deinit(&b.log);
    notifier_close(notifier);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    tempdir_deinit(&dir);
    return 0;
}

static void start(struct seen *s, const char *name, bool is_recursive)
{
    struct err err = { 0 };
    if (watch_start(&s->w, notifier, tempdir_path(&dir, name), is_recursive, &events, &err) < 0)
        fail_msg("%s", err.msg);
}

/* Run the loop until a last change, made here, has been seen; what came before it is compared. */
static void expect(struct seen *s, const char *want)
{
    int64_t deadline = clock_mono_ms() + DEADLINE_MS;
    tempdir_write(&dir, "t/LAST", "");
    AUTO_FREE char *got = NULL;
    char *last = NULL;
    do {
        uv_run(&loop, UV_RUN_ONCE);
        free(got);
        got = str_dup(buf_str(&s->log));
        last = strstr(got, "C LAST\n");
    } while (!last && clock_mono_ms() < deadline);
    assert_non_null(last);
    *last = '\0';
    assert_string_equal(got, want);
    assert_int_equal(unlink(tempdir_path(&dir, "t/LAST")), 0);
    while (!strstr(got, "D LAST\n")) {
        uv_run(&loop, UV_RUN_ONCE);
        free(got);
        got = str_dup(buf_str(&s->log));
    }
    buf_clear(&s->log);
}

static void put(const char *name, int flags, const char *text)
{
    int fd = open(tempdir_path(&dir, name), flags | O_WRONLY | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static void move(const char *from, const char *to)
{
    assert_int_equal(rename(tempdir_path(&dir, from), tempdir_path(&dir, to)), 0);
}

static void test_every_kind_of_event(void **state)
{
    (void)state;
    tempdir_write(&dir, "out", "");
    start(&a, "t", false);
    put("t/f", O_CREAT, "");
    put("t/f", 0, "text");
    assert_int_equal(chmod(tempdir_path(&dir, "t/f"), 0600), 0);
    move("t/f", "t/g");
    move("t/g", "away");
    move("out", "t/in");
    assert_int_equal(unlink(tempdir_path(&dir, "t/in")), 0);
    tempdir_mkdir(&dir, "t/d");
    tempdir_write(&dir, "t/d/inside", "not seen");
    expect(&a, "C f\nW f\nM f\nR f\nC g\nR g\nC in\nD in\nC d\n");
}

static void test_existing_names_are_not_reported(void **state)
{
    (void)state;
    tempdir_write(&dir, "t/old", "");
    start(&a, "t", false);
    expect(&a, "");
    put("t/old", O_APPEND, "x");
    assert_int_equal(unlink(tempdir_path(&dir, "t/old")), 0);
    expect(&a, "W old\nD old\n");
}

static void test_a_tree(void **state)
{
    (void)state;
    tempdir_write(&dir, "t/d/e/f", "");
    start(&a, "t", true);
    put("t/d/e/f", 0, "x");
    tempdir_mkdir(&dir, "t/new");
    tempdir_write(&dir, "t/new/deep/f", ""); /* before anyone could watch it */
    expect(&a, "W d/e/f\nC new\nC new/deep\nC new/deep/f\n");
    put("t/new/deep/g", O_CREAT, "");
    expect(&a, "C new/deep/g\n");
}

static void test_a_directory_moves(void **state)
{
    (void)state;
    tempdir_write(&dir, "t/d/f", "");
    tempdir_mkdir(&dir, "away");
    start(&a, "t", true);
    move("t/d", "t/e");
    expect(&a, "R d\nC e\nC e/f\n");
    put("t/e/f", 0, "x");
    expect(&a, "W e/f\n");
    move("t/e", "away/e");
    expect(&a, "R e\n");
    put("away/e/f", 0, "y");
    move("away/e", "t/back");
    expect(&a, "C back\nC back/f\n");
    assert_int_equal(unlink(tempdir_path(&dir, "t/back/f")), 0);
    assert_int_equal(rmdir(tempdir_path(&dir, "t/back")), 0);
    expect(&a, "D back/f\nD back\n");
}

static void test_links_in_a_tree_are_not_followed(void **state)
{
    (void)state;
    tempdir_mkdir(&dir, "out");
    start(&a, "t", true);
    assert_int_equal(symlink("../out", tempdir_path(&dir, "t/link")), 0);
    expect(&a, "C link\n");
    tempdir_write(&dir, "out/f", "");
    expect(&a, "");
}

static void test_two_watches_of_one_directory(void **state)
{
    (void)state;
    tempdir_mkdir(&dir, "t/d");
    start(&a, "t", true);
    start(&b, "t/d", false);
    put("t/d/f", O_CREAT, "");
    expect(&a, "C d/f\n");
    assert_str(buf_str(&b.log), "C f\n");
    watch_stop(&b.w);
    put("t/d/g", O_CREAT, "");
    expect(&a, "C d/g\n");
    assert_str(buf_str(&b.log), "C f\n");
}

static void test_the_root_itself(void **state)
{
    (void)state;
    tempdir_mkdir(&dir, "t/d");
    start(&a, "t", false);
    start(&b, "t/d", false);
    assert_int_equal(chmod(tempdir_path(&dir, "t/d"), 0700), 0);
    expect(&a, "M d\n");
    assert_str(buf_str(&b.log), "M .\n");
    move("t/d", "t/e");
    assert_int_equal(rmdir(tempdir_path(&dir, "t/e")), 0);
    expect(&a, "R d\nC e\nD e\n");
    assert_str(buf_str(&b.log), "M .\nR .\nD .\n");
}

static void test_temporary_files_of_uploads_are_not_seen(void **state)
{
    (void)state;
    tempdir_write(&dir, "t/old", "");
    start(&a, "t", false);
    put("t/.new.sandpit-000001", O_CREAT, "x");
    move("t/.new.sandpit-000001", "t/new");
    put("t/.old.sandpit-000002", O_CREAT, "x");
    move("t/.old.sandpit-000002", "t/old");
    put("t/.gone.sandpit-000003", O_CREAT, "x");
    assert_int_equal(unlink(tempdir_path(&dir, "t/.gone.sandpit-000003")), 0);
    int fd = open(tempdir_path(&dir, "t"), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600);
    if (fd >= 0) {
        assert_int_equal(write(fd, "x", 1), 1);
        close(fd);
    }
    expect(&a, "C new\n");
}

static void test_errors(void **state)
{
    (void)state;
    struct err err = { 0 };
    tempdir_write(&dir, "file", "");
    assert_int_equal(
        watch_start(&a.w, notifier, tempdir_path(&dir, "missing"), false, &events, &err), -ENOENT);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(watch_start(&a.w, notifier, tempdir_path(&dir, "file"), true, &events, &err),
                     -ENOTDIR);
    assert_int_equal(err.code, ERR_INVALID);
}

/* Files to create so that the kernel's queue overflows; 0 when it is too long for a test. */
static int burst(void)
{
    struct buf text = { 0 };
    uint64_t max = 0;
    if (file_read("/proc/sys/fs/inotify/max_queued_events", 64, &text, NULL) == 0)
        str_to_u64((struct str){ buf_str(&text).p, buf_len(&text) - 1 }, 100000, &max);
    buf_deinit(&text);
    return max ? (int)max + 3000 : 0;
}

/* Nobody reads the queue meanwhile, so it overflows; then all is found again. */
static void test_an_overflow_is_repaired(void **state)
{
    (void)state;
    int count = burst();
    if (count == 0) {
        print_message("the queue of this system is too long to overflow in a test\n");
        skip();
    }
    tempdir_write(&dir, "t/gone", "");
    tempdir_write(&dir, "t/written", "");
    tempdir_mkdir(&dir, "t/sub");
    start(&a, "t", true);
    a.is_quiet = true;
    int t = open(tempdir_path(&dir, "t/sub"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < count; i++) {
        char name[32];
        snprintf(name, sizeof(name), "f%d", i);
        assert_int_equal(mknodat(t, name, S_IFREG | 0644, 0), 0);
    }
    close(t);
    assert_int_equal(unlink(tempdir_path(&dir, "t/gone")), 0);
    put("t/written", 0, "x");
    tempdir_write(&dir, "t/late/f", "");
    int64_t deadline = clock_mono_ms() + DEADLINE_MS;
    while (a.creates < (size_t)count + 2 && clock_mono_ms() < deadline)
        uv_run(&loop, UV_RUN_NOWAIT);
    assert_int_equal(a.creates, count + 2);
    assert_int_equal(a.lost.code, ERR_OK);
    buf_putc(&a.log, '\0');
    const char *log = (const char *)buf_head(&a.log);
    assert_non_null(strstr(log, "D gone\n"));
    assert_non_null(strstr(log, "W written\n"));
    assert_non_null(strstr(log, "C late\n"));
    assert_non_null(strstr(log, "C late/f\n"));
    buf_clear(&a.log);
    expect(&a, "");
}

#define RACERS 4000

static void *create_files(void *arg)
{
    for (int i = 0; i < RACERS; i++) {
        char path[PATH_MAX + 32];
        snprintf(path, sizeof(path), "%s/t/race-%s-%d", dir.path, (const char *)arg, i);
        mknod(path, S_IFREG | 0644, 0);
    }
    return NULL;
}

static void test_nothing_is_lost_or_doubled_in_a_race(void **state)
{
    (void)state;
    pthread_t threads[2];
    char names[2][2] = { "x", "y" };
    start(&a, "t", true);
    a.is_quiet = true;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, create_files, names[i]), 0);
    int64_t deadline = clock_mono_ms() + DEADLINE_MS;
    while (a.creates < 2 * RACERS && clock_mono_ms() < deadline)
        uv_run(&loop, UV_RUN_NOWAIT);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    expect(&a, "");
    assert_int_equal(a.creates, 2 * RACERS + 1); /* and LAST */
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_every_kind_of_event),
        CASE(test_existing_names_are_not_reported),
        CASE(test_a_tree),
        CASE(test_a_directory_moves),
        CASE(test_links_in_a_tree_are_not_followed),
        CASE(test_two_watches_of_one_directory),
        CASE(test_the_root_itself),
        CASE(test_temporary_files_of_uploads_are_not_seen),
        CASE(test_errors),
        CASE(test_an_overflow_is_repaired),
        CASE(test_nothing_is_lost_or_doubled_in_a_race),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
