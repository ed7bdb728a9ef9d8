#include "envd/filesystem/event_queue.h"

#include "common/base/cleanup.h"
#include "envd/filesystem/entry.h"
#include "envd/filesystem/text.h"

void event_queues_init(struct event_queues *queues)
{
    list_init(&queues->all);
    queues->used = 0;
}

void event_queue_init(struct event_queue *q, struct event_queues *queues)
{
    *q = (struct event_queue){ .queues = queues };
    list_push_back(&queues->all, &q->node);
}

static void drop_all(struct event_queue *q)
{
    q->queues->used -= buf_len(&q->bytes);
    buf_deinit(&q->bytes);
}

void event_queue_deinit(struct event_queue *q)
{
    drop_all(q);
    list_remove(&q->node);
}

void event_queue_lose(struct event_queue *q, const struct err *err)
{
    drop_all(q);
    q->lost = *err;
}

static void overflow(struct event_queue *q, unsigned max)
{
    struct err err;
    err_fill(&err, ERR_EXHAUSTED,
             "the client was too slow: events were lost, more than %u bytes of them waited", max);
    event_queue_lose(q, &err);
}

static struct event_queue *longest(const struct event_queues *queues)
{
    struct event_queue *found = NULL;
    list_for_each (node, &queues->all) {
        struct event_queue *q = container_of(node, struct event_queue, node);
        if (!found || buf_len(&q->bytes) > buf_len(&found->bytes))
            found = q;
    }
    return found;
}

void event_queue_add(struct event_queue *q, enum watch_event event, const char *name)
{
    size_t need = strlen(name) + 2, before = buf_len(&q->bytes);
    if (before + need > EVENT_QUEUE_MAX) {
        overflow(q, EVENT_QUEUE_MAX);
        return;
    }
    /* Who fetches its events does not lose them by another that does not. */
    if (q->queues->used + need > EVENT_QUEUES_MAX) {
        struct event_queue *victim = longest(q->queues);
        overflow(victim, EVENT_QUEUES_MAX);
        if (victim == q)
            return;
    }
    bool added = buf_putc(&q->bytes, (char)event) && buf_append(&q->bytes, name, need - 1);
    q->queues->used += buf_len(&q->bytes) - before;
    if (!added)
        overflow(q, EVENT_QUEUE_MAX);
}

static Filesystem__EntryInfo *read_entry(struct arena *arena, const char *root, const char *name)
{
    struct entry_reader reader;
    Filesystem__EntryInfo *e = NULL;
    size_t n = strlen(root);
    char *path = arena_printf(arena, "%s%s%s", root, n && root[n - 1] == '/' ? "" : "/", name);
    entry_reader_init(&reader, arena);
    return path && entry_read(&reader, path, &e) == 0 ? e : NULL;
}

Filesystem__FilesystemEvent *event_queue_take(struct event_queue *q, struct arena *arena,
                                              const char *root, bool has_entry)
{
    const char *first = (const char *)buf_head(&q->bytes);
    enum watch_event event = (enum watch_event)first[0];
    struct str name = str_of(first + 1);
    Filesystem__FilesystemEvent *m = arena_alloc(arena, sizeof(*m));
    char *text = text_valid(arena, name);
    if (!m || !text)
        return NULL;
    filesystem__filesystem_event__init(m);
    m->type = (Filesystem__EventType)event;
    m->name = text;
    if (has_entry && (event == WATCH_CREATE || event == WATCH_WRITE || event == WATCH_CHMOD))
        m->entry = read_entry(arena, root, first + 1);
    if (m->entry)
        m->_entry_case = FILESYSTEM__FILESYSTEM_EVENT___ENTRY_ENTRY;
    q->queues->used -= name.n + 2;
    buf_consume(&q->bytes, name.n + 2);
    if (event_queue_empty(q))
        buf_deinit(&q->bytes); /* it may have been long */
    return m;
}
