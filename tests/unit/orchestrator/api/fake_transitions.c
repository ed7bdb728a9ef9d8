/* Pause, connect, snapshot, fork and death of the double: each is done in the next turn. */
#include "fake_host.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"

#include <assert.h>
#include <stdio.h>

struct transition {
    struct sandbox_host *host;
    struct deferred step;
    struct sandbox *sb; /* NULL: there is none */
    struct err err;
    bool resumed, named;
    unsigned count, timeout_s;
    sandbox_paused_cb paused;
    sandbox_connected_cb connected;
    sandbox_snapshotted_cb snapshotted;
    sandbox_forked_cb forked;
    void (*death)(void *user, const struct store_death *death);
    const struct store_death *record;
    void *user;
};

static void fork_all(struct transition *op)
{
    struct sandbox_fork_result results[SANDBOX_FORK_MAX] = { 0 };
    for (unsigned i = 0; i < op->count; i++) {
        char id[SANDBOX_ID_SIZE];
        if (op->host->count >= FAKE_MAX) {
            err_fill(&results[i].err, ERR_EXHAUSTED, "no room for another one");
            continue;
        }
        snprintf(id, sizeof(id), "f%020u", op->host->next_id++);
        results[i].sb = fake_host_add(op->host, id, op->sb->team_id, clock_wall_ns(), NULL);
    }
    op->forked(op->user, results, op->count, &op->host->timings, NULL);
}

static void finish(struct deferred *d)
{
    struct transition *op = container_of(d, struct transition, step);
    const struct sandbox_timings *t = &op->host->timings;
    const struct err *err = op->err.code ? &op->err : NULL;
    if (op->paused) {
        if (!err)
            fake_host_move(op->sb, SANDBOX_PAUSED);
        op->paused(op->user, t, err);
    } else if (op->connected) {
        op->connected(op->user, err ? NULL : op->sb, op->resumed, t, err);
    } else if (op->snapshotted) {
        op->snapshotted(op->user,
                        err         ? NULL
                        : op->named ? "test/name:default"
                                    : "ttt:default",
                        op->named && !err ? "test/name" : NULL, t, err);
    } else if (op->forked && err) {
        op->forked(op->user, NULL, 0, t, err);
    } else if (op->forked) {
        fork_all(op);
    } else {
        op->death(op->user, op->record);
    }
    free(op);
}

/* Begin an operation on a sandbox, which must be there and, with `running`, run. */
static struct transition *begin(struct sandbox_host *h, const char *id, const char *team_id,
                                bool running, const char *actor, void *user)
{
    struct transition *op = calloc(1, sizeof(*op));
    assert(op);
    op->host = h;
    op->user = user;
    op->err = fake_host_take_failure(h);
    op->sb = sandbox_lookup(h, id, team_id);
    if (actor)
        snprintf(h->asked.actor, sizeof(h->asked.actor), "%s", actor);
    if (!op->sb)
        err_fill(&op->err, ERR_NOT_FOUND, "none");
    else if (running && sm_state(&op->sb->sm) != SANDBOX_RUNNING)
        err_fill(&op->err, ERR_ABORTED, "Sandbox \"%s\" is not running", id);
    defer(h->defer, &op->step, finish);
    return op;
}

void sandbox_pause(struct sandbox_host *h, const char *id, const char *team_id,
                   const struct sandbox_pause_spec *spec, sandbox_paused_cb done, void *user)
{
    struct transition *op = begin(h, id, team_id, true, spec->actor, user);
    op->paused = done;
    h->transition.memory = spec->memory;
    h->transition.require_healthy = spec->require_healthy;
    if (op->sb && !op->err.code) {
        op->sb->filesystem_only = !spec->memory;
        fake_host_move(op->sb, SANDBOX_PAUSING);
    }
}

void sandbox_connect(struct sandbox_host *h, const char *id, const char *team_id,
                     const struct sandbox_connect_spec *spec, sandbox_connected_cb done, void *user)
{
    struct transition *op = begin(h, id, team_id, false, spec->actor, user);
    op->connected = done;
    h->transition.timeout_s = spec->timeout_s;
    h->transition.reboot = spec->reboot;
    h->transition.must_be_paused = spec->must_be_paused;
    h->transition.only_wait = spec->only_wait;
    if (op->err.code)
        return;
    op->resumed = sm_state(&op->sb->sm) != SANDBOX_RUNNING;
    if (!op->resumed && spec->must_be_paused) {
        err_fill(&op->err, ERR_ABORTED, "Sandbox \"%s\" is already running", id);
        return;
    }
    if (op->resumed)
        fake_host_move(op->sb, SANDBOX_RUNNING);
    /* As the real one: no longer than any may live, which is no error. */
    struct err err;
    int64_t left_s = op->sb->started_ns / 1000000000 + (int64_t)h->config->max_lifetime_s -
                     clock_wall_ns() / 1000000000 - 1;
    int64_t timeout_s = spec->timeout_s < left_s ? spec->timeout_s : left_s;
    if (timeout_s > 0)
        assert(sandbox_set_timeout(op->sb, timeout_s, !op->resumed, &err) == 0);
}

void sandbox_snapshot(struct sandbox_host *h, const char *id, const char *team_id,
                      const struct sandbox_snapshot_spec *spec, sandbox_snapshotted_cb done,
                      void *user)
{
    struct transition *op = begin(h, id, team_id, true, spec->actor, user);
    op->snapshotted = done;
    op->named = spec->name != NULL;
    h->transition.memory = spec->memory;
    h->transition.require_healthy = spec->require_healthy;
    snprintf(h->transition.name, sizeof(h->transition.name), "%s", spec->name ? spec->name : "");
}

void sandbox_fork(struct sandbox_host *h, const char *id, const char *team_id, unsigned timeout_s,
                  unsigned count, const char *actor, sandbox_forked_cb done, void *user)
{
    struct transition *op = begin(h, id, team_id, true, actor, user);
    op->forked = done;
    op->count = count;
    h->transition.timeout_s = timeout_s;
    h->transition.count = count;
}

void sandbox_death(struct sandbox_host *h, const char *id, const char *team_id,
                   void (*done)(void *user, const struct store_death *death), void *user)
{
    struct transition *op = begin(h, id, team_id, false, NULL, user);
    const struct store_death *d = &h->death;
    op->death = done;
    if (d->sandbox_id && strcmp(d->sandbox_id, id) == 0 &&
        (!team_id || strcmp(d->team_id, team_id) == 0))
        op->record = d;
}

static void on_build_removed(void *user, const char *build_id, const char *dir)
{
    (void)user;
    (void)build_id;
    (void)dir;
}

void sandbox_template_delete(struct sandbox_host *h, const char *team_id, const char *ref,
                             void (*done)(void *user, const struct err *err), void *user)
{
    store_template_delete(h->store, team_id, ref, on_build_removed, done, user);
}
