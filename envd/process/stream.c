#include "envd/process/stream.h"

#include "common/base/cleanup.h"
#include "common/http/marks.h"

#include <assert.h>
#include <inttypes.h>

/* Names of fields in the messages; musl has them as macros. */
#undef stdin
#undef stdout
#undef stderr

#define STREAM_MAGIC 0x53545245

struct event_stream {
    uint32_t magic;
    struct process_reader reader;
    struct rpc_call *call; /* NULL after its on_close */
    uv_timer_t keepalive;
    uint64_t interval_ms;
    uint64_t sent_ms;        /* when the last event was sent */
    uint64_t missed;         /* bytes dropped before this stream came to them */
    struct http_marks marks; /* which offset the client has when how much of the body came so far */
    bool finished;
    bool is_start;
    bool timer_closed;
};

static struct event_stream *of_call(struct rpc_call *call)
{
    struct event_stream *s = rpc_call_user(call);
    assert(!s || s->magic == STREAM_MAGIC);
    return s;
}

static void send_event(struct event_stream *s, Process__ProcessEvent *event)
{
    s->sent_ms = uv_now(s->keepalive.loop);
    if (s->is_start) {
        Process__StartResponse response = PROCESS__START_RESPONSE__INIT;
        response.event = event;
        rpc_send(s->call, &response.base);
    } else {
        Process__ConnectResponse response = PROCESS__CONNECT_RESPONSE__INIT;
        response.event = event;
        rpc_send(s->call, &response.base);
    }
}

static void send_start(struct event_stream *s, pid_t pid)
{
    Process__ProcessEvent__StartEvent start = PROCESS__PROCESS_EVENT__START_EVENT__INIT;
    Process__ProcessEvent event = PROCESS__PROCESS_EVENT__INIT;
    start.pid = (uint32_t)pid;
    event.event_case = PROCESS__PROCESS_EVENT__EVENT_START;
    event.start = &start;
    send_event(s, &event);
}

static void send_data(struct event_stream *s, const struct ring_view *view)
{
    ProtobufCBinaryData bytes = { .len = view->n, .data = (uint8_t *)(uintptr_t)view->data };
    Process__ProcessEvent__DataEvent data = PROCESS__PROCESS_EVENT__DATA_EVENT__INIT;
    Process__ProcessEvent event = PROCESS__PROCESS_EVENT__INIT;
    switch (view->stream) {
    case RING_STDOUT:
        data.output_case = PROCESS__PROCESS_EVENT__DATA_EVENT__OUTPUT_STDOUT;
        data.stdout = bytes;
        break;
    case RING_STDERR:
        data.output_case = PROCESS__PROCESS_EVENT__DATA_EVENT__OUTPUT_STDERR;
        data.stderr = bytes;
        break;
    case RING_PTY:
        data.output_case = PROCESS__PROCESS_EVENT__DATA_EVENT__OUTPUT_PTY;
        data.pty = bytes;
        break;
    }
    event.event_case = PROCESS__PROCESS_EVENT__EVENT_DATA;
    event.data = &data;
    send_event(s, &event);
}

static void send_end(struct event_stream *s, const struct process *p)
{
    char text[PROCESS_STATUS_MAX];
    Process__ProcessEvent__EndEvent end;
    Process__ProcessEvent event = PROCESS__PROCESS_EVENT__INIT;
    process_end_event(p, &end, text);
    event.event_case = PROCESS__PROCESS_EVENT__EVENT_END;
    event.end = &end;
    send_event(s, &event);
}

static void free_when_over(struct event_stream *s)
{
    if (s->call || !s->timer_closed)
        return;
    http_marks_deinit(&s->marks);
    free(s);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct event_stream *s = container_of((uv_timer_t *)handle, struct event_stream, keepalive);
    s->timer_closed = true;
    free_when_over(s);
}

/* Leave the process; what remains is the end of the call. */
static void leave(struct event_stream *s)
{
    process_detach(&s->reader);
    if (!uv_is_closing((uv_handle_t *)&s->keepalive))
        uv_close((uv_handle_t *)&s->keepalive, on_timer_closed);
}

/* The reader stays until the call is closed: until then the client may turn out to be gone. */
static void finish(struct event_stream *s, const struct err *err)
{
    s->finished = true;
    uv_timer_stop(&s->keepalive);
    rpc_finish(s->call, err);
}

static void note_sent(struct event_stream *s)
{
    uint64_t sent, offset = s->reader.pos.offset;
    size_t kept = process_kept(s->reader.process);
    /* What the ring may have dropped cannot be sent again: no need to know where it was. */
    if (http_marks_full(&s->marks) && offset > kept)
        http_marks_forget_values(&s->marks, offset - kept);
    rpc_call_progress(s->call, &sent, NULL);
    http_marks_add(&s->marks, sent, offset);
}

