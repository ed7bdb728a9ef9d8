/* The control service before the link's HTTP/2 session. */
#ifndef ENVD_GUEST_SERVICE_H
#define ENVD_GUEST_SERVICE_H

#include "common/link/link_frame.h"
#include "envd/core/envd.h"

/*
 * Serve a Configure or a Refresh that came as a first call, and append the frame of its answer. One
 * that is wrong, or would have to wait for what the template runs, is declined and has changed
 * nothing: the caller repeats it in the session. false when memory is out.
 */
bool guest_first_call(struct envd *e, const struct link_frame *call, struct buf *answer);

#endif
