/* Who the guest is: what the control service sets, checked as a whole before any of it counts. */
#ifndef ENVD_GUEST_IDENTITY_H
#define ENVD_GUEST_IDENTITY_H

#include "envd/core/envd.h"

#include "guest.pb-c.h"

/* Bytes of names and values of the default environment together. */
#define IDENTITY_ENVS_BYTES_MAX (1U << 20)
#define IDENTITY_ENTROPY_SIZE   64

/* Check the request and, when all of it is well formed, apply it. On a host (e->is_guest false)
 * only envd's own state changes: no hostname, clock, entropy or files. 0, or -EINVAL with nothing
 * changed. */
int identity_configure(struct envd *e, const Sandpit__Guest__V1__ConfigureRequest *r,
                       struct err *err);

/* Set the clock and stir entropy in; either may be absent. 0 or -EINVAL with nothing changed. */
int identity_refresh(struct envd *e, int64_t wall_clock_ns, ProtobufCBinaryData entropy,
                     struct err *err);

#endif
