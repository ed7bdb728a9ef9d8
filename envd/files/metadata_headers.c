#include "envd/files/metadata_headers.h"

#include <errno.h>

static const struct str prefix = { "x-metadata-", 11 };

static bool is_printable(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < 0x20 || s.p[i] > 0x7E)
            return false;
    return true;
}

static bool has_key(const struct metadata *entries, size_t n, struct str key)
{
    for (size_t i = 0; i < n; i++)
        if (str_eq(entries[i].key, key))
            return true;
    return false;
}

static int check(struct str key, struct str value, struct err *err)
{
    if (key.n == 0 || key.n > METADATA_KEY_MAX)
        return err_set(err, ERR_INVALID, EINVAL, "a metadata key has 1 to %d characters, not %zu",
                       METADATA_KEY_MAX, key.n);
    if (!is_printable(key) || !is_printable(value))
        return err_set(err, ERR_INVALID, EINVAL,
                       "metadata may only have printable ASCII characters");
    return 0;
}

int metadata_headers(const struct http_head *head, struct arena *arena, struct metadata **out,
                     size_t *n, struct err *err)
{
    size_t total = 0;
    *n = 0;
    *out = arena_alloc(arena, (head->nfields + 1) * sizeof(**out));
    if (!*out)
        return err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
    for (size_t i = 0; i < head->nfields; i++) {
        struct str name = head->fields[i].name; /* lower case */
        if (!str_starts(name, prefix))
            continue;
        struct metadata m = { str_from(name, prefix.n), head->fields[i].value };
        int rc = check(m.key, m.value, err);
        if (rc < 0)
            return rc;
        if (has_key(*out, *n, m.key))
            continue;
        total += sizeof(METADATA_PREFIX) - 1 + m.key.n + m.value.n;
        (*out)[(*n)++] = m;
    }
    if (total > METADATA_TOTAL_MAX)
        return err_set(err, ERR_INVALID, EINVAL, "metadata is larger than %d bytes in all",
                       METADATA_TOTAL_MAX);
    return 0;
}
