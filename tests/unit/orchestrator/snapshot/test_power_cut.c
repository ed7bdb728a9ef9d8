/* A machine that stops at any moment leaves no snapshot or a whole one, and one that was committed
 * stays. */
#include "tests/support/test.h"

#include "common/base/cleanup.h"
#include "ram_child.h"
#include "sample.h"
#include "tests/support/power_cut/record.h"
#include "tests/support/tempdir.h"

#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define PAGES       (2 * CHUNK_PAGES + 50)
#define STATE_BYTES 100000

static struct tempdir dir;
static struct ram_child vm, waiting;
static int device_state;

static void write_some(uint8_t *ram, size_t n)
{
    for (size_t i = 0; i < n; i += 2)
        memset(ram + i * PAGE_BYTES, (int)i % 255 + 1, PAGE_BYTES);
}

static int set_up(void **state)
{
    (void)state;
    tempdir_init_in_memory(&dir);
    ram_child_start(&vm, NULL, PAGES, write_some);
    ram_child_start(&waiting, NULL, PAGES, NULL);
    device_state = sample_state(STATE_BYTES);
    tempdir_mkdir(&dir, "root");
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    close(device_state);
    ram_child_stop(&vm);
    ram_child_stop(&waiting);
    tempdir_deinit(&dir);
    return 0;
}

static int make(void *user)
{
    struct snapshot_manifest m;
    struct err err;
    const char *path = user;
    int fd = -1;
    sample_manifest(&m);
    if (snapshot_begin(path, &fd, &err) < 0 ||
        memory_save(&vm.m, fd, SNAPSHOT_FILE_MEMORY, true, &m.memory, &err) < 0 ||
        snapshot_put_state(fd, device_state, &m, &err) < 0 ||
        snapshot_commit(path, fd, &m, &err) < 0)
        return 1;
    return 0;
}

static int remove_it(void *user)
{
    struct err err;
    return snapshot_remove(user, &err) < 0;
}

static int retire_and_remove_it(void *user)
{
    struct err err;
    return snapshot_retire(user, &err) < 0 || snapshot_remove(user, &err) < 0;
}

struct expect {
    const struct recording *r;
    bool at_end;    /* whether the snapshot is there when all was done */
    size_t present; /* how often it was */
};

/* 1: it is there and whole, 0: there is none, -1: something in between. */
static int look(const char *path, struct err *err)
{
    struct snapshot_manifest m;
    int at = -1, state_fd = -1;
    *err = (struct err){ 0 };
    int rc = snapshot_open(path, &m, &at, &state_fd, err);
    if (rc < 0)
        return err->code == ERR_NOT_FOUND ? 0 : -1;
    rc = memory_apply(at, SNAPSHOT_FILE_MEMORY, &m.memory, &waiting.m, err);
    close(at);
    close(state_fd);
    return rc < 0 ? -1 : 1;
}

static int check(void *user, const char *root, enum disk_view view, size_t step)
{
    struct expect *e = user;
    struct err err;
    char path[PATH_MAX], what[600];
    snprintf(path, sizeof(path), "%s/one", root);
    int there = look(path, &err);
    recording_describe(e->r, step, what, sizeof(what));
    if (there < 0)
        fail_msg("before step %zu (%s), view %s: %s", step, what, disk_view_name(view), err.msg);
    if (step == e->r->nops && there != e->at_end)
        fail_msg("at the end, view %s: the snapshot is %s", disk_view_name(view),
                 there ? "there" : "not there");
    e->present += there;
    /* The next start makes room for the next attempt. */
    assert_int_equal(snapshot_sweep(root, &err), 0);
    assert_int_equal(access(path, F_OK) == 0, there);
    snprintf(path, sizeof(path), "%s/one.new", root);
    assert_int_equal(access(path, F_OK), -1);
    return 0;
}

static void run(int (*program)(void *user), bool at_end)
{
    struct recording r;
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/root/one", dir.path);
    if (!record(&r, tempdir_path(&dir, "root"), program, path))
        skip();
    assert_true(WIFEXITED(r.status));
    assert_int_equal(WEXITSTATUS(r.status), 0);
    struct expect e = { .r = &r, .at_end = at_end };
    struct recording_pick pick = { 0 };
    assert_true(r.nops > 5);
    assert_int_equal(recording_check(&r, &pick, tempdir_path(&dir, "view"), check, &e), 0);
    /* Both sides of the moment were looked at. */
    assert_true(e.present > 0 && e.present < pick.looks);
    recording_free(&r);
}

static void test_making_one(void **state)
{
    (void)state;
    run(make, true);
}

static void test_removing_it(void **state)
{
    (void)state;
    run(remove_it, false);
}

static void test_retiring_it_and_removing_it_later(void **state)
{
    (void)state;
    run(make, true);
    run(retire_and_remove_it, false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_making_one),
        cmocka_unit_test(test_removing_it),
        cmocka_unit_test(test_retiring_it_and_removing_it_later),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
