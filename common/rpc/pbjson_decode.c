#include "common/base/clock.h"
#include "common/base/encode.h"
#include "common/rpc/json_number.h"
#include "common/rpc/json_scan.h"
#include "common/rpc/pbjson.h"
#include "common/rpc/pbreflect.h"
#include "common/rpc/pbtime.h"

#include <errno.h>
#include <math.h>

/* A name longer than this, escapes counted, is no field's. */
#define NAME_MAX_ESCAPED 512

struct decoder {
    struct json_scan scan;
    struct arena *arena;
    const ProtobufCMessageDescriptor *const *types; /* what an Any may hold */
    size_t arena_max;                               /* the arena may not grow beyond */
    const char *field; /* innermost field that was entered, for the message */
    bool exhausted;
};

static bool take_message(struct decoder *d, ProtobufCMessage *msg);
static bool take_value(struct decoder *d, const ProtobufCFieldDescriptor *field, void *value);
static bool take_any_kind(struct decoder *d, ProtobufCMessage *msg);

static bool fail(struct decoder *d, const char *what)
{
    return json_scan_fail(&d->scan, what);
}

static void *alloc(struct decoder *d, size_t n)
{
    void *p = arena_size(d->arena) + n <= d->arena_max ? arena_alloc(d->arena, n) : NULL;
    if (!p) {
        d->exhausted = true;
        fail(d, "the message needs too much memory");
    }
    return p;
}

static ProtobufCMessage *new_message(struct decoder *d, const ProtobufCMessageDescriptor *type)
{
    ProtobufCMessage *msg = alloc(d, type->sizeof_message);
    if (msg)
        type->message_init(msg);
    return msg;
}

/* A string's bytes as they are meant; a copy in the arena where there were escapes. */
static bool plain_text(struct decoder *d, struct json_raw raw, struct str *out)
{
    *out = raw.text;
    if (!raw.escaped)
        return true;
    char *copy = alloc(d, raw.text.n);
    if (!copy)
        return false;
    *out = (struct str){ copy, json_unescape(raw, copy) };
    return true;
}

static bool take_plain(struct decoder *d, struct str *out)
{
    struct json_raw raw;
    return json_scan_string(&d->scan, &raw) && plain_text(d, raw, out);
}

static bool store_string(struct decoder *d, struct json_raw raw, char **out)
{
    char *text = alloc(d, raw.text.n + 1);
    if (!text)
        return false;
    size_t n = json_unescape(raw, text);
    text[n] = '\0';
    if (memchr(text, '\0', n))
        return fail(d, "a string may not contain NUL");
    *out = text;
    return true;
}

static bool take_bytes(struct decoder *d, ProtobufCBinaryData *out)
{
    struct str text;
    if (!take_plain(d, &text))
        return false;
    uint8_t *data = alloc(d, (text.n / 4 + 1) * 3);
    if (!data)
        return false;
    ptrdiff_t n = base64_decode(text, data);
    if (n < 0)
        return fail(d, "malformed base64");
    *out = (ProtobufCBinaryData){ .len = (size_t)n, .data = data };
    return true;
}

/* An integer, given as a number or as the text of one. */
static bool store_integer(struct decoder *d, struct str text, ProtobufCType type, void *out)
{
    uint64_t u;
    int64_t i;
    switch (type) {
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_ENUM:
        if (!json_number_i64(text, INT32_MIN, INT32_MAX, &i))
            return fail(d, "expected a 32-bit integer");
        *(int32_t *)out = (int32_t)i;
        return true;
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
        if (!json_number_u64(text, UINT32_MAX, &u))
            return fail(d, "expected an unsigned 32-bit integer");
        *(uint32_t *)out = (uint32_t)u;
        return true;
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
        if (!json_number_u64(text, UINT64_MAX, &u))
            return fail(d, "expected an unsigned 64-bit integer");
        *(uint64_t *)out = u;
        return true;
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
        if (!json_number_i64(text, INT64_MIN, INT64_MAX, &i))
            return fail(d, "expected a 64-bit integer");
        *(int64_t *)out = i;
        return true;
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
    case PROTOBUF_C_TYPE_BOOL:
    case PROTOBUF_C_TYPE_STRING:
    case PROTOBUF_C_TYPE_BYTES:
    case PROTOBUF_C_TYPE_MESSAGE:
    default:
        return fail(d, "expected no integer");
    }
}

static bool take_number_text(struct decoder *d, struct str *out)
{
    return json_scan_peek(&d->scan) == JSON_KIND_STRING ? take_plain(d, out)
                                                        : json_scan_number(&d->scan, out);
}

