/* Rules for how long a sandbox lives. For this folder only. */
#ifndef ORCHESTRATOR_API_TIMEOUT_H
#define ORCHESTRATOR_API_TIMEOUT_H

#include "common/base/err.h"

#include <stdint.h>

/* What the integer fields of the protocol hold. */
#define TIMEOUT_FIELD_MAX INT32_MAX

/* -EINVAL "Timeout cannot be greater than N hours". */
int timeout_check_max(int64_t timeout_s, unsigned max_lifetime_s, struct err *err);

#endif
