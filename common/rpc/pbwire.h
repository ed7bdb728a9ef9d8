/* Protobuf's binary form, bounded: protobuf-c itself checks neither text nor depth nor memory. */
#ifndef COMMON_RPC_PBWIRE_H
#define COMMON_RPC_PBWIRE_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/err.h"

/* Nested messages beyond this depth are refused. */
#define PBWIRE_DEPTH_MAX 64

/* Memory that decoding one message may take. */
#define PBWIRE_MEMORY_MAX (64U << 20)

/* Append the message. false when memory is out. */
bool pbwire_encode(const ProtobufCMessage *msg, struct buf *out);

/* A message whose last bytes or string is at least this long can be encoded without copying it. */
#define PBWIRE_TAIL_MIN 4096

/* Append the message, but for such an end: *tail then points to it, in the message's own memory. */
bool pbwire_encode_front(const ProtobufCMessage *msg, struct buf *out, struct str *tail);

/* Parse into a new message in the arena. NULL with err when it is malformed, or a string in it is
 * no UTF-8 or contains NUL, which C could not show (ERR_INVALID), or it needs more than
 * PBWIRE_MEMORY_MAX (ERR_EXHAUSTED). */
ProtobufCMessage *pbwire_decode(const ProtobufCMessageDescriptor *type, struct str data,
                                struct arena *arena, struct err *err);

#endif
