/* Request targets: query parameters and path parameters. Input: the target. What is decoded has no
 * NUL and is not longer than what it came from. */
#include "common/http/router.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void handle(struct http_request *r)
{
    (void)r;
}

static const struct http_route routes[] = {
    { "GET", "/files", handle, 0 },
    { "GET", "/sandboxes/{id}", handle, 0 },
    { "GET", "/a/{one}/b/{two}", handle, 0 },
    { NULL },
};

static void check_query(struct http_request *r, const char *name)
{
    bool bad;
    const char *value = http_query_get(r, name, &bad);
    assert(!bad || !value);
    if (!value)
        return;
    size_t n = strlen(value);
    assert(n <= r->query.n);
    /* Text that needs no decoding is found as it is. */
    if (str_find(r->query, '%') < 0 && str_find(r->query, '+') < 0 && n > 0)
        assert(memmem(r->query.p, r->query.n, value, n));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_stream stream = { 0 };
    struct http_head head = { .method = STR("GET"), .target = { (const char *)data, size } };
    struct http_request r = { .stream = &stream, .head = &head };
    const char *allow = NULL;
    int status = 0;
    const struct http_route *route = http_route_find(routes, &r, &status, &allow);
    assert(route ? status == 0 : status == 404 || status == 400);
    if (route) {
        for (int i = 0; i < ROUTE_PARAMS_MAX && r.params[i]; i++)
            assert(r.params[i][0] && strlen(r.params[i]) <= r.path.n);
        check_query(&r, "path");
        check_query(&r, "signature_expiration");
        check_query(&r, "");
    }
    arena_deinit(&stream.arena);
    return 0;
}
