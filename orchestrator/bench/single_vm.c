#include "orchestrator/bench/single_vm_internal.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* A caller that writes a VM's memory to a disk does not answer the driver meanwhile. */
#define PING_INTERVAL_MS 20000
#define PING_DEADLINE_MS 60000

/* Of the guest's console, for an error. */
#define LAST_WORDS 100

static void fail(struct single_vm *s, enum err_code code, int errnum, const char *why)
{
    if (s->over)
        return;
    s->over = true;
    s->rc = err_set(&s->err, code, errnum, "%s", why);
}

static void on_deadline(uv_timer_t *timer)
{
    fail(container_of(timer, struct single_vm, deadline), ERR_DEADLINE, ETIMEDOUT,
         "the guest did not answer in time");
}

void single_vm_begin(struct single_vm *s)
{
    s->over = false;
    s->rc = 0;
    s->err = (struct err){ 0 };
    if (s->ended)
        fail(s, ERR_UNAVAILABLE, ESRCH, s->end);
}

void single_vm_finish(struct single_vm *s, const struct err *err)
{
    if (s->over)
        return;
    s->over = true;
    if (err) {
        s->err = *err;
        s->rc = -EIO;
    }
}

int single_vm_wait(struct single_vm *s, unsigned timeout_ms, struct err *err)
{
    uv_update_time(&s->loop);
    if (timeout_ms > 0)
        uv_timer_start(&s->deadline, on_deadline, timeout_ms, 0);
    while (!s->over)
        uv_run(&s->loop, UV_RUN_ONCE);
    uv_timer_stop(&s->deadline);
    if (s->rc < 0)
        *err = s->err;
    return s->rc;
}

/* The last line that the guest printed. */
static void last_words(const struct vmm *v, char *out, size_t size)
{
    char text[LAST_WORDS + 1];
    size_t n = vmm_console_tail(v, text, LAST_WORDS);
    while (n > 0 && (text[n - 1] == '\n' || text[n - 1] == '\r'))
        n--;
    text[n] = '\0';
    const char *line = strrchr(text, '\n');
    snprintf(out, size, "%s", line ? line + 1 : text);
}

static void on_end(struct vmm *v, enum vmm_end end, const char *detail)
{
    struct single_vm *s = vmm_user(v);
    char words[LAST_WORDS + 1];
    last_words(v, words, sizeof(words));
    s->ended = true;
    snprintf(s->end, sizeof(s->end), "the VM ended (%s%s%s); it said: %s", vmm_end_name(end),
             detail && detail[0] ? ": " : "", detail ? detail : "", words[0] ? words : "nothing");
    fail(s, ERR_UNAVAILABLE, ESRCH, s->end);
}

static const struct vmm_events vm_events = { .on_end = on_end };

int single_vm_open(struct single_vm **out, const char *accel, const char *cgroup,
                   const struct vmm_allowance *allowance, struct err *err)
{
    char owner[64];
    struct single_vm *s = calloc(1, sizeof(*s));
    if (!s || uv_loop_init(&s->loop) != 0) {
        free(s);
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    }
    defer_queue_init(&s->defer, &s->loop);
    uv_timer_init(&s->loop, &s->deadline);
    snprintf(owner, sizeof(owner), "single VM %d", (int)getpid());
    cgroups_open(&s->cgroups, &(struct cgroups_options){ .where = cgroup, .owner = owner });
    const struct vmm_driver_options options = { .loop = &s->loop,
                                                .defer = &s->defer,
                                                .accel = accel,
                                                .cgroups = &s->cgroups,
                                                .allowance = *allowance,
                                                .ping_interval_ms = PING_INTERVAL_MS,
                                                .ping_deadline_ms = PING_DEADLINE_MS };
    int rc = vmm_driver_new(&s->driver, &options, err);
    if (rc < 0) {
        single_vm_close(s);
        return rc;
    }
    *out = s;
    return 0;
}

