/* Whether a request's credentials open the port that it is for. */
#ifndef ORCHESTRATOR_PROXY_ACCESS_H
#define ORCHESTRATOR_PROXY_ACCESS_H

#include "orchestrator/proxy/pages.h"
#include "orchestrator/sandbox/sandbox.h"

/* Where envd serves in a guest; every other port is the user's. */
#define ACCESS_ENVD_PORT 49983

/* Of a running sandbox: the user's ports may need the traffic token, envd checks its own. *page is
 * the answer when it may not pass. */
bool access_may_pass(const struct http_head *head, const struct sandbox *sb, uint16_t port,
                     enum proxy_page *page);

/* Of a paused one, which the request would wake: here both are checked before anything is done. */
bool access_may_wake(const struct http_head *head, const struct sandbox *sb, uint16_t port);

#endif
