#include "orchestrator/api/list_query.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/encode.h"
#include "orchestrator/api/page_token.h"
#include "orchestrator/api/parse.h"

#include <errno.h>

#define TOKEN_ASC "asc"

int list_place_compare(const struct list_place *a, const struct list_place *b)
{
    if (a->started_ns != b->started_ns)
        return a->started_ns < b->started_ns ? -1 : 1;
    return strcmp(a->id, b->id);
}

char *list_token(const struct list_place *last, bool ascending)
{
    char time[CLOCK_TEXT_MAX], text[CLOCK_TEXT_MAX + SANDBOX_ID_SIZE + 16];
    clock_rfc3339(last->started_ns, time);
    int n =
        snprintf(text, sizeof(text), "%s__%s%s", time, last->id, ascending ? "__" TOKEN_ASC : "");
    return page_token_encode((struct str){ text, (size_t)n });
}

static bool is_id(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] >= '0' && s.p[i] <= '9')))
            return false;
    return s.n > 0;
}

int list_token_parse(const char *text, bool ascending, struct list_place *out, struct err *err)
{
    char plain[PAGE_TOKEN_PLAIN_MAX];
    struct str rest;
    if (page_token_decode(text, plain, &rest)) {
        struct str time = page_token_split(&rest);
        struct str id = page_token_split(&rest);
        struct str order = ascending ? STR(TOKEN_ASC) : STR("");
        if (page_token_time(time, &out->started_ns) && is_id(id) && str_eq(rest, order) &&
            str_copy(id, out->id, sizeof(out->id)))
            return 0;
    }
    return err_set(err, ERR_INVALID, EINVAL, "Invalid next token");
}

/* Decode a part as a form has it into *out, terminated. */
static bool decode(struct str s, struct buf *out)
{
    buf_clear(out);
    return percent_decode(out, s, true) && str_find(buf_str(out), '\0') < 0 && buf_putc(out, '\0');
}

/* One "name=value" into the object. */
static bool add_pair(json_t *object, struct str pair)
{
    struct str value = pair;
    struct str name = str_split(&value, '=');
    if (!value.p || str_find(value, '=') >= 0)
        return false;
    struct buf n = { 0 }, v = { 0 };
    bool ok = decode(name, &n) && decode(value, &v) &&
              json_object_set_new(object, (const char *)buf_head(&n),
                                  json_string((const char *)buf_head(&v))) == 0;
    buf_deinit(&n);
    buf_deinit(&v);
    return ok;
}

json_t *list_metadata_parse(const char *text, struct err *err)
{
    json_t *object = json_object();
    struct buf whole = { 0 };
    bool ok = object && percent_decode(&whole, str_of(text), true);
    struct str rest = buf_str(&whole);
    while (ok && rest.p)
        ok = add_pair(object, str_split(&rest, '&'));
    buf_deinit(&whole);
    if (ok)
        return object;
    json_decref(object);
    err_fill(err, ERR_INVALID,
             "validation error: query parameter 'metadata' must be name=value pairs");
    return NULL;
}

static int parse_states(const char *text, struct list_query *q, struct err *err)
{
    struct str rest = str_of(text);
    q->running = q->paused = false;
    while (rest.p) {
        struct str state = str_split(&rest, ',');
        if (str_eq(state, STR("running")))
            q->running = true;
        else if (str_eq(state, STR("paused")))
            q->paused = true;
        else
            return err_set(err, ERR_INVALID, EINVAL,
                           "validation error: query parameter 'state' must be running, paused or "
                           "both, with a comma between");
    }
    return 0;
}

static int parse_order(const char *text, struct list_query *q, struct err *err)
{
    q->ascending = strcmp(text, "asc") == 0;
    if (q->ascending || strcmp(text, "desc") == 0)
        return 0;
    return err_set(err, ERR_INVALID, EINVAL,
                   "validation error: query parameter 'order' must be asc or desc");
}

int list_limit_parse(const char *text, unsigned *limit, struct err *err)
{
    uint64_t n;
    if (!str_to_u64(str_of(text), LIST_LIMIT_MAX, &n) || n == 0)
        return err_set(err, ERR_INVALID, EINVAL,
                       "validation error: query parameter 'limit' must be from 1 to %d",
                       LIST_LIMIT_MAX);
    *limit = (unsigned)n;
    return 0;
}

static int parse_limit(const char *text, struct list_query *q, struct err *err)
{
    return list_limit_parse(text, &q->limit, err);
}

static int parse_started_after(const char *text, struct list_query *q, struct err *err)
{
    if (page_token_time(str_of(text), &q->started_after_ns))
        return 0;
    return err_set(err, ERR_INVALID, EINVAL,
                   "validation error: query parameter 'startedAfter' must be an RFC 3339 time");
}

static int parse_metadata(const char *text, struct list_query *q, struct err *err)
{
    q->metadata = list_metadata_parse(text, err);
    return q->metadata ? 0 : -EINVAL;
}

static int parse_template(const char *text, struct list_query *q, struct err *err)
{
    if (strchr(text, ':'))
        return err_set(err, ERR_INVALID, EINVAL,
                       "validation error: query parameter 'template' takes no tag");
    q->template_ref = text;
    return 0;
}

static int parse_cursor(const char *text, struct list_query *q, struct err *err)
{
    int rc = list_token_parse(text, q->ascending, &q->cursor, err);
    q->has_cursor = rc == 0;
    return rc;
}

int list_query_parse(struct http_request *r, struct list_query *q, struct err *err)
{
    static const struct {
        const char *name;
        int (*parse)(const char *text, struct list_query *q, struct err *err);
    } parameters[] = {
        { "state", parse_states },      { "order", parse_order },
        { "limit", parse_limit },       { "startedAfter", parse_started_after },
        { "metadata", parse_metadata }, { "template", parse_template },
        { "nextToken", parse_cursor }, /* after order, which it must fit */
    };
    *q = (struct list_query){
        .running = true, .paused = true, .started_after_ns = INT64_MIN, .limit = LIST_LIMIT_MAX
    };
    for (size_t i = 0; i < ARRAY_LEN(parameters); i++) {
        const char *text;
        int rc = parse_query(r, parameters[i].name, &text, err);
        if (rc == 0 && text && text[0])
            rc = parameters[i].parse(text, q, err);
        if (rc) {
            list_query_deinit(q);
            return rc;
        }
    }
    return 0;
}

void list_query_deinit(struct list_query *q)
{
    json_decref(q->metadata);
    q->metadata = NULL;
}
