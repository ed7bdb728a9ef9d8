#include "snapshot_fixture.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

struct vm_fixture fixture;

void on_told(void *user, const struct err *err)
{
    struct told *t = user;
    assert_false(t->done);
    t->err = err ? *err : (struct err){ 0 };
    t->done = true;
}

void on_saved(void *user, int state_fd, const struct err *err)
{
    struct told *t = user;
    assert_true((state_fd >= 0) == !err);
    t->fd = state_fd;
    on_told(user, err);
}

void expect_ok(struct told *t)
{
    run_until(&fixture, &t->done);
    if (t->err.code)
        fail_msg("%s", t->err.msg);
}

void expect_error(struct told *t, enum err_code code, const char *words)
{
    run_until(&fixture, &t->done);
    assert_int_equal(t->err.code, code);
    if (!strstr(t->err.msg, words))
        fail_msg("\"%s\" does not say \"%s\"", t->err.msg, words);
}

void pause_vm(struct vm_run *r)
{
    struct told t = { 0 };
    vmm_pause(r->v, on_told, &t);
    expect_ok(&t);
}

void resume_vm(struct vm_run *r)
{
    struct told t = { 0 };
    vmm_resume(r->v, on_told, &t);
    expect_ok(&t);
}

int save_vm(struct vm_run *r)
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

void load_vm(struct vm_run *r, int state)
{
    struct told t = { 0 };
    int64_t begun = clock_mono_ns();
    vmm_load(r->v, state, on_told, &t);
    assert_false(t.done);
    expect_ok(&t);
    print_message("loaded in %lld us\n", (long long)(clock_mono_ns() - begun) / 1000);
    assert_true(vmm_is_paused(r->v));
}

void start_vm(struct vm_run *r, const char *name, const struct vmm_disk *base, int memory)
{
    int64_t begun = clock_mono_ns();
    vm_run_init(&fixture, r, name);
    vm_start(r, base, memory);
    if (r->failed)
        fail_msg("%s", r->err.msg);
    print_message("waiting after %lld us\n", (long long)(clock_mono_ns() - begun) / 1000);
    assert_true(vmm_is_paused(r->v));
}

void go_on(struct vm_run *r)
{
    vm_connect(r);
    resume_vm(r);
    assert_string_equal(vm_ask(r, "echo there"), "echo there");
}

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

struct saved *template(void)
{
    static struct saved s;
    if (!s.layer[0])
        take_template(&s);
    return &s;
}

void check_disk(const char *path)
{
    char command[PATH_MAX + 64];
    snprintf(command, sizeof(command), "qemu-img check -U -q '%s'", path);
    assert_int_equal(system(command), 0);
    snprintf(command, sizeof(command), "qemu-img info -U --backing-chain '%s' > /dev/null", path);
    assert_int_equal(system(command), 0);
}

void clone_up(struct vm_run *r, const char *name)
{
    struct saved *s = template();
    start_vm(r, name, &s->disk, s->memory);
    load_vm(r, s->state);
    go_on(r);
}

void switch_disk(struct vm_run *r, const char *name)
{
    struct told t = { 0 };
    snprintf(r->top, sizeof(r->top), "%s", tempdir_path(&fixture.dir, name));
    int64_t begun = clock_mono_ns();
    vmm_switch_disk(r->v, r->top, on_told, &t);
    assert_false(t.done);
    expect_ok(&t);
    print_message("switched in %lld us\n", (long long)(clock_mono_ns() - begun) / 1000);
    assert_string_equal(vmm_disk(r->v)->top, r->top);
}

void remove_layers(const struct vmm_disk *d, size_t from)
{
    for (size_t i = from; i < d->nlayers; i++)
        assert_int_equal(unlink(d->layers[i]), 0);
}

bool has_open(pid_t pid, const char *name)
{
    char command[128];
    snprintf(command, sizeof(command), "ls -l /proc/%d/fd | grep -q '[/:]%s'", (int)pid, name);
    return system(command) == 0;
}

int tidy(void **state)
{
    (void)state;
    vm_fixture_tidy(&fixture);
    return 0;
}
