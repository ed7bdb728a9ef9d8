/* Messages made at random survive both codecs, and both agree on what they mean. */
#include "common/base/cleanup.h"
#include "common/rpc/pbjson.h"
#include "common/rpc/pbwire.h"
#include "everything.pb-c.h"
#include "filesystem.pb-c.h"
#include "guest.pb-c.h"
#include "process.pb-c.h"
#include "tests/support/test.h"
#include "tests/unit/common/rpc/pb_random.h"

#define ROUNDS 300

static void assert_same(const struct buf *a, const struct buf *b, uint64_t seed, const char *what)
{
    if (!str_eq(buf_str(a), buf_str(b)))
        fail_msg("seed %llu: %s:\n%.*s\n%.*s", (unsigned long long)seed, what, STR_ARG(buf_str(a)),
                 STR_ARG(buf_str(b)));
}

static void round_trip(const ProtobufCMessageDescriptor *type, uint64_t seed)
{
    struct arena arena = { 0 };
    struct pb_random random = { .state = seed, .arena = &arena };
    struct buf wire = { 0 }, wire2 = { 0 }, json = { 0 }, json2 = { 0 }, wire3 = { 0 };
    struct err err = { 0 };
    ProtobufCMessage *msg =
        pb_random_message(&random, type, type == &test__everything__descriptor ? 1 : 4);
    assert_true(pbwire_encode(msg, &wire));
    assert_true(pbjson_encode(msg, &json));

    ProtobufCMessage *from_wire = pbwire_decode(type, buf_str(&wire), &arena, &err);
    if (!from_wire)
        fail_msg("seed %llu: %s", (unsigned long long)seed, err.msg);
    assert_true(pbwire_encode(from_wire, &wire2));
    assert_same(&wire, &wire2, seed, "wire changed through wire");
    assert_true(pbjson_encode(from_wire, &json2));
    assert_same(&json, &json2, seed, "json changed through wire");

    ProtobufCMessage *from_json = pbjson_decode(type, buf_str(&json), &arena, &err);
    if (!from_json)
        fail_msg("seed %llu: %s: %.*s", (unsigned long long)seed, err.msg, STR_ARG(buf_str(&json)));
    buf_clear(&json2);
    assert_true(pbjson_encode(from_json, &json2));
    assert_same(&json, &json2, seed, "json changed through json");
    assert_true(pbwire_encode(from_json, &wire3));
    assert_same(&wire, &wire3, seed, "wire changed through json");
    buf_deinit(&wire);
    buf_deinit(&wire2);
    buf_deinit(&wire3);
    buf_deinit(&json);
    buf_deinit(&json2);
    arena_deinit(&arena);
}

static void test_round_trip(void **state)
{
    (void)state;
    static const ProtobufCMessageDescriptor *const types[] = {
        &test__everything__descriptor,
        &process__start_request__descriptor,
        &process__start_response__descriptor,
        &process__connect_request__descriptor,
        &process__list_response__descriptor,
        &process__update_request__descriptor,
        &process__send_input_request__descriptor,
        &process__stream_input_request__descriptor,
        &process__send_signal_request__descriptor,
        &filesystem__list_dir_response__descriptor,
        &filesystem__watch_dir_request__descriptor,
        &filesystem__watch_dir_response__descriptor,
        &filesystem__get_watcher_events_response__descriptor,
        &sandpit__guest__v1__configure_request__descriptor,
        &sandpit__guest__v1__hello_response__descriptor,
        &sandpit__guest__v1__refresh_request__descriptor,
    };
    for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
        for (uint64_t seed = 1; seed <= ROUNDS; seed++)
            round_trip(types[i], seed);
}

static void refuse(const char *bytes, size_t n, const char *why)
{
    struct arena arena = { 0 };
    struct err err = { 0 };
    struct str data = { bytes, n };
    assert_null(pbwire_decode(&test__everything__descriptor, data, &arena, &err));
    assert_int_equal(err.code, ERR_INVALID);
    assert_non_null(strstr(err.msg, why));
    arena_deinit(&arena);
}
#define REFUSE(bytes, why) refuse(bytes, sizeof(bytes) - 1, why)

