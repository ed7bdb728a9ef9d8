/*
 * From a request's head to its handler:
 *
 *   head -> route -> key looked up in the store   \
 *   body collected, at most a window until then   /  both done -> JSON -> handler
 *
 * A client without a good key can make us hold no more than a window of its body.
 */
#include "orchestrator/api/call.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "orchestrator/api/respond.h"
#include "orchestrator/api/routes.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#define CALL_MAGIC 0x6c6c6163u

static struct api_call *of_stream(struct http_stream *s)
{
    struct api_call *c = s->user;
    assert(c && c->magic == CALL_MAGIC);
    return c;
}

void api_call_ref(struct api_call *c)
{
    c->refs++;
}

void api_call_unref(struct api_call *c)
{
    assert(c->magic == CALL_MAGIC && c->refs > 0);
    if (--c->refs)
        return;
    struct api *api = c->api;
    json_decref(c->body);
    buf_deinit(&c->received);
    c->magic = 0;
    free(c);
    api->calls--;
    if (api->calls == 0 && api->freed) {
        void (*freed)(void *user) = api->freed;
        void *user = api->freed_user;
        idempotency_deinit(&api->idempotency);
        free(api);
        freed(user);
    }
}

const char *api_call_actor(const struct api_call *c, char out[static API_ACTOR_SIZE])
{
    snprintf(out, API_ACTOR_SIZE, "key %s%s...%s", c->key.mask_prefix, c->key.mask_first,
             c->key.mask_last);
    return out;
}

/* The body as a JSON object. false: answered. */
static bool parse_body(struct api_call *c)
{
    if (buf_len(&c->received) == 0 && c->route->flags & API_BODY_OPTIONAL) {
        c->body = json_object();
        return true;
    }
    json_error_t error;
    c->body = json_loadb((const char *)buf_head(&c->received), buf_len(&c->received), 0, &error);
    buf_deinit(&c->received);
    c->received = (struct buf){ 0 };
    if (!c->body) {
        api_fail(c, 400, "validation error: the body is no JSON: %s", error.text);
        return false;
    }
    if (!json_is_object(c->body)) {
        api_fail(c, 400, "validation error: the body must be a JSON object");
        return false;
    }
    return true;
}

static bool has_body(const struct api_call *c)
{
    return c->route && c->route->flags & (API_BODY | API_BODY_OPTIONAL);
}

/* Go on when both the key and the body, if one is wanted, are there. */
static void handle(struct api_call *c)
{
    if (!c->admitted || (has_body(c) && !c->ended) || c->handled || c->responded)
        return;
    c->handled = true;
    if (has_body(c) && !parse_body(c))
        return;
    c->route->handler(&c->r);
    /* Its members take many times the memory of its text: not for as long as an operation takes. */
    json_decref(TAKE(c->body));
}

static void refuse_size(struct api_call *c)
{
    api_fail(c, 413, "the body is larger than %u bytes", API_BODY_MAX);
    buf_deinit(&c->received);
    c->received = (struct buf){ 0 };
}

static void on_data(struct http_stream *s, const uint8_t *data, size_t n)
{
    struct api_call *c = of_stream(s);
    if (c->responded || !has_body(c)) {
        http_consume(s, n);
        return;
    }
    if (n > API_BODY_MAX - buf_len(&c->received))
        refuse_size(c);
    else if (!buf_append(&c->received, data, n))
        api_fail(c, 500, "out of memory");
    if (c->admitted || c->responded)
        http_consume(s, n);
    else
        c->unconsumed += n;
}

static void on_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    (void)trailers;
    (void)n;
    struct api_call *c = of_stream(s);
    c->ended = true;
    handle(c);
}

static void on_close(struct http_stream *s, int errnum)
{
    (void)errnum;
    struct api_call *c = of_stream(s);
    static const struct http_head no_head;
    static char nothing[1];
    c->r = (struct http_request){ .head = &no_head, .path = STR(""), .query = STR("") };
    for (size_t i = 0; i < ARRAY_LEN(c->r.params); i++)
        c->r.params[i] = nothing;
    api_call_unref(c);
}

static void on_writable(struct http_stream *s)
{
    (void)s;
}

static const struct http_stream_events call_events = {
    .on_data = on_data,
    .on_end = on_end,
    .on_writable = on_writable,
    .on_close = on_close,
};

static void on_looked_up(struct store_job *job)
{
    struct api_call *c = container_of(job, struct api_call, lookup);
    if (c->r.stream) {
        if (c->lookup_rc == -ENOENT)
            api_fail(c, 401, "invalid API key");
        else if (c->lookup_rc)
            api_fail_err(c, &c->lookup_err);
        else
            c->admitted = true;
        c->key = c->found;
        if (c->unconsumed)
            http_consume(c->r.stream, c->unconsumed);
        c->unconsumed = 0;
        handle(c);
    }
    api_call_unref(c);
}

static void look_up(struct store_job *job, struct db *db)
{
    struct api_call *c = container_of(job, struct api_call, lookup);
    c->lookup_rc = db_key_lookup(db, c->hash, &c->found, &c->lookup_err);
}

/* Find the route and whether it may be taken; the answer may already be given here. */
static void begin(struct api_call *c)
{
    int status;
    const char *allow;
    if (str_eq(c->r.head->method, STR("OPTIONS"))) {
        api_respond_preflight(c);
        return;
    }
    c->route = http_route_find(api_routes, &c->r, &status, &allow);
    if (!c->route) {
        if (status == 404)
            api_fail(c, 404, "there is nothing at this path");
        else if (status == 405)
            api_fail(c, 405, "this path takes only %s", allow);
        else if (status == 400)
            api_fail(c, 400, "the path has a malformed escape");
        else
            api_fail(c, 500, "out of memory");
        return;
    }
    if (c->r.head->content_length > (int64_t)API_BODY_MAX) {
        refuse_size(c);
        return;
    }
    if (c->route->flags & API_OPEN) {
        c->admitted = true;
        handle(c);
        return;
    }
    struct str key = http_field_get(c->r.head, "x-api-key");
    if (!key.p) {
        api_fail(c, 401, "the X-API-KEY header is missing");
        return;
    }
    if (!key_hash(str_trim(key), c->hash)) {
        api_fail(c, 401, "invalid API key");
        return;
    }
    api_call_ref(c);
    c->lookup = (struct store_job){ .work = look_up, .done = on_looked_up };
    store_run(c->api->o.store, &c->lookup);
}

void api_call_start(struct api *api, struct http_stream *s, const struct http_head *head)
{
    struct api_call *c = calloc(1, sizeof(*c));
    if (!c) {
        http_respond(s, 500, "application/json", API_OUT_OF_MEMORY, strlen(API_OUT_OF_MEMORY));
        return;
    }
    c->magic = CALL_MAGIC;
    c->refs = 1;
    c->api = api;
    c->r = (struct http_request){ .stream = s, .head = head, .path = head->target };
    c->began_ns = clock_mono_ns();
    api->calls++;
    s->user = c;
    s->events = &call_events;
    begin(c);
}