struct vmm_driver *single_vm_driver(const struct single_vm *s)
{
    return s->driver;
}

struct vmm *single_vm_vmm(const struct single_vm *s)
{
    return s->vm;
}

static void on_started(struct vmm *v, const struct err *err)
{
    struct single_vm *s = vmm_user(v);
    if (err)
        s->vm = NULL;
    single_vm_finish(s, err);
}

static int wait_for_vm(struct single_vm *s, struct err *err)
{
    if (!s->vm)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory starting the VM");
    return single_vm_wait(s, 0, err);
}

int single_vm_start(struct single_vm *s, const struct vmm_config *config, struct err *err)
{
    s->ended = false;
    single_vm_begin(s);
    s->vm = vmm_start(s->driver, config, &vm_events, s, on_started);
    return wait_for_vm(s, err);
}

static void on_done(void *user, const struct err *err)
{
    single_vm_finish(user, err);
}

int single_vm_replace_disk(struct single_vm *s, const struct vmm_disk *disk, struct err *err)
{
    single_vm_begin(s);
    if (!s->over)
        vmm_replace_disk(s->vm, disk, on_done, s);
    return single_vm_wait(s, 0, err);
}

int single_vm_load(struct single_vm *s, int state_fd, struct err *err)
{
    single_vm_begin(s);
    if (!s->over)
        vmm_load(s->vm, state_fd, on_done, s);
    return single_vm_wait(s, 0, err);
}

int single_vm_pause(struct single_vm *s, struct err *err)
{
    single_vm_begin(s);
    if (!s->over)
        vmm_pause(s->vm, on_done, s);
    int rc = single_vm_wait(s, 0, err);
    if (rc == 0 && s->link)
        guest_link_set_vm_running(s->link, false);
    return rc;
}

int single_vm_resume(struct single_vm *s, struct err *err)
{
    single_vm_begin(s);
    if (!s->over)
        vmm_resume(s->vm, on_done, s);
    int rc = single_vm_wait(s, 0, err);
    if (rc == 0 && s->link)
        guest_link_set_vm_running(s->link, true);
    return rc;
}

struct saving {
    struct single_vm *s;
    int fd;
};

static void on_saved(void *user, int state_fd, const struct err *err)
{
    struct saving *saving = user;
    saving->fd = state_fd;
    single_vm_finish(saving->s, err);
}

int single_vm_save(struct single_vm *s, int *state_fd, struct err *err)
{
    struct saving saving = { .s = s, .fd = -1 };
    single_vm_begin(s);
    if (!s->over)
        vmm_save(s->vm, on_saved, &saving);
    int rc = single_vm_wait(s, 0, err);
    if (rc < 0)
        single_vm_destroy(s); /* so that on_saved does not come any more */
    *state_fd = saving.fd;
    return rc;
}

int single_vm_settle(struct single_vm *s, unsigned ms, struct err *err)
{
    single_vm_begin(s);
    int rc = single_vm_wait(s, ms, err);
    return s->err.code == ERR_DEADLINE ? 0 : rc;
}

static void on_destroyed(void *user)
{
    single_vm_finish(user, NULL);
}

void single_vm_destroy(struct single_vm *s)
{
    struct err ignored;
    if (s->link)
        guest_link_close(TAKE(s->link));
    if (!s->vm)
        return;
    s->ended = false;
    single_vm_begin(s);
    vmm_destroy(TAKE(s->vm), on_destroyed, s);
    single_vm_wait(s, 0, &ignored);
}

void single_vm_close(struct single_vm *s)
{
    if (!s)
        return;
    single_vm_destroy(s);
    if (s->driver)
        vmm_driver_free(s->driver);
    defer_queue_close(&s->defer);
    uv_close((uv_handle_t *)&s->deadline, NULL);
    uv_run(&s->loop, UV_RUN_DEFAULT);
    uv_loop_close(&s->loop);
    cgroups_close(&s->cgroups);
    free(s);
}
