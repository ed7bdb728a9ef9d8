#include "common/rpc/pbjson.h"

#include "everything.pb-c.h"
#include "filesystem.pb-c.h"
#include "process.pb-c.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>

static struct arena arena;

static int teardown(void **state)
{
    (void)state;
    arena_deinit(&arena);
    return 0;
}

static ProtobufCMessage *decode(const ProtobufCMessageDescriptor *type, struct str text)
{
    struct err err = { 0 };
    ProtobufCMessage *msg = pbjson_decode(type, text, &arena, &err);
    if (!msg)
        fail_msg("%.*s: %s", STR_ARG(text), err.msg);
    return msg;
}

static Test__Everything *everything(const char *text)
{
    return (Test__Everything *)decode(&test__everything__descriptor, str_of(text));
}

static void refuse_str(struct str text, const char *why)
{
    struct err err = { 0 };
    ProtobufCMessage *msg = pbjson_decode(&test__everything__descriptor, text, &arena, &err);
    if (msg)
        fail_msg("accepted: %.*s", STR_ARG(text));
    assert_int_equal(err.code, ERR_INVALID);
    if (!strstr(err.msg, why))
        fail_msg("%.*s: \"%s\" lacks \"%s\"", STR_ARG(text), err.msg, why);
}

static void refuse(const char *text, const char *why)
{
    refuse_str(str_of(text), why);
}

static void assert_json(const void *msg, const char *want)
{
    struct buf out = { 0 };
    assert_true(pbjson_encode(msg, &out));
    char *text = buf_take_text(&out);
    assert_string_equal(text, want);
    free(text);
}

/* Decode, encode, compare. */
static void same(const char *text)
{
    assert_json(everything(text), text);
}

static void becomes(const char *text, const char *want)
{
    assert_json(everything(text), want);
}

static void test_encode_omits_defaults(void **state)
{
    (void)state;
    Test__Everything m = TEST__EVERYTHING__INIT;
    assert_json(&m, "{}");
    m.a_string = NULL;
    m.some_bytes = (ProtobufCBinaryData){ 0 };
    assert_json(&m, "{}");
    m.a_double = -0.0;
    assert_json(&m, "{\"aDouble\":-0}");
}

static void test_scalars_round_trip(void **state)
{
    (void)state;
    same("{\"anInt32\":-2147483648,\"aSint32\":2147483647,\"aSfixed32\":-1,\"aUint32\":4294967295,"
         "\"aFixed32\":1,\"anInt64\":\"-9223372036854775808\",\"aSint64\":\"9223372036854775807\","
         "\"aSfixed64\":\"-1\",\"aUint64\":\"18446744073709551615\",\"aFixed64\":\"7\","
         "\"aFloat\":0.1,\"aDouble\":0.1,\"aBool\":true,\"aColor\":\"COLOR_RED\","
         "\"aString\":\"x\",\"someBytes\":\"AAEC\"}");
    same("{\"aFloat\":3.4028235e+38,\"aDouble\":1.7976931348623157e+308}");
    same("{\"aFloat\":\"NaN\",\"aDouble\":\"-Infinity\"}");
    same("{\"aFloat\":\"Infinity\",\"aDouble\":\"NaN\"}");
}

static void test_numbers_are_taken_as_text_or_number(void **state)
{
    (void)state;
    becomes("{\"anInt32\":\"5\",\"aUint32\":\"6\",\"anInt64\":7,\"aUint64\":18446744073709551615}",
            "{\"anInt32\":5,\"aUint32\":6,\"anInt64\":\"7\",\"aUint64\":\"18446744073709551615\"}");
    becomes("{\"anInt32\":1e3,\"aUint32\":1.0,\"anInt64\":-1.5e1,\"aUint64\":\"1e19\"}",
            "{\"anInt32\":1000,\"aUint32\":1,\"anInt64\":\"-15\",\"aUint64\":"
            "\"10000000000000000000\"}");
    becomes("{\"anInt32\":-0,\"aUint32\":-0.0,\"aDouble\":\"1.5\",\"aFloat\":2}",
            "{\"aFloat\":2,\"aDouble\":1.5}");
    becomes("{\"anInt64\":9223372036854775807.000}", "{\"anInt64\":\"9223372036854775807\"}");
    becomes("{\"anInt64\":0e999999999999999999999}", "{}");
}

