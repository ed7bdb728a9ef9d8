/* An HTTP stream in memory, in the server's role: a test is the client. Events are delivered by the
 * functions here, what the server sends is kept. */
#ifndef TESTS_SUPPORT_FAKE_STREAM_H
#define TESTS_SUPPORT_FAKE_STREAM_H

#include "common/base/buf.h"
#include "common/http/http.h"

#define FAKE_FIELDS_MAX 32

struct fake_fields {
    struct http_field items[FAKE_FIELDS_MAX]; /* malloc'ed copies */
    size_t n;
};

struct fake_stream {
    struct http_stream s;
    struct http_head request;
    struct fake_fields request_fields;

    int status; /* 0: no head was sent */
    int64_t content_length;
    struct fake_fields fields, trailers;
    struct buf body;
    bool ended, was_reset, closed;
    bool writable;          /* what http_writable() says; true at first */
    bool fills;             /* it becomes false with each piece of data sent */
    size_t given, consumed; /* bytes of request body */
};

void fake_stream_init(struct fake_stream *f, const char *method, const char *target);
void fake_stream_deinit(struct fake_stream *f);

/* Before the stream is given to the server: a header of the request. */
void fake_stream_add(struct fake_stream *f, const char *name, const char *value);

/* Deliver events. Nothing is delivered after the response has ended, as http.h says. */
void fake_stream_data(struct fake_stream *f, const void *data, size_t n);
void fake_stream_end(struct fake_stream *f);
void fake_stream_writable(struct fake_stream *f);

/* Deliver on_close, unless it was. */
void fake_stream_close(struct fake_stream *f, int errnum);

/* The value of a header or trailer of the response; NULL when there is none. */
const char *fake_stream_header(const struct fake_stream *f, const char *name);
const char *fake_stream_trailer(const struct fake_stream *f, const char *name);

#endif