static bool take_float(struct decoder *d, ProtobufCType type, void *out)
{
    bool quoted = json_scan_peek(&d->scan) == JSON_KIND_STRING;
    struct str text;
    double value;
    if (!take_number_text(d, &text))
        return false;
    if (quoted && str_eq(text, STR("NaN")))
        value = NAN;
    else if (quoted && str_eq(text, STR("Infinity")))
        value = INFINITY;
    else if (quoted && str_eq(text, STR("-Infinity")))
        value = -INFINITY;
    else if (!json_number_double(text, &value))
        return fail(d, "expected a number");
    else if (type == PROTOBUF_C_TYPE_FLOAT && isinf((float)value))
        return fail(d, "the number is too large");
    if (type == PROTOBUF_C_TYPE_FLOAT)
        *(float *)out = (float)value;
    else
        *(double *)out = value;
    return true;
}

static bool take_enum(struct decoder *d, const ProtobufCEnumDescriptor *type, int32_t *out)
{
    struct str text;
    if (json_scan_peek(&d->scan) != JSON_KIND_STRING)
        return json_scan_number(&d->scan, &text) &&
               store_integer(d, text, PROTOBUF_C_TYPE_ENUM, out);
    if (!take_plain(d, &text))
        return false;
    for (unsigned i = 0; i < type->n_value_names; i++) {
        if (str_eq(str_of(type->values_by_name[i].name), text)) {
            *out = type->values[type->values_by_name[i].index].value;
            return true;
        }
    }
    return fail(d, "no such enum value");
}

static bool take_time(struct decoder *d, ProtobufCMessage *msg, enum pb_special special)
{
    const ProtobufCFieldDescriptor *fields = msg->descriptor->fields;
    int64_t *seconds = pb_member(msg, &fields[0]);
    int32_t *nanos = pb_member(msg, &fields[1]);
    uint32_t unsigned_nanos;
    struct str text;
    if (!take_plain(d, &text))
        return false;
    if (special == PB_DURATION)
        return pbtime_parse_duration(text, seconds, nanos) || fail(d, "malformed duration");
    if (!clock_parse_rfc3339(text, seconds, &unsigned_nanos))
        return fail(d, "malformed timestamp");
    *nanos = (int32_t)unsigned_nanos;
    return true;
}

/* The text of an object's member "@type", which may be any of them; NULL when there is none. The
 * scan is moved behind the object. */
static bool find_type_url(struct decoder *d, char **url)
{
    struct json_raw key, value;
    struct str name;
    bool first = true;
    *url = NULL;
    if (!json_scan_open(&d->scan, '{'))
        return false;
    while (json_scan_next_key(&d->scan, &first, &key)) {
        if (!plain_text(d, key, &name))
            return false;
        if (!str_eq(name, STR("@type"))) {
            if (!json_scan_skip(&d->scan))
                return false;
            continue;
        }
        if (*url)
            return fail(d, "@type is there twice");
        if (!json_scan_string(&d->scan, &value) || !store_string(d, value, url))
            return false;
    }
    return !d->scan.error;
}

/* The member "value" of an Any whose type's JSON is no object. */
static bool take_any_value(struct decoder *d, ProtobufCMessage *msg)
{
    struct json_raw key;
    bool first = true, found = false;
    if (!json_scan_open(&d->scan, '{'))
        return false;
    while (json_scan_next_key(&d->scan, &first, &key)) {
        if (!str_eq(key.text, STR("value"))) {
            if (!json_scan_skip(&d->scan))
                return false;
            continue;
        }
        if (found)
            return fail(d, "the same field twice");
        found = true;
        if (!take_any_kind(d, msg))
            return false;
    }
    return !d->scan.error && (found || fail(d, "an Any of this type needs a value"));
}

/* Read twice: the type may come last. What is inside is read as its type, then packed. */
static bool take_any(struct decoder *d, ProtobufCMessage *any)
{
    const ProtobufCFieldDescriptor *fields = any->descriptor->fields;
    ProtobufCBinaryData *packed = pb_member(any, &fields[1]);
    struct json_scan start = d->scan;
    char *url;
    if (!find_type_url(d, &url))
        return false;
    if (!url)
        return true; /* an empty one */
    const ProtobufCMessageDescriptor *type = pb_find_type(d->types, str_of(url));
    if (!type)
        return fail(d, "an Any of a type that is not known here");
    ProtobufCMessage *msg = new_message(d, type);
    if (!msg)
        return false;
    d->scan = start;
    if (!(pb_special_of(type) == PB_PLAIN ? take_message(d, msg) : take_any_value(d, msg)))
        return false;
    packed->len = protobuf_c_message_get_packed_size(msg);
    packed->data = alloc(d, packed->len + 1);
    if (!packed->data)
        return false;
    protobuf_c_message_pack(msg, packed->data);
    *(char **)pb_member(any, &fields[0]) = url;
    return true;
}