static void test_numbers_out_of_range_are_refused(void **state)
{
    (void)state;
    refuse("{\"anInt32\":2147483648}", "32-bit");
    refuse("{\"anInt32\":-2147483649}", "32-bit");
    refuse("{\"anInt32\":1.5}", "32-bit");
    refuse("{\"anInt32\":1e10}", "32-bit");
    refuse("{\"anInt32\":1e999999999999999999}", "32-bit");
    refuse("{\"anInt32\":1e-1}", "32-bit");
    refuse("{\"aUint32\":-1}", "unsigned 32-bit");
    refuse("{\"aUint32\":4294967296}", "unsigned 32-bit");
    refuse("{\"anInt64\":\"9223372036854775808\"}", "64-bit");
    refuse("{\"anInt64\":\"\"}", "64-bit");
    refuse("{\"anInt64\":\" 1\"}", "64-bit");
    refuse("{\"anInt64\":\"1x\"}", "64-bit");
    refuse("{\"anInt64\":\"+1\"}", "64-bit");
    refuse("{\"anInt64\":\"01\"}", "64-bit");
    refuse("{\"anInt64\":true}", "number");
    refuse("{\"aUint64\":18446744073709551616}", "unsigned 64-bit");
    refuse("{\"aUint64\":\"0x10\"}", "unsigned 64-bit");
    refuse("{\"aFloat\":3.5e38}", "too large");
    refuse("{\"aDouble\":1e309}", "number");
    refuse("{\"aDouble\":\"nan\"}", "number");
    refuse("{\"aDouble\":\"\"}", "number");
    refuse("{\"aDouble\":NaN}", "number");
}

static void test_strings(void **state)
{
    (void)state;
    becomes("{\"aString\":\"\\u00e9\\ud83d\\ude00\\\"\\\\\\/\\b\\f\\n\\r\\t\\u001f\"}",
            "{\"aString\":\"\xc3\xa9\xf0\x9f\x98\x80\\\"\\\\/\\u0008\\u000c\\n\\r\\t\\u001f\"}");
    same("{\"aString\":\"\xe2\x82\xac\"}");
    refuse("{\"aString\":\"a\\u0000b\"}", "NUL");
    refuse_str(STR("{\"aString\":\"a\0b\"}"), "control character");
    refuse("{\"aString\":\"\\ud800\"}", "\\u escape");
    refuse("{\"aString\":\"\\ud800\\u0041\"}", "\\u escape");
    refuse("{\"aString\":\"\\udc00\\ud800\"}", "\\u escape");
    refuse("{\"aString\":\"\\u12g4\"}", "\\u escape");
    refuse("{\"aString\":\"\\x\"}", "escape");
    refuse("{\"aString\":\"a\nb\"}", "control character");
    refuse("{\"aString\":\"\xff\"}", "UTF-8");
    refuse("{\"aString\":\"\xc0\x80\"}", "UTF-8");
    refuse("{\"aString\":\"\xed\xa0\x80\"}", "UTF-8");
    refuse("{\"aString\":\"\xf4\x90\x80\x80\"}", "UTF-8");
    refuse("{\"aString\":\"\xe2\x82\"}", "UTF-8");
    refuse("{\"aString\":5}", "string");
    refuse("{\"unknown\":\"\xff\"}", "UTF-8");
    becomes("{\"unknown\":\"\\u0000\"}", "{}");
}

static void test_bytes_take_both_alphabets(void **state)
{
    (void)state;
    Test__Everything *m = everything("{\"someBytes\":\"-_-_\"}");
    assert_int_equal(m->some_bytes.len, 3);
    assert_memory_equal(m->some_bytes.data, "\xfb\xff\xbf", 3);
    assert_json(m, "{\"someBytes\":\"+/+/\"}");
    becomes("{\"someBytes\":\"YQ\"}", "{\"someBytes\":\"YQ==\"}");
    becomes("{\"someBytes\":\"YQ=\\u003d\"}", "{\"someBytes\":\"YQ==\"}");
    becomes("{\"someBytes\":\"\"}", "{}");
    refuse("{\"someBytes\":\"Y\"}", "base64");
    refuse("{\"someBytes\":\"Y Q=\"}", "base64");
    refuse("{\"someBytes\":[1]}", "string");
}

