/* First calls: what may come between a marker of the guest link and the HTTP/2 session. Each is one
 * frame, answered by one frame. docs/guest-link.md */
#ifndef COMMON_LINK_LINK_FRAME_H
#define COMMON_LINK_LINK_FRAME_H

#include "common/base/buf.h"

/* What a frame is, its first byte. A client's HTTP/2 session begins with 'P', a server's with 0. */
enum link_frame_type {
    LINK_FRAME_CONFIGURE = 'C', /* a ConfigureRequest; a ConfigureResponse */
    LINK_FRAME_REFRESH = 'R',   /* a RefreshRequest; a RefreshResponse */
    LINK_FRAME_DECLINED = 'N',  /* an answer, empty: nothing was done, ask in the session */
};

/* The type, then the message's size: four bytes, the highest first. */
#define LINK_FRAME_HEAD 5

/* The most that a message may have. */
#define LINK_FRAME_MAX 65536

/* Append a frame. false when memory is out, or the message is too long. */
bool link_frame_put(struct buf *out, enum link_frame_type type, struct str message);

/* One frame that is being received. All zero: nothing of it yet. */
struct link_frame {
    struct buf held; /* a piece of it, head included */
    uint8_t type;
    struct str message; /* of a whole one */
};

void link_frame_deinit(struct link_frame *f);

/*
 * Take n > 0 bytes. 1: a frame is whole; type and message, which may lie in `data`, are good until
 * the next call. 0: all bytes were taken and more are wanted. -EPROTO: this begins no frame
 * (*used is 0, and nothing is held); -EMSGSIZE: it is too long; -ENOMEM. After those two the rest
 * of the stream means nothing.
 */
int link_frame_feed(struct link_frame *f, const uint8_t *data, size_t n, size_t *used);

#endif
