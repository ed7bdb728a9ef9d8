/* Proto3 JSON for protobuf-c messages, by reflection over their descriptors.
 * https://protobuf.dev/programming-guides/json */
#ifndef COMMON_RPC_PBJSON_H
#define COMMON_RPC_PBJSON_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/err.h"

#include <protobuf-c/protobuf-c.h>

/* Nested objects and arrays beyond this depth are refused. */
#define PBJSON_DEPTH_MAX 64

/* Memory that decoding one message may take: its text can ask for many times its own size. */
#define PBJSON_MEMORY_MAX (64U << 20)

/* Append the message as JSON: lowerCamelCase names, int64 as strings, bytes as base64, enums by
 * name, google.protobuf.Timestamp as RFC 3339, maps as objects, wrappers as their value, fields
 * with default values left out. false when memory is out, or the message holds a time that has no
 * text or an Any of a type that is not known (then *out has a part of it). */
bool pbjson_encode(const ProtobufCMessage *msg, struct buf *out);

/* The same, where google.protobuf.Any may hold one of `types` (ended by NULL; may be NULL). */
bool pbjson_encode_typed(const ProtobufCMessage *msg,
                         const ProtobufCMessageDescriptor *const *types, struct buf *out);

/* Parse JSON text into a new message in the arena: accepts lowerCamelCase and snake_case names,
 * enums by name or number, 64-bit integers as text or number, both base64 alphabets; ignores
 * unknown fields; null is the default. A field that is there twice, or two members of a oneof, are
 * errors. NULL with err when text is no such JSON (ERR_INVALID) or needs more than
 * PBJSON_MEMORY_MAX (ERR_EXHAUSTED). */
ProtobufCMessage *pbjson_decode(const ProtobufCMessageDescriptor *type, struct str text,
                                struct arena *arena, struct err *err);

/* The same, where google.protobuf.Any may hold one of `types` (ended by NULL; may be NULL). */
ProtobufCMessage *pbjson_decode_typed(const ProtobufCMessageDescriptor *type,
                                      const ProtobufCMessageDescriptor *const *types,
                                      struct str text, struct arena *arena, struct err *err);

#endif
