#include "orchestrator/image/digest.h"
#include "common/base/cleanup.h"
#include "common/base/encode.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#define CHUNK 1048576

struct digest {
    struct sha256 hash;
    bool sparse;
    uint8_t chunk[CHUNK];
};

static void take(struct digest *d, uint64_t offset, size_t n)
{
    static const uint8_t zeroes[DIGEST_BLOCK];
    if (!d->sparse) {
        sha256_update(&d->hash, d->chunk, n);
        return;
    }
    for (size_t i = 0; i < n; i += DIGEST_BLOCK) {
        size_t part = n - i < DIGEST_BLOCK ? n - i : DIGEST_BLOCK;
        uint64_t number = htole64((offset + i) / DIGEST_BLOCK);
        if (memcmp(d->chunk + i, zeroes, part) == 0)
            continue;
        sha256_update(&d->hash, &number, sizeof(number));
        sha256_update(&d->hash, d->chunk + i, part);
    }
}

static ssize_t read_full(int fd, uint8_t *to, size_t n, off_t from)
{
    size_t have = 0;
    while (have < n) {
        ssize_t got = pread(fd, to + have, n - have, from + (off_t)have);
        if (got == 0)
            break;
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        have += (size_t)got;
    }
    return (ssize_t)have;
}

static int run(struct digest *d, int fd, off_t size)
{
    for (off_t at = 0; at < size;) {
        if (d->sparse) {
            off_t data = lseek(fd, at, SEEK_DATA);
            if (data < 0 && errno == ENXIO)
                return 0;
            if (data < 0)
                return -errno;
            at = data - data % DIGEST_BLOCK;
        }
        size_t want = size - at < CHUNK ? (size_t)(size - at) : CHUNK;
        ssize_t n = read_full(fd, d->chunk, want, at);
        if (n != (ssize_t)want)
            return n < 0 ? -errno : -EIO;
        take(d, (uint64_t)at, want);
        at += (off_t)want;
    }
    return 0;
}

static int digest(const char *path, bool sparse, struct image_file *out, struct err *err)
{
    uint8_t sum[SHA256_SIZE];
    struct stat st;
    AUTO_FREE struct digest *d = calloc(1, sizeof(*d));
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (!d)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot read %s: %s", path, strerror(errno));
    d->sparse = sparse;
    sha256_init(&d->hash);
    int rc = run(d, fd, st.st_size);
    if (rc < 0)
        return err_set(err, ERR_INTERNAL, -rc, "cannot read %s: %s", path, strerror(-rc));
    sha256_final(&d->hash, sum);
    hex_encode(sum, sizeof(sum), out->sha256);
    out->size = (uint64_t)st.st_size;
    return 0;
}

int digest_file(const char *path, struct image_file *out, struct err *err)
{
    return digest(path, false, out, err);
}

int digest_sparse_file(const char *path, struct image_file *out, struct err *err)
{
    return digest(path, true, out, err);
}
