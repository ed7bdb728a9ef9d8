/* The last step of a template build: the VM is booted once and saved, and a restored copy is tried.
 */
#ifndef ORCHESTRATOR_TEMPLATE_TEMPLATE_SNAPSHOT_H
#define ORCHESTRATOR_TEMPLATE_TEMPLATE_SNAPSHOT_H

#include "orchestrator/image/image.h"

/* An image_save_cb: make <dir>/layer.qcow2 and <dir>/snapshot. Blocking, seconds to a minute. On
 * failure neither is left. */
int template_snapshot_make(const struct image_save *what, unsigned *vcpus, struct err *err);

/* What of this host the snapshot depends on: accelerator, version, devices, processor. */
int template_snapshot_host(const char *accel, enum image_kernel kernel, char *out, size_t n,
                           struct err *err);

#endif
