/* The forms that a message has on the wire. */
#ifndef COMMON_RPC_CODEC_H
#define COMMON_RPC_CODEC_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/err.h"

struct rpc_codec {
    /* types: what a google.protobuf.Any may hold, ended by NULL; itself may be NULL. */
    bool (*encode)(const ProtobufCMessage *msg, const ProtobufCMessageDescriptor *const *types,
                   struct buf *out);
    /* The same but for the last bytes of the message, which may be left where they are: *tail is to
     * be sent behind what was appended. NULL where the form cannot. */
    bool (*encode_front)(const ProtobufCMessage *msg, struct buf *out, struct str *tail);
    ProtobufCMessage *(*decode)(const ProtobufCMessageDescriptor *type,
                                const ProtobufCMessageDescriptor *const *types, struct str data,
                                struct arena *arena, struct err *err);
};

extern const struct rpc_codec rpc_codec_json, rpc_codec_proto;

#endif
