/*
 * Creates that carry an Idempotency-Key. The same request with the key again makes nothing: it
 * waits for the first one, or has its answer. One that failed made nothing, and may be tried again.
 *
 * Kept in memory, for a day and up to a number: a daemon that is started anew knows of none.
 */
#ifndef ORCHESTRATOR_API_IDEMPOTENCY_H
#define ORCHESTRATOR_API_IDEMPOTENCY_H

#include "common/base/list.h"
#include "common/base/map.h"
#include "orchestrator/sandbox/sandbox.h"

#include <jansson.h>

#define IDEMPOTENCY_KEY_MAX  255
#define IDEMPOTENCY_KEPT     4096
#define IDEMPOTENCY_KEPT_SEC 86400

struct api_call;

struct idempotency { /* all zero but for the list is none */
    struct map by_key;
    struct list oldest; /* first; struct idempotent */
};

void idempotency_init(struct idempotency *i);
void idempotency_deinit(struct idempotency *i);

/* Whether the call is to do what it asks for; then c->idempotent is set when it has a key, and the
 * end must be told. false: it is answered, or will be. */
bool idempotency_begin(struct api_call *c);

/* What the call's operation came to, body (borrowed) or err: those that wait are answered. The
 * call's own answer is its own. */
void idempotency_end(struct api_call *c, json_t *body, const struct sandbox_timings *t,
                     const struct err *err);

#endif
