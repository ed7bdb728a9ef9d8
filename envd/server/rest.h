/* Small REST routes: /health, /metrics, /envs, /init. */
#ifndef ENVD_SERVER_REST_H
#define ENVD_SERVER_REST_H

#include "common/http/router.h"

void rest_health(struct http_request *r);
void rest_metrics(struct http_request *r);
void rest_envs(struct http_request *r);
void rest_init(struct http_request *r);

/* {"code":status,"message":...} as envd answers every REST error. */
void rest_error(struct http_stream *s, int status, const char *message);

/* Body of /init, at most. */
#define REST_INIT_MAX (4U << 20)

/* Requests to /init at once that did not come from the orchestrator. */
#define REST_INITS_MAX 8

#endif
