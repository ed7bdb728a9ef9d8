/* What protobuf-c's descriptors say about a field, and where its value lies in a message. */
#ifndef COMMON_RPC_PBREFLECT_H
#define COMMON_RPC_PBREFLECT_H

#include "common/base/str.h"

#include <protobuf-c/protobuf-c.h>

/* The well-known types whose JSON is no plain object. */
enum pb_special {
    PB_PLAIN,
    PB_TIMESTAMP,
    PB_DURATION,
    PB_WRAPPER, /* google.protobuf.Int64Value and the like: as its one field */
    PB_ANY,
};
enum pb_special pb_special_of(const ProtobufCMessageDescriptor *type);

/* The type that an Any's type_url names, of those in types (ended by NULL; may be NULL); NULL when
 * it is none of them. */
const ProtobufCMessageDescriptor *pb_find_type(const ProtobufCMessageDescriptor *const *types,
                                               struct str type_url);

/* Bytes of one value of the type as a C object. */
size_t pb_value_size(ProtobufCType type);

/* A map is a repeated message named Camel(field)Entry with the fields key = 1 and value = 2. */
bool pb_is_map(const ProtobufCFieldDescriptor *field);

static inline bool pb_in_oneof(const ProtobufCFieldDescriptor *field)
{
    return field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF;
}

/* The field's value, or the pointer to its array when it is repeated. */
static inline void *pb_member(ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field)
{
    return (char *)msg + field->offset;
}

static inline const void *pb_member_const(const ProtobufCMessage *msg,
                                          const ProtobufCFieldDescriptor *field)
{
    return (const char *)msg + field->offset;
}

/* The number of elements of a repeated field. */
static inline size_t *pb_count(ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field)
{
    return (size_t *)(void *)((char *)msg + field->quantifier_offset);
}

/* Whether a singular field holds something that JSON must show. */
bool pb_is_present(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field);

/* Note that a singular field was set: its oneof's case, or its has_ member where it has one. */
void pb_set_present(ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field);

/* Number of the oneof's member that is set, 0 for none; the field must be a oneof's. */
uint32_t pb_oneof_case(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field);

/* Whether `key` is the field's lowerCamelCase name or its name in the .proto file. */
bool pb_name_matches(const char *field_name, struct str key);

#endif