static void test_enums(void **state)
{
    (void)state;
    same("{\"aColor\":\"COLOR_BLUE\",\"colors\":[\"COLOR_RED\",\"COLOR_UNSPECIFIED\",7]}");
    becomes("{\"aColor\":-2}", "{\"aColor\":\"COLOR_BLUE\"}");
    same("{\"aColor\":12345}");
    refuse("{\"aColor\":\"COLOR_GREEN\"}", "enum");
    refuse("{\"aColor\":\"1\"}", "enum");
    refuse("{\"aColor\":1.5}", "32-bit");
    refuse("{\"aColor\":true}", "number");
}

static void test_names(void **state)
{
    (void)state;
    becomes("{\"an_int32\":1,\"aUint32\":2,\"a_bool\":true}",
            "{\"anInt32\":1,\"aUint32\":2,\"aBool\":true}");
    becomes("{\"\\u0061nInt32\":1}", "{\"anInt32\":1}");
    becomes("{\"AnInt32\":1,\"anInt32x\":1,\"anInt3\":1,\"\":1,\"an__int32\":1}", "{}");
    refuse("{\"anInt32\":1,\"an_int32\":1}", "twice");
    refuse("{\"anInt32\":1,\"anInt32\":1}", "twice");
}

static void test_unknown_fields_are_ignored(void **state)
{
    (void)state;
    becomes("{\"x\":{\"y\":[1,-2.5e-7,1e400,\"z\",true,false,null,{}]},\"anInt32\":1,"
            "\"z\":99999999999999999999999}",
            "{\"anInt32\":1}");
    refuse("{\"x\":[1,]}", "value");
    refuse("{\"x\":{\"y\"}}", "colon");
}

static void test_null_is_the_default(void **state)
{
    (void)state;
    becomes("{\"anInt32\":null,\"aString\":null,\"inner\":null,\"ints\":null,\"stringMap\":null,"
            "\"textChoice\":null,\"boolChoice\":true,\"at\":null,\"maybeInt\":null}",
            "{\"boolChoice\":true}");
    refuse("{\"ints\":[null]}", "number");
    refuse("{\"stringMap\":{\"a\":null}}", "string");
    refuse("null", "object");
}

static void test_presence(void **state)
{
    (void)state;
    same("{\"maybeInt\":0,\"maybeString\":\"\",\"maybeColor\":\"COLOR_UNSPECIFIED\","
         "\"maybeBytes\":\"\",\"maybeBool\":false}");
    Test__Everything *m = everything("{\"maybeString\":\"\"}");
    assert_int_equal(m->_maybe_string_case, TEST__EVERYTHING___MAYBE_STRING_MAYBE_STRING);
    assert_int_equal(m->_maybe_int_case, TEST__EVERYTHING___MAYBE_INT__NOT_SET);
    same("{\"inner\":{}}");
    same("{\"messageChoice\":{}}");
    same("{\"textChoice\":\"\"}");
    same("{\"bytesChoice\":\"\"}");
    same("{\"doubleChoice\":0}");
    same("{\"boolChoice\":false}");
    Test__Everything empty = TEST__EVERYTHING__INIT;
    empty.choice_case = TEST__EVERYTHING__CHOICE_TEXT_CHOICE;
    assert_json(&empty, "{\"textChoice\":\"\"}");
    empty.choice_case = TEST__EVERYTHING__CHOICE_MESSAGE_CHOICE;
    assert_json(&empty, "{\"messageChoice\":{}}");
}

static void test_two_members_of_a_oneof_are_refused(void **state)
{
    (void)state;
    refuse("{\"textChoice\":\"a\",\"boolChoice\":true}", "oneof");
    refuse("{\"boolChoice\":false,\"doubleChoice\":0}", "oneof");
}

static void test_repeated(void **state)
{
    (void)state;
    same("{\"ints\":[1,0,-3],\"longs\":[\"1\",\"18446744073709551615\"],\"strings\":[\"\",\"b\"],"
         "\"blobs\":[\"\",\"AA==\"],\"inners\":[{},{\"anInt32\":1,\"inners\":[{}]}],"
         "\"bools\":[true,false],\"doubles\":[0.5,\"NaN\"],\"floats\":[1.5]}");
    becomes("{\"ints\":[]}", "{}");
    refuse("{\"ints\":{}}", "array");
    refuse("{\"ints\":[1 2]}", "comma");
    refuse("{\"ints\":[1", "end of input");
    refuse("{\"inner\":[]}", "object");
}

