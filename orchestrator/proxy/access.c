#include "orchestrator/proxy/access.h"

static bool has_token(const struct http_head *head, const char *field, const char *token)
{
    struct str given = http_field_get(head, field);
    return given.p && str_eq_secret(given, str_of(token));
}

bool access_may_pass(const struct http_head *head, const struct sandbox *sb, uint16_t port,
                     enum proxy_page *page)
{
    static const char field[] = "e2b-traffic-access-token";
    if (sb->traffic_token[0] == '\0' || port == ACCESS_ENVD_PORT ||
        has_token(head, field, sb->traffic_token))
        return true;
    *page = http_field_get(head, field).p ? PAGE_TOKEN_INVALID : PAGE_TOKEN_MISSING;
    return false;
}

bool access_may_wake(const struct http_head *head, const struct sandbox *sb, uint16_t port)
{
    enum proxy_page page;
    if (port == ACCESS_ENVD_PORT)
        return sb->envd_token[0] == '\0' || has_token(head, "x-access-token", sb->envd_token);
    return access_may_pass(head, sb, port, &page);
}
