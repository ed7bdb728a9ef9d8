/*
 * SandboxService.List. Sandboxes are ordered by when they started, then by id, so that a page can
 * begin right behind the last one of the page before, whatever came and went meanwhile. A page also
 * ends where its message would become too large.
 */
#include "common/base/cleanup.h"
#include "orchestrator/node/service.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define PAGE_DEFAULT 100
#define PAGE_MAX     1000
/* Bytes of a page's sandboxes: clients take 4 MiB by default, and one sandbox has at most about 300
 * KiB. */
#define PAGE_BYTES_MAX (2U << 20)

typedef Sandpit__Node__V1__ListSandboxesRequest request;

struct place {
    int64_t started_ns;
    char id[SANDBOX_ID_SIZE];
};

struct list_job {
    struct store_job job;
    struct node_call *call;
    struct store_team team;
    struct err err;
    int rc;
};

static int order(const struct place *a, const struct place *b)
{
    if (a->started_ns != b->started_ns)
        return a->started_ns < b->started_ns ? -1 : 1;
    return strcmp(a->id, b->id);
}

static struct place place_of(const struct sandbox *sb)
{
    struct place p = { .started_ns = sb->started_ns };
    memcpy(p.id, sb->id, sizeof(p.id));
    return p;
}

static int oldest_first(const void *a, const void *b)
{
    struct place pa = place_of(*(const struct sandbox *const *)a);
    struct place pb = place_of(*(const struct sandbox *const *)b);
    return order(&pa, &pb);
}

static int newest_first(const void *a, const void *b)
{
    return oldest_first(b, a);
}

static int parse_token(const char *text, struct place *out, struct err *err)
{
    struct str id = str_of(text);
    struct str number = str_split(&id, '.');
    uint64_t ns;
    if (!id.p || !str_to_u64(number, INT64_MAX, &ns) || !str_copy(id, out->id, sizeof(out->id)))
        return err_set(err, ERR_INVALID, EINVAL, "page_token is none that was given out");
    out->started_ns = (int64_t)ns;
    return 0;
}

static bool has_metadata(const request *r, const struct sandbox *sb)
{
    for (size_t i = 0; i < r->n_metadata; i++) {
        const char *have = json_string_value(json_object_get(sb->metadata, r->metadata[i]->key));
        if (!have || strcmp(have, r->metadata[i]->value) != 0)
            return false;
    }
    return true;
}

static bool started_after(const Google__Protobuf__Timestamp *t, int64_t started_ns)
{
    int64_t seconds = started_ns / 1000000000, nanos = started_ns % 1000000000;
    return seconds != t->seconds ? seconds > t->seconds : nanos >= t->nanos;
}

static bool has_state(const request *r, const struct sandbox *sb)
{
    for (size_t i = 0; i < r->n_states; i++)
        if (r->states[i] == message_state(sb))
            return true;
    return r->n_states == 0;
}

static bool fits(const request *r, const char *team_id, const struct sandbox *sb)
{
    return (!team_id || strcmp(sb->team_id, team_id) == 0) &&
           (!r->template_id[0] || strcmp(sb->template_id, r->template_id) == 0) &&
           (!r->started_after || started_after(r->started_after, sb->started_ns)) &&
           has_state(r, sb) && has_metadata(r, sb);
}

/* All that fit, in order; malloc'ed. NULL when memory is out. */
static const struct sandbox **collect(struct node_call *c, const char *team_id, size_t *n)
{
    const request *r = (const void *)c->request;
    struct sandbox_host *h = node_of(c)->o.host;
    const struct list *lists[] = { sandbox_host_list(h), sandbox_host_list_paused(h) };
    size_t all = 1;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        list_for_each (node, lists[i])
            all++;
    const struct sandbox **found = calloc(all, sizeof(const struct sandbox *));
    *n = 0;
    if (!found)
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        list_for_each (node, lists[i]) {
            const struct sandbox *sb = container_of(node, struct sandbox, node);
            if (fits(r, team_id, sb))
                found[(*n)++] = sb;
        }
    qsort(found, *n, sizeof(struct sandbox *), r->oldest_first ? oldest_first : newest_first);
    return found;
}

