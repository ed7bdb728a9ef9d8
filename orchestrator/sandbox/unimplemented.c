/* Transitions that this version does not make yet: each says so to its caller. */
#include "orchestrator/sandbox/internal.h"

struct refusal {
    struct deferred step;
    void (*tell)(struct refusal *r, const struct err *err);
    sandbox_paused_cb paused;
    sandbox_snapshotted_cb snapshotted;
    sandbox_forked_cb forked;
    void *user;
};

static const struct sandbox_timings no_time;

static void on_step(struct deferred *d)
{
    struct refusal *r = container_of(d, struct refusal, step);
    struct err err;
    err_fill(&err, ERR_UNIMPLEMENTED, "this version of sandpit does not support it");
    r->tell(r, &err);
    free(r);
}

static void refuse(struct sandbox_host *h, struct refusal refusal)
{
    struct refusal *r = malloc(sizeof(*r));
    if (!r)
        abort();
    *r = refusal;
    defer(h->defer, &r->step, on_step);
}

static void tell_paused(struct refusal *r, const struct err *err)
{
    r->paused(r->user, &no_time, err);
}

void sandbox_pause(struct sandbox_host *h, const char *id, const char *team_id,
                   const struct sandbox_pause_spec *spec, sandbox_paused_cb done, void *user)
{
    (void)id, (void)team_id, (void)spec;
    refuse(h, (struct refusal){ .tell = tell_paused, .paused = done, .user = user });
}

struct connect {
    struct deferred step;
    struct sandbox *sb;
    struct err err;
    sandbox_connected_cb done;
    void *user;
};

static void on_connected(struct deferred *d)
{
    struct connect *c = container_of(d, struct connect, step);
    bool failed = c->err.code != ERR_OK;
    c->done(c->user, failed ? NULL : c->sb, false, &no_time, failed ? &c->err : NULL);
    if (c->sb)
        sandbox_unref(c->sb);
    free(c);
}

/* Of running ones, which only live longer by it. */
void sandbox_connect(struct sandbox_host *h, const char *id, const char *team_id,
                     const struct sandbox_connect_spec *spec, sandbox_connected_cb done, void *user)
{
    struct connect *c = calloc(1, sizeof(*c));
    if (!c)
        abort();
    c->done = done;
    c->user = user;
    c->sb = sandbox_find(h, id, team_id);
    if (!c->sb)
        err_fill(&c->err, ERR_NOT_FOUND, "there is no such sandbox");
    else if (spec->must_be_paused)
        err_fill(&c->err, ERR_ABORTED, "Sandbox \"%s\" is already running", id);
    else if (sandbox_set_timeout(c->sb, spec->timeout_s, true, &c->err) == 0)
        c->err.code = ERR_OK;
    if (c->sb)
        sandbox_ref(c->sb);
    defer(h->defer, &c->step, on_connected);
}

static void tell_snapshotted(struct refusal *r, const struct err *err)
{
    r->snapshotted(r->user, NULL, NULL, &no_time, err);
}

void sandbox_snapshot(struct sandbox_host *h, const char *id, const char *team_id,
                      const struct sandbox_snapshot_spec *spec, sandbox_snapshotted_cb done,
                      void *user)
{
    (void)id, (void)team_id, (void)spec;
    refuse(h, (struct refusal){ .tell = tell_snapshotted, .snapshotted = done, .user = user });
}

static void tell_forked(struct refusal *r, const struct err *err)
{
    r->forked(r->user, NULL, 0, &no_time, err);
}

void sandbox_fork(struct sandbox_host *h, const char *id, const char *team_id, unsigned timeout_s,
                  unsigned count, const char *actor, sandbox_forked_cb done, void *user)
{
    (void)id, (void)team_id, (void)timeout_s, (void)count, (void)actor;
    refuse(h, (struct refusal){ .tell = tell_forked, .forked = done, .user = user });
}

struct sandbox *sandbox_lookup(struct sandbox_host *h, const char *id, const char *team_id)
{
    return sandbox_find(h, id, team_id);
}

struct list *sandbox_host_list_paused(struct sandbox_host *h)
{
    (void)h;
    static struct list none;
    list_init(&none);
    return &none;
}
