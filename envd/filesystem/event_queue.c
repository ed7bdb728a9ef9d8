#include "envd/filesystem/event_queue.h"

#include "envd/filesystem/entry.h"
#include "envd/filesystem/text.h"

#include <errno.h>

void event_queue_deinit(struct event_queue *q)
{
    buf_deinit(&q->bytes);
}

void event_queue_lose(struct event_queue *q, const struct err *err)
{
    buf_deinit(&q->bytes);
    q->bytes = (struct buf){ 0 };
    q->lost = *err;
}

void event_queue_add(struct event_queue *q, enum watch_event event, const char *name)
{
    if (buf_len(&q->bytes) + strlen(name) + 2 <= EVENT_QUEUE_MAX &&
        buf_putc(&q->bytes, (char)event) && buf_append(&q->bytes, name, strlen(name) + 1))
        return;
    struct err err;
    (void)!err_set(&err, ERR_EXHAUSTED, ENOBUFS,
                   "the client was too slow: events were lost, more than %u bytes of them waited",
                   EVENT_QUEUE_MAX);
    event_queue_lose(q, &err);
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
    buf_consume(&q->bytes, name.n + 2);
    return m;
}
