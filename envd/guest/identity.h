/* Who the guest is: what the control service sets, checked as a whole before any of it counts. */
#ifndef ENVD_GUEST_IDENTITY_H
#define ENVD_GUEST_IDENTITY_H

#include "envd/core/envd.h"

#include "envd/guest/machine_id.h"
#include "guest.pb-c.h"

/* Bytes of names and values of the default environment together. */
#define IDENTITY_ENVS_BYTES_MAX (1U << 20)
#define IDENTITY_HOSTNAME_MAX   64 /* the kernel's */

/* What a guest's files tell of who it is; empty texts are not told. */
struct identity_files {
    char hostname[IDENTITY_HOSTNAME_MAX + 1];
    char machine_id[MACHINE_ID_DIGITS + 1];
};

/* Check the request and, when all of it is well formed, apply it to all but files, which *files is
 * filled for. On a host (e->is_guest false) only envd's own state changes: no hostname, clock or
 * entropy. 0, or -EINVAL with nothing changed. */
int identity_configure(struct envd *e, const Sandpit__Guest__V1__ConfigureRequest *r,
                       struct identity_files *files, struct err *err);

/* Write the files that a Configure left for later, if it did: before anybody but the control
 * service is served. */
void identity_settle(struct envd *e);

/* Write the guest's files: /run/e2b, /etc/machine-id, /etc/hosts. What cannot be written is logged:
 * a template whose /etc is not to be written has sandboxes all the same. */
void identity_write_files(const struct envd *e, const struct identity_files *files);

/* Set the clock and stir entropy in; either may be absent. 0 or -EINVAL with nothing changed. */
int identity_refresh(struct envd *e, const Sandpit__Guest__V1__RefreshRequest *r, struct err *err);

#endif
