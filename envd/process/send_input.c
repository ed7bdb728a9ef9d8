#include "common/base/cleanup.h"
#include "envd/process/methods.h"

#include <assert.h>
#include <errno.h>

#undef stdin

#define SEND_INPUT_MAGIC 0x53494e50

/* One SendInput, answered when its bytes were taken. Lives in the call's arena. */
struct send_input {
    uint32_t magic;
    struct rpc_call *call;
    struct process *process;
    struct input_write write;
};

int input_bytes_of(const struct process *p, const Process__ProcessInput *input, struct str *out,
                   struct err *err)
{
    ProtobufCBinaryData bytes;
    switch (input ? input->input_case : PROCESS__PROCESS_INPUT__INPUT__NOT_SET) {
    case PROCESS__PROCESS_INPUT__INPUT_STDIN:
        if (p->is_pty)
            return err_set(err, ERR_INTERNAL, EINVAL,
                           "the process has a terminal and takes pty input only");
        bytes = input->stdin;
        break;
    case PROCESS__PROCESS_INPUT__INPUT_PTY:
        if (!p->is_pty)
            return err_set(err, ERR_INTERNAL, EINVAL, "the process has no terminal");
        bytes = input->pty;
        break;
    case PROCESS__PROCESS_INPUT__INPUT__NOT_SET:
    default:
        return err_set(err, ERR_UNIMPLEMENTED, EINVAL, "the input has neither stdin nor pty");
    }
    if (!p->in.open || p->in.closing)
        return err_set(err, ERR_INTERNAL, EPIPE, "the process's stdin is closed");
    *out = (struct str){ (const char *)bytes.data, bytes.len };
    return 0;
}

static void on_done(struct input_write *w, int errnum)
{
    struct send_input *s = container_of(w, struct send_input, write);
    Process__SendInputResponse response = PROCESS__SEND_INPUT_RESPONSE__INIT;
    if (errnum)
        rpc_fail(s->call, ERR_INTERNAL, "cannot write to the process: %s", strerror(errnum));
    else
        rpc_reply(s->call, &response.base);
}

void send_input_on_message(struct rpc_call *call, ProtobufCMessage *msg)
{
    struct envd *e = envd_of_call(call);
    const Process__SendInputRequest *req = (const Process__SendInputRequest *)msg;
    struct err err;
    struct str bytes;
    struct process *p = registry_find(e->processes, req->process, false, &err);
    if (!p || input_bytes_of(p, req->input, &bytes, &err) < 0) {
        rpc_finish(call, &err);
        return;
    }
    struct send_input *s = arena_zalloc(rpc_call_arena(call), sizeof(*s));
    if (!s) {
        rpc_fail(call, ERR_INTERNAL, "out of memory");
        return;
    }
    *s = (struct send_input){ .magic = SEND_INPUT_MAGIC, .call = call, .process = p };
    s->write =
        (struct input_write){ .data = (const uint8_t *)bytes.p, .n = bytes.n, .done = on_done };
    rpc_call_set_user(call, s);
    if (bytes.n == 0)
        on_done(&s->write, 0);
    else
        process_write(p, &s->write);
}

/* A client that does not wait for the answer gives up the rest of its input. */
void send_input_on_close(struct rpc_call *call)
{
    struct send_input *s = rpc_call_user(call);
    assert(!s || s->magic == SEND_INPUT_MAGIC);
    /* A linked write belongs to a process that has not ended. */
    if (s && list_linked(&s->write.node))
        process_write_cancel(s->process, &s->write);
}