static void test_maps(void **state)
{
    (void)state;
    same("{\"stringMap\":{\"a b\":\"c\",\"\":\"\"},\"intMap\":{\"-1\":{\"anInt32\":1},\"0\":{}},"
         "\"boolMap\":{\"true\":\"AA==\",\"false\":\"\"},"
         "\"colorMap\":{\"18446744073709551615\":\"COLOR_RED\"}}");
    same("{\"pairs\":[{\"key\":\"a\",\"value\":\"b\"}]}");
    refuse("{\"intMap\":{\"x\":{}}}", "32-bit");
    refuse("{\"boolMap\":{\"yes\":\"\"}}", "true or false");
    refuse("{\"stringMap\":{\"a\\u0000\":\"\"}}", "NUL");
    refuse("{\"stringMap\":[]}", "object");
    refuse("{\"pairs\":{}}", "array");
}

static void test_times(void **state)
{
    (void)state;
    same("{\"at\":\"2026-01-01T00:00:00.123Z\",\"lasts\":\"1.500s\","
         "\"times\":[\"1970-01-01T00:00:00Z\",\"0001-01-01T00:00:00Z\","
         "\"9999-12-31T23:59:59.999999999Z\",\"2000-02-29T12:34:56.000007Z\"]}");
    becomes("{\"at\":\"2026-01-01T01:00:00.5+01:00\",\"lasts\":\"-0.5s\"}",
            "{\"at\":\"2026-01-01T00:00:00.500Z\",\"lasts\":\"-0.500s\"}");
    same("{\"lasts\":\"-315576000000s\"}");
    refuse("{\"at\":\"yesterday\"}", "timestamp");
    refuse("{\"at\":\"2026-02-30T00:00:00Z\"}", "timestamp");
    refuse("{\"at\":5}", "string");
    refuse("{\"at\":{\"seconds\":5}}", "string");
    refuse("{\"lasts\":\"1.5\"}", "duration");
    refuse("{\"lasts\":\"s\"}", "duration");
    refuse("{\"lasts\":\"1.s\"}", "duration");
    refuse("{\"lasts\":\"315576000001s\"}", "duration");

    Google__Protobuf__Timestamp late = GOOGLE__PROTOBUF__TIMESTAMP__INIT;
    late.seconds = 253402300800;
    struct buf out = { 0 };
    assert_false(pbjson_encode(&late.base, &out));
    buf_deinit(&out);
}

static void test_malformed_text_is_refused(void **state)
{
    (void)state;
    refuse("", "object");
    refuse("   ", "object");
    refuse("[]", "object");
    refuse("{", "string");
    refuse("{}x", "more text");
    refuse("{}{}", "more text");
    refuse("{,}", "string");
    refuse("{\"aBool\":tru}", "unexpected");
    refuse("{\"aBool\":\"true\"}", "true or false");
    refuse("{'a':1}", "string");
    refuse("{\"anInt32\":01}", "malformed number");
    refuse("{\"anInt32\":-}", "malformed number");
    refuse("{\"anInt32\":1.}", "malformed number");
    refuse("{\"anInt32\":1e}", "malformed number");
    becomes(" \t\r\n{ \"anInt32\" : 1 , \"aBool\"\n:true } \n", "{\"anInt32\":1,\"aBool\":true}");
}

static char *nested(int depth, const char *open, const char *middle, const char *close)
{
    struct buf b = { 0 };
    for (int i = 0; i < depth; i++)
        buf_puts(&b, open);
    buf_puts(&b, middle);
    for (int i = 0; i < depth; i++)
        buf_puts(&b, close);
    return buf_take_text(&b);
}

static void test_depth_is_bounded(void **state)
{
    (void)state;
    char *fits = nested(PBJSON_DEPTH_MAX - 1, "{\"inner\":", "{}", "}");
    char *deep = nested(PBJSON_DEPTH_MAX, "{\"inner\":", "{}", "}");
    char *arrays = nested(1000000, "[", "", "]");
    struct buf skipped = { 0 };
    buf_printf(&skipped, "{\"x\":%s}", arrays);
    char *text = buf_take_text(&skipped);
    same(fits);
    refuse(deep, "deeply");
    refuse(text, "deeply");
    free(fits);
    free(deep);
    free(arrays);
    free(text);
}

