#include "orchestrator/proxy/route.h"

#include "common/base/encode.h"
#include "common/base/path_clean.h"

#include <arpa/inet.h>

/* Host without its port, and without the brackets of an IPv6 address. */
static struct str host_of(struct str authority)
{
    if (authority.n && authority.p[0] == '[') {
        ptrdiff_t end = str_find(authority, ']');
        return end < 0 ? (struct str){ NULL, 0 } : (struct str){ authority.p + 1, (size_t)end - 1 };
    }
    ptrdiff_t colon = str_find(authority, ':');
    return colon < 0 ? authority : (struct str){ authority.p, (size_t)colon };
}

static bool is_ip(struct str host)
{
    char text[INET6_ADDRSTRLEN];
    struct in6_addr address;
    return str_copy(host, text, sizeof(text)) &&
           (inet_pton(AF_INET, text, &address) == 1 || inet_pton(AF_INET6, text, &address) == 1);
}

/* Hosts that name no sandbox by themselves. */
static bool is_shared_host(struct str host)
{
    struct str prefix = STR("sandbox.");
    return str_eq_nocase(host, STR("localhost")) || is_ip(host) ||
           (host.n > prefix.n && str_eq_nocase((struct str){ host.p, prefix.n }, prefix));
}

static bool parse_port(struct str text, uint16_t *out)
{
    uint64_t port;
    if (text.n > 5 || !str_to_u64(text, UINT16_MAX, &port) || port == 0)
        return false;
    *out = (uint16_t)port;
    return true;
}

static bool parse_id(struct str text, char *out)
{
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9')))
            return false;
    }
    return text.n > 0 && str_copy(text, out, PROXY_ID_MAX + 1);
}

static bool is_signed_file(const struct http_head *head)
{
    struct str target = head->target;
    ptrdiff_t at = str_find(target, '?');
    if (at != 6 || !str_starts(target, STR("/files?")))
        return false;
    struct str query = str_from(target, 7);
    while (query.p)
        if (str_starts(str_split(&query, '&'), STR("signature=")))
            return true;
    return false;
}

static enum proxy_route_result parse_label(struct str label, struct proxy_route *out)
{
    struct str port = str_split(&label, '-');
    if (!label.p)
        return PROXY_ROUTE_BAD_HOST;
    struct str id = str_split(&label, '-');
    if (!parse_port(port, &out->port))
        return PROXY_ROUTE_BAD_PORT;
    return parse_id(id, out->id) ? PROXY_ROUTE_OK : PROXY_ROUTE_BAD_ID;
}

enum proxy_route_result proxy_route_parse(const struct http_head *head, struct proxy_route *out)
{
    struct str host = host_of(head->authority);
    struct str id = http_field_get(head, "e2b-sandbox-id");
    struct str port = http_field_get(head, "e2b-sandbox-port");
    *out = (struct proxy_route){ .port = 0 };
    if (is_shared_host(host)) {
        if (id.p && port.p) {
            if (!parse_port(port, &out->port))
                return PROXY_ROUTE_BAD_PORT;
            return parse_id(id, out->id) ? PROXY_ROUTE_OK : PROXY_ROUTE_BAD_ID;
        }
        if (id.p || port.p)
            return PROXY_ROUTE_MISSING_HEADER;
        if (is_signed_file(head))
            return PROXY_ROUTE_SIGNED_FILE;
    }
    ptrdiff_t dot = str_find(host, '.');
    if (dot < 0)
        return PROXY_ROUTE_BAD_HOST;
    return parse_label((struct str){ host.p, (size_t)dot }, out);
}

const char *proxy_route_message(enum proxy_route_result result)
{
    switch (result) {
    case PROXY_ROUTE_MISSING_HEADER:
        return "missing header";
    case PROXY_ROUTE_BAD_PORT:
        return "Invalid sandbox port";
    case PROXY_ROUTE_BAD_HOST:
        return "Invalid host";
    case PROXY_ROUTE_BAD_ID:
        return "Invalid sandbox ID";
    case PROXY_ROUTE_OK:
    case PROXY_ROUTE_SIGNED_FILE:
        break;
    }
    return NULL;
}

bool proxy_path_is_internal(struct str target)
{
    static const struct str internal[] = { STR("/init"),     STR("/freeze"),   STR("/unfreeze"),
                                           STR("/collapse"), STR("/fsfreeze"), STR("/fsthaw"),
                                           STR("/upgrade") };
    ptrdiff_t query = str_find(target, '?');
    if (query >= 0)
        target.n = (size_t)query;
    struct buf path = { 0 };
    /* A path that cannot be decoded is no route of envd's either; it may pass. */
    bool hit = false;
    if (percent_decode(&path, target, false) && buf_len(&path) && path.data[0] == '/') {
        path.len = path_clean((char *)path.data, path.len);
        for (size_t i = 0; i < sizeof(internal) / sizeof(internal[0]); i++)
            hit = hit || str_eq(buf_str(&path), internal[i]);
        hit = hit || str_starts(buf_str(&path), STR("/sandpit."));
    }
    buf_deinit(&path);
    return hit;
}
