#include "common/base/encode.h"
#include "common/base/json_text.h"
#include "common/rpc/pbjson.h"
#include "common/rpc/pbreflect.h"
#include "common/rpc/pbtime.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static void put_message(struct buf *out, const ProtobufCMessage *msg, int depth);

/* "lowerCamelCase": in front of a member's value. */
static void put_name(struct buf *out, const char *name)
{
    uint8_t *start = buf_reserve(out, strlen(name) + 3), *to = start;
    if (!start)
        return;
    *to++ = '"';
    bool capital = false;
    for (const char *p = name; *p; p++) {
        if (*p == '_') {
            capital = true;
            continue;
        }
        *to++ = (uint8_t)(capital && *p >= 'a' && *p <= 'z' ? *p - 32 : *p);
        capital = false;
    }
    *to++ = '"';
    *to++ = ':';
    buf_commit(out, (size_t)(to - start));
}

static void put_u64(struct buf *out, uint64_t value, bool negative, bool quoted)
{
    char text[24], *end = text + sizeof(text), *p = end;
    if (quoted)
        *--p = '"';
    do
        *--p = (char)('0' + value % 10);
    while (value /= 10);
    if (negative)
        *--p = '-';
    if (quoted)
        *--p = '"';
    buf_append(out, p, (size_t)(end - p));
}

static void put_i64(struct buf *out, int64_t value, bool quoted)
{
    uint64_t magnitude = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;
    put_u64(out, magnitude, value < 0, quoted);
}

/* The shortest text, by precision, that reads back as the same number. */
static void put_double(struct buf *out, double value, bool single, bool quoted)
{
    if (isnan(value)) {
        buf_puts(out, "\"NaN\"");
        return;
    }
    if (isinf(value)) {
        buf_puts(out, value < 0 ? "\"-Infinity\"" : "\"Infinity\"");
        return;
    }
    char text[40];
    int most = single ? 9 : 17;
    for (int precision = single ? 6 : 15; precision <= most; precision++) {
        snprintf(text, sizeof(text), "%.*g", precision, value);
        double back = single ? (double)strtof(text, NULL) : strtod(text, NULL);
        if (back == value)
            break;
    }
    buf_printf(out, quoted ? "\"%s\"" : "%s", text);
}

static void put_enum(struct buf *out, const ProtobufCEnumDescriptor *type, int32_t number)
{
    const ProtobufCEnumValue *value = protobuf_c_enum_descriptor_get_value(type, number);
    if (!value) {
        put_i64(out, number, false);
        return;
    }
    buf_putc(out, '"');
    buf_puts(out, value->name);
    buf_putc(out, '"');
}

static void put_text(struct buf *out, const char *text)
{
    json_text_quote(out, str_of(text ? text : ""));
}

static void put_bytes(struct buf *out, const ProtobufCBinaryData *bytes)
{
    buf_putc(out, '"');
    if (bytes->len && !base64_encode(out, bytes->data, bytes->len, true))
        out->failed = true;
    buf_putc(out, '"');
}

/* Numbers are quoted where JSON's are too small for them, and all are as keys of a map. */
static void put_value(struct buf *out, const ProtobufCFieldDescriptor *field, const void *value,
                      bool as_key, int depth)
{
    switch (field->type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
        put_i64(out, *(const int32_t *)value, as_key);
        break;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        put_u64(out, *(const uint32_t *)value, false, as_key);
        break;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        put_i64(out, *(const int64_t *)value, true);
        break;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        put_u64(out, *(const uint64_t *)value, false, true);
        break;
    case PROTOBUF_C_TYPE_FLOAT:
        put_double(out, (double)*(const float *)value, true, as_key);
        break;
    case PROTOBUF_C_TYPE_DOUBLE:
        put_double(out, *(const double *)value, false, as_key);
        break;
    case PROTOBUF_C_TYPE_BOOL: {
        const char *text = *(const protobuf_c_boolean *)value ? "true" : "false";
        buf_printf(out, as_key ? "\"%s\"" : "%s", text);
        break;
    }
    case PROTOBUF_C_TYPE_ENUM:
        put_enum(out, field->descriptor, *(const int32_t *)value);
        break;
    case PROTOBUF_C_TYPE_STRING:
        put_text(out, *(const char *const *)value);
        break;
    case PROTOBUF_C_TYPE_BYTES:
        put_bytes(out, value);
        break;
    case PROTOBUF_C_TYPE_MESSAGE: {
        const ProtobufCMessage *msg = *(const ProtobufCMessage *const *)value;
        if (msg)
            put_message(out, msg, depth + 1);
        else
            buf_puts(out, "{}");
        break;
    }
    default:
        out->failed = true;
    }
}

