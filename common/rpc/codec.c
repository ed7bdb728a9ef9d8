#include "common/rpc/codec.h"

#include "common/rpc/pbjson.h"
#include "common/rpc/pbwire.h"

const struct rpc_codec rpc_codec_json = { pbjson_encode, pbjson_decode };
const struct rpc_codec rpc_codec_proto = { pbwire_encode, pbwire_decode };
