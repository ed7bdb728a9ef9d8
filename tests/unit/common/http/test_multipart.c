#include "common/http/multipart.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>

/* Events as text: "[name|filename|type]" for a part's head, its data as it is, "." for its end,
 * "!" for the end of all, "#error" for an error. */
struct recorder {
    struct multipart m;
    struct buf log;
    int fail_on_part; /* on_part returns this */
};

static struct recorder *recorder_of(struct multipart *m)
{
    return container_of(m, struct recorder, m);
}

static void log_text(struct recorder *r, struct str s)
{
    if (s.p)
        buf_append_str(&r->log, s);
    else
        buf_putc(&r->log, '~');
}

static int on_part(struct multipart *m, const struct multipart_part *part)
{
    struct recorder *r = recorder_of(m);
    buf_putc(&r->log, '[');
    log_text(r, part->name);
    buf_putc(&r->log, '|');
    log_text(r, part->filename);
    buf_putc(&r->log, '|');
    log_text(r, part->content_type);
    buf_putc(&r->log, ']');
    return r->fail_on_part;
}

static int on_data(struct multipart *m, const uint8_t *data, size_t n)
{
    assert_true(n > 0);
    buf_append(&recorder_of(m)->log, data, n);
    return 0;
}

static int on_part_end(struct multipart *m)
{
    buf_putc(&recorder_of(m)->log, '.');
    return 0;
}

static int on_end(struct multipart *m)
{
    buf_putc(&recorder_of(m)->log, '!');
    return 0;
}

static const struct multipart_events recording = {
    .on_part = on_part, .on_data = on_data, .on_part_end = on_part_end, .on_end = on_end
};

/* Feed the body in pieces: cut[] are offsets in rising order. Returns the log as text. */
static char *run_pieces(const char *type, struct str body, const size_t *cuts, size_t ncuts)
{
    struct recorder r = { 0 };
    struct err err = { 0 };
    int rc = multipart_init(&r.m, str_of(type), &recording, &err);
    size_t at = 0;
    for (size_t i = 0; rc == 0 && i <= ncuts; i++) {
        size_t end = i < ncuts ? cuts[i] : body.n;
        /* A copy of exactly this size, so that the sanitizer sees reads beyond it. */
        AUTO_FREE uint8_t *piece = malloc(end - at ? end - at : 1);
        memcpy(piece, body.p + at, end - at);
        rc = multipart_feed(&r.m, piece, end - at, &err);
        at = end;
    }
    if (rc == 0)
        rc = multipart_finish(&r.m, &err);
    if (rc) {
        assert_int_not_equal(err.code, ERR_OK);
        buf_printf(&r.log, "#%s", err.msg);
    }
    buf_putc(&r.log, '\0');
    multipart_deinit(&r.m);
    char *text = malloc(buf_len(&r.log));
    memcpy(text, buf_head(&r.log), buf_len(&r.log));
    buf_deinit(&r.log);
    return text;
}

static void check(const char *type, const char *body, const char *expected)
{
    AUTO_FREE char *log = run_pieces(type, str_of(body), NULL, 0);
    assert_string_equal(log, expected);
}

#define TYPE "multipart/form-data; boundary=XyZ"

static void test_one_file_as_the_clients_send_it(void **state)
{
    (void)state;
    check("multipart/form-data; boundary=----formdata-undici-012345678901",
          "------formdata-undici-012345678901\r\n"
          "Content-Disposition: form-data; name=\"file\"; filename=\"/home/user/x\"\r\n"
          "Content-Type: application/octet-stream\r\n"
          "\r\n"
          "hello\r\n"
          "------formdata-undici-012345678901--\r\n",
          "[file|/home/user/x|application/octet-stream]hello.!");
}

