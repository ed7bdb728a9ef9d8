#include "common/rpc/pbwire.h"

#include "common/base/cleanup.h"
#include "common/base/utf8.h"

#include <errno.h>

#define FIELD_NUMBER_MAX 0x1FFFFFFF

enum wire { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct bounded {
    struct arena *arena;
    size_t arena_max;
    bool exhausted;
};

static void *bounded_alloc(void *data, size_t n)
{
    struct bounded *b = data;
    void *p = arena_size(b->arena) + n <= b->arena_max ? arena_alloc(b->arena, n) : NULL;
    if (!p)
        b->exhausted = true;
    return p;
}

static void bounded_free(void *data, void *p)
{
    (void)data;
    (void)p;
}

bool pbwire_encode(const ProtobufCMessage *msg, struct buf *out)
{
    size_t n = protobuf_c_message_get_packed_size(msg);
    uint8_t *to = buf_reserve(out, n + 1);
    if (!to)
        return false;
    buf_commit(out, protobuf_c_message_pack(msg, to));
    return true;
}

/* Where the parts of a message are appended. */
struct front {
    ProtobufCBuffer base;
    struct buf *out;
    struct str tail; /* the newest part, if it is large */
};

static void append_part(ProtobufCBuffer *base, size_t n, const uint8_t *data)
{
    struct front *f = container_of(base, struct front, base);
    buf_append_str(f->out, f->tail);
    f->tail = (struct str){ NULL, 0 };
    if (n >= PBWIRE_TAIL_MIN)
        f->tail = (struct str){ (const char *)data, n };
    else
        buf_append(f->out, data, n);
}

bool pbwire_encode_front(const ProtobufCMessage *msg, struct buf *out, struct str *tail)
{
    struct front f = { .base = { .append = append_part }, .out = out };
    protobuf_c_message_pack_to_buffer(msg, &f.base);
    *tail = f.tail;
    return !out->failed;
}

static bool take_varint(struct str *s, uint64_t *out)
{
    *out = 0;
    for (size_t i = 0; i < s->n && i < 10; i++) {
        uint8_t byte = (uint8_t)s->p[i];
        *out |= (uint64_t)(byte & 0x7F) << (7 * i);
        if (!(byte & 0x80)) {
            *s = str_from(*s, i + 1);
            return true;
        }
    }
    return false;
}

static bool take_bytes(struct str *s, uint64_t n, struct str *out)
{
    if (n > s->n)
        return false;
    *out = (struct str){ s->p, (size_t)n };
    *s = str_from(*s, (size_t)n);
    return true;
}

/* What protobuf-c would not notice, or NULL. */
static const char *find_fault(const ProtobufCMessageDescriptor *type, struct str data, int depth)
{
    static const char malformed[] = "malformed";
    if (depth > PBWIRE_DEPTH_MAX)
        return "nested too deeply";
    while (data.n) {
        uint64_t tag, n;
        struct str value;
        if (!take_varint(&data, &tag) || tag >> 3 == 0 || tag >> 3 > FIELD_NUMBER_MAX)
            return malformed;
        switch (tag & 7) {
        case WIRE_VARINT:
            if (!take_varint(&data, &n))
                return malformed;
            continue;
        case WIRE_64:
            if (!take_bytes(&data, 8, &value))
                return malformed;
            continue;
        case WIRE_32:
            if (!take_bytes(&data, 4, &value))
                return malformed;
            continue;
        case WIRE_BYTES:
            if (!take_varint(&data, &n) || !take_bytes(&data, n, &value))
                return malformed;
            break;
        default:
            return malformed;
        }
        const ProtobufCFieldDescriptor *field =
            protobuf_c_message_descriptor_get_field(type, (unsigned)(tag >> 3));
        if (!field)
            continue;
        if (field->type == PROTOBUF_C_TYPE_STRING) {
            if (!utf8_valid(value))
                return "a string is no UTF-8";
            if (str_find(value, '\0') >= 0)
                return "a string may not contain NUL";
        } else if (field->type == PROTOBUF_C_TYPE_MESSAGE) {
            const char *fault = find_fault(field->descriptor, value, depth + 1);
            if (fault)
                return fault;
        }
    }
    return NULL;
}

ProtobufCMessage *pbwire_decode(const ProtobufCMessageDescriptor *type, struct str data,
                                struct arena *arena, struct err *err)
{
    struct bounded bounded = { .arena = arena, .arena_max = arena_size(arena) + PBWIRE_MEMORY_MAX };
    ProtobufCAllocator allocator = { bounded_alloc, bounded_free, &bounded };
    ProtobufCMessage *msg = NULL;
    const char *fault = find_fault(type, data, 0);
    if (!fault) {
        fault = "malformed";
        msg = protobuf_c_message_unpack(type, &allocator, data.n, (const uint8_t *)data.p);
    }
    if (msg)
        return msg;
    int failed = bounded.exhausted
                     ? err_set(err, ERR_EXHAUSTED, ENOMEM, "the message needs too much memory")
                     : err_set(err, ERR_INVALID, EINVAL, "invalid protobuf message: %s", fault);
    return failed ? NULL : msg;
}
