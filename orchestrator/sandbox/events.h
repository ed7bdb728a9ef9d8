/*
 * What happened to sandboxes, in order: a ring of the newest events in memory. Readers go through
 * it at their own pace by position, so a slow one costs nothing; one that is passed by is told so.
 */
#ifndef ORCHESTRATOR_SANDBOX_EVENTS_H
#define ORCHESTRATOR_SANDBOX_EVENTS_H

#include "common/base/err.h"
#include "common/base/list.h"
#include "orchestrator/sandbox/sandbox.h"

/* Events that are kept. */
#define EVENT_LOG_SIZE 4096

#define EVENT_REASON_SIZE 32
#define EVENT_DETAIL_SIZE 256

enum sandbox_event_kind {
    SANDBOX_EVENT_CREATED,
    SANDBOX_EVENT_RUNNING,
    SANDBOX_EVENT_UPDATED,
    SANDBOX_EVENT_ENDED,
    SANDBOX_EVENT_PAUSED,
    SANDBOX_EVENT_RESUMED,
};

struct sandbox_event {
    uint64_t seq; /* 1, 2, ... in a daemon's life */
    enum sandbox_event_kind kind;
    int64_t when_ns, end_ns; /* wall clock; end_ns as of the event */
    char sandbox_id[SANDBOX_ID_SIZE];
    char team_id[TEAM_ID_SIZE];
    char template_id[TEMPLATE_ID_SIZE];
    char reason[EVENT_REASON_SIZE];
    char detail[EVENT_DETAIL_SIZE];
};

/* What a position looks like to clients: the log it belongs to, which no other daemon's life has,
 * and the number of the event before it. */
#define EVENT_LOG_ID_SIZE   17
#define EVENT_POSITION_SIZE 40

struct event_log {
    char id[EVENT_LOG_ID_SIZE];
    struct sandbox_event *ring; /* EVENT_LOG_SIZE of them */
    uint64_t newest;            /* seq of the last one; 0: none yet */
    struct list watchers;
};

/* Told of each event from inside of what caused it: only note it, read later. */
struct event_watcher {
    struct list node;
    void (*on_event)(struct event_watcher *w);
};

/* false when memory is out. */
bool event_log_init(struct event_log *log);
void event_log_deinit(struct event_log *log);

/* Append; seq is filled in. */
void event_log_append(struct event_log *log, const struct sandbox_event *event);

/* The event that follows `seq`: 0 and *out (borrowed until the next append); -ENOENT when there is
 * none yet; -ESTALE (ERR_RANGE) when it is not kept any more. */
int event_log_read(const struct event_log *log, uint64_t seq, const struct sandbox_event **out,
                   struct err *err);

/* The seq before the oldest event that is kept. */
uint64_t event_log_before_oldest(const struct event_log *log);

void event_log_watch(struct event_log *log, struct event_watcher *w);
void event_log_unwatch(struct event_watcher *w);

/* The position behind `seq` as text, and back. -ESTALE (ERR_RANGE, "list again") when it is of an
 * earlier daemon's life or too old; -EINVAL when it is no position. */
void event_position_format(const struct event_log *log, uint64_t seq,
                           char out[static EVENT_POSITION_SIZE]);
int event_position_parse(const struct event_log *log, const char *text, uint64_t *seq,
                         struct err *err);

/* The name of a kind, "running". */
const char *sandbox_event_name(enum sandbox_event_kind kind);

/* Note what happened to a sandbox. reason and detail may be NULL. */
void sandbox_event(const struct sandbox *sb, enum sandbox_event_kind kind, const char *reason,
                   const char *detail);

#endif
