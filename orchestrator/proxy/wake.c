/*
 * Requests to a sandbox that does not run.
 *
 * Waking it costs the owner and lets the request in, so it takes the credentials that the port
 * takes, looked at before anything is done. Waiting for a resume that somebody else asked for
 * causes nothing and takes none; the port asks for its own afterwards.
 */
#include "common/base/cleanup.h"
#include "orchestrator/proxy/access.h"
#include "orchestrator/proxy/forward_internal.h"
#include "orchestrator/store/store.h"

/* A sandbox that was woken lives at least this long. */
#define WAKE_TIMEOUT_MIN_S 300

/* It may be paused again before the request gets through; then it is woken again. */
#define WAKES_MAX 3

/* Outlives the request that waits, as what it waits for cannot be called off. */
struct forward_wait {
    struct forward *f; /* NULL: it has ended */
};

void forward_wait_abandon(struct forward *f)
{
    if (f->wait)
        f->wait->f = NULL;
    f->wait = NULL;
}

/* NULL: answered. */
static struct forward_wait *wait_new(struct forward *f)
{
    struct forward_wait *w = malloc(sizeof(*w));
    if (!w) {
        forward_page(f, PAGE_BUSY, "out of memory");
        return NULL;
    }
    w->f = f;
    f->wait = w;
    return w;
}

/* The request that waited; NULL when it has ended. */
static struct forward *wait_over(void *user)
{
    struct forward_wait *w = user;
    struct forward *f = w->f;
    free(w);
    if (f)
        f->wait = NULL;
    return f;
}

static void on_death(void *user, const struct store_death *death)
{
    struct forward *f = wait_over(user);
    if (f)
        forward_page(f, PAGE_NOT_FOUND, death ? death->reason : NULL);
}

void forward_gone(struct forward *f)
{
    struct forward_wait *w = wait_new(f);
    if (w)
        sandbox_death(f->o->sandboxes, f->route.id, NULL, on_death, w);
}

static void on_awake(void *user, struct sandbox *sb, bool resumed, const struct sandbox_timings *t,
                     const struct err *err)
{
    struct forward *f = wait_over(user);
    (void)sb;
    (void)resumed;
    (void)t;
    if (!f)
        return;
    f->waited = false; /* its link is a new one */
    if (!err)
        forward_go(f);
    else if (err->code == ERR_NOT_FOUND)
        forward_gone(f);
    else if (err->code == ERR_ABORTED)
        forward_page(f, PAGE_TRANSITION, NULL);
    else if (err->code == ERR_EXHAUSTED)
        forward_page(f, PAGE_LIMIT, err->msg);
    else if (err->code == ERR_UNAVAILABLE)
        forward_page(f, PAGE_BUSY, err->msg);
    else
        forward_page(f, PAGE_NOT_FOUND, err->msg);
}

static int64_t wake_timeout(const struct config *config, const struct sandbox *sb)
{
    int64_t timeout_s = sb->create_timeout_s;
    if (timeout_s < WAKE_TIMEOUT_MIN_S)
        timeout_s = WAKE_TIMEOUT_MIN_S;
    return timeout_s < config->max_lifetime_s ? timeout_s : config->max_lifetime_s;
}

void forward_wake(struct forward *f, const struct sandbox *sb)
{
    bool resuming = sm_state(&sb->sm) == SANDBOX_RESUMING;
    struct sandbox_connect_spec spec = { .only_wait = resuming, .actor = "traffic" };
    if (f->woken++ >= WAKES_MAX) {
        forward_page(f, PAGE_TRANSITION, NULL);
        return;
    }
    if (!resuming && (!sb->auto_resume || sb->filesystem_only)) {
        forward_page(f, PAGE_NOT_FOUND, NULL);
        return;
    }
    if (!resuming) {
        if (!access_may_wake(f->head, sb, f->route.port)) {
            forward_page(f, PAGE_WAKE_DENIED, NULL);
            return;
        }
        spec.timeout_s = wake_timeout(f->o->config, sb);
    }
    struct forward_wait *w = wait_new(f);
    if (w)
        sandbox_connect(f->o->sandboxes, f->route.id, NULL, &spec, on_awake, w);
}
