#include "common/base/cleanup.h"
#include "orchestrator/api/list_query.h"
#include "orchestrator/api/parse.h"
#include "orchestrator/api/respond.h"
#include "orchestrator/api/routes.h"
#include "orchestrator/api/sandbox_json.h"

#include <errno.h>

static struct list_place place_of(const struct sandbox *sb)
{
    struct list_place p = { .started_ns = sb->started_ns };
    memcpy(p.id, sb->id, sizeof(p.id));
    return p;
}

static int compare(const void *a, const void *b)
{
    struct list_place pa = place_of(*(struct sandbox *const *)a);
    struct list_place pb = place_of(*(struct sandbox *const *)b);
    return list_place_compare(&pa, &pb);
}

static int compare_down(const void *a, const void *b)
{
    return compare(b, a);
}

static bool has_metadata(const struct sandbox *sb, json_t *wanted)
{
    const char *name;
    json_t *value;
    json_object_foreach (wanted, name, value) {
        const json_t *have = json_object_get(sb->metadata, name);
        if (!have || !json_equal(have, value))
            return false;
    }
    return true;
}

/* Otherwise it is paused, or on the way into that or out of it. */
static bool is_running(const struct sandbox *sb)
{
    return sm_state(&sb->sm) == SANDBOX_RUNNING;
}

static bool fits(const struct sandbox *sb, const struct list_query *q, const char *team_id,
                 const char *template_id)
{
    return (is_running(sb) ? q->running : q->paused) && strcmp(sb->team_id, team_id) == 0 &&
           sb->started_ns >= q->started_after_ns &&
           (!template_id || strcmp(sb->template_id, template_id) == 0) &&
           has_metadata(sb, q->metadata);
}

static size_t list_length(const struct list *l)
{
    size_t n = 0;
    list_for_each (node, l)
        n++;
    return n;
}

/* All that fit, in order; malloc'ed. NULL when memory is out. */
static struct sandbox **collect(struct sandbox_host *h, const struct list_query *q,
                                const char *team_id, const char *template_id, size_t *n)
{
    struct list *lists[] = { sandbox_host_list(h), sandbox_host_list_paused(h) };
    size_t most = list_length(lists[0]) + list_length(lists[1]);
    struct sandbox **found = calloc(most + 1, sizeof(struct sandbox *));
    *n = 0;
    if (!found)
        return NULL;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        list_for_each (node, lists[i]) {
            struct sandbox *sb = container_of(node, struct sandbox, node);
            if (fits(sb, q, team_id, template_id))
                found[(*n)++] = sb;
        }
    }
    qsort(found, *n, sizeof(*found), q->ascending ? compare : compare_down);
    return found;
}

static size_t count_running(struct sandbox *const *found, size_t n)
{
    size_t running = 0;
    for (size_t i = 0; i < n; i++)
        running += is_running(found[i]);
    return running;
}

/* How many of the ordered ones are up to and with the cursor. */
static size_t skipped(struct sandbox *const *found, size_t n, const struct list_query *q)
{
    size_t skip = 0;
    while (q->has_cursor && skip < n) {
        struct list_place p = place_of(found[skip]);
        int order = list_place_compare(&p, &q->cursor);
        if (q->ascending ? order > 0 : order < 0)
            break;
        skip++;
    }
    return skip;
}

static json_t *to_json(struct sandbox *const *found, size_t n)
{
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(list, sandbox_json_listed(found[i]));
    return list;
}

static void respond_page(struct api_call *c, const struct list_query *q, const char *template_id)
{
    size_t n;
    AUTO_FREE struct sandbox **found = collect(c->api->o.host, q, c->key.team_id, template_id, &n);
    if (!found) {
        api_fail(c, 500, "out of memory");
        return;
    }
    size_t first = skipped(found, n, q);
    size_t count = n - first < q->limit ? n - first : q->limit;
    struct http_field fields[2];
    size_t nfields = 0;
    char total[24];
    if (q->running) {
        snprintf(total, sizeof(total), "%zu", count_running(found, n));
        fields[nfields++] = (struct http_field){ STR("x-total-running"), str_of(total) };
    }
    AUTO_FREE char *token = NULL;
    if (first + count < n) {
        struct list_place last = place_of(found[first + count - 1]);
        token = list_token(&last, q->ascending);
        if (token)
            fields[nfields++] = (struct http_field){ STR("x-next-token"), str_of(token) };
    }
    api_respond_fields(c, 200, to_json(found + first, count), fields, nfields);
}

/* A list of one template's sandboxes: its reference is looked up first. */
struct by_template {
    struct store_job job;
    struct api_call *call;
    struct list_query query;
    char ref[TEMPLATE_REF_MAX + 1];
    struct store_template template;
    struct err err;
    int rc;
};

static void find_template(struct store_job *job, struct db *db)
{
    struct by_template *b = container_of(job, struct by_template, job);
    b->rc = db_template_find(db, b->call->key.team_id, b->ref, &b->template, &b->err);
}

static void on_template(struct store_job *job)
{
    struct by_template *b = container_of(job, struct by_template, job);
    struct api_call *c = b->call;
    if (b->rc == 0)
        respond_page(c, &b->query, b->template.id);
    else if (b->err.code == ERR_NOT_FOUND || b->err.code == ERR_DENIED ||
             b->err.code == ERR_INVALID)
        respond_page(c, &b->query, ""); /* which none has: nothing fits */
    else
        api_fail_err(c, &b->err);
    list_query_deinit(&b->query);
    free(b);
    api_call_unref(c);
}

/* Takes q over. */
static void list_by_template(struct api_call *c, struct list_query *q)
{
    struct by_template *b = calloc(1, sizeof(*b));
    if (!b || !str_copy(str_of(q->template_ref), b->ref, sizeof(b->ref))) {
        api_fail(c, b ? 400 : 500,
                 b ? "validation error: query parameter 'template' is too long" : "out of memory");
        free(b);
        list_query_deinit(q);
        return;
    }
    b->query = *q;
    b->query.template_ref = NULL;
    b->call = c;
    b->job = (struct store_job){ .work = find_template, .done = on_template };
    api_call_ref(c);
    store_run(c->api->o.store, &b->job);
}

void api_sandbox_list_v2(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    struct list_query q;
    struct err err;
    if (list_query_parse(r, &q, &err)) {
        api_fail_err(c, &err);
    } else if (q.template_ref) {
        list_by_template(c, &q);
    } else {
        respond_page(c, &q, NULL);
        list_query_deinit(&q);
    }
}

/* Of older clients: what runs, all of it, newest first. */
void api_sandbox_list_v1(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    struct list_query q = { .running = true, .started_after_ns = INT64_MIN };
    struct err err;
    const char *text;
    int rc = parse_query(r, "metadata", &text, &err);
    if (rc == 0 && text && text[0]) {
        q.metadata = list_metadata_parse(text, &err);
        rc = q.metadata ? 0 : -EINVAL;
    }
    if (rc) {
        api_fail_err(c, &err);
        return;
    }
    size_t n;
    AUTO_FREE struct sandbox **found = collect(c->api->o.host, &q, c->key.team_id, NULL, &n);
    if (found)
        api_respond(c, 200, to_json(found, n));
    else
        api_fail(c, 500, "out of memory");
    list_query_deinit(&q);
}
