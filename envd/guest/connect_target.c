#include "envd/guest/connect_target.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>

#define HOST_MAX 64
#define PORT_MAX 65535

static void add_v4(struct connect_target *t, struct in_addr address, uint16_t port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons(port), .sin_addr = address };
    memcpy(&t->at[t->n++], &at, sizeof(at));
}

static void add_v6(struct connect_target *t, const struct in6_addr *address, uint16_t port)
{
    struct sockaddr_in6 at = { .sin6_family = AF_INET6,
                               .sin6_port = htons(port),
                               .sin6_addr = *address };
    memcpy(&t->at[t->n++], &at, sizeof(at));
}

static bool same_address(const struct sockaddr *a, const struct sockaddr_storage *b)
{
    if (!a || a->sa_family != b->ss_family)
        return false;
    if (a->sa_family == AF_INET) {
        struct sockaddr_in x, y;
        memcpy(&x, a, sizeof(x));
        memcpy(&y, b, sizeof(y));
        return x.sin_addr.s_addr == y.sin_addr.s_addr;
    }
    struct sockaddr_in6 x, y;
    if (a->sa_family != AF_INET6)
        return false;
    memcpy(&x, a, sizeof(x));
    memcpy(&y, b, sizeof(y));
    return memcmp(&x.sin6_addr, &y.sin6_addr, sizeof(x.sin6_addr)) == 0;
}

static bool is_loopback(const struct sockaddr_storage *at)
{
    if (at->ss_family == AF_INET) {
        struct sockaddr_in v4;
        memcpy(&v4, at, sizeof(v4));
        return ntohl(v4.sin_addr.s_addr) >> 24 == 127;
    }
    struct sockaddr_in6 v6;
    memcpy(&v6, at, sizeof(v6));
    return IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

/* Whether the address is one of this machine's. */
static bool is_own(const struct sockaddr_storage *at)
{
    struct ifaddrs *all;
    if (is_loopback(at))
        return true;
    if (getifaddrs(&all) != 0)
        return false;
    bool own = false;
    for (const struct ifaddrs *i = all; i && !own; i = i->ifa_next)
        own = same_address(i->ifa_addr, at);
    freeifaddrs(all);
    return own;
}

int connect_target_parse(struct str text, struct connect_target *out)
{
    char host[HOST_MAX];
    uint64_t port;
    size_t colon = text.n;
    struct in_addr v4 = { .s_addr = htonl(INADDR_LOOPBACK) };
    struct in6_addr v6 = IN6ADDR_LOOPBACK_INIT;
    *out = (struct connect_target){ 0 };
    while (colon > 0 && text.p[colon - 1] != ':')
        colon--;
    if (colon < 2 || !str_to_u64(str_from(text, colon), PORT_MAX, &port) || port == 0)
        return 400;
    struct str name = { text.p, colon - 1 };
    bool brackets = name.n > 2 && name.p[0] == '[' && name.p[name.n - 1] == ']';
    if (brackets)
        name = (struct str){ name.p + 1, name.n - 2 };
    if (!str_copy(name, host, sizeof(host)))
        return 400;
    if (!brackets && str_eq_nocase(name, STR("localhost"))) {
        add_v4(out, v4, (uint16_t)port);
        add_v6(out, &v6, (uint16_t)port);
        return 0;
    }
    if (!brackets && inet_pton(AF_INET, host, &v4) == 1)
        add_v4(out, v4, (uint16_t)port);
    else if (inet_pton(AF_INET6, host, &v6) == 1) /* "::1:8000" is accepted too */
        add_v6(out, &v6, (uint16_t)port);
    else
        return brackets || str_find(name, ':') >= 0 || name.p[0] == '[' ? 400 : 403;
    return is_own(&out->at[0]) ? 0 : 403;
}
