/* process.Process: the table of methods, and those that are answered at once. */
#include "common/base/cleanup.h"
#include "envd/process/methods.h"
#include "envd/process/pty.h"
#include "envd/process/stream.h"

#include <errno.h>
#include <signal.h>

static struct process *find(struct rpc_call *call, const Process__ProcessSelector *selector)
{
    struct err err;
    struct process *p = registry_find(envd_of_call(call)->processes, selector, false, &err);
    if (!p)
        rpc_finish(call, &err);
    return p;
}

/* NULL when memory is out. */
static Process__ProcessInfo *info_of(const struct process *p, struct arena *arena)
{
    ProtobufCAllocator allocator = arena_allocator(arena);
    Process__ProcessInfo *info = arena_alloc(arena, sizeof(*info));
    if (!info)
        return NULL;
    process__process_info__init(info);
    info->config = process__process_config__unpack(&allocator, p->config_n, p->config);
    info->pid = (uint32_t)p->pid;
    if (p->tag) {
        info->_tag_case = PROCESS__PROCESS_INFO___TAG_TAG;
        info->tag = p->tag;
    }
    return info->config ? info : NULL;
}

static void on_list(struct rpc_call *call, ProtobufCMessage *msg)
{
    (void)msg;
    struct process_registry *r = envd_of_call(call)->processes;
    struct arena *arena = rpc_call_arena(call);
    Process__ListResponse response = PROCESS__LIST_RESPONSE__INIT;
    response.processes = arena_alloc(arena, (r->nrunning + 1) * sizeof(Process__ProcessInfo *));
    bool ok = response.processes != NULL;
    list_for_each (node, &r->running) {
        Process__ProcessInfo *info =
            ok ? info_of(container_of(node, struct process, node), arena) : NULL;
        ok = info != NULL;
        if (!ok)
            break;
        response.processes[response.n_processes++] = info;
    }
    if (ok)
        rpc_reply(call, &response.base);
    else
        rpc_fail(call, ERR_INTERNAL, "out of memory");
}

static int resize(const struct process *p, const Process__UpdateRequest *req, struct err *err)
{
    uint16_t cols, rows;
    if (req->_pty_case != PROCESS__UPDATE_REQUEST___PTY_PTY || !req->pty)
        return 0;
    if (!p->is_pty)
        return err_set(err, ERR_INTERNAL, ENOTTY, "the process has no terminal");
    int rc = pty_size_of(req->pty, &cols, &rows, err);
    if (rc < 0 || !req->pty->size)
        return rc;
    rc = p->out[0].open ? pty_resize(p->out[0].channel.fd, cols, rows) : -EIO;
    if (rc < 0)
        return err_set(err, ERR_INTERNAL, -rc, "cannot resize the terminal: %s", strerror(-rc));
    return 0;
}

static void on_update(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Process__UpdateRequest *req = (const Process__UpdateRequest *)msg;
    Process__UpdateResponse response = PROCESS__UPDATE_RESPONSE__INIT;
    struct err err;
    const struct process *p = find(call, req->process);
    if (!p)
        return;
    if (resize(p, req, &err) < 0)
        rpc_finish(call, &err);
    else
        rpc_reply(call, &response.base);
}

static void on_send_signal(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Process__SendSignalRequest *req = (const Process__SendSignalRequest *)msg;
    Process__SendSignalResponse response = PROCESS__SEND_SIGNAL_RESPONSE__INIT;
    struct process *p = find(call, req->process);
    if (!p)
        return;
    int signum = (int)req->signal;
    if (signum != SIGKILL && signum != SIGTERM) {
        rpc_fail(call, ERR_UNIMPLEMENTED, "signal %d: only SIGKILL and SIGTERM can be sent",
                 signum);
        return;
    }
    int rc = process_signal(p, signum);
    if (rc < 0)
        rpc_fail(call, ERR_INTERNAL, "cannot send the signal: %s", strerror(-rc));
    else
        rpc_reply(call, &response.base);
}

static void on_close_stdin(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Process__CloseStdinRequest *req = (const Process__CloseStdinRequest *)msg;
    Process__CloseStdinResponse response = PROCESS__CLOSE_STDIN_RESPONSE__INIT;
    struct process *p = find(call, req->process);
    if (!p)
        return;
    if (p->is_pty) {
        rpc_fail(call, ERR_UNKNOWN, "a terminal's input cannot be closed; send Ctrl+D (0x04)");
        return;
    }
    process_close_stdin(p);
    rpc_reply(call, &response.base);
}

const struct rpc_method process_methods[] = {
    {
        .path = "/process.Process/List",
        .kind = RPC_UNARY,
        .input = &process__list_request__descriptor,
        .output = &process__list_response__descriptor,
        .on_message = on_list,
    },
    {
        .path = "/process.Process/Connect",
        .kind = RPC_SERVER_STREAM,
        .input = &process__connect_request__descriptor,
        .output = &process__connect_response__descriptor,
        .close_late = true,
        .on_message = connect_on_message,
        .on_writable = stream_on_writable,
        .on_close = stream_on_close,
    },
    {
        .path = "/process.Process/Start",
        .kind = RPC_SERVER_STREAM,
        .input = &process__start_request__descriptor,
        .output = &process__start_response__descriptor,
        .own_deadline = true,
        .close_late = true,
        .on_message = start_on_message,
        .on_writable = stream_on_writable,
        .on_deadline = start_on_deadline,
        .on_close = stream_on_close,
    },
    {
        .path = "/process.Process/Update",
        .kind = RPC_UNARY,
        .input = &process__update_request__descriptor,
        .output = &process__update_response__descriptor,
        .on_message = on_update,
    },
    {
        .path = "/process.Process/StreamInput",
        .kind = RPC_CLIENT_STREAM,
        .input = &process__stream_input_request__descriptor,
        .output = &process__stream_input_response__descriptor,
        .on_message = stream_input_on_message,
        .on_half_close = stream_input_on_half_close,
        .on_close = stream_input_on_close,
    },
    {
        .path = "/process.Process/SendInput",
        .kind = RPC_UNARY,
        .input = &process__send_input_request__descriptor,
        .output = &process__send_input_response__descriptor,
        .on_message = send_input_on_message,
        .on_close = send_input_on_close,
    },
    {
        .path = "/process.Process/SendSignal",
        .kind = RPC_UNARY,
        .input = &process__send_signal_request__descriptor,
        .output = &process__send_signal_response__descriptor,
        .on_message = on_send_signal,
    },
    {
        .path = "/process.Process/CloseStdin",
        .kind = RPC_UNARY,
        .input = &process__close_stdin_request__descriptor,
        .output = &process__close_stdin_response__descriptor,
        .on_message = on_close_stdin,
    },
    { 0 },
};