static void test_several_parts_preamble_and_epilogue(void **state)
{
    (void)state;
    check(TYPE,
          "to be ignored\r\n--XyZ\r\nContent-Disposition: form-data; name=a\r\n\r\n1\r\n"
          "--XyZ \t \r\ncontent-disposition:form-data;name=\"b\";filename=\"c\"\r\n\r\n2\r\n\r\n"
          "--XyZ--\r\nepilogue --XyZ\r\n",
          "[a|~|~]1.[b|c|~]2\r\n.!");
}

static void test_empty_part_and_part_without_headers(void **state)
{
    (void)state;
    check(TYPE, "--XyZ\r\nA: b\r\n\r\n\r\n--XyZ\r\nA: b\r\n\r\n--XyZ\r\n\r\nx\r\n--XyZ--",
          "[~|~|~].[~|~|~].[~|~|~]x.!");
    check(TYPE, "--XyZ--", "!");
}

static void test_what_looks_like_a_boundary_is_data(void **state)
{
    (void)state;
    check(TYPE, "--XyZ\r\n\r\n--Xy\r\n--XyZabc\r\n--XyZ-x\r--XyZ--\n--XyZ--\r\r\n-\r\n--XyZ--",
          "[~|~|~]--Xy\r\n--XyZabc\r\n--XyZ-x\r--XyZ--\n--XyZ--\r\r\n-.!");
}

static void test_file_names(void **state)
{
    (void)state;
    static const struct {
        const char *disposition, *expected;
    } cases[] = {
        { "form-data; name=\"file\"; filename=\"a\\\"b\\\\c\"", "[file|a\"b\\c|~].!" },
        { "form-data; name=\"file\"; filename=\"C:\\dir\\x.txt\"", "[file|C:\\dir\\x.txt|~].!" },
        { "form-data; name=\"file\"; filename=\"a;b=c, d\"", "[file|a;b=c, d|~].!" },
        { "form-data; name=\"file\"; filename=\"\xc3\xa4\"", "[file|\xc3\xa4|~].!" },
        { "form-data; name=\"file\"; filename*=UTF-8''a%20%C3%A4", "[file|a \xc3\xa4|~].!" },
        { "form-data; filename*=utf-8'en'b; name=file; filename=\"a\"", "[file|b|~].!" },
        { "form-data; name=\"file\"; filename=\"\"", "[file||~].!" },
        { "FORM-DATA ; NAME = file ;; x=y;", "[file|~|~].!" },
        { "attachment; name=\"file\"; filename=\"x\"", "[~|x|~].!" },
        { "form-data; name=\"file", "#a part has a malformed Content-Disposition" },
        { "form-data; name=", "#a part has a malformed Content-Disposition" },
        { "form-data; name=a b", "#a part has a malformed Content-Disposition" },
        { "form-data; name=a; name=b", "#a part has a malformed Content-Disposition" },
        { "; name=a", "#a part has a malformed Content-Disposition" },
        { "form-data; filename*=latin1''a", "#a part has a malformed Content-Disposition" },
        { "form-data; filename*=UTF-8''a%2", "#a part has a malformed Content-Disposition" },
        { "form-data; filename*=UTF-8''a%00b", "#a part has a malformed Content-Disposition" },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char body[512];
        snprintf(body, sizeof(body), "--XyZ\r\nContent-Disposition: %s\r\n\r\n\r\n--XyZ--\r\n",
                 cases[i].disposition);
        check(TYPE, body, cases[i].expected);
    }
}

