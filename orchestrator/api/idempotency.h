/*
 * Creates that carry an Idempotency-Key. The same request with the key again makes nothing: it
 * waits for the first one, or has its answer. One that failed made nothing, and may be tried again.
 *
 * Kept for a day and up to a number. A daemon that is started anew knows which sandbox a key made,
 * since that is written with the sandbox's own record; the answer is made again while there is that
 * sandbox.
 */
#ifndef ORCHESTRATOR_API_IDEMPOTENCY_H
#define ORCHESTRATOR_API_IDEMPOTENCY_H

#include "common/base/list.h"
#include "common/base/map.h"
#include "orchestrator/sandbox/sandbox.h"
#include "orchestrator/store/store.h"

#include <jansson.h>

#define IDEMPOTENCY_KEY_MAX CREATE_KEY_MAX
#define IDEMPOTENCY_KEPT    CREATE_KEYS_KEPT
#define IDEMPOTENCY_KEPT_NS CREATE_KEY_KEPT_NS

struct api_call;

struct idempotency { /* all zero but for the list is none */
    struct map by_key;
    struct list oldest; /* first; struct idempotent */
};

void idempotency_init(struct idempotency *i);
void idempotency_deinit(struct idempotency *i);

/* Learn what earlier daemons' creates made. Blocking; before serving. */
int idempotency_load(struct idempotency *i, struct store *store, struct err *err);

/* Whether the call is to do what it asks for; then c->idempotent is set when it has a key, and the
 * end must be told. false: it is answered, or will be. */
bool idempotency_begin(struct api_call *c);

/* For the sandbox's record, of a call that has a key. */
void idempotency_record(const struct api_call *c, struct store_create_key *out);

/* What the call's operation came to, body (borrowed) or err: those that wait are answered. The
 * call's own answer is its own. */
void idempotency_end(struct api_call *c, json_t *body, const struct sandbox_timings *t,
                     const struct err *err);

#endif
