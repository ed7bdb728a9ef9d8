#include "vm_fixture.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/fileio.h"
#include "common/base/log.h"
#include "orchestrator/vmm/unix_socket.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define SKIP 77

static void skip_all(const char *why)
{
    printf("skipped: %s\n", why);
    fflush(stdout);
    _exit(SKIP);
}

static void make_template(struct vm_fixture *f)
{
    struct vmm_template *t = &f->template;
    char dir[PATH_MAX / 2], command[PATH_MAX];
    const char *home = getenv("HOME"), *cache = getenv("SANDPIT_TEST_CACHE");
    if (cache)
        snprintf(dir, sizeof(dir), "%s/test-guest", cache);
    else
        snprintf(dir, sizeof(dir), "%s/.cache/sandpit/test-guest", home ? home : "/tmp");
    assert_int_equal(file_make_dirs(dir, 0755, NULL), 0);
    snprintf(command, sizeof(command), "%s '%s'", MAKE_GUEST, dir);
    if (system(command) != 0)
        skip_all("the guest of this test could not be made");
    snprintf(t->kernel, sizeof(t->kernel), "%s/vmlinuz", dir);
    snprintf(t->initramfs, sizeof(t->initramfs), "%s/initramfs", dir);
    snprintf(f->rootfs, sizeof(f->rootfs), "%s/rootfs", dir);
    snprintf(t->cmdline, sizeof(t->cmdline), "quiet loglevel=4");
}

void vm_fixture_init_with(struct vm_fixture *f, const struct vmm_driver_options *options)
{
    *f = (struct vm_fixture){ 0 };
    struct err err;
    struct vmm_driver_options o = *options;
    o.loop = &f->loop;
    o.defer = &f->defer;
    o.accel = "tcg";
    if (getenv("SANDPIT_TEST_DEBUG"))
        log_setup(LOG_LEVEL_DEBUG, "test_vm");
    make_template(f);
    tempdir_init(&f->dir);
    uv_loop_init(&f->loop);
    defer_queue_init(&f->defer, &f->loop);
    if (vmm_driver_new(&f->driver, &o, &err) < 0)
        skip_all(err.msg);
}

void vm_fixture_init(struct vm_fixture *f, unsigned ping_interval_ms, unsigned ping_deadline_ms)
{
    const struct vmm_driver_options o = { .ping_interval_ms = ping_interval_ms,
                                          .ping_deadline_ms = ping_deadline_ms };
    vm_fixture_init_with(f, &o);
}

void vm_fixture_deinit(struct vm_fixture *f)
{
    vmm_driver_free(f->driver);
    defer_queue_close(&f->defer);
    uv_run(&f->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&f->loop), 0);
    tempdir_deinit(&f->dir);
}

static void on_destroyed(void *user)
{
    struct vm_run *r = user;
    r->destroyed = true;
    r->v = NULL;
}

