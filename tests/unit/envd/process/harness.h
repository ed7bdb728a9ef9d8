/* envd's process service on a real loop with real processes, its calls made without a wire: this
 * file stands in for common/rpc, so that a test decides when a client reads and when it leaves. */
#ifndef TESTS_UNIT_ENVD_PROCESS_HARNESS_H
#define TESTS_UNIT_ENVD_PROCESS_HARNESS_H

#include "envd/process/process.h"

#include <stdbool.h>

struct harness {
    uv_loop_t loop;
    struct envd envd;
    struct rpc_server server;
    uv_signal_t child;
    uv_timer_t tick;
    struct list calls;
};

/* One call as its client sees it. */
struct rpc_call {
    struct list node;
    struct harness *harness;
    const struct rpc_method *method;
    struct http_head head;
    struct http_field fields[4];
    struct arena arena;
    int64_t timeout_ms;
    void *user;
    struct deferred close;
    struct deferred writable;

    size_t window; /* bytes of output it takes; then it is not writable */
    size_t taken;
    size_t lost; /* bytes of it that are on their way, and will not arrive when the client goes */

    uint32_t pid;       /* of the start event */
    struct buf data[3]; /* stdout, stderr, pty */
    struct buf order;   /* a letter for each event: s(tart) o(ut) e(rr) p(ty) k(eepalive) E(nd) */
    size_t largest;     /* bytes in the largest data event */
    bool ended;
    int exit_code;
    bool exited;
    char status[64];
    char error[64];
    struct buf headers, trailers; /* "name=value\n" */
    uint8_t *reply;               /* packed response of a call with one */
    size_t reply_n;
    bool finished, closed, paused;
    struct err err; /* code ERR_OK on success */
};

struct call_options {
    const char *user;   /* NULL: the default user */
    const char *header; /* one more header */
    const char *value;
    int64_t timeout_ms;
    size_t window; /* 0: no bound */
};

void harness_open(struct harness *h);
void harness_open_limits(struct harness *h, const struct process_limits *limits);
/* Kill what runs, run the loop dry, free everything. */
void harness_close(struct harness *h);

/* Run the loop until *flag is true, or fail the test after ten seconds. */
void run_until(struct harness *h, const bool *flag);
/* Until a stream has brought at least n bytes (0 stdout, 1 stderr, 2 pty). */
void run_until_data(struct harness *h, const struct rpc_call *call, int which, size_t n);
/* Until `text` is somewhere in that output. */
void run_until_text(struct harness *h, const struct rpc_call *call, int which, const char *text);
/* Until cond(arg). */
void run_while(struct harness *h, bool (*cond)(void *arg), void *arg);
/* A few turns, for things that must not happen. */
void run_some(struct harness *h, unsigned ms);

/* Begin a call of "Start", "Connect", ... The message is copied. */
struct rpc_call *call_begin(struct harness *h, const char *method, const ProtobufCMessage *msg,
                            const struct call_options *options);
/* A client stream's further messages and its end. */
void call_message(struct rpc_call *call, const ProtobufCMessage *msg);
void call_half_close(struct rpc_call *call);
/* The client reads on without bound. */
void call_open_window(struct rpc_call *call);
/* The client goes away. */
void call_disconnect(struct rpc_call *call);

/* Begin a Start of a command. `options` may be NULL. */
struct start_args {
    const char *cmd;
    const char *const *args; /* NULL-terminated */
    const char *cwd;
    const char *tag;
    const char *env_name, *env_value;
    bool no_stdin;
    bool pty;
    uint32_t cols, rows; /* 0 both: no size in the message */
};
struct rpc_call *start_command(struct harness *h, const struct start_args *args,
                               const struct call_options *options);
/* Start `/bin/sh -c script`. */
struct rpc_call *start_script(struct harness *h, const char *script,
                              const struct call_options *options);
/* The same, and wait for its end. */
struct rpc_call *run_script(struct harness *h, const char *script);

struct rpc_call *connect_pid(struct harness *h, uint32_t pid, const struct call_options *options);
struct rpc_call *connect_tag(struct harness *h, const char *tag);
/* Unary ones; they return the error's code, ERR_OK for success, after the answer. */
enum err_code send_stdin(struct harness *h, uint32_t pid, const char *text);
enum err_code send_pty(struct harness *h, uint32_t pid, const char *text);
enum err_code send_signal(struct harness *h, uint32_t pid, int signum);
enum err_code close_stdin(struct harness *h, uint32_t pid);
enum err_code update_pty(struct harness *h, uint32_t pid, uint32_t cols, uint32_t rows);

struct str data_of(const struct rpc_call *call, int which);

#endif
