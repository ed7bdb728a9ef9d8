/* envd's end of the guest link. */
#ifndef ENVD_GUEST_LINK_H
#define ENVD_GUEST_LINK_H

#include "common/http/http.h"
#include "envd/core/envd.h"

struct envd_link;

/* Listen on whichever stream the VM offers: the virtio-serial port LINK_PORT_NAME, else vsock port
 * LINK_VSOCK_PORT (any hypervisor). Requests go to `acceptor` on trusted streams; CONNECT is served
 * here. 0, or -ENODEV when there is neither. */
int envd_link_start(struct envd_link **out, struct envd *e, struct http_acceptor *acceptor,
                    struct err *err);

/* For tests and other transports: serve the marker protocol on this descriptor (taken over). */
int envd_link_start_fd(struct envd_link **out, struct envd *e, struct http_acceptor *acceptor,
                       int fd, struct err *err);

/* The secret of the sessions to come. */
void envd_link_set_secret(struct envd_link *l, const uint8_t *secret);

/* Stop; for tests on a host. */
void envd_link_close(struct envd_link *l);

#endif