/* A message in the form that its type has. */
static bool take_any_kind(struct decoder *d, ProtobufCMessage *msg)
{
    const ProtobufCFieldDescriptor *fields = msg->descriptor->fields;
    enum pb_special special = pb_special_of(msg->descriptor);
    switch (special) {
    case PB_TIMESTAMP:
    case PB_DURATION:
        return take_time(d, msg, special);
    case PB_WRAPPER:
        return take_value(d, &fields[0], pb_member(msg, &fields[0]));
    case PB_ANY:
        return take_any(d, msg);
    case PB_PLAIN:
    default:
        return take_message(d, msg);
    }
}

static bool take_submessage(struct decoder *d, const ProtobufCMessageDescriptor *type,
                            ProtobufCMessage **out)
{
    ProtobufCMessage *msg = new_message(d, type);
    if (!msg)
        return false;
    if (!take_any_kind(d, msg))
        return false;
    *out = msg;
    return true;
}

static bool take_value(struct decoder *d, const ProtobufCFieldDescriptor *field, void *value)
{
    struct json_raw raw;
    struct str text;
    bool truth;
    switch (field->type) {
    case PROTOBUF_C_TYPE_STRING:
        return json_scan_string(&d->scan, &raw) && store_string(d, raw, value);
    case PROTOBUF_C_TYPE_BYTES:
        return take_bytes(d, value);
    case PROTOBUF_C_TYPE_MESSAGE:
        return take_submessage(d, field->descriptor, value);
    case PROTOBUF_C_TYPE_ENUM:
        return take_enum(d, field->descriptor, value);
    case PROTOBUF_C_TYPE_FLOAT:
    case PROTOBUF_C_TYPE_DOUBLE:
        return take_float(d, field->type, value);
    case PROTOBUF_C_TYPE_BOOL:
        if (!json_scan_bool(&d->scan, &truth))
            return false;
        *(protobuf_c_boolean *)value = truth;
        return true;
    case PROTOBUF_C_TYPE_INT32:
    case PROTOBUF_C_TYPE_SINT32:
    case PROTOBUF_C_TYPE_SFIXED32:
    case PROTOBUF_C_TYPE_INT64:
    case PROTOBUF_C_TYPE_SINT64:
    case PROTOBUF_C_TYPE_SFIXED64:
    case PROTOBUF_C_TYPE_UINT32:
    case PROTOBUF_C_TYPE_FIXED32:
    case PROTOBUF_C_TYPE_UINT64:
    case PROTOBUF_C_TYPE_FIXED64:
    default:
        return take_number_text(d, &text) && store_integer(d, text, field->type, value);
    }
}

/* Room for one more element behind n of them, doubling at each power of two. */
static void *grow(struct decoder *d, void **array, size_t n, size_t size)
{
    if ((n & (n - 1)) == 0) {
        size_t cap = n ? n * 2 : 1;
        void *fresh = alloc(d, cap * size);
        if (!fresh)
            return NULL;
        if (n)
            memcpy(fresh, *array, n * size);
        *array = fresh;
    }
    char *slot = (char *)*array + n * size;
    memset(slot, 0, size);
    return slot;
}

static bool take_repeated(struct decoder *d, ProtobufCMessage *msg,
                          const ProtobufCFieldDescriptor *field)
{
    size_t *n = pb_count(msg, field), size = pb_value_size(field->type);
    void **array = pb_member(msg, field);
    bool first = true;
    if (!json_scan_open(&d->scan, '['))
        return false;
    while (json_scan_next_item(&d->scan, &first)) {
        void *slot = grow(d, array, *n, size);
        if (!slot || !take_value(d, field, slot))
            return false;
        ++*n;
    }
    return !d->scan.error;
}

static bool store_key(struct decoder *d, struct json_raw raw, ProtobufCMessage *entry)
{
    const ProtobufCFieldDescriptor *field = &entry->descriptor->fields[0];
    void *out = pb_member(entry, field);
    struct str text;
    pb_set_present(entry, field);
    if (field->type == PROTOBUF_C_TYPE_STRING)
        return store_string(d, raw, out);
    if (!plain_text(d, raw, &text))
        return false;
    if (field->type != PROTOBUF_C_TYPE_BOOL)
        return store_integer(d, text, field->type, out);
    *(protobuf_c_boolean *)out = str_eq(text, STR("true"));
    return *(protobuf_c_boolean *)out || str_eq(text, STR("false")) ||
           fail(d, "expected true or false as key");
}

