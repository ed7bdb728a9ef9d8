/* Routes: method and path pattern to handler. Patterns are matched on the raw path, so that %2F in
 * a segment is no separator; parameters are given decoded. */
#ifndef COMMON_HTTP_ROUTER_H
#define COMMON_HTTP_ROUTER_H

#include "common/http/http.h"

#define ROUTE_PARAMS_MAX 4

struct http_request {
    struct http_stream *stream;
    const struct http_head *head;
    struct str path;                /* raw, without the query */
    struct str query;               /* raw, without '?' */
    char *params[ROUTE_PARAMS_MAX]; /* decoded; in the stream's arena; contain no NUL */
    void *context;                  /* the router's */
    void *user;                     /* the handler's own */
};

struct http_route {
    const char *method;  /* NULL ends the table */
    const char *pattern; /* "/sandboxes/{id}/timeout" */
    void (*handler)(struct http_request *r);
    unsigned flags; /* the program's own */
};

/* Find the route of r->head and fill r->path, query, params: the first one of the table that fits;
 * a parameter is one segment that is not empty; HEAD is also answered by a route of GET. NULL and
 * *status 404, 405 (then *allow is a comma list in the arena) or 400 (bad escape) when there is
 * none. */
const struct http_route *http_route_find(const struct http_route *table, struct http_request *r,
                                         int *status, const char **allow);

/* Decoded value of the first query parameter of that name (form decoding: '+' is a space), in the
 * stream's arena; NULL when absent. *bad is set when the escape is malformed or has a NUL. */
char *http_query_get(struct http_request *r, const char *name, bool *bad);

/* Collect a request's whole body, at most `max` bytes, then call done(r, body, n, 0) once; over the
 * limit done(r, NULL, 0, EFBIG) (from inside this call when the request's length already tells),
 * aborted requests done(r, NULL, 0, ECONNRESET), without memory ENOMEM. The body is followed by a
 * NUL; it and r, which is copied into the stream's arena, stay valid until the stream closes.
 * on_close (may be NULL) is told when the stream is gone, after done; it is how a handler that
 * answers later learns not to. Takes s->events and s->user; done may replace both. */
void http_collect_body(const struct http_request *r, size_t max,
                       void (*done)(struct http_request *r, const uint8_t *body, size_t n,
                                    int errnum),
                       void (*on_close)(struct http_request *r));

#endif
