/*
 * SandboxService.Watch: each stream reads the host's one event log at its own pace. A message is
 * under way at a time, so a client that does not read holds a message and a number, whatever
 * happens; when the log has passed it by, the next read says so and ends the stream.
 */
#include "common/base/cleanup.h"
#include "orchestrator/node/service.h"

#include <errno.h>
#include <string.h>

typedef Sandpit__Node__V1__WatchSandboxesRequest request;

struct watch { /* in the call's arena */
    struct node_call *call;
    struct event_log *log;
    struct event_watcher watcher;
    struct deferred turn; /* reads on, from the loop */
    uint64_t seq;         /* read up to and with this one */
    bool greeted;         /* the first message was sent */
    bool ready;           /* no message is under way */
};

static void leave(struct watch *w)
{
    event_log_unwatch(&w->watcher);
    defer_cancel(&w->turn);
}

static void send_message(struct watch *w, const struct sandbox_event *e)
{
    Sandpit__Node__V1__WatchSandboxesResponse m = SANDPIT__NODE__V1__WATCH_SANDBOXES_RESPONSE__INIT;
    char position[EVENT_POSITION_SIZE];
    struct arena arena = { 0 };
    event_position_format(w->log, w->seq, position);
    m.position = position;
    if (e)
        m.event = message_event(&arena, e);
    w->ready = false;
    node_stream_send(w->call, &m.base);
    arena_deinit(&arena);
}

static bool is_wanted(const struct watch *w, const struct sandbox_event *e)
{
    const request *r = (const void *)w->call->request;
    return !r->sandbox_id[0] || strcmp(r->sandbox_id, e->sandbox_id) == 0;
}

/* The next event that is wanted: 0, or as event_log_read(). */
static int next_event(struct watch *w, const struct sandbox_event **e, struct err *err)
{
    for (;;) {
        int rc = event_log_read(w->log, w->seq, e, err);
        if (rc)
            return rc;
        w->seq = (*e)->seq;
        if (is_wanted(w, *e))
            return 0;
    }
}

static void read_on(struct watch *w)
{
    const request *r = (const void *)w->call->request;
    const struct sandbox_event *e;
    struct err err;
    if (!w->ready)
        return;
    if (!w->greeted) {
        w->greeted = true;
        send_message(w, NULL);
        return;
    }
    int rc = next_event(w, &e, &err);
    if (rc == 0) {
        send_message(w, e);
    } else if (rc != -ENOENT) {
        leave(w);
        node_call_fail(w->call, &err);
    } else if (r->no_follow) {
        leave(w);
        node_stream_end(w->call);
    }
}

static void on_turn(struct deferred *d)
{
    read_on(container_of(d, struct watch, turn));
}

static void on_event(struct event_watcher *watcher)
{
    struct watch *w = container_of(watcher, struct watch, watcher);
    defer(node_of(w->call)->o.defer, &w->turn, on_turn);
}

static void on_ready(struct node_call *c)
{
    struct watch *w = c->user;
    w->ready = true;
    read_on(w);
}

static void on_gone(struct node_call *c)
{
    leave(c->user);
}

static const struct node_stream_events events = { .on_ready = on_ready, .on_gone = on_gone };

static int begin(const request *r, const struct event_log *log, uint64_t *seq, struct err *err)
{
    if (r->position[0] && r->from_oldest)
        return err_set(err, ERR_INVALID, EINVAL, "position and from_oldest exclude each other");
    if (r->position[0])
        return event_position_parse(log, r->position, seq, err);
    *seq = r->from_oldest ? event_log_before_oldest(log) : log->newest;
    return 0;
}

void sandbox_service_watch(struct node_call *c)
{
    struct watch *w = arena_zalloc(&c->arena, sizeof(*w));
    struct event_log *log = sandbox_host_events(node_of(c)->o.host);
    struct err err;
    int rc = w ? begin((const void *)c->request, log, &w->seq, &err)
               : err_set(&err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    if (rc) {
        node_call_fail(c, &err);
        return;
    }
    w->call = c;
    w->log = log;
    w->watcher.on_event = on_event;
    event_log_watch(log, &w->watcher);
    c->user = w;
    node_stream_open(c, &events);
}
