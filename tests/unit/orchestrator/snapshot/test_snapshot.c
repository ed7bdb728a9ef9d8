/* The directory of a snapshot: there as a whole, or not at all. */
#include "tests/support/test.h"

#include "common/base/cleanup.h"
#include "ram_child.h"
#include "sample.h"
#include "tests/support/tempdir.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>

#define PAGES       100
#define STATE_BYTES 70001

static struct tempdir dir;
static struct ram_child vm;
static int device_state_fd;

static void write_some(uint8_t *ram, size_t n)
{
    for (size_t i = 0; i < n; i += 3)
        memset(ram + i * PAGE_BYTES, (int)i + 1, PAGE_BYTES);
}

static int set_up(void **state)
{
    (void)state;
    tempdir_init_in_memory(&dir);
    ram_child_start(&vm, NULL, PAGES, write_some);
    device_state_fd = sample_state(STATE_BYTES);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    ram_child_stop(&vm);
    close(device_state_fd);
    tempdir_deinit(&dir);
    return 0;
}

static int fill(int fd, struct snapshot_manifest *m, struct err *err)
{
    if (m->filesystem_only)
        return 0;
    int rc = snapshot_put_state(fd, device_state_fd, m, err);
    return rc < 0 ? rc : memory_save(&vm.m, fd, SNAPSHOT_FILE_MEMORY, true, &m->memory, err);
}

/* All the steps; what a caller does when one fails. */
static int make(const char *path, struct snapshot_manifest *m, struct err *err)
{
    int fd = -1;
    int rc = snapshot_begin(path, &fd, err);
    if (rc < 0)
        return rc;
    rc = fill(fd, m, err);
    if (rc == 0)
        return snapshot_commit(path, fd, m, err);
    snapshot_abort(path, fd);
    return rc;
}

static const char *make_good(const char *name, struct snapshot_manifest *m)
{
    struct err err = { 0 };
    const char *path = tempdir_path(&dir, name);
    sample_manifest(m);
    if (make(path, m, &err) < 0)
        fail_msg("%s", err.msg);
    return path;
}

static void assert_state(int fd)
{
    char byte;
    for (size_t i = 0; i < STATE_BYTES; i += 1000) {
        assert_int_equal(pread(fd, &byte, 1, (off_t)i), 1);
        assert_int_equal((uint8_t)byte, (uint8_t)(i * 7));
    }
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 0);
}

