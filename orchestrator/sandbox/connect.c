/*
 * A connect, by what the sandbox is doing: one that runs gets a new end, one that is being resumed
 * is waited for, a paused one is resumed, and what else happens to it has to be over first.
 */
#include "orchestrator/sandbox/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A connect that waits, for a transition or to be told from the loop. */
struct connecting {
    struct transition_waiter waiter;
    struct deferred d;
    struct sandbox_host *host;
    char id[SANDBOX_ID_SIZE], team_id[TEAM_ID_SIZE];
    bool any_team;
    struct sandbox_connect_spec spec;
    struct sandbox_timings timings;
    sandbox_connected_cb done;
    void *user;
};

static void connect_now(struct connecting *c);

static void on_transition_over(struct transition_waiter *w)
{
    connect_now(container_of(w, struct connecting, waiter));
}

static void answer(struct connecting *c, struct sandbox *sb, const struct err *err)
{
    c->done(c->user, sb, false, &c->timings, err);
    free(c);
}

static void connect_running(struct connecting *c, struct sandbox *sb)
{
    struct err err;
    if (c->spec.must_be_paused) {
        err_fill(&err, ERR_ABORTED, "Sandbox \"%s\" is already running", sb->id);
        answer(c, NULL, &err);
    } else if (sandbox_set_timeout(sb, c->spec.timeout_s, true, &err) < 0) {
        answer(c, NULL, &err);
    } else {
        answer(c, sb, NULL);
    }
}

static void connect_now(struct connecting *c)
{
    struct sandbox_host *h = c->host;
    struct sandbox *any = map_get(&h->by_id, str_of(c->id));
    struct sandbox *sb = sandbox_lookup(h, c->id, c->any_team ? NULL : c->team_id);
    struct err err;
    if (!sb) {
        bool killing = any && sm_state(&any->sm) == SANDBOX_KILLING &&
                       (c->any_team || strcmp(any->team_id, c->team_id) == 0);
        if (killing)
            err_fill(&err, ERR_ABORTED, "Sandbox \"%s\" is being killed", c->id);
        else
            err_fill(&err, ERR_NOT_FOUND, "Sandbox \"%s\" not found", c->id);
        answer(c, NULL, &err);
        return;
    }
    struct sandbox_own *own = own_of(sb);
    switch ((enum sandbox_state)sm_state(&sb->sm)) {
    case SANDBOX_RUNNING:
        connect_running(c, sb);
        break;
    case SANDBOX_RESUMING:
        if (c->spec.must_be_paused) {
            err_fill(&err, ERR_ABORTED, "Sandbox \"%s\" is being resumed", sb->id);
            answer(c, NULL, &err);
            break;
        }
        resume_join(own, c->done, c->user);
        free(c);
        break;
    case SANDBOX_PAUSING:
        transition_wait(own, &c->waiter, on_transition_over);
        break;
    case SANDBOX_PAUSED:
        if (c->spec.only_wait) {
            err_fill(&err, ERR_ABORTED, "Sandbox \"%s\" is paused", sb->id);
            answer(c, NULL, &err);
            break;
        }
        if (own->transition != TRANSITION_NONE) { /* its VM has not gone yet */
            transition_wait(own, &c->waiter, on_transition_over);
            break;
        }
        resume_begin(own, c->spec.timeout_s, c->spec.reboot, c->done, c->user);
        free(c);
        break;
    case SANDBOX_CREATING:
    case SANDBOX_KILLING:
    case SANDBOX_ENDED:
    case SANDBOX_NR:
        break; /* lookup finds none of these */
    }
}

static void on_connect(struct deferred *d)
{
    connect_now(container_of(d, struct connecting, d));
}

void sandbox_connect(struct sandbox_host *h, const char *id, const char *team_id,
                     const struct sandbox_connect_spec *spec, sandbox_connected_cb done, void *user)
{
    struct connecting *c = calloc(1, sizeof(*c));
    if (!c)
        abort(); /* nobody could be told */
    c->host = h;
    snprintf(c->id, sizeof(c->id), "%s", id);
    snprintf(c->team_id, sizeof(c->team_id), "%s", team_id ? team_id : "");
    c->any_team = !team_id;
    c->spec = *spec;
    c->spec.actor = NULL;
    c->done = done;
    c->user = user;
    defer(h->defer, &c->d, on_connect);
}
