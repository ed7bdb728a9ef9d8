/*
 * SandboxService.Watch: each stream reads the host's one event log at its own pace. A message is
 * under way at a time, so a client that does not read holds a message and a number, whatever
 * happens; when the log has passed it by, the next read says so and ends the stream.
 *
 * An event is told to all watches, some at a time, so that the loop's other work waits for a few
 * messages and not for hundreds.
 */
#include "common/base/cleanup.h"
#include "orchestrator/node/service.h"

#include <errno.h>
#include <string.h>

/* Messages that an event sends before the loop looks at anything else. */
#define TOLD_PER_TURN 16

typedef Sandpit__Node__V1__WatchSandboxesRequest request;

struct watch { /* in the call's arena */
    struct node_call *call;
    struct event_log *log;
    struct event_watcher watcher;
    struct list due; /* of node->due_watches */
    uint64_t seq;    /* read up to and with this one */
    bool greeted;    /* the first message was sent */
    bool ready;      /* no message is under way */
};

static void leave(struct watch *w)
{
    event_log_unwatch(&w->watcher);
    list_remove(&w->due);
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

static void tell(struct deferred *d)
{
    struct node *n = container_of(d, struct node, tell);
    for (int i = 0; i < TOLD_PER_TURN && !list_empty(&n->due_watches); i++) {
        struct watch *w = container_of(n->due_watches.next, struct watch, due);
        list_remove(&w->due);
        read_on(w);
    }
    if (!list_empty(&n->due_watches))
        defer(n->o.defer, &n->tell, tell);
}

static void on_event(struct event_watcher *watcher)
{
    struct watch *w = container_of(watcher, struct watch, watcher);
    struct node *n = node_of(w->call);
    if (!w->ready || list_linked(&w->due)) /* it reads on when its message has gone */
        return;
    list_push_back(&n->due_watches, &w->due);
    defer(n->o.defer, &n->tell, tell);
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
