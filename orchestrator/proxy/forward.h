/* One request on its way to a sandbox's port. */
#ifndef ORCHESTRATOR_PROXY_FORWARD_H
#define ORCHESTRATOR_PROXY_FORWARD_H

#include "common/http/http.h"
#include "orchestrator/proxy/proxy.h"
#include "orchestrator/proxy/route.h"

/* A request waits this long for a guest link that is just being made anew. */
#define FORWARD_LINK_WAIT_MS 5000

/* Take the request over and answer it, with the guest's response or with one of the pages. The
 * options are borrowed until it has ended; so long it is on the list. */
void forward_start(const struct proxy_options *o, struct list *forwards,
                   const struct proxy_route *route, struct http_stream *s,
                   const struct http_head *head);

/* Of those on the list, end what lasts through a sandbox that is about to be paused. */
void forward_end_streams(struct list *forwards, const char *sandbox_id);

#endif
