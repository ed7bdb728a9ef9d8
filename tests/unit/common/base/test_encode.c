#include "common/base/encode.h"
#include "common/base/sha256.h"
#include "tests/support/test.h"

static void base64_vectors_of_rfc4648(void **state)
{
    (void)state;
    static const struct {
        const char *plain, *coded;
    } cases[] = { { "", "" },
                  { "f", "Zg==" },
                  { "fo", "Zm8=" },
                  { "foo", "Zm9v" },
                  { "foob", "Zm9vYg==" },
                  { "fooba", "Zm9vYmE=" },
                  { "foobar", "Zm9vYmFy" } };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf b = { 0 };
        uint8_t back[16];
        base64_encode(&b, cases[i].plain, strlen(cases[i].plain), true);
        assert_str(buf_str(&b), cases[i].coded);
        ptrdiff_t n = base64_decode(buf_str(&b), back);
        assert_int_equal(n, strlen(cases[i].plain));
        assert_memory_equal(back, cases[i].plain, (size_t)n);
        buf_deinit(&b);
    }
}

static void base64_takes_both_alphabets_with_or_without_padding(void **state)
{
    (void)state;
    uint8_t out[8];
    assert_int_equal(base64_decode(STR("-_8="), out), 2);
    assert_int_equal(out[0], 0xfb);
    assert_int_equal(base64_decode(STR("+/8"), out), 2);
    assert_int_equal(out[1], 0xff);
}

/* Long ones take another way than short ones: each byte value, at each place and length. */
static void base64_of_every_length_comes_back(void **state)
{
    (void)state;
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint8_t plain[400], back[400];
    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)(i * 37 + i / 7);
    for (size_t n = 0; n <= 300; n++) {
        const uint8_t *from = plain + n % 100;
        struct buf b = { 0 };
        assert_true(base64_encode(&b, from, n, true));
        assert_int_equal(buf_len(&b), (n + 2) / 3 * 4);
        for (size_t i = 0; i + 3 <= n; i += 3) {
            uint32_t v = (uint32_t)from[i] << 16 | (uint32_t)from[i + 1] << 8 | from[i + 2];
            for (size_t k = 0; k < 4; k++)
                assert_int_equal(buf_head(&b)[i / 3 * 4 + k], alphabet[v >> (18 - 6 * k) & 63]);
        }
        assert_int_equal(base64_decode(buf_str(&b), back), n);
        assert_memory_equal(back, from, n);
        buf_deinit(&b);
    }
}

static void base64_refuses(void **state)
{
    (void)state;
    uint8_t out[16];
    const char *bad[] = { "Z", "Zg=", "Zg===", "Z===", "Zm9v=", "Zm 9", "Zm9*", "=", "Zg==Zg==" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_int_equal(base64_decode(str_of(bad[i]), out), -1);
}

static void hex_round_trip(void **state)
{
    (void)state;
    uint8_t raw[4] = { 0, 0x7f, 0x80, 0xff }, back[4];
    char text[9];
    hex_encode(raw, 4, text);
    assert_string_equal(text, "007f80ff");
    assert_true(hex_decode(STR("007F80fF"), back, 4));
    assert_memory_equal(raw, back, 4);
    assert_false(hex_decode(STR("007f80f"), back, 4));
    assert_false(hex_decode(STR("007f80fg"), back, 4));
}

static void percent_coding(void **state)
{
    (void)state;
    struct buf b = { 0 };
    assert_true(percent_decode(&b, STR("a%20b+c%2F"), false));
    assert_str(buf_str(&b), "a b+c/");
    buf_clear(&b);
    assert_true(percent_decode(&b, STR("a+b"), true));
    assert_str(buf_str(&b), "a b");
    const char *bad[] = { "%", "%1", "a%zz", "%f" };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(percent_decode(&b, str_of(bad[i]), false));
    buf_clear(&b);
    percent_encode(&b, STR("a b/\xc3\xa9~"));
    assert_str(buf_str(&b), "a%20b%2F%C3%A9~");
    buf_deinit(&b);
}

static void assert_digest(const char *text, const char *hex)
{
    uint8_t out[SHA256_SIZE];
    char got[2 * SHA256_SIZE + 1];
    sha256(text, strlen(text), out);
    hex_encode(out, sizeof(out), got);
    assert_string_equal(got, hex);
}

static void sha256_vectors_of_fips180(void **state)
{
    (void)state;
    assert_digest("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_digest("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    assert_digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
                  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
}

static void sha256_in_pieces_is_the_same(void **state)
{
    (void)state;
    uint8_t data[300], whole[SHA256_SIZE], pieces[SHA256_SIZE];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7);
    sha256(data, sizeof(data), whole);
    for (size_t step = 1; step < sizeof(data); step += 13) {
        struct sha256 s;
        sha256_init(&s);
        for (size_t at = 0; at < sizeof(data); at += step)
            sha256_update(&s, data + at, sizeof(data) - at < step ? sizeof(data) - at : step);
        sha256_final(&s, pieces);
        assert_memory_equal(whole, pieces, SHA256_SIZE);
    }
}

static void hmac_vector_of_rfc4231(void **state)
{
    (void)state;
    uint8_t out[SHA256_SIZE], key[131];
    char got[2 * SHA256_SIZE + 1];
    hmac_sha256("Jefe", 4, "what do ya want for nothing?", 28, out);
    hex_encode(out, sizeof(out), got);
    assert_string_equal(got, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    memset(key, 0xaa, sizeof(key));
    hmac_sha256(key, sizeof(key), "Test Using Larger Than Block-Size Key - Hash Key First", 54,
                out);
    hex_encode(out, sizeof(out), got);
    assert_string_equal(got, "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base64_vectors_of_rfc4648),
        cmocka_unit_test(base64_takes_both_alphabets_with_or_without_padding),
        cmocka_unit_test(base64_of_every_length_comes_back),
        cmocka_unit_test(base64_refuses),
        cmocka_unit_test(hex_round_trip),
        cmocka_unit_test(percent_coding),
        cmocka_unit_test(sha256_vectors_of_fips180),
        cmocka_unit_test(sha256_in_pieces_is_the_same),
        cmocka_unit_test(hmac_vector_of_rfc4231),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
