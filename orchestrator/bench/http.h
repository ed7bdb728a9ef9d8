/* Plain HTTP to the daemon, as a client would speak it; one connection that is kept. Blocking. */
#ifndef ORCHESTRATOR_BENCH_HTTP_H
#define ORCHESTRATOR_BENCH_HTTP_H

#include "common/base/buf.h"
#include "common/base/err.h"

#define BENCH_HTTP_FIELDS_MAX 8
#define BENCH_HTTP_BODY_MAX   (1 << 20)

struct bench_request {
    const char *method;
    char url[256];
    const char *fields[BENCH_HTTP_FIELDS_MAX]; /* "name: value"; NULL ends */
    const void *body;                          /* NULL: none */
    size_t body_n;
    int expected; /* status */
    /* The answer. */
    struct buf answer;
    char timing[256]; /* Server-Timing */
    double ms;        /* from the first byte sent to the last one received */
    struct err err;   /* code 0: the status was the expected one */
};

struct bench_http;
struct bench_http *bench_http_new(void); /* NULL when memory is out */
void bench_http_free(struct bench_http *h);

/* Send n requests at once and wait for all; each has its answer or error then. -EIO when one of
 * them failed, and *err is the first one's. */
int bench_http_send(struct bench_http *h, struct bench_request *requests, size_t n,
                    struct err *err);
void bench_request_deinit(struct bench_request *r);

#endif
