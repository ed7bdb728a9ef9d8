/* A streaming parser of multipart bodies (RFC 2046, RFC 7578). Bodies of parts are never buffered:
 * data events point into the input. */
#ifndef COMMON_HTTP_MULTIPART_H
#define COMMON_HTTP_MULTIPART_H

#include "common/base/buf.h"
#include "common/base/err.h"

#define MULTIPART_BOUNDARY_MAX 70    /* RFC 2046 */
#define MULTIPART_HEAD_MAX     16384 /* bytes of one part's headers */
#define MULTIPART_PADDING_MAX  64    /* blanks between a boundary and its line end */

/* What a part's headers say. Every member may be absent (p NULL). */
struct multipart_part {
    struct str name;         /* of Content-Disposition: form-data */
    struct str filename;     /* filename*, else filename; directories in it are kept */
    struct str content_type; /* as sent */
};

struct multipart;

/* A callback that returns not 0 ends the parsing: multipart_feed() returns that value. */
struct multipart_events {
    /* A part begins. `part` and its texts live until the callback returns. */
    int (*on_part)(struct multipart *m, const struct multipart_part *part);
    int (*on_data)(struct multipart *m, const uint8_t *data, size_t n); /* n > 0 */
    int (*on_part_end)(struct multipart *m);
    int (*on_end)(struct multipart *m); /* the closing boundary has come */
};

/* Embedded in its owner; callbacks find the owner by container_of(). The members are private. */
struct multipart {
    const struct multipart_events *events;
    char delimiter[4 + MULTIPART_BOUNDARY_MAX]; /* "\r\n--" and the boundary */
    size_t delimiter_len;
    int state;
    size_t matched;    /* bytes of the delimiter that the input has ended with */
    bool virtual_crlf; /* the first two of them stand for a line start, they were no data */
    bool in_part;
    size_t padding;
    struct buf head;
    size_t line; /* where the current line of `head` begins */
};

/* Begin; content_type is the request's Content-Type, "multipart/..." with a boundary. 0, or
 * -EINVAL with ERR_INVALID. */
int multipart_init(struct multipart *m, struct str content_type,
                   const struct multipart_events *events, struct err *err);
void multipart_deinit(struct multipart *m);

/* Parse n more bytes. 0; -EPROTO with a sentence; -ENOMEM; or what a callback returned (then *err
 * is the callback's to fill). After a failure nothing but multipart_deinit() may be called. */
int multipart_feed(struct multipart *m, const uint8_t *data, size_t n, struct err *err);

/* The input has ended: 0 when the closing boundary was seen, else -EPROTO. */
int multipart_finish(struct multipart *m, struct err *err);

#endif
