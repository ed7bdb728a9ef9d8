/* Limits of the HTTP/2 session on the guest link, by what was measured. docs/guest-link.md */
#ifndef COMMON_LINK_LINK_LIMITS_H
#define COMMON_LINK_LINK_LIMITS_H

#include "common/http/http.h"

#define LINK_STREAMS_MAX 2048

/* Uploads with larger windows in the guest make small requests wait, and are no faster. */
#define LINK_WINDOW_GUEST 65536
#define LINK_WINDOW_HOST  262144

extern const struct http_limits LINK_LIMITS_GUEST;
extern const struct http_limits LINK_LIMITS_HOST;

#endif
