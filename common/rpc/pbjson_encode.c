#include "common/base/encode.h"
#include "common/base/json_text.h"
#include "common/rpc/pbjson.h"
#include "common/rpc/pbreflect.h"
#include "common/rpc/pbtime.h"
#include "common/rpc/pbwire.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

struct encoder {
    struct buf *out;
    const ProtobufCMessageDescriptor *const *types; /* what an Any may hold */
    int depth;                                      /* brackets that are open */
};

static void put_message(struct encoder *e, const ProtobufCMessage *msg);

/* Open a bracket, unless so many are open that no reader would take it. */
static bool enter(struct encoder *e, char bracket)
{
    if (e->depth == PBJSON_DEPTH_MAX || e->out->failed) {
        e->out->failed = true;
        return false;
    }
    e->depth++;
    return buf_putc(e->out, bracket);
}

static void leave(struct encoder *e, char bracket)
{
    e->depth--;
    buf_putc(e->out, bracket);
}

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
static void put_value(struct encoder *e, const ProtobufCFieldDescriptor *field, const void *value,
                      bool as_key)
{
    struct buf *out = e->out;
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
            put_message(e, msg);
        else
            buf_puts(out, "{}");
        break;
    }
    default:
        out->failed = true;
    }
}

static void put_map(struct encoder *e, const ProtobufCFieldDescriptor *field, const char *array,
                    size_t n)
{
    const ProtobufCMessageDescriptor *entry = field->descriptor;
    if (!enter(e, '{'))
        return;
    for (size_t i = 0; i < n; i++) {
        const ProtobufCMessage *item = ((const ProtobufCMessage *const *)(const void *)array)[i];
        if (i)
            buf_putc(e->out, ',');
        put_value(e, &entry->fields[0], pb_member_const(item, &entry->fields[0]), true);
        buf_putc(e->out, ':');
        put_value(e, &entry->fields[1], pb_member_const(item, &entry->fields[1]), false);
    }
    leave(e, '}');
}

static void put_repeated(struct encoder *e, const ProtobufCFieldDescriptor *field,
                         const char *array, size_t n)
{
    size_t size = pb_value_size(field->type);
    if (!enter(e, '['))
        return;
    for (size_t i = 0; i < n; i++) {
        if (i)
            buf_putc(e->out, ',');
        put_value(e, field, array + i * size, false);
    }
    leave(e, ']');
}

static void put_time(struct buf *out, const ProtobufCMessage *msg, enum pb_special special)
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

/* The fields of a message behind a brace, or behind a first member. */
static void put_fields(struct encoder *e, const ProtobufCMessage *msg, bool first)
{
    const ProtobufCMessageDescriptor *type = msg->descriptor;
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
            buf_putc(e->out, ',');
        first = false;
        put_name(e->out, field->name);
        if (!repeated)
            put_value(e, field, member, false);
        else if (pb_is_map(field))
            put_map(e, field, *(const char *const *)member, n);
        else
            put_repeated(e, field, *(const char *const *)member, n);
    }
}

/* {"@type":url,...fields}, or {"@type":url,"value":...} of a type whose JSON is no object. */
static void put_any(struct encoder *e, const ProtobufCMessage *any)
{
    const ProtobufCFieldDescriptor *fields = any->descriptor->fields;
    struct str url = str_of(*(const char *const *)pb_member_const(any, &fields[0]));
    const ProtobufCBinaryData *value = pb_member_const(any, &fields[1]);
    if (url.n == 0 && value->len == 0) {
        buf_puts(e->out, "{}");
        return;
    }
    struct arena arena = { 0 };
    const ProtobufCMessageDescriptor *type = pb_find_type(e->types, url);
    const ProtobufCMessage *msg = NULL;
    if (type)
        msg = pbwire_decode(type, (struct str){ (const char *)value->data, value->len }, &arena,
                            NULL);
    if (!msg) {
        e->out->failed = true;
    } else if (enter(e, '{')) {
        buf_puts(e->out, "\"@type\":");
        json_text_quote(e->out, url);
        if (pb_special_of(type) == PB_PLAIN) {
            put_fields(e, msg, false);
        } else {
            buf_puts(e->out, ",\"value\":");
            put_message(e, msg);
        }
        leave(e, '}');
    }
    arena_deinit(&arena);
}

static void put_message(struct encoder *e, const ProtobufCMessage *msg)
{
    const ProtobufCFieldDescriptor *fields = msg->descriptor->fields;
    enum pb_special special = pb_special_of(msg->descriptor);
    switch (special) {
    case PB_TIMESTAMP:
    case PB_DURATION:
        put_time(e->out, msg, special);
        break;
    case PB_WRAPPER:
        put_value(e, &fields[0], pb_member_const(msg, &fields[0]), false);
        break;
    case PB_ANY:
        put_any(e, msg);
        break;
    case PB_PLAIN:
    default:
        if (enter(e, '{')) {
            put_fields(e, msg, true);
            leave(e, '}');
        }
    }
}

bool pbjson_encode_typed(const ProtobufCMessage *msg,
                         const ProtobufCMessageDescriptor *const *types, struct buf *out)
{
    struct encoder e = { .out = out, .types = types };
    put_message(&e, msg);
    return !out->failed;
}

bool pbjson_encode(const ProtobufCMessage *msg, struct buf *out)
{
    return pbjson_encode_typed(msg, NULL, out);
}
