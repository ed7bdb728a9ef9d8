#include "common/rpc/pbreflect.h"

/* google.protobuf.<Kind>Value with the one field "value"; not Value, which is a union. */
static bool is_wrapper(const ProtobufCMessageDescriptor *type, const char *name)
{
    static const char *const names[] = { "DoubleValue", "FloatValue",  "Int64Value",
                                         "UInt64Value", "Int32Value",  "UInt32Value",
                                         "BoolValue",   "StringValue", "BytesValue" };
    if (type->n_fields != 1 || type->fields[0].id != 1 ||
        type->fields[0].label == PROTOBUF_C_LABEL_REPEATED)
        return false;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

enum pb_special pb_special_of(const ProtobufCMessageDescriptor *type)
{
    static const char package[] = "google.protobuf.";
    if (strncmp(type->name, package, sizeof(package) - 1) != 0)
        return PB_PLAIN;
    const char *name = type->name + sizeof(package) - 1;
    if (is_wrapper(type, name))
        return PB_WRAPPER;
    if (type->n_fields != 2)
        return PB_PLAIN;
    ProtobufCType first = type->fields[0].type, second = type->fields[1].type;
    if (strcmp(name, "Any") == 0 && first == PROTOBUF_C_TYPE_STRING &&
        second == PROTOBUF_C_TYPE_BYTES)
        return PB_ANY;
    if (first != PROTOBUF_C_TYPE_INT64 || second != PROTOBUF_C_TYPE_INT32)
        return PB_PLAIN;
    if (strcmp(name, "Timestamp") == 0)
        return PB_TIMESTAMP;
    return strcmp(name, "Duration") == 0 ? PB_DURATION : PB_PLAIN;
}

const ProtobufCMessageDescriptor *pb_find_type(const ProtobufCMessageDescriptor *const *types,
                                               struct str type_url)
{
    struct str name = type_url;
    for (ptrdiff_t slash; (slash = str_find(name, '/')) >= 0;)
        name = str_from(name, (size_t)slash + 1);
    for (; types && *types; types++)
        if (str_eq(str_of((*types)->name), name))
            return *types;
    return NULL;
}

size_t pb_value_size(ProtobufCType type)
{
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_ENUM:
    case PROTOBUF_C_TYPE_FLOAT:
        return 4;
    case PROTOBUF_C_TYPE_BOOL:
        return sizeof(protobuf_c_boolean);
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    case PROTOBUF_C_TYPE_DOUBLE:
        return 8;
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_MESSAGE:
        return sizeof(void *);
    case PROTOBUF_C_TYPE_BYTES:
    default:
        return sizeof(ProtobufCBinaryData);
    }
}

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 32) : c;
}

bool pb_is_map(const ProtobufCFieldDescriptor *field)
{
    if (field->label != PROTOBUF_C_LABEL_REPEATED || field->type != PROTOBUF_C_TYPE_MESSAGE)
        return false;
    const ProtobufCMessageDescriptor *entry = field->descriptor;
    if (entry->n_fields != 2 || entry->fields[0].id != 1 || entry->fields[1].id != 2 ||
        strcmp(entry->fields[0].name, "key") != 0 || strcmp(entry->fields[1].name, "value") != 0)
        return false;
    const char *want = entry->short_name;
    bool capital = true;
    for (const char *p = field->name; *p; p++) {
        if (*p == '_') {
            capital = true;
            continue;
        }
        if (*want++ != (capital ? upper(*p) : *p))
            return false;
        capital = false;
    }
    return strcmp(want, "Entry") == 0;
}

uint32_t pb_oneof_case(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field)
{
    uint32_t id;
    memcpy(&id, (const char *)msg + field->quantifier_offset, sizeof(id));
    return id;
}

/* Whether a field without presence differs from its type's zero. */
static bool is_nonzero(const void *member, ProtobufCType type)
{
    static const uint8_t zero[8];
    if (type == PROTOBUF_C_TYPE_STRING) {
        const char *text = *(const char *const *)member;
        return text && text[0];
    }
    if (type == PROTOBUF_C_TYPE_BYTES)
        return ((const ProtobufCBinaryData *)member)->len > 0;
    return memcmp(member, zero, pb_value_size(type)) != 0;
}

bool pb_is_present(const ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field)
{
    const void *member = pb_member_const(msg, field);
    if (pb_in_oneof(field))
        return pb_oneof_case(msg, field) == field->id;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return *(void *const *)member != NULL;
    if (field->label == PROTOBUF_C_LABEL_REQUIRED)
        return true;
    if (field->label == PROTOBUF_C_LABEL_OPTIONAL) {
        if (field->type == PROTOBUF_C_TYPE_STRING)
            return *(const void *const *)member &&
                   *(const void *const *)member != field->default_value;
        return *(const protobuf_c_boolean *)(const void *)((const char *)msg +
                                                           field->quantifier_offset);
    }
    return is_nonzero(member, field->type);
}

void pb_set_present(ProtobufCMessage *msg, const ProtobufCFieldDescriptor *field)
{
    void *quantifier = (char *)msg + field->quantifier_offset;
    if (pb_in_oneof(field))
        memcpy(quantifier, &field->id, sizeof(field->id));
    else if (field->label == PROTOBUF_C_LABEL_OPTIONAL && field->type != PROTOBUF_C_TYPE_STRING &&
             field->type != PROTOBUF_C_TYPE_MESSAGE)
        *(protobuf_c_boolean *)quantifier = 1;
}

bool pb_name_matches(const char *field_name, struct str key)
{
    size_t n = strlen(field_name);
    if (n == key.n && memcmp(field_name, key.p, n) == 0)
        return true;
    size_t at = 0;
    bool capital = false;
    for (const char *p = field_name; *p; p++) {
        if (*p == '_') {
            capital = true;
            continue;
        }
        if (at == key.n || key.p[at++] != (capital ? upper(*p) : *p))
            return false;
        capital = false;
    }
    return at == key.n;
}