static void test_wire_decode_refuses(void **state)
{
    (void)state;
    REFUSE("\x7a\x03"
           "ab",
           "malformed");
    REFUSE("\x7a\x01\xff", "UTF-8");
    REFUSE("\x7a\x03"
           "a\0b",
           "NUL");
    REFUSE("\x8a\x01\x03\x7a\x01\xff", "UTF-8"); /* in a nested message */
    REFUSE("\x08", "malformed");
    REFUSE("\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "malformed");
    REFUSE("\x0b", "malformed");                     /* a group */
    REFUSE("\x80\x00\x00", "malformed");             /* field 0, in a long form */
    REFUSE("\xf8\xff\xff\xff\x1f\x00", "malformed"); /* a field beyond the last */
    REFUSE("\x7a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", "malformed");
    REFUSE("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00", "malformed");
}

static void test_wire_decode_bounds_depth_and_memory(void **state)
{
    (void)state;
    struct arena arena = { 0 };
    struct err err = { 0 };
    struct buf deep = { 0 };
    for (int i = 0; i <= PBWIRE_DEPTH_MAX + 1; i++) {
        struct buf outer = { 0 };
        size_t n = buf_len(&deep);
        buf_append(&outer, "\x8a\x01", 2); /* inner = 17 */
        if (n > 127)
            buf_putc(&outer, (char)(0x80 | (n & 0x7F)));
        buf_putc(&outer, (char)(n > 127 ? n >> 7 : n));
        buf_append_str(&outer, buf_str(&deep));
        buf_deinit(&deep);
        deep = outer;
    }
    assert_null(pbwire_decode(&test__everything__descriptor, buf_str(&deep), &arena, &err));
    assert_non_null(strstr(err.msg, "deeply"));
    buf_deinit(&deep);

    struct buf many = { 0 };
    for (int i = 0; i < 2000000; i++)
        buf_append(&many, "\xf2\x01\x00", 3); /* inners = 30, empty */
    assert_null(pbwire_decode(&test__everything__descriptor, buf_str(&many), &arena, &err));
    assert_int_equal(err.code, ERR_EXHAUSTED);
    assert_true(arena_size(&arena) < PBWIRE_MEMORY_MAX + (1U << 20));
    buf_deinit(&many);
    arena_deinit(&arena);
}

/* The front and the tail together are the message, whether the large field is its end or not. */
static void test_wire_encode_front(void **state)
{
    (void)state;
    static uint8_t large[2 * PBWIRE_TAIL_MIN];
    memset(large, 'x', sizeof(large) - 1);
    Process__ProcessEvent__DataEvent data = PROCESS__PROCESS_EVENT__DATA_EVENT__INIT;
    Process__ProcessEvent event = PROCESS__PROCESS_EVENT__INIT;
    Process__StartResponse response = PROCESS__START_RESPONSE__INIT;
    data.output_case = PROCESS__PROCESS_EVENT__DATA_EVENT__OUTPUT_PTY;
    event.event_case = PROCESS__PROCESS_EVENT__EVENT_DATA;
    event.data = &data;
    response.event = &event;
    Filesystem__MoveRequest move = FILESYSTEM__MOVE_REQUEST__INIT;
    move.source = (char *)large;
    move.destination = (char *)(uintptr_t) "/d";
    static const size_t sizes[] = { 0, 1, PBWIRE_TAIL_MIN - 1, PBWIRE_TAIL_MIN, sizeof(large) };
    for (size_t i = 0; i <= ARRAY_LEN(sizes); i++) {
        const ProtobufCMessage *msg = i < ARRAY_LEN(sizes) ? &response.base : &move.base;
        struct buf whole = { 0 }, front = { 0 };
        struct str tail;
        data.pty = (ProtobufCBinaryData){ i < ARRAY_LEN(sizes) ? sizes[i] : 0, large };
        assert_true(pbwire_encode(msg, &whole));
        assert_true(pbwire_encode_front(msg, &front, &tail));
        bool is_left = i < ARRAY_LEN(sizes) && sizes[i] >= PBWIRE_TAIL_MIN;
        assert_int_equal(tail.n, is_left ? sizes[i] : 0);
        buf_append_str(&front, tail);
        assert_same(&whole, &front, i, "front and tail");
        buf_deinit(&whole);
        buf_deinit(&front);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_wire_decode_refuses),
        cmocka_unit_test(test_wire_encode_front),
        cmocka_unit_test(test_wire_decode_bounds_depth_and_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
