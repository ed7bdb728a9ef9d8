#include "common/base/cleanup.h"
#include "orchestrator/image/unpack.h"
#include "tests/support/test.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>

#define KERNEL "\177ELF and the rest of a kernel, which is longer than this"

/* Bytes packed by one of libarchive's filters. */
static struct buf pack(struct str plain, int (*filter)(struct archive *))
{
    uint8_t room[4096];
    size_t used = 0;
    struct buf out = { 0 };
    struct archive *a = archive_write_new();
    struct archive_entry *e = archive_entry_new();
    archive_write_set_format_raw(a);
    assert_int_equal(filter(a), ARCHIVE_OK);
    assert_int_equal(archive_write_open_memory(a, room, sizeof(room), &used), ARCHIVE_OK);
    archive_entry_set_filetype(e, AE_IFREG);
    assert_int_equal(archive_write_header(a, e), ARCHIVE_OK);
    assert_int_equal(archive_write_data(a, plain.p, plain.n), plain.n);
    assert_int_equal(archive_write_close(a), ARCHIVE_OK);
    buf_append(&out, room, used);
    archive_entry_free(e);
    archive_write_free(a);
    return out;
}

static void put32(struct buf *b, size_t at, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        buf_head(b)[at + (size_t)i] = (uint8_t)(v >> (8 * i));
}

/* A bzImage: boot sector, one setup sector, 16 bytes of code, the payload and its size. */
static struct buf make_bzimage(struct str payload)
{
    struct buf b = { 0 };
    uint8_t *room = buf_reserve(&b, 1024 + 16);
    memset(room, 0, 1024 + 16);
    buf_commit(&b, 1024 + 16);
    buf_append_str(&b, payload);
    buf_append(&b, "\x10\0\0\0", 4);
    buf_head(&b)[0x1f1] = 1;
    memcpy(buf_head(&b) + 0x202, "HdrS", 4);
    put32(&b, 0x206, 0x20f);
    put32(&b, 0x248, 16);
    put32(&b, 0x24c, (uint32_t)payload.n + 4);
    return b;
}

static void test_bytes_plain_and_packed(void **state)
{
    (void)state;
    int (*const filters[])(struct archive *) = {
        archive_write_add_filter_gzip, archive_write_add_filter_xz, archive_write_add_filter_zstd,
        archive_write_add_filter_lz4, archive_write_add_filter_none
    };
    for (size_t i = 0; i < ARRAY_LEN(filters); i++) {
        struct buf packed = pack(STR("some text to pack"), filters[i]), out = { 0 };
        assert_int_equal(unpack_bytes(buf_str(&packed), 100, &out, NULL), 0);
        assert_str(buf_str(&out), "some text to pack");
        buf_clear(&out);
        assert_int_equal(unpack_bytes(buf_str(&packed), 10, &out, NULL), -EFBIG);
        buf_deinit(&packed);
        buf_deinit(&out);
    }
}

static void test_vmlinux_comes_out(void **state)
{
    (void)state;
    struct buf packed = pack(STR(KERNEL), archive_write_add_filter_gzip), out = { 0 };
    struct buf image = make_bzimage(buf_str(&packed));
    assert_int_equal(unpack_vmlinux(buf_str(&image), &out, NULL), 0);
    assert_str(buf_str(&out), KERNEL);
    buf_deinit(&out);
    buf_deinit(&image);
    buf_deinit(&packed);
}

static void test_vmlinux_refuses_what_is_none(void **state)
{
    (void)state;
    struct buf packed = pack(STR("no ELF file, but long enough"), archive_write_add_filter_gzip);
    struct buf image = make_bzimage(buf_str(&packed)), out = { 0 };
    assert_int_equal(unpack_vmlinux(buf_str(&image), &out, NULL), -EINVAL);
    for (size_t n = 0; n < buf_len(&image); n += 7) {
        /* A copy of exactly this size, so that a sanitizer sees a read past it. */
        AUTO_FREE char *cut = malloc(n + 1);
        memcpy(cut, buf_head(&image), n);
        buf_clear(&out);
        assert_int_equal(unpack_vmlinux((struct str){ cut, n }, &out, NULL), -EINVAL);
    }
    put32(&image, 0x248, 0xfffffff0U);
    assert_int_equal(unpack_vmlinux(buf_str(&image), &out, NULL), -EINVAL);
    put32(&image, 0x248, 16);
    put32(&image, 0x24c, 3);
    assert_int_equal(unpack_vmlinux(buf_str(&image), &out, NULL), -EINVAL);
    buf_deinit(&out);
    buf_deinit(&image);
    buf_deinit(&packed);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_plain_and_packed),
        cmocka_unit_test(test_vmlinux_comes_out),
        cmocka_unit_test(test_vmlinux_refuses_what_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
