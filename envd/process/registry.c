#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "envd/process/registry_internal.h"

#include <errno.h>
#include <signal.h>

/* How long an output waits after memory ran out. */
#define RETRY_MS 100

const struct process_limits PROCESS_LIMITS_DEFAULT = {
    .ring_bytes = RING_BYTES_DEFAULT,
    .ring_budget = RING_BUDGET_DEFAULT,
    .retain_ms = 30000,
    .retained_max = 1024,
};

static struct process *process_of(struct list *node)
{
    return container_of(node, struct process, node);
}

/* Offset before which nobody needs the bytes: the history, kept for those who ask for it. */
static uint64_t history_end(const struct process *p)
{
    uint64_t least = process_received(p);
    list_for_each (node, &p->readers) {
        const struct process_reader *reader = container_of(node, struct process_reader, node);
        if (reader->pos.offset < least)
            least = reader->pos.offset;
    }
    return least;
}

/* Drop from every process on the list what `limit` allows until `need` bytes fit. */
static void drop_from(struct ring_budget *b, struct list *list, size_t need,
                      uint64_t (*limit)(const struct process *p))
{
    list_for_each (node, list) {
        struct process *p = process_of(node);
        while (b->used + need > b->max && ring_drop_oldest(&p->ring, limit(p)) > 0) {
        }
    }
}

static uint64_t all_unless_read(const struct process *p)
{
    return list_empty(&p->readers) ? UINT64_MAX : 0;
}

/* First what was delivered and is only history, then what ended processes left, then what those
 * that nobody follows have printed. What a reader still has to get is never taken. */
static void reclaim(struct ring_budget *b, size_t need)
{
    struct process_registry *r = container_of(b, struct process_registry, budget);
    drop_from(b, &r->ended, need, history_end);
    drop_from(b, &r->running, need, history_end);
    drop_from(b, &r->ended, need, all_unless_read);
    drop_from(b, &r->running, need, all_unless_read);
}

static void resume_all(struct process_registry *r)
{
    list_for_each (node, &r->running)
        process_resume(process_of(node));
}

static void on_resume(struct deferred *d)
{
    resume_all(container_of(d, struct process_registry, resume));
}

static void on_retry(uv_timer_t *timer)
{
    resume_all(container_of(timer, struct process_registry, retry));
}

void registry_retry_later(struct process_registry *r)
{
    if (!uv_is_active((uv_handle_t *)&r->retry))
        uv_timer_start(&r->retry, on_retry, RETRY_MS, 0);
}

static void on_freed(struct ring_budget *b)
{
    struct process_registry *r = container_of(b, struct process_registry, budget);
    if (!r->freed)
        defer(&r->envd->defer, &r->resume, on_resume);
}

struct process_registry *process_registry_new(struct envd *e)
{
    struct process_registry *r = calloc(1, sizeof(*r));
    if (!r)
        return NULL;
    r->envd = e;
    r->dev_null = -1;
    list_init(&r->running);
    list_init(&r->ended);
    r->budget = (struct ring_budget){ .reclaim = reclaim, .freed = on_freed };
    process_registry_set_limits(r, &PROCESS_LIMITS_DEFAULT);
    uv_timer_init(e->loop, &r->stop_timer);
    uv_unref((uv_handle_t *)&r->stop_timer);
    uv_timer_init(e->loop, &r->retry);
    return r;
}

void process_registry_set_limits(struct process_registry *r, const struct process_limits *limits)
{
    r->limits = *limits;
    r->budget.max = limits->ring_budget;
}

static struct process **bucket(struct process_registry *r, pid_t pid)
{
    return &r->by_pid[(unsigned)pid % REGISTRY_BUCKETS];
}

/* A pid can be used again by the system while an ended process of that pid is remembered, or one
 * whose outputs are still open. The newest comes first in its bucket and is the one meant. */
void registry_add(struct process_registry *r, struct process *p)
{
    struct process **head = bucket(r, p->pid);
    p->next_by_pid = *head;
    *head = p;
    list_push_back(&r->running, &p->node);
    r->nrunning++;
}

void registry_remove(struct process_registry *r, struct process *p)
{
    struct process **at = bucket(r, p->pid);
    while (*at != p)
        at = &(*at)->next_by_pid;
    *at = p->next_by_pid;
    list_remove(&p->node);
    if (p->ended)
        r->nended--;
    else
        r->nrunning--;
}

/* Forget the oldest ended ones that nobody reads until there is room for one more. */
static void make_room(struct process_registry *r)
{
    list_for_each_safe (node, &r->ended) {
        struct process *p = process_of(node);
        if (r->nended < r->limits.retained_max)
            return;
        if (list_empty(&p->readers)) {
            registry_remove(r, p);
            process_release(p, NULL);
        }
    }
}

void registry_ended(struct process_registry *r, struct process *p)
{
    make_room(r);
    list_remove(&p->node);
    r->nrunning--;
    list_push_back(&r->ended, &p->node);
    r->nended++;
}

static struct process *find_pid(struct process_registry *r, pid_t pid, bool ended)
{
    for (struct process *p = *bucket(r, pid); p; p = p->next_by_pid) {
        if (p->pid == pid && (ended || !p->ended))
            return p;
    }
    return NULL;
}

