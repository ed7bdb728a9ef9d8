/* Transitions that this version does not make yet: each says so to its caller. */
#include "orchestrator/sandbox/internal.h"

struct refusal {
    struct deferred step;
    void (*tell)(struct refusal *r, const struct err *err);
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
