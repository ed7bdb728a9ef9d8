/* JSON and protobuf in, by the first byte's choice of type. What was understood must survive being
 * written and read again, in both forms. */
#include "common/rpc/pbjson.h"
#include "common/rpc/pbwire.h"
#include "everything.pb-c.h"
#include "filesystem.pb-c.h"
#include "google/protobuf/wrappers.pb-c.h"
#include "guest.pb-c.h"
#include "holder.pb-c.h"
#include "process.pb-c.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const ProtobufCMessageDescriptor *const types[] = {
    &process__start_request__descriptor,
    &process__start_response__descriptor,
    &process__send_input_request__descriptor,
    &process__stream_input_request__descriptor,
    &process__update_request__descriptor,
    &process__send_signal_request__descriptor,
    &filesystem__list_dir_request__descriptor,
    &filesystem__list_dir_response__descriptor,
    &filesystem__watch_dir_response__descriptor,
    &sandpit__guest__v1__configure_request__descriptor,
    &test__everything__descriptor,
    &test__holder__descriptor,
};

/* What an Any may hold. */
static const ProtobufCMessageDescriptor *const any_types[] = {
    &test__everything__descriptor,
    &test__holder__descriptor,
    &google__protobuf__string_value__descriptor,
    &google__protobuf__any__descriptor,
    NULL,
};

#define TYPES (sizeof(types) / sizeof(types[0]))
#define WIRE  0x80

static void must(bool ok)
{
    if (!ok)
        abort();
}

/* Through JSON and back: the text may not change. */
static void check_json(const ProtobufCMessageDescriptor *type, const ProtobufCMessage *msg,
                       struct arena *arena)
{
    struct buf once = { 0 }, twice = { 0 };
    struct err err;
    if (pbjson_encode_typed(msg, any_types, &once)) {
        const ProtobufCMessage *again =
            pbjson_decode_typed(type, any_types, buf_str(&once), arena, &err);
        must(again && pbjson_encode_typed(again, any_types, &twice));
        must(str_eq(buf_str(&once), buf_str(&twice)));
    }
    buf_deinit(&once);
    buf_deinit(&twice);
}

static void check_wire(const ProtobufCMessageDescriptor *type, const ProtobufCMessage *msg,
                       struct arena *arena)
{
    struct buf once = { 0 }, twice = { 0 };
    struct err err;
    must(pbwire_encode(msg, &once));
    const ProtobufCMessage *again = pbwire_decode(type, buf_str(&once), arena, &err);
    must(again && pbwire_encode(again, &twice));
    must(str_eq(buf_str(&once), buf_str(&twice)));
    buf_deinit(&once);
    buf_deinit(&twice);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    const ProtobufCMessageDescriptor *type = types[(data[0] & ~WIRE) % TYPES];
    struct str text = { (const char *)data + 1, size - 1 };
    struct arena arena = { 0 };
    struct err err = { 0 };
    const ProtobufCMessage *msg = data[0] & WIRE
                                      ? pbwire_decode(type, text, &arena, &err)
                                      : pbjson_decode_typed(type, any_types, text, &arena, &err);
    if (msg) {
        check_json(type, msg, &arena);
        check_wire(type, msg, &arena);
    } else {
        must(err.code == ERR_INVALID || err.code == ERR_EXHAUSTED);
        must(err.msg[0]);
    }
    arena_deinit(&arena);
    return 0;
}
