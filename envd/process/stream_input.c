/* StreamInput: input for a process, message by message from one stream. */
#include "common/base/cleanup.h"
#include "envd/process/methods.h"

#include <assert.h>
#include <errno.h>

#define STREAM_INPUT_MAGIC 0x53545249

/* Above this many bytes that the process has not taken the client is slowed down. */
#define STREAM_INPUT_HIGH 262144

/* For one process, of all clients, also of those that have left. */
#define STREAM_INPUT_KEPT_MAX (32U << 20)

struct stream_input {
    uint32_t magic;
    struct rpc_call *call; /* NULL after its end */
    struct process_ref target;
    size_t pending; /* bytes in pieces */
    size_t pieces;  /* that point here */
    bool started;   /* a process was selected */
    bool half_closed;
};

/* The bytes of one message. A client that leaves has its last pieces written all the same: unlike
 * with SendInput nobody waits for each. */
struct piece {
    struct input_write write;
    struct stream_input *stream;
    struct process *process; /* holds the write */
    size_t n;
    uint8_t data[];
};

static void free_when_over(struct stream_input *s)
{
    if (!s->call && s->pieces == 0)
        free(s);
}

/* Every message was taken and the client has said that there is no more. */
static void reply_when_done(struct stream_input *s)
{
    Process__StreamInputResponse response = PROCESS__STREAM_INPUT_RESPONSE__INIT;
    if (s->call && s->half_closed && s->pieces == 0)
        rpc_reply(s->call, &response.base);
}

static void on_piece_done(struct input_write *w, int errnum)
{
    struct piece *piece = container_of(w, struct piece, write);
    struct stream_input *s = piece->stream;
    s->pending -= piece->n;
    s->pieces--;
    piece->process->in.kept -= piece->n;
    free(piece);
    if (s->call && errnum)
        rpc_fail(s->call, ERR_INTERNAL, "cannot write to the process: %s", strerror(errnum));
    if (s->call && s->pending <= STREAM_INPUT_HIGH)
        rpc_resume(s->call);
    reply_when_done(s);
    free_when_over(s);
}

static int select_process(struct stream_input *s, const Process__StreamInputRequest *req,
                          struct err *err)
{
    if (s->started)
        return err_set(err, ERR_INVALID, EINVAL, "the process was selected before");
    struct process_registry *r = envd_of_call(s->call)->processes;
    struct process *p = registry_find(r, req->start->process, false, err);
    if (!p)
        return -ESRCH;
    s->started = true;
    process_ref(p, &s->target);
    return 0;
}

static int take_data(struct stream_input *s, const Process__StreamInputRequest *req,
                     struct err *err)
{
    struct str bytes;
    if (!s->started)
        return err_set(err, ERR_INVALID, EINVAL, "the first message must select a process");
    struct process *p = s->target.process;
    if (!p)
        return err_set(err, ERR_NOT_FOUND, ESRCH, "the process has ended");
    int rc = input_bytes_of(p, req->data->input, &bytes, err);
    if (rc < 0 || bytes.n == 0)
        return rc;
    if (bytes.n > STREAM_INPUT_KEPT_MAX - p->in.kept)
        return err_set(err, ERR_EXHAUSTED, ENOBUFS,
                       "the process does not read: more than %u bytes of input wait for it",
                       STREAM_INPUT_KEPT_MAX);
    struct piece *piece = malloc(sizeof(*piece) + bytes.n);
    if (!piece)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    *piece = (struct piece){ .stream = s, .process = p, .n = bytes.n };
    memcpy(piece->data, bytes.p, bytes.n);
    piece->write = (struct input_write){ .data = piece->data, .n = bytes.n, .done = on_piece_done };
    s->pending += bytes.n;
    s->pieces++;
    p->in.kept += bytes.n;
    if (s->pending > STREAM_INPUT_HIGH)
        rpc_pause(s->call);
    /* input_bytes_of() has found it open. */
    process_write(p, &piece->write);
    return 0;
}

static struct stream_input *new_stream(struct rpc_call *call)
{
    struct stream_input *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->magic = STREAM_INPUT_MAGIC;
    s->call = call;
    rpc_call_set_user(call, s);
    return s;
}

static struct stream_input *of_call(struct rpc_call *call)
{
    struct stream_input *s = rpc_call_user(call);
    assert(!s || s->magic == STREAM_INPUT_MAGIC);
    return s ? s : new_stream(call);
}

void stream_input_on_message(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Process__StreamInputRequest *req = (const Process__StreamInputRequest *)msg;
    struct stream_input *s = of_call(call);
    struct err err;
    int rc = 0;
    if (!s) {
        rpc_fail(call, ERR_EXHAUSTED, "out of memory");
        return;
    }
    switch ((int)req->event_case) {
    case PROCESS__STREAM_INPUT_REQUEST__EVENT_START:
        rc = select_process(s, req, &err);
        break;
    case PROCESS__STREAM_INPUT_REQUEST__EVENT_DATA:
        rc = take_data(s, req, &err);
        break;
    case PROCESS__STREAM_INPUT_REQUEST__EVENT_KEEPALIVE:
        break;
    case PROCESS__STREAM_INPUT_REQUEST__EVENT__NOT_SET:
    default:
        rc = err_set(&err, ERR_UNIMPLEMENTED, EINVAL, "the message is of no known kind");
    }
    if (rc < 0)
        rpc_finish(call, &err);
}

void stream_input_on_half_close(struct rpc_call *call)
{
    struct stream_input *s = of_call(call);
    if (!s || !s->started) {
        rpc_fail(call, ERR_INVALID, "the first message must select a process");
        return;
    }
    s->half_closed = true;
    reply_when_done(s);
}

void stream_input_on_close(struct rpc_call *call)
{
    struct stream_input *s = rpc_call_user(call);
    if (!s)
        return;
    assert(s->magic == STREAM_INPUT_MAGIC);
    process_unref(&s->target);
    s->call = NULL;
    free_when_over(s);
}