static void test_boundaries_of_content_types(void **state)
{
    (void)state;
    check("Multipart/Mixed; charset=x; Boundary=\"a b?=\"", "--a b?=\r\n\r\n1\r\n--a b?=--",
          "[~|~|~]1.!");
    check("multipart/form-data", "", "#the Content-Type has no boundary");
    check("multipart/form-data; boundary=", "", "#the Content-Type is malformed");
    check("multipart/form-data; boundary=\"\"", "", "#the Content-Type has no valid boundary");
    check("multipart/form-data; boundary=\"a \"", "", "#the Content-Type has no valid boundary");
    check("multipart/form-data; boundary=\"a\\\"b\"", "",
          "#the Content-Type has no valid boundary");
    check("multipart/form-data; boundary=a; boundary=b", "",
          "#the Content-Type has no valid boundary");
    check("multipart/form-data; boundary=a b", "", "#the Content-Type is malformed");
    check("multipart/; boundary=a", "", "#the Content-Type is no multipart type");
    check("multipart", "", "#the Content-Type is no multipart type");
    check("application/octet-stream", "", "#the Content-Type is no multipart type");
    char type[200] = "multipart/x; boundary=";
    memset(type + strlen(type), 'b', MULTIPART_BOUNDARY_MAX + 1);
    check(type, "", "#the Content-Type has no valid boundary");
    type[strlen(type) - 1] = '\0';
    check(type, "", "#the multipart body ends before its closing boundary");
}

static void test_malformed_bodies_are_refused(void **state)
{
    (void)state;
    static const char ends[] = "#the multipart body ends before its closing boundary";
    check(TYPE, "", ends);
    check(TYPE, "no boundary at all", ends);
    check(TYPE, "--XyZ\r\n\r\nabc\r\n--XyZ-",
          "[~|~|~]abc#the multipart body ends before its closing boundary");
    check(TYPE, "--XyZ\r\nA: b\r\n", ends);
    check(TYPE, "--XyZ\r\nA: b\n\r\n\r\n", "#a part has a header line without CRLF");
    check(TYPE, "--XyZ\r\nA: b\rc\r\n\r\n", "#a part has a malformed header line");
    check(TYPE, "--XyZ\r\nA b\r\n\r\n", "#a part has a malformed header line");
    check(TYPE, "--XyZ\r\nA: b\r\n folded\r\n\r\n", "#a part has a malformed header line");
    check(TYPE, "--XyZ\r\nA : b\r\n\r\n", "#a part has a malformed header line");
    check(TYPE, "--XyZ\rA", "#a multipart boundary line is malformed");
    check(TYPE, "--XyZ  x\r\n", "#a multipart boundary line is malformed");
}

static void test_a_part_has_bounded_headers(void **state)
{
    (void)state;
    static char body[MULTIPART_HEAD_MAX + 100] = "--XyZ\r\nA: ";
    memset(body + strlen(body), 'x', MULTIPART_HEAD_MAX - 3 - 4);
    size_t n = strlen(body);
    memcpy(body + n, "\r\n\r\n\r\n--XyZ--", 14);
    check(TYPE, body, "[~|~|~].!");
    memcpy(body + n, "x\r\n\r\n\r\n--XyZ--", 15);
    check(TYPE, body, "#the headers of a part exceed 16384 bytes");
    memset(body + n, 'x', sizeof(body) - n - 1);
    check(TYPE, body, "#the headers of a part exceed 16384 bytes");
}

static void test_a_callback_ends_the_parsing(void **state)
{
    (void)state;
    struct recorder r = { .fail_on_part = -ENOSPC };
    struct err err = { 0 };
    struct str body = STR("--XyZ\r\n\r\nabc\r\n--XyZ--");
    assert_int_equal(multipart_init(&r.m, STR(TYPE), &recording, &err), 0);
    assert_int_equal(multipart_feed(&r.m, (const uint8_t *)body.p, body.n, &err), -ENOSPC);
    AUTO_FREE char *log = buf_take_text(&r.log);
    assert_string_equal(log, "[~|~|~]");
    multipart_deinit(&r.m);
}

/* Bodies made of the pieces that matter, by a fixed generator. */
static struct str random_body(uint32_t *seed, char *out, size_t size)
{
    static const char *const pieces[] = {
        "\r",          "\n",           "\r\n", "-",         "--",
        "a",           "ab",           "aab",  "\r\n--aab", "\r\n--aab\r\n\r\n",
        "\r\n--aab--", "X: y\r\n\r\n", "b",    "\r\n--aa",  " "
    };
    size_t n = 0;
    for (int count = 0; count < 40; count++) {
        *seed = *seed * 1664525U + 1013904223U;
        const char *piece = pieces[(*seed >> 16) % ARRAY_LEN(pieces)];
        if (n + strlen(piece) > size)
            break;
        memcpy(out + n, piece, strlen(piece));
        n += strlen(piece);
    }
    return (struct str){ out, n };
}

