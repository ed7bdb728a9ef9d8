/*
 * Strict reading of what clients send: a field has its type or the request is refused, an absent or
 * null one leaves *out as it is, an unknown one is ignored. Each returns 0, or -EINVAL with a
 * "validation error: ..." that names the field. For this folder only.
 */
#ifndef ORCHESTRATOR_API_PARSE_H
#define ORCHESTRATOR_API_PARSE_H

#include "common/base/err.h"
#include "common/base/str.h"
#include "common/http/router.h"

#include <jansson.h>

/* Texts and objects are borrowed from `obj`. */
int parse_bool(const json_t *obj, const char *name, bool *out, struct err *err);
int parse_int(const json_t *obj, const char *name, int64_t min, int64_t max, int64_t *out,
              struct err *err);
int parse_string(const json_t *obj, const char *name, const char **out, struct err *err);
int parse_object(const json_t *obj, const char *name, json_t **out, struct err *err);
int parse_array(const json_t *obj, const char *name, json_t **out, struct err *err);

/* An object whose values are strings, of at most max_bytes in all names and values. */
int parse_string_map(const json_t *obj, const char *name, size_t max_bytes, json_t **out,
                     struct err *err);

/* Whether the field is there and not null. */
bool parse_has(const json_t *obj, const char *name);

/* -EINVAL "validation error: field 'x' is required". */
int parse_required(const json_t *obj, const char *name, struct err *err);

/* A query parameter, decoded; *out is NULL when it is absent. */
int parse_query(struct http_request *r, const char *name, const char **out, struct err *err);

/* "<id>" or the legacy "<id>-<client>": the first part, of [a-z0-9], in the stream's arena.
 * -EINVAL "Invalid sandbox ID". */
int parse_sandbox_id(struct http_request *r, const char *param, const char **out, struct err *err);

#endif
