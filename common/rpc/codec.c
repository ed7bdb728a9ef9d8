#include "common/rpc/codec.h"

#include "common/rpc/pbjson.h"
#include "common/rpc/pbwire.h"

/* In the binary form an Any is bytes, whatever their type. */
static bool wire_encode(const ProtobufCMessage *msg, const ProtobufCMessageDescriptor *const *types,
                        struct buf *out)
{
    (void)types;
    return pbwire_encode(msg, out);
}

static ProtobufCMessage *wire_decode(const ProtobufCMessageDescriptor *type,
                                     const ProtobufCMessageDescriptor *const *types,
                                     struct str data, struct arena *arena, struct err *err)
{
    (void)types;
    return pbwire_decode(type, data, arena, err);
}

const struct rpc_codec rpc_codec_json = { .encode = pbjson_encode_typed,
                                          .decode = pbjson_decode_typed };
const struct rpc_codec rpc_codec_proto = { .encode = wire_encode,
                                           .encode_front = pbwire_encode_front,
                                           .decode = wire_decode };
