/* What keeps the state of a running sandbox: a pause, after which it stands still, and a snapshot,
 * after which it goes on. */
#include "common/base/cleanup.h"
#include "orchestrator/api/parse.h"
#include "orchestrator/api/respond.h"
#include "orchestrator/api/routes.h"
#include "orchestrator/api/snapshot_options.h"

#include <errno.h>

/*
 * A full disk is the host's trouble: nothing that a slower client would mend, while a team that
 * keeps too much can make room. And a guest that does not answer is busy: 409 would tell the
 * clients that it is paused already.
 */
static void fail(struct api_call *c, const struct err *err)
{
    bool deaf = err->reason && strcmp(err->reason, SANDBOX_REASON_UNRESPONSIVE) == 0;
    bool theirs = err->reason && strcmp(err->reason, SANDBOX_REASON_TEAM_KEEPS) == 0;
    if ((err->code == ERR_EXHAUSTED && !theirs) || deaf)
        api_fail_err_as(c, 503, err);
    else
        api_fail_sandbox(c, err);
}

static void on_paused(void *user, const struct sandbox_timings *t, const struct err *err)
{
    struct api_call *c = user;
    if (err)
        fail(c, err);
    else
        api_respond_timed(c, 204, NULL, t);
    api_call_unref(c);
}

void api_sandbox_pause(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    struct snapshot_options options;
    char actor[API_ACTOR_SIZE];
    struct err err;
    const char *id;
    if (parse_sandbox_id(r, r->params[0], &id, &err) ||
        snapshot_options_parse(c->body, &options, &err)) {
        api_fail_err(c, &err);
        return;
    }
    /* Without memory a guest that does not answer would leave a disk that it did not write out. */
    struct sandbox_pause_spec spec = { .memory = options.memory,
                                       .require_healthy =
                                           options.require_healthy || !options.memory,
                                       .actor = api_call_actor(c, actor) };
    api_call_ref(c);
    sandbox_pause(c->api->o.host, id, c->key.team_id, &spec, on_paused, c);
}

static void on_snapshotted(void *user, const char *snapshot_id, const char *name,
                           const struct sandbox_timings *t, const struct err *err)
{
    struct api_call *c = user;
    if (err)
        fail(c, err);
    else
        api_respond_timed(c, 201,
                          json_pack("{s:s, s:o}", "snapshotID", snapshot_id, "names",
                                    name ? json_pack("[s]", name) : json_array()),
                          t);
    api_call_unref(c);
}

/* The name to give, without the team's slug, which a client may write before it. */
static int parse_name(const struct api_call *c, const char **out, struct err *err)
{
    struct template_ref ref;
    const char *name = NULL;
    int rc = parse_string(c->body, "name", &name, err);
    if (rc || !name)
        return rc;
    rc = template_ref_parse(name, &ref, err);
    if (rc)
        return rc;
    if (ref.space[0] && strcmp(ref.space, c->key.team_slug) != 0)
        return err_set(err, ERR_INVALID, EINVAL, "'%.64s' is not the name of your team", ref.space);
    char text[2 * TEMPLATE_NAME_SIZE];
    int n = snprintf(text, sizeof(text), "%s%s%s", ref.name, ref.tag[0] ? ":" : "", ref.tag);
    *out = arena_dup(&c->r.stream->arena, (struct str){ text, (size_t)n });
    return *out ? 0 : err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
}

void api_sandbox_snapshot(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    struct snapshot_options options;
    char actor[API_ACTOR_SIZE];
    const char *name = NULL;
    struct err err;
    const char *id;
    if (parse_sandbox_id(r, r->params[0], &id, &err) ||
        snapshot_options_parse(c->body, &options, &err) || parse_name(c, &name, &err)) {
        api_fail_err(c, &err);
        return;
    }
    struct sandbox_snapshot_spec spec = { .name = name,
                                          .memory = options.memory,
                                          .require_healthy = options.require_healthy,
                                          .actor = api_call_actor(c, actor) };
    api_call_ref(c);
    sandbox_snapshot(c->api->o.host, id, c->key.team_id, &spec, on_snapshotted, c);
}
