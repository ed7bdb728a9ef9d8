#include "orchestrator/image/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <elf.h>
#include <errno.h>

#define BLOCK 65536

/* Fields of the x86 boot protocol's header, by their offsets in the file. */
#define BZ_SETUP_SECTORS  0x1f1
#define BZ_MAGIC          0x202
#define BZ_VERSION        0x206
#define BZ_PAYLOAD_OFFSET 0x248
#define BZ_PAYLOAD_LENGTH 0x24c
#define BZ_HEADER_END     0x250
#define BZ_VERSION_MIN    0x208 /* the first with a payload */

static int read_all(struct archive *a, int opened, size_t max, struct buf *out, struct err *err)
{
    struct archive_entry *entry;
    if (opened != ARCHIVE_OK || archive_read_next_header(a, &entry) != ARCHIVE_OK)
        return err_set(err, ERR_INVALID, EINVAL, "cannot read: %s", archive_error_string(a));
    for (;;) {
        uint8_t *room = buf_reserve(out, BLOCK);
        if (!room)
            return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
        la_ssize_t n = archive_read_data(a, room, BLOCK);
        if (n < 0)
            return err_set(err, ERR_INVALID, EINVAL, "cannot unpack: %s", archive_error_string(a));
        if (n == 0)
            return 0;
        buf_commit(out, (size_t)n);
        if (buf_len(out) > max)
            return err_set(err, ERR_RANGE, EFBIG, "the file is larger than %zu bytes", max);
    }
}

static struct archive *reader(void)
{
    struct archive *a = archive_read_new();
    if (a) {
        archive_read_support_filter_all(a);
        archive_read_support_format_raw(a);
        archive_read_support_format_empty(a);
    }
    return a;
}

int unpack_file(const char *path, size_t max, struct buf *out, struct err *err)
{
    struct archive *a = reader();
    if (!a)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    int rc = read_all(a, archive_read_open_filename(a, path, BLOCK), max, out, err);
    archive_read_free(a);
    return rc;
}

int unpack_bytes(struct str packed, size_t max, struct buf *out, struct err *err)
{
    struct archive *a = reader();
    if (!a)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    int rc = read_all(a, archive_read_open_memory(a, packed.p, packed.n), max, out, err);
    archive_read_free(a);
    return rc;
}

static uint32_t le32(const char *p)
{
    const uint8_t *b = (const uint8_t *)p;
    return b[0] | (uint32_t)b[1] << 8 | (uint32_t)b[2] << 16 | (uint32_t)b[3] << 24;
}

int unpack_vmlinux(struct str bzimage, struct buf *out, struct err *err)
{
    if (bzimage.n < BZ_HEADER_END || memcmp(bzimage.p + BZ_MAGIC, "HdrS", 4) != 0 ||
        (le32(bzimage.p + BZ_VERSION) & 0xffff) < BZ_VERSION_MIN)
        return err_set(err, ERR_INVALID, EINVAL, "the kernel is no bzImage");
    uint8_t sectors = (uint8_t)bzimage.p[BZ_SETUP_SECTORS];
    /* Zero means four, for the oldest ones; the boot sector comes before them. */
    uint64_t from = ((sectors ? sectors : 4) + 1) * 512ULL + le32(bzimage.p + BZ_PAYLOAD_OFFSET);
    uint64_t length = le32(bzimage.p + BZ_PAYLOAD_LENGTH);
    /* The payload ends with the unpacked size, which is no part of the packed data. */
    if (length < 4 || from > bzimage.n || length > bzimage.n - from)
        return err_set(err, ERR_INVALID, EINVAL, "the kernel's payload lies outside of it");
    struct str packed = { bzimage.p + from, length - 4 };
    int rc = unpack_bytes(packed, UNPACK_KERNEL_MAX, out, err);
    if (rc == 0 && (buf_len(out) < SELFMAG || memcmp(buf_head(out), ELFMAG, SELFMAG) != 0))
        rc = err_set(err, ERR_INVALID, EINVAL, "the kernel's payload is no ELF file");
    return rc;
}