/* How many of the ordered ones are up to and with the last one of the page before. */
static size_t skipped(const request *r, const struct sandbox *const *found, size_t n,
                      const struct place *last)
{
    size_t skip = 0;
    while (skip < n) {
        struct place p = place_of(found[skip]);
        if (r->oldest_first ? order(&p, last) > 0 : order(&p, last) < 0)
            break;
        skip++;
    }
    return skip;
}

static void reply_page(struct node_call *c, const char *team_id, const struct place *last)
{
    const request *r = (const void *)c->request;
    size_t n, limit = r->page_size ? r->page_size : PAGE_DEFAULT, bytes = 0;
    AUTO_FREE const struct sandbox **found = collect(c, team_id, &n);
    Sandpit__Node__V1__Sandbox **page = arena_alloc(&c->arena, limit * sizeof(void *));
    if (!found || !page) {
        struct err err;
        err_fill(&err, ERR_EXHAUSTED, "out of memory");
        node_call_fail(c, &err);
        return;
    }
    Sandpit__Node__V1__ListSandboxesResponse answer =
        SANDPIT__NODE__V1__LIST_SANDBOXES_RESPONSE__INIT;
    size_t i = r->page_token[0] ? skipped(r, found, n, last) : 0;
    for (; i < n && answer.n_sandboxes < limit && bytes < PAGE_BYTES_MAX; i++) {
        Sandpit__Node__V1__Sandbox *m = message_sandbox(&c->arena, found[i]);
        if (!m)
            break;
        page[answer.n_sandboxes++] = m;
        bytes += protobuf_c_message_get_packed_size(&m->base);
    }
    char position[EVENT_POSITION_SIZE], token[EVENT_POSITION_SIZE + SANDBOX_ID_SIZE];
    const struct event_log *log = sandbox_host_events(node_of(c)->o.host);
    event_position_format(log, log->newest, position);
    if (i > 0 && i < n) {
        snprintf(token, sizeof(token), "%" PRId64 ".%s", found[i - 1]->started_ns,
                 found[i - 1]->id);
        answer.next_page_token = token;
    }
    answer.sandboxes = page;
    answer.total = (uint32_t)n;
    answer.position = position;
    node_call_reply(c, &answer.base);
}

static void list(struct node_call *c, const char *team_id)
{
    const request *r = (const void *)c->request;
    struct place last;
    struct err err;
    if (r->page_token[0] && parse_token(r->page_token, &last, &err))
        node_call_fail(c, &err);
    else
        reply_page(c, team_id, &last);
}

static void find_team(struct store_job *job, struct db *db)
{
    struct list_job *j = container_of(job, struct list_job, job);
    const request *r = (const void *)j->call->request;
    j->rc = db_team_find(db, r->team, &j->team, &j->err);
}

static void on_team(struct store_job *job)
{
    struct list_job *j = container_of(job, struct list_job, job);
    if (j->rc)
        node_call_fail(j->call, &j->err);
    else
        list(j->call, j->team.id);
}

void sandbox_service_list(struct node_call *c)
{
    const request *r = (const void *)c->request;
    struct list_job *j = r->team[0] ? arena_zalloc(&c->arena, sizeof(*j)) : NULL;
    struct err err;
    if (r->page_size > PAGE_MAX) {
        err_fill(&err, ERR_INVALID, "page_size must be at most %d", PAGE_MAX);
        node_call_fail(c, &err);
    } else if (!r->team[0]) {
        list(c, NULL);
    } else if (!j) {
        err_fill(&err, ERR_EXHAUSTED, "out of memory");
        node_call_fail(c, &err);
    } else {
        j->call = c;
        j->job = (struct store_job){ .work = find_team, .done = on_team };
        store_run(node_of(c)->o.store, &j->job);
    }
}
