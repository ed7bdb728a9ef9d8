/* A double of orchestrator/link: the stream into the guest is one that the test answers. */
#ifndef TESTS_UNIT_ORCHESTRATOR_PROXY_FAKE_LINK_H
#define TESTS_UNIT_ORCHESTRATOR_PROXY_FAKE_LINK_H

#include "common/base/buf.h"
#include "orchestrator/link/guest_link.h"

/* A request as it came to the guest. */
struct fake_upstream {
    struct http_stream s;
    char target[128];
    bool is_public; /* marked as a client's */
    struct buf body;
    bool ended, was_reset;
};

struct guest_link {
    bool up;
    struct fake_upstream *upstream; /* the last request; NULL: none */
};

/* The guest answers. */
void fake_upstream_head(struct fake_upstream *u, const char *content_type);
void fake_upstream_data(struct fake_upstream *u, const void *data, size_t n);
/* The stream is over, with what http.h says of errnum; the upstream is freed. */
void fake_upstream_close(struct fake_upstream *u, int errnum);

#endif
