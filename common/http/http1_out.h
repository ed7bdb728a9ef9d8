/* The sending side of an HTTP/1 connection: body framing, files in their place among the bytes. */
#ifndef COMMON_HTTP_HTTP1_OUT_H
#define COMMON_HTTP_HTTP1_OUT_H

#include "common/base/list.h"
#include "common/http/http1_head.h"
#include "common/http/marks.h"
#include "common/io/io.h"

/* Queued bytes above which a producer is told to pause. Few, since what is queued was copied:
 * behind it the kernel has a buffer of its own, which is what keeps the peer busy. */
#define HTTP1_OUT_HIGH_WATER 32768

struct http1_out {
    struct io *io;     /* borrowed */
    struct list files; /* struct out_file: being sent or waiting; each holds the bytes behind it */
    enum http1_framing framing; /* of the message being sent */
    uint64_t left;              /* HTTP1_LENGTH: what is still to come */
    bool shutdown_wanted, failed;
    /* Where the body is among the connection's bytes. */
    bool tracked; /* set by an owner who wants to know */
    bool blind;   /* a file is or was part of the body */
    uint64_t body;
    struct http_marks marks;
};

void http1_out_init(struct http1_out *o, struct io *io);
void http1_out_deinit(struct http1_out *o);

/* Bytes outside of any body: heads. */
void http1_out_bytes(struct http1_out *o, const void *data, size_t n);

/* The body of a message whose head was written; the framing is told by http1_out_begin(). A body
 * that goes beyond its length is cut there; HTTP1_NONE drops all. */
void http1_out_begin(struct http1_out *o, enum http1_framing framing, int64_t length);
void http1_out_data(struct http1_out *o, const void *data, size_t n);
void http1_out_pieces(struct http1_out *o, const struct iovec *iov, int n);
void http1_out_file(struct http1_out *o, int fd, int64_t offset, size_t n); /* takes fd over */

/* End the body. 0, -EPIPE when it is shorter than its head said, or -EINVAL for trailers that
 * cannot be written (the body is ended without them). */
int http1_out_end(struct http1_out *o, const struct http_field *trailers, size_t n);

/* http_progress() of the body that is being sent. */
void http1_out_progress(const struct http1_out *o, uint64_t *sent, uint64_t *delivered);

/* Shut the sending side down once all was sent. */
void http1_out_shutdown(struct http1_out *o);

/* To be called from on_drain; true when nothing is left to be sent. */
bool http1_out_on_drain(struct http1_out *o);

bool http1_out_writable(const struct http1_out *o);
bool http1_out_empty(const struct http1_out *o);

#endif
