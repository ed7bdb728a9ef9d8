#include "tests/unit/common/rpc/pb_random.h"

#include "common/rpc/pbreflect.h"

#include <math.h>

#define REPEATED_MAX 4
#define TEXT_PIECES  6

static uint64_t next(struct pb_random *r)
{
    /* xorshift64* */
    r->state ^= r->state >> 12;
    r->state ^= r->state << 25;
    r->state ^= r->state >> 27;
    return r->state * UINT64_C(2685821657736338717);
}

static uint64_t below(struct pb_random *r, uint64_t n)
{
    return (next(r) >> 11) % n;
}

/* Small, huge, and edges, all often. */
static uint64_t integer(struct pb_random *r)
{
    static const uint64_t edges[] = {
        0, 1, INT32_MAX, UINT32_MAX, INT64_MAX, UINT64_MAX, (uint64_t)INT64_MIN, (uint64_t)INT32_MIN
    };
    switch (below(r, 3)) {
    case 0:
        return edges[below(r, sizeof(edges) / sizeof(edges[0]))];
    case 1:
        return below(r, 1000);
    default:
        return next(r);
    }
}

static char *text(struct pb_random *r)
{
    static const char *const pieces[] = {
        "a",    "\"", "\\", "\n", "\x01", "/", "\xc3\xa9", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
        "\x7f", " ",  "{}"
    };
    char out[TEXT_PIECES * 4 + 1] = "";
    for (uint64_t i = below(r, TEXT_PIECES + 1); i; i--)
        strcat(out, pieces[below(r, sizeof(pieces) / sizeof(pieces[0]))]);
    return arena_dup(r->arena, str_of(out));
}

static ProtobufCBinaryData bytes(struct pb_random *r)
{
    ProtobufCBinaryData out = { .len = below(r, 50) };
    out.data = arena_alloc(r->arena, out.len + 1);
    for (size_t i = 0; i < out.len; i++)
        out.data[i] = (uint8_t)next(r);
    return out;
}

static double real(struct pb_random *r, bool single)
{
    double value;
    do {
        uint64_t bits = next(r);
        uint32_t half = (uint32_t)bits;
        float small;
        memcpy(&value, &bits, sizeof(value));
        memcpy(&small, &half, sizeof(small));
        if (single)
            value = (double)small;
    } while (isnan(value));
    return value;
}

static void fill_time(struct pb_random *r, ProtobufCMessage *msg, bool duration)
{
    int64_t *seconds = pb_member(msg, &msg->descriptor->fields[0]);
    int32_t *nanos = pb_member(msg, &msg->descriptor->fields[1]);
    static const int32_t units[] = { 1, 1000, 1000000, 1000000000 };
    int32_t unit = units[below(r, 4)];
    *nanos = (int32_t)below(r, 1000000000U / (unsigned)unit) * unit;
    *seconds = (int64_t)below(r, 315537897600) - 62135596800;
    if (duration && *seconds < 0)
        *nanos = -*nanos;
}

static void fill_value(struct pb_random *r, const ProtobufCFieldDescriptor *field, void *out,
                       int depth)
{
    const ProtobufCEnumDescriptor *type = field->descriptor;
    uint64_t number = integer(r);
    float single;
    double value;
    switch (field->type) {
    case PROTOBUF_C_TYPE_BOOL:
        *(protobuf_c_boolean *)out = (protobuf_c_boolean)below(r, 2);
        return;
    case PROTOBUF_C_TYPE_ENUM:
        *(int32_t *)out =
            below(r, 4) ? type->values[below(r, type->n_values)].value : (int32_t)number;
        return;
    case PROTOBUF_C_TYPE_FLOAT:
        single = (float)real(r, true);
        memcpy(out, &single, sizeof(single));
        return;
    case PROTOBUF_C_TYPE_DOUBLE:
        value = real(r, false);
        memcpy(out, &value, sizeof(value));
        return;
    case PROTOBUF_C_TYPE_STRING:
        *(char **)out = text(r);
        return;
    case PROTOBUF_C_TYPE_BYTES:
        *(ProtobufCBinaryData *)out = bytes(r);
        return;
    case PROTOBUF_C_TYPE_MESSAGE:
        *(ProtobufCMessage **)out = pb_random_message(r, field->descriptor, depth - 1);
        return;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    default:
        memcpy(out, &number, pb_value_size(field->type));
    }
}

/* An entry of a map always has a value, in JSON. */
static void complete_entry(struct pb_random *r, ProtobufCMessage *entry)
{
    const ProtobufCFieldDescriptor *field = &entry->descriptor->fields[1];
    ProtobufCMessage **value = pb_member(entry, field);
    if (field->type == PROTOBUF_C_TYPE_MESSAGE && !*value)
        *value = pb_random_message(r, field->descriptor, 0);
}

ProtobufCMessage *pb_random_message(struct pb_random *r, const ProtobufCMessageDescriptor *type,
                                    int depth)
{
    ProtobufCMessage *msg = arena_alloc(r->arena, type->sizeof_message);
    type->message_init(msg);
    enum pb_special special = pb_special_of(type);
    if (special != PB_PLAIN) {
        fill_time(r, msg, special == PB_DURATION);
        return msg;
    }
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        void *member = pb_member(msg, field);
        if (below(r, 3) == 0 || (field->type == PROTOBUF_C_TYPE_MESSAGE && depth <= 0) ||
            (pb_in_oneof(field) && pb_oneof_case(msg, field)))
            continue;
        if (field->label == PROTOBUF_C_LABEL_REPEATED) {
            size_t n = below(r, REPEATED_MAX + 1), size = pb_value_size(field->type);
            char *array = arena_zalloc(r->arena, (n + 1) * size);
            for (size_t k = 0; k < n; k++) {
                fill_value(r, field, array + k * size, depth);
                if (pb_is_map(field))
                    complete_entry(r, ((ProtobufCMessage **)(void *)array)[k]);
            }
            *pb_count(msg, field) = n;
            *(void **)member = array;
        } else {
            fill_value(r, field, member, depth);
            pb_set_present(msg, field);
        }
    }
    return msg;
}
