/* The control service of proto/guest.proto: what only the orchestrator may ask, on the guest link.
 */
#include "envd/guest/service.h"

#include "common/base/arena.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/fileio.h"
#include "common/base/log.h"
#include "common/link/guest_protocol.h"
#include "common/rpc/pbwire.h"
#include "envd/boot/boot.h"
#include "envd/guest/identity.h"
#include "envd/guest/on_restore.h"
#include "envd/process/registry.h"

#include <errno.h>

#define BOOT_ID_PATH       "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_MAX        64
#define SHUTDOWN_GRACE_MAX 60000
#define SHUTDOWN_REPLY_MS  20 /* for the answer to get out before the machine is gone */
#define FILES_LATER_MS     100

static void on_hello(struct rpc_call *call, ProtobufCMessage *msg)
{
    (void)msg;
    const struct envd *e = envd_of_call(call);
    struct buf text = { 0 };
    char boot_id[BOOT_ID_MAX + 1] = "";
    if (file_read(BOOT_ID_PATH, BOOT_ID_MAX, &text, NULL) == 0) {
        struct str rest = buf_str(&text);
        str_copy(str_split(&rest, '\n'), boot_id, sizeof(boot_id));
    }
    buf_deinit(&text);
    Sandpit__Guest__V1__HelloResponse answer = SANDPIT__GUEST__V1__HELLO_RESPONSE__INIT;
    char version[] = ENVD_VERSION, sandbox_id[sizeof(e->sandbox_id)];
    memcpy(sandbox_id, e->sandbox_id, sizeof(sandbox_id));
    answer.protocol = GUEST_PROTOCOL;
    answer.envd_version = version;
    answer.boot_id = boot_id;
    answer.sandbox_id = sandbox_id;
    rpc_reply(call, &answer.base);
}

static void reply_configured(struct rpc_call *call)
{
    Sandpit__Guest__V1__ConfigureResponse answer = SANDPIT__GUEST__V1__CONFIGURE_RESPONSE__INIT;
    answer.wall_clock_ns = clock_wall_ns();
    rpc_reply(call, &answer.base);
}

/* A Configure whose answer waits for what the template runs; these may outlive the call. */
struct configure {
    struct rpc_call *call; /* NULL when the call is over */
};

static void on_restore_done(void *user)
{
    struct configure *c = user;
    if (c->call) {
        rpc_call_set_user(c->call, NULL);
        reply_configured(c->call);
    }
    free(c);
}

/* Of a guest that has its answer. */
static struct {
    struct identity_files files;
    uv_timer_t later;
    bool timer_open;
    struct envd *envd;
} named;

static void write_files_later(struct envd *e);

static void on_later_closed(uv_handle_t *handle)
{
    (void)handle;
    named.timer_open = false;
    if (named.envd->unwritten) /* of a Configure that came since */
        write_files_later(named.envd);
}

static void on_later(uv_timer_t *timer)
{
    uv_close((uv_handle_t *)timer, on_later_closed);
    identity_settle(named.envd);
}

/* The answer leaves first, and that of the Refresh which may follow it: to write files is most of
 * what a restored guest would be waited for. */
static void write_files_later(struct envd *e)
{
    e->unwritten = &named.files;
    named.envd = e;
    if (named.timer_open)
        return;
    named.timer_open = true;
    uv_timer_init(e->loop, &named.later);
    uv_timer_start(&named.later, on_later, FILES_LATER_MS, 0);
}

static void on_configure(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Sandpit__Guest__V1__ConfigureRequest *r = (const void *)msg;
    struct envd *e = envd_of_call(call);
    struct err err;
    if (identity_configure(e, r, &named.files, &err) < 0) {
        rpc_finish(call, &err);
        return;
    }
    if (!e->is_guest) {
        reply_configured(call);
        return;
    }
    if (on_restore_wanted(e, ON_RESTORE_DIR, r->rehearsal) && !r->rehearsal) {
        struct configure *c = calloc(1, sizeof(*c));
        identity_write_files(e, &named.files);
        if (c && on_restore_start(e, ON_RESTORE_DIR, ON_RESTORE_DEADLINE_MS, on_restore_done, c)) {
            c->call = call;
            rpc_call_set_user(call, c);
            return;
        }
        free(c);
        reply_configured(call);
        return;
    }
    reply_configured(call);
    write_files_later(e);
}

static void on_configure_close(struct rpc_call *call)
{
    struct configure *c = rpc_call_user(call);
    if (c)
        c->call = NULL;
}

static void on_refresh(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Sandpit__Guest__V1__RefreshRequest *r = (const void *)msg;
    struct err err;
    if (identity_refresh(envd_of_call(call), r, &err) < 0) {
        rpc_finish(call, &err);
        return;
    }
    Sandpit__Guest__V1__RefreshResponse answer = SANDPIT__GUEST__V1__REFRESH_RESPONSE__INIT;
    answer.wall_clock_ns = clock_wall_ns();
    rpc_reply(call, &answer.base);
}

static bool put_answer(struct buf *answer, const struct link_frame *call,
                       const ProtobufCMessage *msg)
{
    struct buf packed = { 0 };
    bool ok = pbwire_encode(msg, &packed) &&
              link_frame_put(answer, (enum link_frame_type)call->type, buf_str(&packed));
    buf_deinit(&packed);
    return ok;
}

/* Whether the guest is what the request says now. */
static bool configure_first(struct envd *e, const Sandpit__Guest__V1__ConfigureRequest *r)
{
    struct err err;
    if (r->rehearsal || (e->is_guest && on_restore_wanted(e, ON_RESTORE_DIR, false)) ||
        identity_configure(e, r, &named.files, &err) < 0)
        return false;
    if (e->is_guest)
        write_files_later(e);
    return true;
}

