/*
 * A client of QMP, QEMU's control protocol: one JSON object per line on a unix socket. The peer is
 * a process that a hostile guest may have taken over: lines are bounded, JSON is parsed strictly,
 * and each command has a deadline.
 */
#ifndef ORCHESTRATOR_VMM_QEMU_QMP_H
#define ORCHESTRATOR_VMM_QEMU_QMP_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/list.h"

#include <jansson.h>
#include <uv.h>

#define QMP_LINE_MAX 1048576 /* bytes of one message */

struct qmp;

struct qmp_events {
    /* The greeting came and capabilities are negotiated: commands may be sent. */
    void (*on_ready)(struct qmp *q);
    /* An event such as "SHUTDOWN"; data is its data member, or NULL. at_ns is its time by QEMU's
     * wall clock; 0 when none is told. */
    void (*on_event)(struct qmp *q, const char *name, const json_t *data, int64_t at_ns);
    /* The connection is of no more use (closed, garbage, or no greeting in time). Told once, after
     * every command under way was told the same. */
    void (*on_lost)(struct qmp *q, const struct err *err);
    void (*on_closed)(struct qmp *q);
};

struct qmp {
    const struct qmp_events *events;
    uv_poll_t poll;
    uv_timer_t timer; /* for the earliest deadline of a command */
    int fd;
    int open_handles;
    bool ready, lost, closing, version_known;
    struct buf in, out;
    size_t scanned;       /* bytes of `in` that hold no line end */
    struct list commands; /* sent or to be sent, in order */
    uint64_t next_id;
    struct list fds; /* descriptors to be sent, in order */
};

/* result is the command's "return" member, borrowed, when err is NULL. ERR_DEADLINE: no answer in
 * time; ERR_UNAVAILABLE: the connection was lost; ERR_ABORTED: QEMU refused, with its words. */
typedef void (*qmp_done_cb)(void *user, const json_t *result, const struct err *err);

/* Connect to the socket at `path`; greeting and negotiation must be over in timeout_ms. Returns 0
 * or -errno with *err set; then q needs no qmp_close(). */
int qmp_open(struct qmp *q, uv_loop_t *loop, const char *path, unsigned timeout_ms,
             const struct qmp_events *events, struct err *err);

/* Run a command. `arguments` is stolen and may be NULL. done once, from the loop, never from
 * inside; not after qmp_close(). Returns 0, or -ENOMEM or -ENOTCONN and done is not called. */
int qmp_execute(struct qmp *q, const char *command, json_t *arguments, unsigned timeout_ms,
                qmp_done_cb done, void *user);

/* The same for a command that takes a descriptor, such as "getfd" and "add-fd". fd stays the
 * caller's. */
int qmp_execute_fd(struct qmp *q, const char *command, json_t *arguments, int fd,
                   unsigned timeout_ms, qmp_done_cb done, void *user);

/* Take what the peer has sent already, without waiting: its last words after it has ended. */
void qmp_drain(struct qmp *q);

/* Close; commands under way are forgotten. on_closed comes from the loop, and no other event. */
void qmp_close(struct qmp *q);

#endif
