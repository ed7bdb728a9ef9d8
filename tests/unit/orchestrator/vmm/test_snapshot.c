/* Real VMs that are saved, and others that start from what was saved. */
#include "guest_memory.h"
#include "vm_fixture.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

static struct vm_fixture fixture;

/* What the callbacks of an operation told. */
struct told {
    bool done;
    struct err err;
    int fd;
};

static void on_told(void *user, const struct err *err)
{
    struct told *t = user;
    assert_false(t->done);
    t->err = err ? *err : (struct err){ 0 };
    t->done = true;
}

static void on_saved(void *user, int state_fd, const struct err *err)
{
    struct told *t = user;
    assert_true((state_fd >= 0) == !err);
    t->fd = state_fd;
    on_told(user, err);
}

static void expect_ok(struct told *t)
{
    run_until(&fixture, &t->done);
    if (t->err.code)
        fail_msg("%s", t->err.msg);
}

static void expect_error(struct told *t, enum err_code code, const char *words)
{
    run_until(&fixture, &t->done);
    assert_int_equal(t->err.code, code);
    if (!strstr(t->err.msg, words))
        fail_msg("\"%s\" does not say \"%s\"", t->err.msg, words);
}

static void pause_vm(struct vm_run *r)
{
    struct told t = { 0 };
    vmm_pause(r->v, on_told, &t);
    expect_ok(&t);
}

static void resume_vm(struct vm_run *r)
{
    struct told t = { 0 };
    vmm_resume(r->v, on_told, &t);
    expect_ok(&t);
}

static int save_vm(struct vm_run *r)
{
    struct told t = { 0 };
    int64_t begun = clock_mono_ns();
    vmm_save(r->v, on_saved, &t);
    assert_false(t.done);
    expect_ok(&t);
    struct stat st;
    assert_int_equal(fstat(t.fd, &st), 0);
    print_message("saved %lld bytes in %lld us\n", (long long)st.st_size,
                  (long long)(clock_mono_ns() - begun) / 1000);
    assert_true(st.st_size > 10000 && st.st_size < VMM_STATE_MAX);
    assert_int_equal(lseek(t.fd, 0, SEEK_CUR), 0);
    assert_true(fcntl(t.fd, F_GET_SEALS) & F_SEAL_WRITE);
    return t.fd;
}

static void load_vm(struct vm_run *r, int state)
{
    struct told t = { 0 };
    int64_t begun = clock_mono_ns();
    vmm_load(r->v, state, on_told, &t);
    assert_false(t.done);
    expect_ok(&t);
    print_message("loaded in %lld us\n", (long long)(clock_mono_ns() - begun) / 1000);
    assert_true(vmm_is_paused(r->v));
}

/* A VMM that waits, on what the disk of `source` was frozen as. */
static void start_vm(struct vm_run *r, const char *name, const struct vmm_disk *base, int memory)
{
    int64_t begun = clock_mono_ns();
    vm_run_init(&fixture, r, name);
    vm_start(r, base, memory);
    if (r->failed)
        fail_msg("%s", r->err.msg);
    print_message("waiting after %lld us\n", (long long)(clock_mono_ns() - begun) / 1000);
    assert_true(vmm_is_paused(r->v));
}

static void go_on(struct vm_run *r)
{
    vm_connect(r);
    resume_vm(r);
    assert_string_equal(vm_ask(r, "echo there"), "echo there");
}

/* What a template is: memory, device state, and a frozen layer. */
struct saved {
    int memory, state;
    char layer[PATH_MAX];
    struct vmm_disk disk;
};

static void take_template(struct saved *s)
{
    static struct vm_run r;
    size_t pages;
    vm_boot_up(&fixture, &r);
    assert_string_equal(vm_ask(&r, "write"), "wrote WRITTEN BY GUEST");
    assert_string_equal(vm_ask(&r, "set of the template"), "set");
    pause_vm(&r);
    s->state = save_vm(&r);
    s->memory = guest_memory_copy(r.v, &pages);
    print_message("%zu MiB of memory\n", pages / 256);
    snprintf(s->layer, sizeof(s->layer), "%s", tempdir_path(&fixture.dir, "layer.qcow2"));
    assert_int_equal(link(r.top, s->layer), 0);
    s->disk = (struct vmm_disk){ .layers = { s->layer }, .nlayers = 1 };
    vm_destroy(&r);
}

static struct saved *template(void)
{
    static struct saved s;
    if (!s.layer[0])
        take_template(&s);
    return &s;
}

static void check_disk(const char *path)
{
    char command[PATH_MAX + 64];
    snprintf(command, sizeof(command), "qemu-img check -U -q '%s'", path);
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof(command), "qemu-img info -U --backing-chain '%s' > /dev/null", path);
    assert_int_equal(system(command), 0);
}

static void test_clone_runs_on(void **state)
{
    static struct vm_run r;
    (void)state;
    struct saved *s = template();
    start_vm(&r, "clone", &s->disk, s->memory);
    load_vm(&r, s->state);
    go_on(&r);
    assert_string_equal(vm_ask(&r, "get"), "of the template");
    assert_string_equal(vm_ask(&r, "head"), "WRITTEN BY GUEST");
    check_disk(r.top);
    vm_destroy(&r);
}

static void test_order_is_kept(void **state)
{
    static struct vm_run r;
    struct told save = { 0 }, load = { 0 }, resume = { 0 }, again = { 0 };
    (void)state;
    struct saved *s = template();
    start_vm(&r, "clone", &s->disk, s->memory);
    vmm_save(r.v, on_saved, &save);
    vmm_resume(r.v, on_told, &resume);
    expect_error(&save, ERR_PRECONDITION, "not stopped");
    expect_error(&resume, ERR_PRECONDITION, "waits for a snapshot");
    load_vm(&r, s->state);
    vmm_load(r.v, s->state, on_told, &load);
    expect_error(&load, ERR_PRECONDITION, "does not wait");
    go_on(&r);
    vmm_save(r.v, on_saved, &again);
    expect_error(&again, ERR_PRECONDITION, "not stopped");
    assert_string_equal(vm_ask(&r, "get"), "of the template");
    vm_destroy(&r);
}

static int tidy(void **state)
{
    (void)state;
    vm_fixture_tidy(&fixture);
    return 0;
}

#define TEST(name) cmocka_unit_test_teardown(name, tidy)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_clone_runs_on),
        TEST(test_order_is_kept),
    };
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    vm_fixture_init(&fixture, 0, 0);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    vm_fixture_deinit(&fixture);
    return rc;
}
