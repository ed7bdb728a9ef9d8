/* What a pause or a snapshot is to keep. For this folder only. */
#ifndef ORCHESTRATOR_API_SNAPSHOT_OPTIONS_H
#define ORCHESTRATOR_API_SNAPSHOT_OPTIONS_H

#include "common/base/err.h"

#include <jansson.h>
#include <stdbool.h>

struct snapshot_options {
    bool memory; /* false: the disk only */
    bool require_healthy;
};

/* Read `memory` or `mode` ("full", "filesystem"), which may not contradict each other, and
 * `requireHealthyGuest`. 0 or -errno. */
int snapshot_options_parse(const json_t *body, struct snapshot_options *out, struct err *err);

#endif
