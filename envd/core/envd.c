#include "envd/core/envd.h"

#include "common/base/encode.h"

#include <errno.h>
#include <stdlib.h>

bool envd_set_env(struct map *envs, struct str name, const char *value)
{
    char *copy = value ? str_dup(str_of(value)) : NULL;
    if (value && !copy)
        return false;
    free(map_remove(envs, name));
    if (copy && !map_set(envs, name, copy)) {
        free(copy);
        return false;
    }
    return true;
}

void envd_clear_envs(struct map *envs)
{
    for (struct map_entry *e = map_next(envs, NULL); e; e = map_next(envs, e))
        free(e->value);
    map_deinit(envs);
}

/* The user name in "Basic base64(name:password)"; the password means nothing. */
static int basic_user(struct str value, char *name, size_t size, struct err *err)
{
    struct str scheme = STR("basic ");
    uint8_t text[(600 / 4 + 1) * 3];
    if (value.n < scheme.n || !str_eq_nocase((struct str){ value.p, scheme.n }, scheme))
        return err_set(err, ERR_UNAUTHENTICATED, EINVAL, "only Basic authorization names a user");
    struct str b64 = str_trim(str_from(value, scheme.n));
    ptrdiff_t n = b64.n <= 600 ? base64_decode(b64, text) : -1;
    if (n < 0)
        return err_set(err, ERR_UNAUTHENTICATED, EINVAL, "malformed Basic authorization");
    struct str all = { (const char *)text, (size_t)n };
    if (!str_copy(str_split(&all, ':'), name, size))
        return err_set(err, ERR_UNAUTHENTICATED, EINVAL, "user name is too long");
    return 0;
}

int envd_acting_user(struct envd *e, const struct http_head *head, struct user *out,
                     struct err *err)
{
    char name[USER_NAME_MAX + 1];
    struct str auth = http_field_get(head, "authorization");
    if (auth.p) {
        int rc = basic_user(auth, name, sizeof(name), err);
        if (rc < 0)
            return rc;
        if (user_find(str_of(name), out, NULL) < 0)
            return err_set(err, ERR_UNAUTHENTICATED, ENOENT, "invalid username: '%s'", name);
        return 0;
    }
    if (e->default_user[0] == '\0')
        return err_set(err, ERR_UNAUTHENTICATED, ENOENT, "no user specified");
    if (user_find(str_of(e->default_user), out, NULL) < 0)
        return err_set(err, ERR_UNAUTHENTICATED, ENOENT, "invalid default user: '%s'",
                       e->default_user);
    return 0;
}

bool envd_token_ok(const struct envd *e, struct str token)
{
    if (e->access_token[0] == '\0')
        return true;
    return token.p && str_eq_secret(token, str_of(e->access_token));
}
