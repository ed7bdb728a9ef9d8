#include "envd/files/access.h"

#include "common/auth/signature.h"
#include "common/base/clock.h"

#include <errno.h>

struct query {
    const char *path, *username, *signature, *expiration;
};

static bool read_query(struct http_request *r, struct query *q)
{
    bool bad[4];
    q->path = http_query_get(r, "path", &bad[0]);
    q->username = http_query_get(r, "username", &bad[1]);
    q->signature = http_query_get(r, "signature", &bad[2]);
    q->expiration = http_query_get(r, "signature_expiration", &bad[3]);
    return !bad[0] && !bad[1] && !bad[2] && !bad[3];
}

/* A token in the header must be the right one; without a header the signature decides. */
static int check_secret(const struct envd *e, const struct http_head *head, const char *operation,
                        const struct query *q, struct err *err)
{
    struct str token = http_field_get(head, "x-access-token");
    if (e->access_token[0] == '\0' || (token.p && envd_token_ok(e, token)))
        return 0;
    if (token.p)
        return err_set(err, ERR_UNAUTHENTICATED, EACCES,
                       "access token present in header but does not match");
    return signature_check(str_of(q->signature), str_of(q->path ? q->path : ""), str_of(operation),
                           str_of(q->username ? q->username : ""), str_of(e->access_token),
                           str_of(q->expiration ? q->expiration : ""), clock_wall_ns() / 1000000000,
                           err);
}

int access_check(struct http_request *r, const char *operation, struct access *out, int *status,
                 struct err *err)
{
    const struct envd *e = r->context;
    struct query q;
    bool is_query_ok = read_query(r, &q);
    *status = 401;
    int rc = check_secret(e, r->head, operation, &q, err);
    if (rc < 0)
        return rc;
    *status = 400;
    if (!is_query_ok)
        return err_set(err, ERR_INVALID, EINVAL, "the query of the URL is malformed");
    out->path = q.path;
    const char *name = q.username && q.username[0] ? q.username : e->default_user;
    if (name[0] == '\0')
        return err_set(err, ERR_INVALID, EINVAL, "no user specified");
    *status = 401;
    struct err why = { 0 };
    rc = user_find(str_of(name), &out->user, &why);
    if (rc < 0)
        return err_set(err, ERR_UNAUTHENTICATED, -rc, "error looking up user '%s': %s", name,
                       why.msg);
    return 0;
}
