/* Which TCP address of the guest a CONNECT means. */
#ifndef ENVD_GUEST_CONNECT_TARGET_H
#define ENVD_GUEST_CONNECT_TARGET_H

#include "common/base/str.h"

#include <sys/socket.h>

#define CONNECT_TRIES_MAX 2

struct connect_target {
    struct sockaddr_storage at[CONNECT_TRIES_MAX]; /* to be tried in this order */
    int n;
};

/* Parse "host:port". localhost is 127.0.0.1, then ::1, so that a server bound to either is found;
 * else the host is a numeric address, IPv6 in brackets. 0; 400 when it is no such text; 403 when
 * the address is not one of this machine (the link is no way out of the guest). */
int connect_target_parse(struct str text, struct connect_target *out);

#endif
