/* Sandboxes as clients see them. For this folder only. Each gives a new reference, or NULL when
 * memory is out. */
#ifndef ORCHESTRATOR_API_SANDBOX_JSON_H
#define ORCHESTRATOR_API_SANDBOX_JSON_H

#include "orchestrator/config.h"
#include "orchestrator/sandbox/sandbox.h"

#include <jansson.h>

/* A constant of the protocol, required in answers. */
#define API_CLIENT_ID "6532622b"

/* The answer to create and connect. */
json_t *sandbox_json(const struct sandbox *sb, const struct config *config);

/* An entry of a list. */
json_t *sandbox_json_listed(const struct sandbox *sb);

/* The answer to a get. */
json_t *sandbox_json_detail(const struct sandbox *sb, const struct config *config);

#endif