static bool take_map(struct decoder *d, ProtobufCMessage *msg,
                     const ProtobufCFieldDescriptor *field)
{
    const ProtobufCMessageDescriptor *type = field->descriptor;
    size_t *n = pb_count(msg, field);
    void **array = pb_member(msg, field);
    struct json_raw key;
    bool first = true;
    if (!json_scan_open(&d->scan, '{'))
        return false;
    while (json_scan_next_key(&d->scan, &first, &key)) {
        ProtobufCMessage *entry = new_message(d, type);
        if (!entry || !store_key(d, key, entry) ||
            !take_value(d, &type->fields[1], pb_member(entry, &type->fields[1])))
            return false;
        pb_set_present(entry, &type->fields[1]);
        ProtobufCMessage **slot = grow(d, array, *n, sizeof(*slot));
        if (!slot)
            return false;
        *slot = entry;
        ++*n;
    }
    return !d->scan.error;
}

static bool take_field(struct decoder *d, ProtobufCMessage *msg,
                       const ProtobufCFieldDescriptor *field)
{
    if (json_scan_peek(&d->scan) == JSON_KIND_NULL)
        return json_scan_null(&d->scan);
    if (field->label == PROTOBUF_C_LABEL_REPEATED)
        return pb_is_map(field) ? take_map(d, msg, field) : take_repeated(d, msg, field);
    if (pb_in_oneof(field)) {
        /* The members of a oneof share storage, and the message's initial value is another's. */
        if (pb_oneof_case(msg, field))
            return fail(d, "a second member of the same oneof");
        memset(pb_member(msg, field), 0, pb_value_size(field->type));
    }
    if (!take_value(d, field, pb_member(msg, field)))
        return false;
    pb_set_present(msg, field);
    return true;
}

/* The field that a member's name means, or NULL. *hint is where to look first. */
static const ProtobufCFieldDescriptor *find_field(const ProtobufCMessageDescriptor *type,
                                                  struct json_raw raw, unsigned *hint)
{
    char unescaped[NAME_MAX_ESCAPED];
    struct str name = raw.text;
    if (raw.escaped) {
        if (raw.text.n > sizeof(unescaped))
            return NULL;
        name = (struct str){ unescaped, json_unescape(raw, unescaped) };
    }
    for (unsigned i = 0; i < type->n_fields; i++) {
        unsigned at = *hint + i < type->n_fields ? *hint + i : *hint + i - type->n_fields;
        if (pb_name_matches(type->fields[at].name, name)) {
            *hint = at + 1 < type->n_fields ? at + 1 : 0;
            return &type->fields[at];
        }
    }
    return NULL;
}

static bool take_message(struct decoder *d, ProtobufCMessage *msg)
{
    const ProtobufCMessageDescriptor *type = msg->descriptor;
    const char *outer = d->field;
    struct json_raw key;
    uint64_t few_seen = 0, *seen = &few_seen; /* a bit for each field that was there */
    unsigned hint = 0;
    bool first = true;

    if (type->n_fields > 64) {
        size_t n = (type->n_fields + 63) / 64 * sizeof(*seen);
        seen = alloc(d, n);
        if (!seen)
            return false;
        memset(seen, 0, n);
    }
    if (!json_scan_open(&d->scan, '{'))
        return false;
    while (json_scan_next_key(&d->scan, &first, &key)) {
        const ProtobufCFieldDescriptor *field = find_field(type, key, &hint);
        if (!field) {
            if (!json_scan_skip(&d->scan))
                return false;
            continue;
        }
        size_t index = (size_t)(field - type->fields);
        d->field = field->name;
        if (seen[index / 64] >> index % 64 & 1)
            return fail(d, "the same field twice");
        seen[index / 64] |= UINT64_C(1) << index % 64;
        if (!take_field(d, msg, field))
            return false;
        d->field = outer;
    }
    return !d->scan.error;
}

ProtobufCMessage *pbjson_decode_typed(const ProtobufCMessageDescriptor *type,
                                      const ProtobufCMessageDescriptor *const *types,
                                      struct str text, struct arena *arena, struct err *err)
{
    struct decoder d = { .arena = arena,
                         .types = types,
                         .arena_max = arena_size(arena) + PBJSON_MEMORY_MAX };
    ProtobufCMessage *msg = NULL;
    json_scan_init(&d.scan, text, PBJSON_DEPTH_MAX);
    if (take_submessage(&d, type, &msg) && json_scan_end(&d.scan))
        return msg;
    int failed = err_set(err, d.exhausted ? ERR_EXHAUSTED : ERR_INVALID, EINVAL,
                         "invalid JSON at offset %zu%s%s: %s", json_scan_offset(&d.scan),
                         d.field ? ", field " : "", d.field ? d.field : "", d.scan.error);
    return failed ? NULL : msg;
}

ProtobufCMessage *pbjson_decode(const ProtobufCMessageDescriptor *type, struct str text,
                                struct arena *arena, struct err *err)
{
    return pbjson_decode_typed(type, NULL, text, arena, err);
}
