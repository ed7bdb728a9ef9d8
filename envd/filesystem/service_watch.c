/* WatchDir: events as a stream, for as long as the client listens. */
#include "common/base/cleanup.h"
#include "envd/filesystem/event_queue.h"
#include "envd/filesystem/service.h"

#include <errno.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#define KEEPALIVE_DEFAULT_S 90
#define KEEPALIVE_MAX_S     86400

struct watch_call {
    struct rpc_call *call;
    struct watch watch;
    struct event_queue queue;
    uv_timer_t keepalive;
    uint64_t interval_ms;
    bool has_entry;
    bool is_finished;
};

int service_check_watch(const char *path, bool allow_network, struct err *err)
{
    static const unsigned long network[] = { 0x6969, 0xFF534D42, 0x517B, 0xFE534D42, 0x65735546 };
    struct stat st;
    struct statfs fs;
    if (stat(path, &st) < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return err_set(err, ERR_NOT_FOUND, errno, "path not found: %s", path);
        return err_set(err, ERR_INTERNAL, errno, "cannot read %s: %s", path, strerror(errno));
    }
    if (!S_ISDIR(st.st_mode))
        return err_set(err, ERR_INVALID, ENOTDIR, "path is not a directory: %s", path);
    if (allow_network)
        return 0;
    if (statfs(path, &fs) < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot read %s: %s", path, strerror(errno));
    for (size_t i = 0; i < ARRAY_LEN(network); i++)
        if ((uint32_t)fs.f_type == network[i])
            return err_set(err, ERR_INVALID, EOPNOTSUPP, "path is on a network file system: %s",
                           path);
    return 0;
}

struct watch_registry *service_watches(struct envd *e, struct err *err)
{
    if (e->watches)
        return e->watches;
    struct watch_registry *r = calloc(1, sizeof(*r));
    if (!r) {
        (void)!err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
        return NULL;
    }
    event_queues_init(&r->queues);
    r->notifier = notifier_new(e->loop, err);
    if (!r->notifier) {
        free(r);
        return NULL;
    }
    e->watches = r;
    return r;
}

/* ---- what is sent ---- */

static void on_keepalive(uv_timer_t *timer)
{
    struct watch_call *w = container_of(timer, struct watch_call, keepalive);
    Filesystem__WatchDirResponse__KeepAlive alive =
        FILESYSTEM__WATCH_DIR_RESPONSE__KEEP_ALIVE__INIT;
    Filesystem__WatchDirResponse m = FILESYSTEM__WATCH_DIR_RESPONSE__INIT;
    m.event_case = FILESYSTEM__WATCH_DIR_RESPONSE__EVENT_KEEPALIVE;
    m.keepalive = &alive;
    if (rpc_writable(w->call)) /* else there is something on its way */
        rpc_send(w->call, &m.base);
}

static void finish(struct watch_call *w, const struct err *err)
{
    w->is_finished = true;
    uv_timer_stop(&w->keepalive);
    rpc_finish(w->call, err);
}

static void send_start(struct watch_call *w)
{
    Filesystem__WatchDirResponse__StartEvent start =
        FILESYSTEM__WATCH_DIR_RESPONSE__START_EVENT__INIT;
    Filesystem__WatchDirResponse m = FILESYSTEM__WATCH_DIR_RESPONSE__INIT;
    m.event_case = FILESYSTEM__WATCH_DIR_RESPONSE__EVENT_START;
    m.start = &start;
    rpc_send(w->call, &m.base);
}

static void send_first(struct watch_call *w)
{
    struct arena arena = { 0 };
    Filesystem__WatchDirResponse m = FILESYSTEM__WATCH_DIR_RESPONSE__INIT;
    m.event_case = FILESYSTEM__WATCH_DIR_RESPONSE__EVENT_FILESYSTEM;
    m.filesystem = event_queue_take(&w->queue, &arena, w->watch.root, w->has_entry);
    if (m.filesystem) {
        rpc_send(w->call, &m.base);
    } else {
        struct err err;
        (void)!err_set(&err, ERR_EXHAUSTED, ENOMEM, "out of memory");
        finish(w, &err);
    }
    arena_deinit(&arena);
}

static void flush(struct watch_call *w)
{
    bool is_sent = false;
    while (!w->is_finished && !event_queue_empty(&w->queue) && rpc_writable(w->call)) {
        send_first(w);
        is_sent = true;
    }
    if (!w->is_finished && w->queue.lost.code)
        finish(w, &w->queue.lost);
    else if (!w->is_finished && is_sent)
        uv_timer_again(&w->keepalive);
}

/* ---- what happens ---- */

static void on_event(struct watch *watch, enum watch_event event, const char *name)
{
    struct watch_call *w = container_of(watch, struct watch_call, watch);
    if (w->is_finished)
        return;
    event_queue_add(&w->queue, event, name);
    flush(w);
}

static void on_lost(struct watch *watch, const struct err *err)
{
    struct watch_call *w = container_of(watch, struct watch_call, watch);
    if (w->is_finished)
        return;
    event_queue_lose(&w->queue, err);
    flush(w);
}

static const struct watch_events events = { .on_event = on_event, .on_lost = on_lost };

static uint64_t interval_of(struct rpc_call *call)
{
    struct str text = http_field_get(rpc_call_head(call), "keepalive-ping-interval");
    uint64_t seconds;
    if (!text.p || !str_to_u64(text, KEEPALIVE_MAX_S, &seconds) || seconds == 0)
        seconds = KEEPALIVE_DEFAULT_S;
    return seconds * 1000;
}

/* The watch runs when 0 is returned. */
static int begin(struct rpc_call *call, const char *path, const Filesystem__WatchDirRequest *q,
                 struct err *err)
{
    struct envd *e = envd_of_call(call);
    int rc = service_check_watch(path, q->allow_network_mounts, err);
    if (rc < 0)
        return rc;
    struct watch_registry *r = service_watches(e, err);
    if (!r)
        return -EMFILE;
    struct watch_call *w = calloc(1, sizeof(*w));
    if (!w)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    w->call = call;
    w->has_entry = q->include_entry;
    w->interval_ms = interval_of(call);
    event_queue_init(&w->queue, &r->queues);
    rc = watch_start(&w->watch, r->notifier, path, q->recursive, &events, err);
    if (rc < 0) {
        event_queue_deinit(&w->queue);
        free(w);
        return rc;
    }
    rpc_call_set_user(call, w);
    uv_timer_init(e->loop, &w->keepalive);
    uv_timer_start(&w->keepalive, on_keepalive, w->interval_ms, w->interval_ms);
    send_start(w);
    return 0;
}

void service_on_watch(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Filesystem__WatchDirRequest *q = (const void *)msg;
    struct user user;
    char path[PATH_MAX];
    struct err err = { 0 };
    if (service_path(call, q->path, &user, path) && begin(call, path, q, &err) < 0)
        rpc_finish(call, &err);
}

void service_on_watch_writable(struct rpc_call *call)
{
    struct watch_call *w = rpc_call_user(call);
    if (w)
        flush(w);
}

static void on_timer_closed(uv_handle_t *handle)
{
    free(container_of((uv_timer_t *)(void *)handle, struct watch_call, keepalive));
}

void service_on_watch_close(struct rpc_call *call)
{
    struct watch_call *w = rpc_call_user(call);
    if (!w)
        return;
    w->is_finished = true;
    watch_stop(&w->watch);
    event_queue_deinit(&w->queue);
    uv_close((uv_handle_t *)&w->keepalive, on_timer_closed);
}