static const ProtobufCMessageDescriptor *type_of_first(const struct link_frame *call)
{
    switch (call->type) {
    case LINK_FRAME_CONFIGURE:
        return &sandpit__guest__v1__configure_request__descriptor;
    case LINK_FRAME_REFRESH:
        return &sandpit__guest__v1__refresh_request__descriptor;
    default:
        return NULL;
    }
}

bool guest_first_call(struct envd *e, const struct link_frame *call, struct buf *answer)
{
    Sandpit__Guest__V1__ConfigureResponse configured = SANDPIT__GUEST__V1__CONFIGURE_RESPONSE__INIT;
    Sandpit__Guest__V1__RefreshResponse refreshed = SANDPIT__GUEST__V1__REFRESH_RESPONSE__INIT;
    const ProtobufCMessageDescriptor *type = type_of_first(call);
    const ProtobufCMessage *done = NULL;
    struct arena arena = { 0 };
    struct err err;
    const ProtobufCMessage *msg = type ? pbwire_decode(type, call->message, &arena, &err) : NULL;
    if (msg && call->type == LINK_FRAME_CONFIGURE && configure_first(e, (const void *)msg))
        done = &configured.base;
    if (msg && call->type == LINK_FRAME_REFRESH &&
        identity_refresh(e, (const void *)msg, &err) == 0)
        done = &refreshed.base;
    arena_deinit(&arena);
    configured.wall_clock_ns = refreshed.wall_clock_ns = clock_wall_ns();
    return done ? put_answer(answer, call, done)
                : link_frame_put(answer, LINK_FRAME_DECLINED, STR(""));
}

/* A sync on the thread pool; it may outlive its call. */
struct quiesce {
    uv_work_t work;
    struct rpc_call *call; /* NULL when the call is over */
};

static void run_sync(uv_work_t *work)
{
    (void)work;
    sync();
}

static void reply_quiesced(struct rpc_call *call)
{
    Sandpit__Guest__V1__QuiesceResponse answer = SANDPIT__GUEST__V1__QUIESCE_RESPONSE__INIT;
    answer.wall_clock_ns = clock_wall_ns();
    rpc_reply(call, &answer.base);
}

static void on_synced(uv_work_t *work, int status)
{
    (void)status; /* is never cancelled */
    struct quiesce *q = container_of(work, struct quiesce, work);
    if (q->call) {
        rpc_call_set_user(q->call, NULL);
        reply_quiesced(q->call);
    }
    free(q);
}

static void on_quiesce(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Sandpit__Guest__V1__QuiesceRequest *r = (const void *)msg;
    identity_settle(envd_of_call(call));
    if (!r->sync) {
        reply_quiesced(call);
        return;
    }
    struct quiesce *q = calloc(1, sizeof(*q));
    if (!q || uv_queue_work(envd_of_call(call)->loop, &q->work, run_sync, on_synced) != 0) {
        free(q);
        rpc_fail(call, ERR_EXHAUSTED, "out of memory");
        return;
    }
    q->call = call;
    rpc_call_set_user(call, q);
}

static void on_quiesce_close(struct rpc_call *call)
{
    struct quiesce *q = rpc_call_user(call);
    if (q)
        q->call = NULL;
}

/* There is one end of the machine; a second request for it changes nothing. */
static struct {
    struct envd *envd;
    unsigned grace_ms;
    uv_timer_t timer;
} shutdown_op;

static void on_processes_ended(void *user)
{
    struct envd *e = user;
    if (e->is_pid1)
        boot_power_off();
    uv_stop(e->loop);
}

static void on_shutdown_due(uv_timer_t *timer)
{
    uv_close((uv_handle_t *)timer, NULL);
    log_info("shutting down", LOG_INT("grace_ms", shutdown_op.grace_ms));
    process_registry_stop_all(shutdown_op.envd->processes, shutdown_op.grace_ms, on_processes_ended,
                              shutdown_op.envd);
}

static void on_shutdown(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Sandpit__Guest__V1__ShutdownRequest *r = (const void *)msg;
    struct envd *e = envd_of_call(call);
    if (r->grace_ms > SHUTDOWN_GRACE_MAX) {
        rpc_fail(call, ERR_INVALID, "grace_ms must be at most %d", SHUTDOWN_GRACE_MAX);
        return;
    }
    Sandpit__Guest__V1__ShutdownResponse answer = SANDPIT__GUEST__V1__SHUTDOWN_RESPONSE__INIT;
    rpc_reply(call, &answer.base);
    if (shutdown_op.envd)
        return;
    shutdown_op.envd = e;
    shutdown_op.grace_ms = r->grace_ms;
    uv_timer_init(e->loop, &shutdown_op.timer);
    uv_timer_start(&shutdown_op.timer, on_shutdown_due, SHUTDOWN_REPLY_MS, 0);
}

#define GUEST_METHOD(name, lower)                                                                  \
    .path = GUEST_SERVICE name, .kind = RPC_UNARY, .trusted_only = true,                           \
    .input = &sandpit__guest__v1__##lower##_request__descriptor,                                   \
    .output = &sandpit__guest__v1__##lower##_response__descriptor

const struct rpc_method guest_methods[] = {
    { GUEST_METHOD("Hello", hello), .on_message = on_hello },
    { GUEST_METHOD("Configure", configure), .on_message = on_configure,
      .on_close = on_configure_close },
    { GUEST_METHOD("Refresh", refresh), .on_message = on_refresh },
    { GUEST_METHOD("Quiesce", quiesce), .on_message = on_quiesce, .on_close = on_quiesce_close },
    { GUEST_METHOD("Shutdown", shutdown), .on_message = on_shutdown },
    { .path = NULL },
};
