/* What a list request asks for, and where a page begins. For this folder only. */
#ifndef ORCHESTRATOR_API_LIST_QUERY_H
#define ORCHESTRATOR_API_LIST_QUERY_H

#include "orchestrator/sandbox/sandbox.h"

#include "common/http/router.h"

#define LIST_LIMIT_MAX 100 /* and the default */

/* Sandboxes are ordered by when they started, then by id: no two are equal, so a page can begin
 * right behind the last one of the page before, whatever came and went meanwhile. */
struct list_place {
    int64_t started_ns;
    char id[SANDBOX_ID_SIZE];
};

struct list_query {
    bool running, paused;
    bool ascending;
    bool has_cursor;
    int64_t started_after_ns; /* INT64_MIN: any */
    unsigned limit;
    struct list_place cursor; /* the last one of the page before */
    json_t *metadata;         /* owned; object of strings that all must be equal; NULL: any */
    const char *template_ref; /* in the stream's arena; NULL: any */
};

/* Read the query of GET /v2/sandboxes. */
int list_query_parse(struct http_request *r, struct list_query *q, struct err *err);
void list_query_deinit(struct list_query *q);

/* "a=b&c=d", each name and value encoded once more, the whole once more: what remains of the
 * `metadata` parameter after the decoding that every parameter gets. A new object, or NULL. */
json_t *list_metadata_parse(const char *text, struct err *err);

/* A page's length, from 1 to LIST_LIMIT_MAX. */
int list_limit_parse(const char *text, unsigned *limit, struct err *err);

/* The order, ascending: below 0, 0, above 0. */
int list_place_compare(const struct list_place *a, const struct list_place *b);

/* The opaque token of a page that begins behind `last`; malloc'ed, NULL when memory is out. */
char *list_token(const struct list_place *last, bool ascending);

/* -EINVAL "Invalid next token", also when it was given out for the other order. */
int list_token_parse(const char *text, bool ascending, struct list_place *out, struct err *err);

#endif