/* How much of the output has reached the client. */
static uint64_t received(const struct event_stream *s)
{
    uint64_t sent, delivered;
    rpc_call_progress(s->call, &sent, &delivered);
    return delivered >= sent ? s->reader.pos.offset : http_marks_find(&s->marks, delivered);
}

/* Others read on while this stream was slow, and the ring is bounded. */
static void tell_missed(struct event_stream *s)
{
    char number[24];
    if (s->missed == 0)
        return;
    snprintf(number, sizeof(number), "%" PRIu64, s->missed);
    rpc_call_add_trailer(s->call, STREAM_GAP_HEADER, number);
}

static void pump(struct event_stream *s)
{
    struct process *p = s->reader.process;
    size_t most = p->is_pty ? PROCESS_CHUNK_PTY_MAX : PROCESS_CHUNK_MAX;
    struct ring_view view;
    uint64_t before = s->reader.pos.offset;
    if (s->finished)
        return;
    while (rpc_writable(s->call)) {
        s->missed += ring_catch_up(&p->ring, &s->reader.pos);
        if (!ring_read(&p->ring, &s->reader.pos, most, &view))
            break;
        send_data(s, &view);
        ring_advance(&s->reader.pos, view.n);
        note_sent(s);
    }
    if (s->reader.pos.offset != before)
        process_reader_moved(&s->reader);
    if (process_reader_done(&s->reader)) {
        send_end(s, p);
        tell_missed(s);
        finish(s, NULL);
    }
}

static void on_output(struct process_reader *reader)
{
    pump(container_of(reader, struct event_stream, reader));
}

static void on_abort(struct process_reader *reader, const struct err *err)
{
    finish(container_of(reader, struct event_stream, reader), err);
}

/* The timer is not set anew at each event: when it fires it looks how long it really was silent. */
static void on_keepalive(uv_timer_t *timer)
{
    struct event_stream *s = container_of(timer, struct event_stream, keepalive);
    uint64_t silent = uv_now(timer->loop) - s->sent_ms;
    if (silent >= s->interval_ms) {
        Process__ProcessEvent__KeepAlive keepalive = PROCESS__PROCESS_EVENT__KEEP_ALIVE__INIT;
        Process__ProcessEvent event = PROCESS__PROCESS_EVENT__INIT;
        event.event_case = PROCESS__PROCESS_EVENT__EVENT_KEEPALIVE;
        event.keepalive = &keepalive;
        /* Behind output that waits for a slow reader it would only be more to wait for. */
        if (rpc_writable(s->call))
            send_event(s, &event);
        silent = 0;
    }
    uv_timer_start(timer, on_keepalive, s->interval_ms - silent, 0);
}

static uint64_t keepalive_ms(const struct rpc_call *call)
{
    uint64_t s;
    struct str text = http_field_get(rpc_call_head(call), "keepalive-ping-interval");
    if (!text.p || !str_to_u64(str_trim(text), STREAM_KEEPALIVE_S_MAX, &s) || s == 0)
        s = STREAM_KEEPALIVE_S;
    return s * 1000;
}

void stream_begin(struct rpc_call *call, struct process *p, struct ring_pos pos, bool owns_deadline)
{
    struct event_stream *s = calloc(1, sizeof(*s));
    if (!s) {
        rpc_fail(call, ERR_INTERNAL, "out of memory");
        return;
    }
    *s = (struct event_stream){ .magic = STREAM_MAGIC,
                                .call = call,
                                .interval_ms = keepalive_ms(call),
                                .marks = { .base = { 0, pos.offset } },
                                .is_start = owns_deadline };
    s->reader = (struct process_reader){
        .pos = pos, .owns_deadline = owns_deadline, .on_output = on_output, .on_abort = on_abort
    };
    rpc_call_set_user(call, s);
    uv_timer_init(p->loop, &s->keepalive);
    uv_timer_start(&s->keepalive, on_keepalive, s->interval_ms, 0);
    process_attach(p, &s->reader);
    send_start(s, p->pid);
    pump(s);
}

void stream_on_writable(struct rpc_call *call)
{
    struct event_stream *s = of_call(call);
    if (s && s->reader.process)
        pump(s);
}

void stream_on_close(struct rpc_call *call)
{
    struct event_stream *s = of_call(call);
    if (!s)
        return;
    s->reader.received = received(s);
    s->call = NULL;
    leave(s);
    free_when_over(s);
}
