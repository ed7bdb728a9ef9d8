#include "orchestrator/api/parse.h"

#include "common/base/cleanup.h"

#include <errno.h>

/* The field's value; NULL when it is absent or null. */
static json_t *field(const json_t *obj, const char *name)
{
    json_t *v = json_object_get(obj, name);
    return json_is_null(v) ? NULL : v;
}

bool parse_has(const json_t *obj, const char *name)
{
    return field(obj, name) != NULL;
}

int parse_required(const json_t *obj, const char *name, struct err *err)
{
    if (field(obj, name))
        return 0;
    return err_set(err, ERR_INVALID, EINVAL, "validation error: field '%s' is required", name);
}

static int wrong_type(const char *name, const char *type, struct err *err)
{
    return err_set(err, ERR_INVALID, EINVAL, "validation error: field '%s' must be %s", name, type);
}

int parse_bool(const json_t *obj, const char *name, bool *out, struct err *err)
{
    const json_t *v = field(obj, name);
    if (v && !json_is_boolean(v))
        return wrong_type(name, "true or false", err);
    if (v)
        *out = json_is_true(v);
    return 0;
}

int parse_int(const json_t *obj, const char *name, int64_t min, int64_t max, int64_t *out,
              struct err *err)
{
    const json_t *v = field(obj, name);
    if (v && !json_is_integer(v))
        return wrong_type(name, "an integer", err);
    if (!v)
        return 0;
    int64_t n = json_integer_value(v);
    if (n < min || n > max)
        return err_set(err, ERR_INVALID, EINVAL,
                       "validation error: field '%s' must be from %lld to %lld", name,
                       (long long)min, (long long)max);
    *out = n;
    return 0;
}

int parse_string(const json_t *obj, const char *name, const char **out, struct err *err)
{
    const json_t *v = field(obj, name);
    if (v && !json_is_string(v))
        return wrong_type(name, "a string", err);
    if (v)
        *out = json_string_value(v);
    return 0;
}

int parse_object(const json_t *obj, const char *name, json_t **out, struct err *err)
{
    json_t *v = field(obj, name);
    if (v && !json_is_object(v))
        return wrong_type(name, "an object", err);
    if (v)
        *out = v;
    return 0;
}

int parse_array(const json_t *obj, const char *name, json_t **out, struct err *err)
{
    json_t *v = field(obj, name);
    if (v && !json_is_array(v))
        return wrong_type(name, "an array", err);
    if (v)
        *out = v;
    return 0;
}

int parse_string_map(const json_t *obj, const char *name, size_t max_bytes, json_t **out,
                     struct err *err)
{
    json_t *map = NULL, *value;
    const char *key;
    size_t bytes = 0;
    int rc = parse_object(obj, name, &map, err);
    if (rc || !map)
        return rc;
    json_object_foreach (map, key, value) {
        if (!json_is_string(value))
            return err_set(
                err, ERR_INVALID, EINVAL,
                "validation error: field '%s' must hold strings only, and '%.64s' is none", name,
                key);
        bytes += strlen(key) + json_string_length(value);
    }
    if (bytes > max_bytes)
        return err_set(err, ERR_INVALID, EINVAL,
                       "validation error: field '%s' is larger than %zu bytes", name, max_bytes);
    *out = map;
    return 0;
}

int parse_query(struct http_request *r, const char *name, const char **out, struct err *err)
{
    bool bad;
    *out = http_query_get(r, name, &bad);
    if (bad)
        return err_set(err, ERR_INVALID, EINVAL,
                       "validation error: query parameter '%s' has a malformed escape", name);
    return 0;
}

int parse_sandbox_id(struct http_request *r, const char *param, const char **out, struct err *err)
{
    struct str rest = str_of(param);
    struct str id = str_split(&rest, '-');
    bool ok = id.n > 0 && (!rest.p || str_find(rest, '-') < 0);
    for (size_t i = 0; i < id.n; i++)
        ok = ok && ((id.p[i] >= 'a' && id.p[i] <= 'z') || (id.p[i] >= '0' && id.p[i] <= '9'));
    if (!ok)
        return err_set(err, ERR_INVALID, EINVAL, "Invalid sandbox ID");
    *out = arena_dup(&r->stream->arena, id);
    if (!*out)
        return err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
    return 0;
}
