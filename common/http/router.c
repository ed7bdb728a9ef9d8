#include "common/http/router.h"

#include "common/base/encode.h"

/* A terminated, decoded copy in the arena; NULL with *bad when an escape is malformed or stands for
 * NUL. */
static char *decode(struct arena *a, struct str raw, bool form, bool *bad)
{
    struct buf text = { 0 };
    char *copy = NULL;
    *bad = !percent_decode(&text, raw, form) || str_find(buf_str(&text), '\0') >= 0;
    if (!*bad)
        copy = arena_dup(a, buf_str(&text));
    buf_deinit(&text);
    return copy;
}

/* Match the raw path, leaving the parameters' raw segments in params; -1 when it does not fit. */
static int match(struct str pattern, struct str path, struct str params[ROUTE_PARAMS_MAX])
{
    int n = 0;
    while (pattern.p && path.p) {
        struct str want = str_split(&pattern, '/');
        struct str have = str_split(&path, '/');
        if (want.n > 1 && want.p[0] == '{' && want.p[want.n - 1] == '}') {
            if (have.n == 0 || n == ROUTE_PARAMS_MAX)
                return -1;
            params[n++] = have;
        } else if (!str_eq(want, have)) {
            return -1;
        }
    }
    return pattern.p || path.p ? -1 : n;
}

static bool method_fits(const char *method, struct str asked)
{
    return str_eq(str_of(method), asked) ||
           (str_eq(asked, STR("HEAD")) && str_eq(str_of(method), STR("GET")));
}

/* Add a method to a comma list, once. */
static const char *add_method(struct arena *a, const char *list, const char *method)
{
    struct str rest = str_of(list);
    while (rest.p)
        if (str_eq(str_trim(str_split(&rest, ',')), str_of(method)))
            return list;
    return list ? arena_printf(a, "%s, %s", list, method) : method;
}

const struct http_route *http_route_find(const struct http_route *table, struct http_request *r,
                                         int *status, const char **allow)
{
    struct str rest = r->head->target;
    r->path = str_split(&rest, '?');
    r->query = rest.p ? rest : STR("");
    *allow = NULL;
    for (const struct http_route *route = table; route->method; route++) {
        struct str params[ROUTE_PARAMS_MAX];
        int n = match(str_of(route->pattern), r->path, params);
        if (n < 0)
            continue;
        if (!method_fits(route->method, r->head->method)) {
            *allow = add_method(&r->stream->arena, *allow, route->method);
            continue;
        }
        for (int i = 0; i < n; i++) {
            bool bad;
            r->params[i] = decode(&r->stream->arena, params[i], false, &bad);
            if (!r->params[i]) {
                *status = bad ? 400 : 500;
                return NULL;
            }
        }
        return route;
    }
    *status = *allow ? 405 : 404;
    return NULL;
}

/* Whether a raw query key stands for `name`. */
static bool is_key(struct str raw, const char *name)
{
    if (str_eq(raw, str_of(name)))
        return true;
    if (str_find(raw, '%') < 0 && str_find(raw, '+') < 0)
        return false;
    struct buf key = { 0 };
    bool is = percent_decode(&key, raw, true) && str_eq(buf_str(&key), str_of(name));
    buf_deinit(&key);
    return is;
}

char *http_query_get(struct http_request *r, const char *name, bool *bad)
{
    *bad = false;
    struct str rest = r->query;
    while (rest.p) {
        struct str value = str_split(&rest, '&');
        if (value.n == 0)
            continue;
        struct str key = str_split(&value, '=');
        if (is_key(key, name))
            return decode(&r->stream->arena, value.p ? value : STR(""), true, bad);
    }
    return NULL;
}
