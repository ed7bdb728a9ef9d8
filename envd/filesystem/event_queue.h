/* Events of a watch that wait for a client. */
#ifndef ENVD_FILESYSTEM_EVENT_QUEUE_H
#define ENVD_FILESYSTEM_EVENT_QUEUE_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/list.h"
#include "envd/filesystem/notifier.h"
#include "filesystem.pb-c.h"

#define EVENT_QUEUE_MAX  (16U << 20) /* bytes that wait for one client */
#define EVENT_QUEUES_MAX (32U << 20) /* and for all of them */
#define EVENT_SIZE_MIN   3           /* bytes of one event: kind, a name, its end */

/* All queues of a program. */
struct event_queues {
    struct list all;
    size_t used; /* bytes that wait */
};

struct event_queue {
    struct event_queues *queues; /* borrowed */
    struct list node;            /* in queues->all */
    struct buf bytes;            /* of each event one byte and the terminated name */
    struct err lost;             /* code 0: nothing was lost */
};

void event_queues_init(struct event_queues *queues);
void event_queue_init(struct event_queue *q, struct event_queues *queues);

/* Add an event. When there is no room for it in this queue, or in all of them together, this queue
 * or the longest one is emptied and its `lost` is set. */
void event_queue_add(struct event_queue *q, enum watch_event event, const char *name);
void event_queue_lose(struct event_queue *q, const struct err *err);
void event_queue_deinit(struct event_queue *q);

static inline bool event_queue_empty(const struct event_queue *q)
{
    return buf_len(&q->bytes) == 0;
}

/* Take the first event as a message in the arena, with the entry if has_entry and it can be read.
 * NULL when memory is out. */
Filesystem__FilesystemEvent *event_queue_take(struct event_queue *q, struct arena *arena,
                                              const char *root, bool has_entry);

#endif
