/* CreateWatcher and what belongs to it: events that wait until they are fetched. */
#include "common/base/cleanup.h"
#include "common/base/encode.h"
#include "envd/filesystem/event_queue.h"
#include "envd/filesystem/service.h"

#include <errno.h>
#include <sys/random.h>

#define EVENTS_PER_ANSWER 10000
#define ID_BYTES          8

struct watcher {
    struct watch watch;
    struct event_queue queue;
    bool has_entry;
};

static void on_event(struct watch *watch, enum watch_event event, const char *name)
{
    event_queue_add(&container_of(watch, struct watcher, watch)->queue, event, name);
}

static void on_lost(struct watch *watch, const struct err *err)
{
    event_queue_lose(&container_of(watch, struct watcher, watch)->queue, err);
}

static const struct watch_events events = { .on_event = on_event, .on_lost = on_lost };

static void free_watcher(struct watcher *w)
{
    watch_stop(&w->watch);
    event_queue_deinit(&w->queue);
    free(w);
}

static int create(struct envd *e, const char *path, const Filesystem__CreateWatcherRequest *q,
                  char id[static 2 * ID_BYTES + 1], struct err *err)
{
    int rc = service_check_watch(path, q->allow_network_mounts, err);
    if (rc < 0)
        return rc;
    struct watch_registry *r = service_watches(e, err);
    if (!r)
        return -EMFILE;
    if (r->watchers.count >= WATCHERS_MAX)
        return err_set(err, ERR_EXHAUSTED, EMFILE, "more than %d watchers: remove some first",
                       WATCHERS_MAX);
    uint8_t random[ID_BYTES];
    if (getrandom(random, sizeof(random), 0) != sizeof(random))
        return err_set(err, ERR_INTERNAL, EIO, "no random bytes");
    hex_encode(random, sizeof(random), id);
    struct watcher *w = calloc(1, sizeof(*w));
    if (!w)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    w->has_entry = q->include_entry;
    event_queue_init(&w->queue, &r->queues);
    rc = watch_start(&w->watch, r->notifier, path, q->recursive, &events, err);
    if (rc == 0 && !map_set(&r->watchers, str_of(id), w))
        rc = err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    if (rc < 0)
        free_watcher(w);
    return rc;
}

void service_on_create_watcher(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Filesystem__CreateWatcherRequest *q = (const void *)msg;
    struct user user;
    char path[PATH_MAX];
    char id[2 * ID_BYTES + 1];
    struct err err = { 0 };
    if (!service_path(call, q->path, &user, path))
        return;
    if (create(envd_of_call(call), path, q, id, &err) < 0) {
        rpc_finish(call, &err);
        return;
    }
    Filesystem__CreateWatcherResponse answer = FILESYSTEM__CREATE_WATCHER_RESPONSE__INIT;
    answer.watcher_id = id;
    rpc_reply(call, &answer.base);
}

static struct watcher *find(struct rpc_call *call, const char *id)
{
    const struct envd *e = envd_of_call(call);
    struct watcher *w = e->watches ? map_get(&e->watches->watchers, str_of(id)) : NULL;
    if (!w)
        rpc_fail(call, ERR_NOT_FOUND, "watcher not found: %s", id);
    return w;
}

void service_on_get_watcher_events(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Filesystem__GetWatcherEventsRequest *q = (const void *)msg;
    struct watcher *w = find(call, q->watcher_id);
    if (!w)
        return;
    if (w->queue.lost.code) {
        struct err err = w->queue.lost;
        w->queue.lost = (struct err){ 0 };
        rpc_finish(call, &err);
        return;
    }
    struct arena *arena = rpc_call_arena(call);
    Filesystem__GetWatcherEventsResponse answer = FILESYSTEM__GET_WATCHER_EVENTS_RESPONSE__INIT;
    size_t max = buf_len(&w->queue.bytes) / EVENT_SIZE_MIN;
    if (max > EVENTS_PER_ANSWER)
        max = EVENTS_PER_ANSWER;
    answer.events = arena_alloc(arena, max * sizeof(answer.events[0]));
    while (answer.events && answer.n_events < max && !event_queue_empty(&w->queue)) {
        Filesystem__FilesystemEvent *m =
            event_queue_take(&w->queue, arena, w->watch.root, w->has_entry);
        if (!m)
            break;
        answer.events[answer.n_events++] = m;
    }
    rpc_reply(call, &answer.base);
}

void service_on_remove_watcher(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Filesystem__RemoveWatcherRequest *q = (const void *)msg;
    struct watcher *w = find(call, q->watcher_id);
    if (!w)
        return;
    map_remove(&envd_of_call(call)->watches->watchers, str_of(q->watcher_id));
    free_watcher(w);
    Filesystem__RemoveWatcherResponse answer = FILESYSTEM__REMOVE_WATCHER_RESPONSE__INIT;
    rpc_reply(call, &answer.base);
}

void service_stop_watches(struct envd *e)
{
    struct watch_registry *r = TAKE(e->watches);
    if (!r)
        return;
    for (struct map_entry *m = map_next(&r->watchers, NULL); m; m = map_next(&r->watchers, m))
        free_watcher(m->value);
    map_deinit(&r->watchers);
    notifier_close(r->notifier);
    free(r);
}
