/*
 * End a sandbox, whatever the reason: a request, its deadline, or a VM that ended by itself.
 *
 *   LINK -> VMM -> RECORD -> DONE
 *
 * It is hidden from lookups before the first step, so that clients see "not found" from then on.
 * Nothing here can fail for good: what cannot be written down, on a full disk, is told to who
 * asked, and tried again until it can be or the daemon ends; the next one finds a row then.
 */
#include "orchestrator/sandbox/internal.h"

#include "common/base/clock.h"
#include "common/base/fileio.h"
#include "common/base/log.h"

#include <stdio.h>

/* The reason of an end that a client asked for. */
#define ASKED_FOR "api"

#define RECORD_AGAIN_MS 1000

struct waiter {
    struct list node;
    void (*done)(void *user, const struct err *err);
    void *user;
};

struct kill {
    struct list node; /* of host->killing */
    struct sandbox_own *own;
    struct list waiters;
    struct deferred step;
    int64_t began_ns, ended_ns;          /* ended_ns is wall clock: its VM is gone */
    uv_timer_t again;                    /* armed: its end could not be written down */
    bool failed;                         /* as was told */
    char console[DEATH_CONSOLE_MAX + 1]; /* the guest's last words */
};

static void tell(struct kill *k, const struct err *err)
{
    const struct sandbox *sb = &k->own->sb;
    if (!err || !k->failed)
        metrics_operation(&sb->host->metrics, OPERATION_KILL, NULL, k->began_ns, err);
    if (err && !k->failed)
        log_error("the end of a sandbox is not written down, which is tried again",
                  LOG_STR("sandbox_id", sb->id), LOG_STR("reason", err->msg));
    k->failed = err != NULL;
    list_for_each_safe (node, &k->waiters) {
        struct waiter *w = container_of(node, struct waiter, node);
        list_remove(&w->node);
        w->done(w->user, err);
        free(w);
    }
}

static void on_closed(uv_handle_t *handle)
{
    free(container_of((uv_timer_t *)handle, struct kill, again));
}

static void finish(struct kill *k)
{
    struct sandbox *sb = &k->own->sb;
    struct sandbox_host *h = sb->host;
    log_info("sandbox ended", LOG_STR("sandbox_id", sb->id), LOG_STR("reason", k->own->end_reason),
             LOG_STR("detail", k->own->end_detail));
    sandbox_collect(h);
    sm_move(&sb->sm, SANDBOX_ENDED);
    metrics_ended(&h->metrics, k->own->end_reason);
    sandbox_event(sb, SANDBOX_EVENT_ENDED, k->own->end_reason, k->own->end_detail);
    list_remove(&k->node);
    k->own->kill = NULL;
    uv_close((uv_handle_t *)&k->again, on_closed);
    sandbox_unref(sb);
    sandbox_host_check_stop(h);
}

static void record(struct kill *k);

static void on_again(uv_timer_t *timer)
{
    record(container_of(timer, struct kill, again));
}

static void on_recorded(void *user, const struct err *err)
{
    struct kill *k = user;
    struct sandbox *sb = &k->own->sb;
    if (k->own->snapshot_id[0]) /* which may be what fills the disk */
        sandbox_drop_snapshot(sb->host, k->own->snapshot_id);
    k->own->snapshot_id[0] = '\0';
    tell(k, err);
    if (err && !sb->host->stopping)
        uv_timer_start(&k->again, on_again, RECORD_AGAIN_MS, 0);
    else
        finish(k);
}

static void record(struct kill *k)
{
    struct sandbox *sb = &k->own->sb;
    struct store_death death = { .sandbox_id = sb->id,
                                 .team_id = sb->team_id,
                                 .when_ns = k->ended_ns,
                                 .reason = k->own->end_reason,
                                 .detail = k->own->end_detail,
                                 .actor = k->own->end_actor,
                                 .console = k->console };
    uv_timer_stop(&k->again);
    store_sandbox_end(sb->host->store, &death, on_recorded, k);
}

void kill_give_up(struct sandbox_host *h)
{
    list_for_each_safe (node, &h->killing) {
        struct kill *k = container_of(node, struct kill, node);
        if (uv_is_active((uv_handle_t *)&k->again))
            finish(k);
    }
}

static void on_vmm_gone(void *user)
{
    struct kill *k = user;
    k->own->sb.vmm = NULL;
    k->ended_ns = clock_wall_ns();
    file_remove_tree(k->own->run_dir, NULL);
    record(k);
}

