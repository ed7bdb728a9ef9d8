/* Answers: JSON, always. The first answer of a call counts; later ones are dropped. For this folder
 * only. */
#ifndef ORCHESTRATOR_API_RESPOND_H
#define ORCHESTRATOR_API_RESPOND_H

#include "orchestrator/api/call.h"

/* The body of the answer that there is no memory for. */
#define API_OUT_OF_MEMORY "{\"code\":500,\"message\":\"out of memory\"}"

/* A JSON body (taken over; NULL is "out of memory"). */
void api_respond(struct api_call *c, int status, json_t *body);

/* The same with further fields. */
void api_respond_fields(struct api_call *c, int status, json_t *body,
                        const struct http_field *fields, size_t n);

/* No body. */
void api_respond_empty(struct api_call *c, int status, const struct http_field *fields, size_t n);

/* {"code": status, "message": ...} */
void api_fail(struct api_call *c, int status, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same with "error_code". */
void api_fail_code(struct api_call *c, int status, const char *error_code, const char *message);

/* The same for an error of below: its code decides the status, its reason is the error_code. */
void api_fail_err(struct api_call *c, const struct err *err);

/* The same with a status of its own. */
void api_fail_err_as(struct api_call *c, int status, const struct err *err);

/* 404 in the form that clients know. */
void api_fail_no_sandbox(struct api_call *c, const char *id);

/* The same for one that there was, with the record of its end beside it. */
void api_fail_ended(struct api_call *c, const char *id, const struct store_death *death);

/* The same for an operation on the sandbox that the path names, whose ERR_NOT_FOUND is that. */
void api_fail_sandbox(struct api_call *c, const struct err *err);

/* The answer to an operation that took its time: Server-Timing tells where it went. A body of NULL
 * is none with 204, and "out of memory" with any other status. */
void api_respond_timed(struct api_call *c, int status, json_t *body,
                       const struct sandbox_timings *t);

/* The fields that let a browser's script of any origin read an answer. Returns how many were
 * written to `out`. */
#define API_CORS_FIELDS 2
size_t api_cors_fields(struct http_field out[static API_CORS_FIELDS]);

/* Answer to a browser's question whether it may ask (OPTIONS). */
void api_respond_preflight(struct api_call *c);

#endif