/* The newest of that tag, running ones before ended ones. */
static struct process *find_tag(struct process_registry *r, const char *tag, bool ended)
{
    struct list *lists[2] = { &r->running, &r->ended };
    for (size_t i = 0; i < (ended ? 2 : 1); i++) {
        for (struct list *node = lists[i]->prev; node != lists[i]; node = node->prev) {
            struct process *p = process_of(node);
            if (p->tag && strcmp(p->tag, tag) == 0)
                return p;
        }
    }
    return NULL;
}

struct process *registry_find(struct process_registry *r, const Process__ProcessSelector *selector,
                              bool ended, struct err *err)
{
    struct process *p = NULL;
    int rc = 0;
    switch (selector ? selector->selector_case : PROCESS__PROCESS_SELECTOR__SELECTOR__NOT_SET) {
    case PROCESS__PROCESS_SELECTOR__SELECTOR_PID:
        p = find_pid(r, (pid_t)selector->pid, ended);
        if (!p)
            rc = err_set(err, ERR_NOT_FOUND, ESRCH, "process with pid %u not found", selector->pid);
        break;
    case PROCESS__PROCESS_SELECTOR__SELECTOR_TAG:
        p = find_tag(r, selector->tag, ended);
        if (!p)
            rc = err_set(err, ERR_NOT_FOUND, ESRCH, "process with tag %s not found", selector->tag);
        break;
    case PROCESS__PROCESS_SELECTOR__SELECTOR__NOT_SET:
    default:
        rc = err_set(err, ERR_UNIMPLEMENTED, EINVAL, "select a process by pid or by tag");
    }
    (void)rc;
    return p;
}

bool process_registry_reaped(struct process_registry *r, pid_t pid, int status)
{
    for (struct process *p = *bucket(r, pid); p; p = p->next_by_pid) {
        if (p->pid == pid && !p->reaped) {
            process_reaped(p, status);
            if (r->on_stopped)
                defer(&r->envd->defer, &r->stopped, r->stopped.run);
            return true;
        }
    }
    return false;
}

size_t process_registry_count(const struct process_registry *r)
{
    return r->nrunning;
}

size_t process_registry_held(const struct process_registry *r)
{
    return r->budget.used;
}

static size_t signal_all(struct process_registry *r, int signum)
{
    size_t n = 0;
    list_for_each (node, &r->running) {
        struct process *p = process_of(node);
        if (p->reaped)
            continue;
        n++;
        if (signum)
            kill(-p->pid, signum);
    }
    return n;
}

static void finish_stop(struct process_registry *r)
{
    void (*done)(void *user) = r->on_stopped;
    r->on_stopped = NULL;
    uv_timer_stop(&r->stop_timer);
    if (done)
        done(r->on_stopped_user);
}

/* A process was reaped: was it the last one? */
static void check_stopped(struct deferred *d)
{
    struct process_registry *r = container_of(d, struct process_registry, stopped);
    if (signal_all(r, 0) == 0)
        finish_stop(r);
}

static void on_stop_timer(uv_timer_t *timer)
{
    struct process_registry *r = container_of(timer, struct process_registry, stop_timer);
    size_t left = signal_all(r, SIGKILL);
    if (r->kill_sent || left == 0) {
        if (left > 0)
            log_warn("processes survived SIGKILL", LOG_INT("count", left));
        finish_stop(r);
        return;
    }
    r->kill_sent = true;
    uv_timer_start(&r->stop_timer, on_stop_timer, r->grace_ms, 0);
}

void process_registry_stop_all(struct process_registry *r, unsigned grace_ms,
                               void (*done)(void *user), void *user)
{
    r->stopping = true;
    r->grace_ms = grace_ms;
    r->on_stopped = done;
    r->on_stopped_user = user;
    r->stopped.run = check_stopped;
    signal_all(r, SIGTERM);
    uv_ref((uv_handle_t *)&r->stop_timer);
    uv_timer_start(&r->stop_timer, on_stop_timer, grace_ms, 0);
    defer(&r->envd->defer, &r->stopped, check_stopped);
}

static void free_when_empty(struct process_registry *r)
{
    if (r->freed && r->alive == 0)
        free(r);
}

void registry_process_freed(struct process_registry *r)
{
    r->alive--;
    free_when_empty(r);
}

static void on_stop_timer_closed(uv_handle_t *handle)
{
    registry_process_freed(container_of((uv_timer_t *)handle, struct process_registry, stop_timer));
}

static void on_retry_closed(uv_handle_t *handle)
{
    registry_process_freed(container_of((uv_timer_t *)handle, struct process_registry, retry));
}

static void release_all(struct process_registry *r, struct list *list, const struct err *err)
{
    while (!list_empty(list)) {
        struct process *p = process_of(list->next);
        registry_remove(r, p);
        process_release(p, err);
    }
}

void process_registry_free(struct process_registry *r)
{
    static const struct err err = { .code = ERR_UNAVAILABLE, .msg = "envd is stopping" };
    r->freed = true;
    r->alive += 2; /* the timers */
    defer_cancel(&r->resume);
    defer_cancel(&r->stopped);
    release_all(r, &r->running, &err);
    release_all(r, &r->ended, &err);
    if (r->dev_null >= 0)
        close(r->dev_null);
    uv_close((uv_handle_t *)&r->stop_timer, on_stop_timer_closed);
    uv_close((uv_handle_t *)&r->retry, on_retry_closed);
}