static void test_memory_is_bounded(void **state)
{
    (void)state;
    struct buf b = { 0 };
    buf_puts(&b, "{\"inners\":[{}");
    for (int i = 0; i < 1000000; i++)
        buf_puts(&b, ",{}");
    buf_puts(&b, "]}");
    struct err err = { 0 };
    assert_null(pbjson_decode(&test__everything__descriptor, buf_str(&b), &arena, &err));
    assert_int_equal(err.code, ERR_EXHAUSTED);
    assert_true(arena_size(&arena) < PBJSON_MEMORY_MAX + (1U << 20));
    buf_deinit(&b);
}

static void test_errors_name_field_and_offset(void **state)
{
    (void)state;
    refuse("{\"inner\":{\"maybeInt\":x}}", "offset 21, field maybe_int");
}

/* Bytes that published clients sent or accepted. */
static void test_goldens(void **state)
{
    (void)state;
    static const char start[] =
        "{\"process\":{\"cmd\":\"/bin/bash\",\"args\":[\"-l\",\"-c\",\"echo hi\"],"
        "\"envs\":{\"K\":\"V\"},\"cwd\":\"/tmp\"},\"stdin\":false}";
    Process__StartRequest *s =
        (Process__StartRequest *)decode(&process__start_request__descriptor, STR(start));
    assert_string_equal(s->process->cmd, "/bin/bash");
    assert_int_equal(s->process->n_args, 3);
    assert_string_equal(s->process->args[2], "echo hi");
    assert_string_equal(s->process->envs[0]->key, "K");
    assert_string_equal(s->process->envs[0]->value, "V");
    assert_int_equal(s->_stdin_case, PROCESS__START_REQUEST___STDIN_STDIN);
    assert_false(s->stdin);
    assert_int_equal(s->_tag_case, 0);
    assert_json(s, start);

    Process__ProcessEvent__EndEvent end = PROCESS__PROCESS_EVENT__END_EVENT__INIT;
    Process__ProcessEvent event = PROCESS__PROCESS_EVENT__INIT;
    Process__StartResponse response = PROCESS__START_RESPONSE__INIT;
    end.exited = 1;
    end.status = (char[]){ "exit status 0" };
    event.event_case = PROCESS__PROCESS_EVENT__EVENT_END;
    event.end = &end;
    response.event = &event;
    assert_json(&response, "{\"event\":{\"end\":{\"exited\":true,\"status\":\"exit status 0\"}}}");

    Process__ProcessEvent__DataEvent data = PROCESS__PROCESS_EVENT__DATA_EVENT__INIT;
    data.output_case = PROCESS__PROCESS_EVENT__DATA_EVENT__OUTPUT_STDOUT;
    data.stdout = (ProtobufCBinaryData){ 3, (uint8_t[]){ "hi\n" } };
    event.event_case = PROCESS__PROCESS_EVENT__EVENT_DATA;
    event.data = &data;
    assert_json(&response, "{\"event\":{\"data\":{\"stdout\":\"aGkK\"}}}");

    static const char listing[] =
        "{\"entries\":[{\"name\":\"a\",\"type\":\"FILE_TYPE_FILE\",\"path\":\"/a\",\"size\":\"5\","
        "\"mode\":420,\"permissions\":\"-rw-r--r--\",\"owner\":\"user\",\"group\":\"user\","
        "\"modifiedTime\":\"2026-01-01T00:00:00.123Z\"}]}";
    assert_json(decode(&filesystem__list_dir_response__descriptor, STR(listing)), listing);
}

#define CASE(name) cmocka_unit_test_teardown(name, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_encode_omits_defaults),
        CASE(test_scalars_round_trip),
        CASE(test_numbers_are_taken_as_text_or_number),
        CASE(test_numbers_out_of_range_are_refused),
        CASE(test_strings),
        CASE(test_bytes_take_both_alphabets),
        CASE(test_enums),
        CASE(test_names),
        CASE(test_unknown_fields_are_ignored),
        CASE(test_null_is_the_default),
        CASE(test_presence),
        CASE(test_two_members_of_a_oneof_are_refused),
        CASE(test_repeated),
        CASE(test_maps),
        CASE(test_times),
        CASE(test_malformed_text_is_refused),
        CASE(test_depth_is_bounded),
        CASE(test_memory_is_bounded),
        CASE(test_errors_name_field_and_offset),
        CASE(test_goldens),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