static void put_map(struct buf *out, const ProtobufCFieldDescriptor *field, const char *array,
                    size_t n, int depth)
{
    const ProtobufCMessageDescriptor *entry = field->descriptor;
    buf_putc(out, '{');
    for (size_t i = 0; i < n; i++) {
        const ProtobufCMessage *item = ((const ProtobufCMessage *const *)(const void *)array)[i];
        if (i)
            buf_putc(out, ',');
        put_value(out, &entry->fields[0], pb_member_const(item, &entry->fields[0]), true, depth);
        buf_putc(out, ':');
        put_value(out, &entry->fields[1], pb_member_const(item, &entry->fields[1]), false, depth);
    }
    buf_putc(out, '}');
}

static void put_repeated(struct buf *out, const ProtobufCFieldDescriptor *field, const char *array,
                         size_t n, int depth)
{
    size_t size = pb_value_size(field->type);
    buf_putc(out, '[');
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_putc(out, ',');
        put_value(out, field, array + i * size, false, depth);
    }
    buf_putc(out, ']');
}

static void put_special(struct buf *out, const ProtobufCMessage *msg, enum pb_special special)
{
    const ProtobufCFieldDescriptor *fields = msg->descriptor->fields;
    int64_t seconds = *(const int64_t *)pb_member_const(msg, &fields[0]);
    int32_t nanos = *(const int32_t *)pb_member_const(msg, &fields[1]);
    char text[PBTIME_TEXT_MAX];
    size_t n = special == PB_TIMESTAMP ? pbtime_timestamp(seconds, nanos, text)
                                       : pbtime_duration(seconds, nanos, text);
    if (n == 0) { /* a time that has no text */
        out->failed = true;
        return;
    }
    buf_putc(out, '"');
    buf_append(out, text, n);
    buf_putc(out, '"');
}

static void put_message(struct buf *out, const ProtobufCMessage *msg, int depth)
{
    const ProtobufCMessageDescriptor *type = msg->descriptor;
    if (depth > PBJSON_DEPTH_MAX) {
        out->failed = true;
        return;
    }
    enum pb_special special = pb_special_of(type);
    if (special != PB_PLAIN) {
        put_special(out, msg, special);
        return;
    }
    bool first = true;
    buf_putc(out, '{');
    for (unsigned i = 0; i < type->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &type->fields[i];
        const void *member = pb_member_const(msg, field);
        bool repeated = field->label == PROTOBUF_C_LABEL_REPEATED;
        size_t n = 0;
        if (repeated)
            n = *(const size_t *)(const void *)((const char *)msg + field->quantifier_offset);
        if (repeated ? n == 0 : !pb_is_present(msg, field))
            continue;
        if (!first)
            buf_putc(out, ',');
        first = false;
        put_name(out, field->name);
        if (!repeated)
            put_value(out, field, member, false, depth);
        else if (pb_is_map(field))
            put_map(out, field, *(const char *const *)member, n, depth);
        else
            put_repeated(out, field, *(const char *const *)member, n, depth);
    }
    buf_putc(out, '}');
}

bool pbjson_encode(const ProtobufCMessage *msg, struct buf *out)
{
    put_message(out, msg, 0);
    return !out->failed;
}