static void on_start(struct deferred *d)
{
    struct kill *k = container_of(d, struct kill, step);
    struct sandbox *sb = &k->own->sb;
    if (sb->vmm)
        k->console[vmm_console_tail(sb->vmm, k->console, DEATH_CONSOLE_MAX)] = '\0';
    if (sb->link)
        guest_link_close(TAKE(sb->link));
    merge_forget(k->own);
    if (sb->vmm)
        vmm_destroy(sb->vmm, on_vmm_gone, k);
    else
        on_vmm_gone(k);
}

static void add_waiter(struct kill *k, void (*done)(void *user, const struct err *err), void *user)
{
    struct waiter *w = done ? malloc(sizeof(*w)) : NULL;
    if (!w)
        return;
    w->done = done;
    w->user = user;
    list_push_back(&k->waiters, &w->node);
}

void sandbox_end(struct sandbox *sb, const char *reason, const char *detail, const char *actor,
                 void (*done)(void *user, const struct err *err), void *user)
{
    struct sandbox_own *own = own_of(sb);
    if (own->kill) {
        add_waiter(own->kill, done, user);
        if (uv_is_active((uv_handle_t *)&own->kill->again))
            record(own->kill);
        return;
    }
    struct kill *k = calloc(1, sizeof(*k));
    if (!k)
        abort(); /* a sandbox that cannot be ended would run for ever */
    k->own = own;
    k->began_ns = clock_mono_ns();
    own->kill = k;
    uv_timer_init(sb->host->loop, &k->again);
    list_init(&k->waiters);
    add_waiter(k, done, user);
    /* The texts may be the sandbox's own. */
    memmove(own->end_reason, reason, strnlen(reason, sizeof(own->end_reason) - 1) + 1);
    memmove(own->end_detail, detail, strnlen(detail, sizeof(own->end_detail) - 1) + 1);
    own->end_reason[sizeof(own->end_reason) - 1] = own->end_detail[sizeof(own->end_detail) - 1] =
        '\0';
    snprintf(own->end_actor, sizeof(own->end_actor), "%s", actor);
    sm_move(&sb->sm, SANDBOX_KILLING);
    list_remove(&sb->node);
    list_push_back(&sb->host->killing, &k->node);
    expiry_rearm(sb->host);
    defer(sb->host->defer, &k->step, on_start);
}

struct no_kill {
    struct deferred d;
    void (*done)(void *user, const struct err *err);
    void *user;
};

static void on_no_kill(struct deferred *d)
{
    struct no_kill *n = container_of(d, struct no_kill, d);
    const struct err gone = { .code = ERR_NOT_FOUND };
    n->done(n->user, &gone);
    free(n);
}

/* A kill that waits for a transition. */
struct kill_wait {
    struct transition_waiter waiter;
    struct sandbox_host *host;
    char id[SANDBOX_ID_SIZE];
    char actor[64];
    void (*done)(void *user, const struct err *err);
    void *user;
};

static void on_transition_over(struct transition_waiter *waiter)
{
    struct kill_wait *w = container_of(waiter, struct kill_wait, waiter);
    sandbox_kill(w->host, w->id, NULL, w->actor, w->done, w->user);
    free(w);
}

static void kill_later(struct sandbox_own *own, const char *actor,
                       void (*done)(void *user, const struct err *err), void *user)
{
    struct kill_wait *w = calloc(1, sizeof(*w));
    if (!w)
        abort(); /* nobody could be told */
    w->host = own->sb.host;
    memcpy(w->id, own->sb.id, sizeof(w->id));
    snprintf(w->actor, sizeof(w->actor), "%s", actor);
    w->done = done;
    w->user = user;
    transition_wait(own, &w->waiter, on_transition_over);
}

void sandbox_kill(struct sandbox_host *h, const char *id, const char *team_id, const char *actor,
                  void (*done)(void *user, const struct err *err), void *user)
{
    struct sandbox *sb = sandbox_lookup(h, id, team_id);
    struct sandbox *ending = map_get(&h->by_id, str_of(id));
    bool joins = ending && own_of(ending)->kill &&
                 strcmp(own_of(ending)->end_reason, ASKED_FOR) == 0 &&
                 (!team_id || strcmp(ending->team_id, team_id) == 0);
    if (sb && own_of(sb)->transition != TRANSITION_NONE) {
        kill_later(own_of(sb), actor, done, user);
        return;
    }
    if (sb || joins) {
        sandbox_end(sb ? sb : ending, ASKED_FOR, "killed by a request", actor, done, user);
        return;
    }
    struct no_kill *n = calloc(1, sizeof(*n));
    if (!n)
        abort();
    n->done = done;
    n->user = user;
    defer(h->defer, &n->d, on_no_kill);
}
