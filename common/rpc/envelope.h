/* The frame around each message of a stream, the same in Connect and gRPC: one byte of flags, the
 * length in four bytes, big-endian, the message. */
#ifndef COMMON_RPC_ENVELOPE_H
#define COMMON_RPC_ENVELOPE_H

#include "common/base/buf.h"
#include "common/base/err.h"

#define ENVELOPE_HEAD       5
#define ENVELOPE_COMPRESSED 0x01
#define ENVELOPE_END        0x02 /* Connect: the last one, from the server */
#define ENVELOPE_TRAILERS   0x80 /* gRPC-Web: the same */

struct envelope {
    uint8_t flags;
    struct str payload;
};

/* Read the envelope at the front of data. Returns the bytes it takes, 0 when there is more to come,
 * -1 with err when its length is over max (ERR_EXHAUSTED). */
ptrdiff_t envelope_read(struct str data, size_t max, struct envelope *out, struct err *err);

/* Start an envelope at the end of out; give what is returned to envelope_end() after the payload
 * was appended. A failure shows in out->failed. */
size_t envelope_begin(struct buf *out);
void envelope_end(struct buf *out, size_t begun, uint8_t flags);

/* The same for a payload whose last `tail` bytes are sent from elsewhere. */
void envelope_end_before(struct buf *out, size_t begun, uint8_t flags, size_t tail);

#endif