static void test_commit_and_open(void **state)
{
    struct snapshot_manifest m, got;
    struct err err = { 0 };
    struct stat st;
    int at = -1, device_state = -1;
    (void)state;
    const char *path = make_good("one", &m);
    assert_int_equal(tempdir_count(&dir, "one"), 3);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(tempdir_path(&dir, "one/snapshot.json"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);

    assert_int_equal(snapshot_open(path, &got, &at, &device_state, &err), 0);
    assert_memory_equal(&m, &got, sizeof(m));
    assert_state(device_state);
    struct ram_child target;
    ram_child_start(&target, NULL, PAGES, NULL);
    assert_int_equal(memory_apply(at, SNAPSHOT_FILE_MEMORY, &got.memory, &target.m, &err), 0);
    ram_child_expect(&target, NULL, write_some);
    ram_child_stop(&target);
    close(at);
    close(device_state);

    assert_int_equal(snapshot_begin(path, &at, &err), -EEXIST);
    assert_int_equal(err.code, ERR_EXISTS);
    assert_int_equal(snapshot_remove(path, &err), 0);
    assert_int_equal(snapshot_open(path, &got, NULL, NULL, &err), -ENOENT);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(snapshot_remove(path, &err), 0);
    assert_int_equal(tempdir_count(&dir, "."), 0);
}

/* Whose digest takes time: who needs the manifest alone does not pay for it. */
static void test_a_device_state_is_looked_at_when_it_is_asked_for(void **state)
{
    struct snapshot_manifest m, got;
    struct err err = { 0 };
    int device_state = -1;
    (void)state;
    const char *path = make_good("one", &m);
    tempdir_write(&dir, "one/state", "damaged");
    assert_int_equal(snapshot_open(path, &got, NULL, NULL, &err), 0);
    assert_memory_equal(&m, &got, sizeof(m));
    assert_true(snapshot_open(path, &got, NULL, &device_state, &err) < 0);
    assert_int_equal(err.code, ERR_DATA_LOSS);
    assert_int_equal(snapshot_remove(path, &err), 0);
}

static void test_a_file_system_alone(void **state)
{
    struct snapshot_manifest m, got;
    struct err err = { 0 };
    int device_state = 5;
    (void)state;
    const char *path = tempdir_path(&dir, "disk");
    sample_manifest(&m);
    m.filesystem_only = true;
    m.memory = (struct memory_file){ 0 };
    m.state = (struct snapshot_state){ 0 };
    assert_int_equal(make(path, &m, &err), 0);
    assert_int_equal(tempdir_count(&dir, "disk"), 1);
    assert_int_equal(snapshot_open(path, &got, NULL, &device_state, &err), 0);
    assert_int_equal(device_state, -1);
    assert_true(got.filesystem_only);
    assert_int_equal(snapshot_remove(path, &err), 0);
}

static void test_abort_and_leftovers(void **state)
{
    struct snapshot_manifest m;
    struct err err = { 0 };
    int fd = -1;
    (void)state;
    const char *path = tempdir_path(&dir, "two");
    assert_int_equal(snapshot_begin(path, &fd, &err), 0);
    sample_manifest(&m);
    assert_int_equal(fill(fd, &m, &err), 0);
    snapshot_abort(path, fd);
    assert_int_equal(tempdir_count(&dir, "."), 0);

    tempdir_write(&dir, "two.new/memory", "of a daemon that died");
    make_good("two", &m);
    assert_int_equal(snapshot_remove(path, &err), 0);

    tempdir_write(&dir, "two.new/memory", "of a daemon that died");
    tempdir_write(&dir, "three.gone/memory", "of a daemon that died");
    tempdir_write(&dir, "four.newer", "of somebody else");
    assert_int_equal(snapshot_sweep(dir.path, &err), 0);
    assert_int_equal(tempdir_count(&dir, "."), 1);
    assert_int_equal(unlink(tempdir_path(&dir, "four.newer")), 0);
    assert_int_equal(snapshot_sweep(tempdir_path(&dir, "none"), &err), 0);
}

static void test_each_fault_point_leaves_nothing(void **state)
{
    static const char *const faults[] = { "snapshot.begin",    "snapshot.state", "snapshot.memory",
                                          "snapshot.manifest", "snapshot.sync",  "snapshot.rename",
                                          "snapshot.parent" };
    struct snapshot_manifest m;
    (void)state;
    NEED_FAULT_POINTS();
    for (size_t i = 0; i < ARRAY_LEN(faults); i++) {
        struct err err = { 0 };
        sample_manifest(&m);
        setenv("SANDPIT_FAULTS", faults[i], 1);
        int rc = make(tempdir_path(&dir, "fault"), &m, &err);
        unsetenv("SANDPIT_FAULTS");
        if (rc == 0 || !err.msg[0] || tempdir_count(&dir, ".") != 0)
            fail_msg("%s: %d %s", faults[i], rc, err.msg);
    }
}

static void test_a_full_disk_leaves_nothing(void **state)
{
    struct snapshot_manifest m;
    struct rlimit before, limit;
    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    /* The device state is the largest file, the manifest a later one. */
    for (rlim_t room = 0; room < STATE_BYTES; room += 7777) {
        struct err err = { 0 };
        sample_manifest(&m);
        limit = (struct rlimit){ room, before.rlim_max };
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
        int rc = make(tempdir_path(&dir, "full"), &m, &err);
        assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
        assert_int_equal(rc, -EFBIG);
        assert_int_equal(err.code, ERR_EXHAUSTED);
        assert_int_equal(tempdir_count(&dir, "."), 0);
    }
    sample_manifest(&m);
    m.filesystem_only = true;
    limit = (struct rlimit){ 100, before.rlim_max };
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
    int rc = make(tempdir_path(&dir, "full"), &m, NULL);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(rc, -EFBIG);
    assert_int_equal(tempdir_count(&dir, "."), 0);
}

static void expect_damaged(const char *path, const char *says)
{
    struct snapshot_manifest got;
    struct err err = { 0 };
    int at = -1, device_state = -1;
    assert_true(snapshot_open(path, &got, &at, &device_state, &err) < 0);
    if (err.code != ERR_DATA_LOSS || !strstr(err.msg, says))
        fail_msg("%d %s", err.code, err.msg);
    assert_int_equal(at, -1);
    assert_int_equal(device_state, -1);
    assert_int_equal(access(path, F_OK), 0);
}

static void test_damage_is_named_and_kept(void **state)
{
    struct snapshot_manifest m;
    struct err err = { 0 };
    (void)state;
    const char *path = make_good("hurt", &m);
    AUTO_CLOSE int fd = open(tempdir_path(&dir, "hurt/state"), O_RDWR | O_CLOEXEC);
    for (size_t i = 0; i < STATE_BYTES; i += 6999) {
        uint8_t byte = (uint8_t)(i * 7), other = byte ^ 0x10;
        assert_int_equal(pwrite(fd, &other, 1, (off_t)i), 1);
        expect_damaged(path, "digest");
        assert_int_equal(pwrite(fd, &byte, 1, (off_t)i), 1);
    }
    assert_int_equal(ftruncate(fd, STATE_BYTES - 1), 0);
    expect_damaged(path, "size");
    assert_int_equal(unlink(tempdir_path(&dir, "hurt/state")), 0);
    expect_damaged(path, "device state is missing");
    AUTO_FREE char *text = tempdir_read(&dir, "hurt/snapshot.json");
    char *digit = strstr(text, "\"memory_mb\": 5");
    assert_non_null(digit);
    digit[13] = '6';
    tempdir_write(&dir, "hurt/snapshot.json", text);
    expect_damaged(path, "manifest");
    assert_int_equal(unlink(tempdir_path(&dir, "hurt/snapshot.json")), 0);
    expect_damaged(path, "no manifest");
    assert_int_equal(snapshot_remove(path, &err), 0);
}

static void test_put_state_bounds(void **state)
{
    struct snapshot_manifest m;
    struct err err = { 0 };
    int fd = -1;
    (void)state;
    const char *path = tempdir_path(&dir, "bounds");
    AUTO_CLOSE int empty = sample_state(0);
    sample_manifest(&m);
    assert_int_equal(snapshot_begin(path, &fd, &err), 0);
    assert_true(snapshot_put_state(fd, empty, &m, &err) < 0);
    snapshot_abort(path, fd);

    assert_int_equal(ftruncate(empty, (off_t)65 << 20), 0);
    assert_int_equal(snapshot_begin(path, &fd, &err), 0);
    assert_int_equal(snapshot_put_state(fd, empty, &m, &err), -EFBIG);
    assert_int_equal(err.code, ERR_INTERNAL);
    snapshot_abort(path, fd);
    assert_int_equal(tempdir_count(&dir, "."), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commit_and_open),
        cmocka_unit_test(test_a_device_state_is_looked_at_when_it_is_asked_for),
        cmocka_unit_test(test_a_file_system_alone),
        cmocka_unit_test(test_abort_and_leftovers),
        cmocka_unit_test(test_each_fault_point_leaves_nothing),
        cmocka_unit_test(test_a_full_disk_leaves_nothing),
        cmocka_unit_test(test_damage_is_named_and_kept),
        cmocka_unit_test(test_put_state_bounds),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
