/* The handlers, one file per resource. For this folder only. */
#ifndef ORCHESTRATOR_API_ROUTES_H
#define ORCHESTRATOR_API_ROUTES_H

#include "orchestrator/api/call.h"

/* Ended by an entry without a method. */
extern const struct http_route api_routes[];

/* health.c */
void api_health(struct http_request *r);

/* sandboxes_create.c */
void api_sandbox_create_v1(struct http_request *r);
void api_sandbox_create_v2(struct http_request *r);

/* sandboxes_list.c */
void api_sandbox_list_v1(struct http_request *r);
void api_sandbox_list_v2(struct http_request *r);

/* sandboxes_get.c */
void api_sandbox_get(struct http_request *r);
void api_sandbox_kill(struct http_request *r);

/* sandboxes_time.c */
void api_sandbox_timeout(struct http_request *r);
void api_sandbox_refresh(struct http_request *r);

/* sandboxes_connect.c */
void api_sandbox_connect_v1(struct http_request *r);
void api_sandbox_connect_v2(struct http_request *r);
void api_sandbox_resume(struct http_request *r);

/* sandboxes_pause.c */
void api_sandbox_pause(struct http_request *r);
void api_sandbox_snapshot(struct http_request *r);

/* sandboxes_fork.c */
void api_sandbox_fork(struct http_request *r);

/* snapshots.c */
void api_snapshot_list(struct http_request *r);

/* templates.c */
void api_template_list(struct http_request *r);
void api_template_delete(struct http_request *r);
void api_template_alias(struct http_request *r);

/* missing.c: what the protocol knows and this program does not do. */
void api_missing(struct http_request *r);

#endif
