#include "orchestrator/sandbox/events.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/encode.h"
#include "orchestrator/sandbox/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

bool event_log_init(struct event_log *log)
{
    uint8_t id[(EVENT_LOG_ID_SIZE - 1) / 2];
    *log = (struct event_log){ .ring = calloc(EVENT_LOG_SIZE, sizeof(*log->ring)) };
    list_init(&log->watchers);
    id_random_bytes(id, sizeof(id));
    hex_encode(id, sizeof(id), log->id);
    return log->ring != NULL;
}

void event_log_deinit(struct event_log *log)
{
    free(TAKE(log->ring));
}

void event_log_append(struct event_log *log, const struct sandbox_event *event)
{
    uint64_t seq = ++log->newest;
    struct sandbox_event *slot = &log->ring[seq % EVENT_LOG_SIZE];
    *slot = *event;
    slot->seq = seq;
    list_for_each (node, &log->watchers) {
        struct event_watcher *w = container_of(node, struct event_watcher, node);
        w->on_event(w);
    }
}

uint64_t event_log_before_oldest(const struct event_log *log)
{
    return log->newest > EVENT_LOG_SIZE ? log->newest - EVENT_LOG_SIZE : 0;
}

static int too_old(struct err *err)
{
    return err_set(err, ERR_RANGE, ESTALE, "the position is too old: list again");
}

int event_log_read(const struct event_log *log, uint64_t seq, const struct sandbox_event **out,
                   struct err *err)
{
    if (seq < event_log_before_oldest(log))
        return too_old(err);
    if (seq >= log->newest)
        return -ENOENT;
    *out = &log->ring[(seq + 1) % EVENT_LOG_SIZE];
    return 0;
}

void event_log_watch(struct event_log *log, struct event_watcher *w)
{
    list_push_back(&log->watchers, &w->node);
}

void event_log_unwatch(struct event_watcher *w)
{
    list_remove(&w->node);
}

void event_position_format(const struct event_log *log, uint64_t seq,
                           char out[static EVENT_POSITION_SIZE])
{
    snprintf(out, EVENT_POSITION_SIZE, "%s.%" PRIu64, log->id, seq);
}

int event_position_parse(const struct event_log *log, const char *text, uint64_t *seq,
                         struct err *err)
{
    struct str number = str_of(text);
    struct str id = str_split(&number, '.');
    if (id.n != EVENT_LOG_ID_SIZE - 1 || !number.p || !str_to_u64(number, UINT64_MAX, seq))
        return err_set(err, ERR_INVALID, EINVAL, "'%.40s' is no position", text);
    if (!str_eq(id, str_of(log->id)))
        return err_set(err, ERR_RANGE, ESTALE,
                       "the position is of an earlier run of the daemon: list again");
    if (*seq > log->newest)
        return err_set(err, ERR_INVALID, EINVAL, "nothing has happened yet at '%.40s'", text);
    return *seq < event_log_before_oldest(log) ? too_old(err) : 0;
}

const char *sandbox_event_name(enum sandbox_event_kind kind)
{
    static const char *const names[] = {
        [SANDBOX_EVENT_CREATED] = "created", [SANDBOX_EVENT_RUNNING] = "running",
        [SANDBOX_EVENT_UPDATED] = "updated", [SANDBOX_EVENT_ENDED] = "ended",
        [SANDBOX_EVENT_PAUSED] = "paused",   [SANDBOX_EVENT_RESUMED] = "resumed",
    };
    return names[kind];
}

void sandbox_event(const struct sandbox *sb, enum sandbox_event_kind kind, const char *reason,
                   const char *detail)
{
    struct sandbox_event e = { .kind = kind, .when_ns = clock_wall_ns(), .end_ns = sb->end_ns };
    snprintf(e.sandbox_id, sizeof(e.sandbox_id), "%s", sb->id);
    snprintf(e.team_id, sizeof(e.team_id), "%s", sb->team_id);
    snprintf(e.template_id, sizeof(e.template_id), "%s", sb->template_id);
    snprintf(e.reason, sizeof(e.reason), "%s", reason ? reason : "");
    snprintf(e.detail, sizeof(e.detail), "%s", detail ? detail : "");
    event_log_append(&sb->host->events, &e);
}