static void test_any_cut_gives_the_same_events(void **state)
{
    (void)state;
    uint32_t seed = 1;
    int complete = 0;
    for (int round = 0; round < 300; round++) {
        char text[512] = "--aab\r\n\r\n";
        char random[400];
        struct str tail = random_body(&seed, random, sizeof(random));
        memcpy(text + 9, tail.p, tail.n);
        struct str body = { text, 9 + tail.n };
        const char *type = "multipart/form-data; boundary=aab";
        AUTO_FREE char *whole = run_pieces(type, body, NULL, 0);
        complete += strchr(whole, '!') != NULL;
        for (size_t cut = 0; cut <= body.n; cut++) {
            AUTO_FREE char *two = run_pieces(type, body, &cut, 1);
            assert_string_equal(two, whole);
        }
        size_t every[512];
        for (size_t i = 0; i < body.n; i++)
            every[i] = i;
        AUTO_FREE char *bytes = run_pieces(type, body, every, body.n);
        assert_string_equal(bytes, whole);
    }
    assert_in_range(complete, 50, 300);
}

/* Binary data without a boundary inside arrives as it was, whatever its bytes. */
static void test_data_passes_unchanged(void **state)
{
    (void)state;
    struct recorder r = { 0 };
    struct err err = { 0 };
    struct buf body = { 0 };
    struct buf data = { 0 };
    uint32_t seed = 7;
    for (int i = 0; i < 200000; i++) {
        seed = seed * 1664525U + 1013904223U;
        buf_putc(&data, "\r\n-abXyZ\xff"[(seed >> 16) % 9]);
        if (buf_len(&data) >= 7 && memcmp(data.data + data.len - 7, "\r\n--XyZ", 7) == 0)
            data.data[data.len - 1] = '.';
    }
    buf_puts(&body, "--XyZ\r\n\r\n");
    buf_append_str(&body, buf_str(&data));
    buf_puts(&body, "\r\n--XyZ--");
    assert_int_equal(multipart_init(&r.m, STR(TYPE), &recording, &err), 0);
    for (size_t at = 0; at < body.len;) {
        seed = seed * 1664525U + 1013904223U;
        size_t n = (seed >> 16) % 5000 + 1;
        if (n > body.len - at)
            n = body.len - at;
        assert_int_equal(multipart_feed(&r.m, body.data + at, n, &err), 0);
        at += n;
    }
    assert_int_equal(multipart_finish(&r.m, &err), 0);
    buf_consume(&r.log, strlen("[~|~|~]"));
    assert_int_equal(buf_len(&r.log), data.len + 2);
    assert_memory_equal(buf_head(&r.log), data.data, data.len);
    multipart_deinit(&r.m);
    buf_deinit(&r.log);
    buf_deinit(&body);
    buf_deinit(&data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_file_as_the_clients_send_it),
        cmocka_unit_test(test_several_parts_preamble_and_epilogue),
        cmocka_unit_test(test_empty_part_and_part_without_headers),
        cmocka_unit_test(test_what_looks_like_a_boundary_is_data),
        cmocka_unit_test(test_file_names),
        cmocka_unit_test(test_boundaries_of_content_types),
        cmocka_unit_test(test_malformed_bodies_are_refused),
        cmocka_unit_test(test_a_part_has_bounded_headers),
        cmocka_unit_test(test_a_callback_ends_the_parsing),
        cmocka_unit_test(test_any_cut_gives_the_same_events),
        cmocka_unit_test(test_data_passes_unchanged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
