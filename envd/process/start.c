#include "common/base/cleanup.h"
#include "envd/core/path.h"
#include "envd/process/environ.h"
#include "envd/process/methods.h"
#include "envd/process/pty.h"
#include "envd/process/stream.h"

#include <errno.h>
#include <inttypes.h>

#undef stdin

/* The tag of processes that stay out of the groups made for users' ones. */
#define SYSTEM_TAG "_system"

int pty_size_of(const Process__PTY *pty, uint16_t *cols, uint16_t *rows, struct err *err)
{
    *cols = PTY_COLS_DEFAULT;
    *rows = PTY_ROWS_DEFAULT;
    if (!pty->size)
        return 0;
    uint32_t c = pty->size->cols, r = pty->size->rows;
    if (c == 0 || c > UINT16_MAX || r == 0 || r > UINT16_MAX)
        return err_set(err, ERR_INVALID, ERANGE,
                       "a terminal of %" PRIu32 " columns and %" PRIu32
                       " rows: each must be from 1 to %d",
                       c, r, UINT16_MAX);
    *cols = (uint16_t)c;
    *rows = (uint16_t)r;
    return 0;
}

static int check(const Process__StartRequest *req, struct process_start *s, struct err *err)
{
    if (!req->process || req->process->cmd[0] == '\0')
        return err_set(err, ERR_INVALID, EINVAL, "cmd is empty");
    if (req->process->n_args > PROCESS_ARGS_MAX)
        return err_set(err, ERR_INVALID, E2BIG, "more than %d arguments", PROCESS_ARGS_MAX);
    if (req->_tag_case == PROCESS__START_REQUEST___TAG_TAG)
        s->tag = req->tag;
    if (s->tag && strlen(s->tag) > PROCESS_TAG_MAX)
        return err_set(err, ERR_INVALID, E2BIG, "tag is longer than %d bytes", PROCESS_TAG_MAX);
    s->config = req->process;
    s->stdin_open = req->_stdin_case != PROCESS__START_REQUEST___STDIN_STDIN || req->stdin;
    s->is_pty = req->_pty_case == PROCESS__START_REQUEST___PTY_PTY && req->pty;
    return s->is_pty ? pty_size_of(req->pty, &s->cols, &s->rows, err) : 0;
}

static int start(struct rpc_call *call, const Process__StartRequest *req, struct process **out,
                 struct err *err)
{
    struct envd *e = envd_of_call(call);
    struct user user;
    char cwd[PATH_MAX];
    char **env;
    int64_t timeout_ms = rpc_call_timeout_ms(call);
    struct process_start s = {
        .user = &user,
        .cwd = cwd,
        .deadline_ms = timeout_ms > 0 ? (uint64_t)timeout_ms : 0,
        .arena = rpc_call_arena(call),
    };
    int rc = check(req, &s, err);
    if (rc == 0)
        rc = envd_acting_user(e, rpc_call_head(call), &user, err);
    if (rc < 0)
        return rc;
    bool has_cwd = req->process->_cwd_case == PROCESS__PROCESS_CONFIG___CWD_CWD;
    rc = path_resolve(&user, has_cwd ? str_of(req->process->cwd) : STR(""), e->default_workdir, cwd,
                      err);
    if (rc == 0)
        rc = process_environ(e, &user, req->process, s.arena, &env, err);
    if (rc < 0)
        return rc;
    s.env = env;
    bool is_system = s.tag && strcmp(s.tag, SYSTEM_TAG) == 0;
    s.cgroup = is_system ? -1 : s.is_pty ? e->cgroup_ptys : e->cgroup_user;
    return process_start(e->processes, &s, out, err);
}

void start_on_message(struct rpc_call *call, ProtobufCMessage *msg)
{
    struct err err;
    struct process *p;
    if (start(call, (const Process__StartRequest *)msg, &p, &err) < 0) {
        rpc_finish(call, &err);
        return;
    }
    stream_begin(call, p, (struct ring_pos){ 0 }, true);
}

void start_on_deadline(struct rpc_call *call)
{
    /* The process has a timer of its own, which outlives the call and ends it. */
    (void)call;
}

/* Where a new reader begins: by default behind what any reader has got; with Sandpit-Replay: all
 * at the oldest byte; with an offset there. */
static int replay_from(const struct rpc_call *call, const struct process *p, uint64_t *out,
                       struct err *err)
{
    struct str text = http_field_get(rpc_call_head(call), "sandpit-replay");
    *out = process_received(p);
    if (!text.p)
        return 0;
    text = str_trim(text);
    if (str_eq(text, STR("all")))
        *out = 0;
    else if (!str_to_u64(text, INT64_MAX, out))
        return err_set(err, ERR_INVALID, EINVAL, "Sandpit-Replay must be \"all\" or an offset");
    return 0;
}

void connect_on_message(struct rpc_call *call, ProtobufCMessage *msg)
{
    struct envd *e = envd_of_call(call);
    const Process__ConnectRequest *req = (const Process__ConnectRequest *)msg;
    struct err err;
    uint64_t from;
    struct process *p = registry_find(e->processes, req->process, true, &err);
    if (!p || replay_from(call, p, &from, &err) < 0) {
        rpc_finish(call, &err);
        return;
    }
    struct ring_pos pos = ring_seek(&p->ring, from);
    char number[24];
    snprintf(number, sizeof(number), "%" PRIu64, pos.offset);
    rpc_call_add_header(call, STREAM_OFFSET_HEADER, number);
    if (pos.offset > from) {
        snprintf(number, sizeof(number), "%" PRIu64, pos.offset - from);
        rpc_call_add_header(call, STREAM_GAP_HEADER, number);
    }
    stream_begin(call, p, pos, false);
}