static void on_alarm(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

void run_until(struct vm_fixture *f, const bool *flag)
{
    bool late = false;
    uv_timer_t timer;
    timer.data = &late;
    uv_timer_init(&f->loop, &timer);
    uv_update_time(&f->loop);
    uv_timer_start(&timer, on_alarm, TEST_DEADLINE_MS, 0);
    while (!*flag && !late)
        uv_run(&f->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&f->loop, UV_RUN_NOWAIT);
    assert_true(*flag);
}

void vm_fixture_tidy(struct vm_fixture *f)
{
    unsetenv("SANDPIT_FAULTS");
    for (struct vm_run *r = f->runs; r; r = r->next) {
        if (r->link >= 0)
            close(r->link);
        if (r->v) {
            r->destroyed = false;
            vmm_destroy(r->v, on_destroyed, r);
            run_until(f, &r->destroyed);
        }
        vmm_sweep(r->run_dir, NULL);
        unlink(r->top);
    }
    f->runs = NULL;
}

void vm_run_init(struct vm_fixture *f, struct vm_run *r, const char *name)
{
    char file[64];
    bool listed = false;
    for (const struct vm_run *i = f->runs; i; i = i->next)
        listed |= i == r;
    *r = (struct vm_run){ .f = f, .next = listed ? r->next : f->runs, .link = -1 };
    if (!listed)
        f->runs = r;
    r->uid = geteuid() == 0 ? TEST_UID : (uid_t)-1;
    snprintf(r->run_dir, sizeof(r->run_dir), "%s", tempdir_path(&f->dir, name));
    snprintf(file, sizeof(file), "%s.qcow2", name);
    snprintf(r->top, sizeof(r->top), "%s", tempdir_path(&f->dir, file));
}

void vm_run_config(const struct vm_run *r, struct vmm_config *config)
{
    *config = (struct vmm_config){ .id = "itest",
                                   .run_dir = r->run_dir,
                                   .template = r->f->template,
                                   .disk = { .rootfs = r->f->rootfs, .top = r->top },
                                   .memory_fd = -1,
                                   .vcpus = 1,
                                   .memory_mb = 128,
                                   .disk_mb = 256,
                                   .uid = r->uid };
}

static void on_end(struct vmm *v, enum vmm_end end, const char *detail)
{
    struct vm_run *r = vmm_user(v);
    assert_false(r->ended);
    r->ended = true;
    r->end = end;
    snprintf(r->detail, sizeof(r->detail), "%s", detail);
}

static void on_disk_full(struct vmm *v, bool full)
{
    struct vm_run *r = vmm_user(v);
    assert_int_equal(r->full, !full);
    r->full = full;
}

static const struct vmm_events events = { .on_end = on_end, .on_disk_full = on_disk_full };

static void on_done(struct vmm *v, const struct err *err)
{
    struct vm_run *r = vmm_user(v);
    assert_false(r->done);
    r->done = true;
    r->failed = err != NULL;
    if (err) {
        r->err = *err;
        r->v = NULL;
    }
}

static void make_run_dir(const struct vm_run *r)
{
    if (mkdir(r->run_dir, 0700) < 0)
        assert_int_equal(errno, EEXIST);
}

void vm_boot_begin(struct vm_fixture *f, struct vm_run *r)
{
    vm_run_init(f, r, "run");
    vm_boot_run(r);
}

void vm_boot_run(struct vm_run *r)
{
    struct vmm_config config;
    vm_run_config(r, &config);
    make_run_dir(r);
    r->v = vmm_boot(r->f->driver, &config, &events, r, on_done);
    assert_non_null(r->v);
    assert_false(r->done);
}

void vm_boot(struct vm_fixture *f, struct vm_run *r)
{
    vm_boot_begin(f, r);
    run_until(f, &r->done);
}

void vm_start(struct vm_run *r, const struct vmm_disk *base, int memory_fd)
{
    struct vmm_config config;
    vm_run_config(r, &config);
    memcpy(config.disk.layers, base->layers, sizeof(base->layers));
    config.disk.nlayers = base->nlayers;
    config.memory_fd = memory_fd;
    make_run_dir(r);
    r->v = vmm_start(r->f->driver, &config, &events, r, on_done);
    assert_non_null(r->v);
    assert_false(r->done);
    run_until(r->f, &r->done);
}

void vm_adopt(struct vm_fixture *f, struct vm_run *r, const struct vmm_record *record)
{
    struct vmm_config config;
    vm_run_init(f, r, "run");
    vm_run_config(r, &config);
    r->v = vmm_adopt(f->driver, &config, record, &events, r, on_done);
    assert_non_null(r->v);
    assert_false(r->done);
    run_until(f, &r->done);
}

void vm_readopt(struct vm_run *r, const struct vmm_disk *disk)
{
    struct vmm_record record = *vmm_record(r->v);
    struct vmm_config config;
    vm_release(r);
    run_until(r->f, &(bool){ true });
    vm_run_config(r, &config);
    config.disk = *disk;
    r->done = false;
    r->v = vmm_adopt(r->f->driver, &config, &record, &events, r, on_done);
    assert_non_null(r->v);
    run_until(r->f, &r->done);
}

void vm_read(struct vm_run *r)
{
    int64_t due = clock_mono_ms() + TEST_DEADLINE_MS;
    size_t n = 0;
    for (;;) {
        uv_run(&r->f->loop, UV_RUN_NOWAIT);
        char c;
        ssize_t got = recv(r->link, &c, 1, MSG_DONTWAIT);
        if (got == 1 && c == '\n')
            break;
        assert_true(clock_mono_ms() < due);
        if (got == 1) {
            assert_true(n + 1 < sizeof(r->line));
            r->line[n++] = c;
        } else {
            assert_int_equal(got, -1);
            struct pollfd p = { .fd = r->link, .events = POLLIN };
            poll(&p, 1, 20);
        }
    }
    r->line[n] = 0;
}

void vm_connect(struct vm_run *r)
{
    r->link = unix_connect(vmm_link_address(r->v)->path);
    assert_true(r->link >= 0);
}

void vm_boot_up(struct vm_fixture *f, struct vm_run *r)
{
    vm_boot_begin(f, r);
    vm_wait_up(r);
}

void vm_wait_up(struct vm_run *r)
{
    run_until(r->f, &r->done);
    if (r->failed)
        print_message("boot failed: %s\n", r->err.msg);
    assert_false(r->failed);
    vm_connect(r);
    vm_read(r);
    assert_string_equal(r->line, "up");
}

void vm_send(struct vm_run *r, const char *command)
{
    char text[256];
    int n = snprintf(text, sizeof(text), "%s\n", command);
    assert_int_equal(send(r->link, text, (size_t)n, MSG_NOSIGNAL), n);
}

const char *vm_ask(struct vm_run *r, const char *command)
{
    vm_send(r, command);
    vm_read(r);
    return r->line;
}

bool process_lives(pid_t pid)
{
    char path[64];
    struct buf text = { 0 };
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int rc = file_read(path, 4096, &text, NULL);
    struct str s = buf_str(&text);
    const char *end = rc == 0 ? memrchr(s.p, ')', s.n) : NULL;
    bool lives = end && end[2] != 'Z' && end[2] != 'X';
    buf_deinit(&text);
    return lives;
}

void vm_destroy_begun(struct vm_run *r)
{
    struct stat st;
    vmm_destroy(r->v, on_destroyed, r);
    assert_false(r->destroyed);
    run_until(r->f, &r->destroyed);
    if (r->link >= 0)
        close(r->link);
    r->link = -1;
    assert_int_equal(stat(r->run_dir, &st), -1);
    assert_int_equal(errno, ENOENT);
    /* The disk is the owner's to remove, if there was a start that made it. */
    assert_int_equal(unlink(r->top), r->done ? 0 : -1);
}

void vm_destroy(struct vm_run *r)
{
    pid_t pid = vmm_record(r->v)->pid;
    vm_destroy_begun(r);
    assert_false(process_lives(pid));
}

void vm_release(struct vm_run *r)
{
    vmm_release(TAKE(r->v));
    if (r->link >= 0)
        close(r->link);
    r->link = -1;
}
