#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "orchestrator/api/list_query.h"
#include "orchestrator/api/page_token.h"
#include "orchestrator/api/parse.h"
#include "orchestrator/api/respond.h"
#include "orchestrator/api/routes.h"

#include <errno.h>

struct listing {
    struct api_call *call;
    unsigned limit; /* of the page; one more is asked for, to know whether there are more */
};

static char *token_after(const struct store_snapshot *last)
{
    char time[CLOCK_TEXT_MAX], text[PAGE_TOKEN_PLAIN_MAX];
    clock_rfc3339(last->created_ns, time);
    int n = snprintf(text, sizeof(text), "%s__%s__%s", time, last->template_id, last->tag);
    return page_token_encode((struct str){ text, (size_t)n });
}

static void on_listed(void *user, const struct store_snapshot *list, size_t n,
                      const struct err *err)
{
    struct listing *l = user;
    struct api_call *c = l->call;
    size_t shown = n < l->limit ? n : l->limit;
    if (err) {
        api_fail_err(c, err);
    } else {
        json_t *page = json_array();
        for (size_t i = 0; i < shown; i++)
            json_array_append_new(
                page, json_pack("{s:s, s:o}", "snapshotID", list[i].id, "names",
                                list[i].name[0] ? json_pack("[s]", list[i].name) : json_array()));
        AUTO_FREE char *token = n > shown ? token_after(&list[shown - 1]) : NULL;
        struct http_field next = { STR("x-next-token"), str_of(token ? token : "") };
        api_respond_fields(c, 200, page, &next, token != NULL);
    }
    free(l);
    api_call_unref(c);
}

/* The place that a token names: a time, a template, and its tag, which may hold anything. */
static int parse_token(const struct api_call *c, const char *token, struct snapshot_filter *filter,
                       struct err *err)
{
    char plain[PAGE_TOKEN_PLAIN_MAX];
    struct str rest;
    if (page_token_decode(token, plain, &rest)) {
        struct arena *arena = &c->r.stream->arena;
        struct str time = page_token_split(&rest);
        struct str template = page_token_split(&rest);
        filter->after_template = arena_dup(arena, template);
        filter->after_tag = arena_dup(arena, rest);
        if (page_token_time(time, &filter->after_ns) && template.n && rest.n &&
            filter->after_template && filter->after_tag)
            return 0;
    }
    return err_set(err, ERR_INVALID, EINVAL, "Invalid next token");
}

static int parse_filter(struct api_call *c, struct snapshot_filter *filter, struct err *err)
{
    const char *sandbox, *name, *limit, *token;
    int rc = parse_query(&c->r, "sandboxID", &sandbox, err);
    if (rc == 0)
        rc = parse_query(&c->r, "name", &name, err);
    if (rc == 0)
        rc = parse_query(&c->r, "limit", &limit, err);
    if (rc == 0)
        rc = parse_query(&c->r, "nextToken", &token, err);
    if (rc)
        return rc;
    filter->limit = LIST_LIMIT_MAX;
    if (sandbox && sandbox[0])
        rc = parse_sandbox_id(&c->r, sandbox, &filter->sandbox_id, err);
    if (rc == 0 && name && name[0])
        filter->name = name;
    if (rc == 0 && limit && limit[0])
        rc = list_limit_parse(limit, &filter->limit, err);
    if (rc == 0 && token && token[0])
        rc = parse_token(c, token, filter, err);
    return rc;
}

void api_snapshot_list(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    struct snapshot_filter filter = { 0 };
    struct err err;
    if (parse_filter(c, &filter, &err)) {
        api_fail_err(c, &err);
        return;
    }
    struct listing *l = malloc(sizeof(*l));
    if (!l) {
        api_fail(c, 500, "out of memory");
        return;
    }
    *l = (struct listing){ c, filter.limit++ };
    api_call_ref(c);
    store_snapshot_list(c->api->o.store, c->key.team_id, &filter, on_listed, l);
}
