#include "common/rpc/pbjson.h"
#include "common/rpc/pbwire.h"

#include "everything.pb-c.h"
#include "google/protobuf/duration.pb-c.h"
#include "google/protobuf/wrappers.pb-c.h"
#include "holder.pb-c.h"

#include "tests/support/test.h"

#include <stdlib.h>

#define URL "type.googleapis.com/test."

static const ProtobufCMessageDescriptor *const types[] = {
    &test__everything__descriptor,           &test__holder__descriptor,
    &google__protobuf__duration__descriptor, &google__protobuf__string_value__descriptor,
    &google__protobuf__any__descriptor,      NULL,
};

static struct arena arena;

static int teardown(void **state)
{
    (void)state;
    arena_deinit(&arena);
    return 0;
}

static Test__Holder *holder(const char *text)
{
    struct err err = { 0 };
    ProtobufCMessage *msg =
        pbjson_decode_typed(&test__holder__descriptor, types, str_of(text), &arena, &err);
    if (!msg)
        fail_msg("%s: %s", text, err.msg);
    return (Test__Holder *)msg;
}

static void refuse(const char *text, const char *why)
{
    struct err err = { 0 };
    if (pbjson_decode_typed(&test__holder__descriptor, types, str_of(text), &arena, &err))
        fail_msg("accepted: %s", text);
    if (!strstr(err.msg, why))
        fail_msg("%s: \"%s\" lacks \"%s\"", text, err.msg, why);
}

/* Read and written again; by way of the binary form too. */
static void assert_same(const char *text)
{
    Test__Holder *msg = holder(text);
    for (int i = 0; i < 2; i++) {
        struct buf out = { 0 }, wire = { 0 };
        struct err err = { 0 };
        assert_true(pbjson_encode_typed(&msg->base, types, &out));
        char *again = buf_take_text(&out);
        assert_string_equal(again, text);
        free(again);
        assert_true(pbwire_encode(&msg->base, &wire));
        msg =
            (Test__Holder *)pbwire_decode(&test__holder__descriptor, buf_str(&wire), &arena, &err);
        assert_non_null(msg);
        buf_deinit(&wire);
    }
}

static void test_wrappers_are_their_value(void **state)
{
    (void)state;
    assert_same("{\"aDouble\":1.5,\"aFloat\":-2,\"anInt64\":\"-9223372036854775808\","
                "\"aUint64\":\"18446744073709551615\",\"anInt32\":-1,\"aUint32\":4294967295,"
                "\"aBool\":true,\"aString\":\"x\\n\",\"someBytes\":\"AAE=\",\"lasts\":\"1.500s\"}");
    /* Present with its zero is not absent. */
    assert_same("{\"aDouble\":0,\"anInt64\":\"0\",\"aBool\":false,\"aString\":\"\","
                "\"someBytes\":\"\"}");
    assert_null(holder("{\"aString\":null}")->a_string);
    refuse("{\"aBool\":{\"value\":true}}", "expected true or false");
    refuse("{\"anInt32\":4294967296}", "expected a 32-bit integer");
}

static void test_any(void **state)
{
    (void)state;
    assert_same("{\"any\":{\"@type\":\"" URL "Everything\",\"anInt32\":5,\"aString\":\"x\"},"
                "\"more\":[{\"@type\":\"" URL "Holder\"},{}]}");
    assert_same("{\"any\":{\"@type\":\"type.googleapis.com/google.protobuf.Duration\","
                "\"value\":\"3s\"}}");
    assert_same("{\"any\":{\"@type\":\"type.googleapis.com/google.protobuf.StringValue\","
                "\"value\":\"v\"}}");
    assert_same("{\"any\":{\"@type\":\"type.googleapis.com/google.protobuf.Any\",\"value\":"
                "{\"@type\":\"" URL "Holder\",\"any\":{\"@type\":\"" URL "Everything\"}}}}");

    /* The type may come last, and under an escaped name. */
    Test__Holder *msg =
        holder("{\"any\":{\"aString\":\"hi\",\"\\u0040type\":\"a/b/test.Everything\"}}");
    assert_string_equal(msg->any->type_url, "a/b/test.Everything");
    assert_int_equal(msg->any->value.len, 4);
    assert_memory_equal(msg->any->value.data, "\x7a\x02hi", 4);
}

static void test_any_that_is_none(void **state)
{
    (void)state;
    refuse("{\"any\":{\"@type\":\"" URL "Nothing\"}}", "a type that is not known here");
    refuse("{\"any\":{\"@type\":\"\"}}", "a type that is not known here");
    refuse("{\"any\":{\"@type\":5}}", "expected a string");
    refuse("{\"any\":{\"@type\":\"" URL "Holder\",\"@type\":\"" URL "Holder\"}}", "twice");
    refuse("{\"any\":{\"@type\":\"" URL "Everything\",\"aString\":5}}", "expected a string");
    refuse("{\"any\":{\"@type\":\"type.googleapis.com/google.protobuf.Duration\"}}",
           "needs a value");
    refuse("{\"any\":{\"@type\":\"type.googleapis.com/google.protobuf.Duration\","
           "\"value\":\"3s\",\"value\":\"4s\"}}",
           "twice");
    refuse("{\"any\":\"x\"}", "expected an object");

    /* Nothing is known where no types are given, neither to the reader nor to the writer. */
    Test__Holder *msg = holder("{\"any\":{\"@type\":\"" URL "Everything\"}}");
    struct buf out = { 0 };
    struct err err;
    assert_false(pbjson_encode(&msg->base, &out));
    buf_deinit(&out);
    assert_null(pbjson_decode(&test__holder__descriptor,
                              STR("{\"any\":{\"@type\":\"" URL "Everything\"}}"), &arena, &err));

    /* What it holds must be of its type. */
    msg->any->value = (ProtobufCBinaryData){ 1, (uint8_t *)(uintptr_t) "\x7a" };
    assert_false(pbjson_encode_typed(&msg->base, types, &out));
    buf_deinit(&out);
}

static void test_any_in_any_is_bounded(void **state)
{
    (void)state;
    struct buf text = { 0 };
    for (int i = 0; i < 100; i++)
        buf_puts(&text, "{\"any\":{\"@type\":\"" URL "Holder\",\"x\":");
    buf_puts(&text, "1");
    for (int i = 0; i < 100; i++)
        buf_puts(&text, "}}");
    char *deep = buf_take_text(&text);
    refuse(deep, "nested too deeply");
    free(deep);
}

#define CASE(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_wrappers_are_their_value),
        CASE(test_any),
        CASE(test_any_that_is_none),
        CASE(test_any_in_any_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
