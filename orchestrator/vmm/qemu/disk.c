/*
 * The file, by QEMU's docs/interop/qcow2.txt (version 3, clusters of 64 KiB, refcounts of 16 bits):
 *
 *   cluster 0   header, header extensions, name of the backing file
 *   cluster 1   refcount table, its first entry points at cluster 2
 *   cluster 2   refcount block: the four clusters of this list are used once each
 *   cluster 3   level 1 table, all zero: nothing is allocated, everything reads from the backing
 *
 * Numbers are big-endian.
 */
#include "orchestrator/vmm/qemu/disk.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/fileio.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CLUSTER_BITS       16
#define CLUSTER            (UINT64_C(1) << CLUSTER_BITS)
#define CLUSTERS_USED      4
#define REFCOUNT_TABLE_AT  (1 * CLUSTER)
#define REFCOUNT_BLOCK_AT  (2 * CLUSTER)
#define LEVEL1_AT          (3 * CLUSTER)
#define LEVEL1_MAPS        (CLUSTER * (CLUSTER / 8)) /* bytes of disk per entry */
#define REFCOUNT_ORDER     4
#define BACKING_NAME_MAX   1023
#define EXT_BACKING_FORMAT 0xE2792ACAu

struct header {
    uint8_t magic[4];
    uint32_t version;
    uint64_t backing_offset;
    uint32_t backing_size;
    uint32_t cluster_bits;
    uint64_t size;
    uint32_t crypt_method;
    uint32_t l1_size;
    uint64_t l1_offset;
    uint64_t refcount_table_offset;
    uint32_t refcount_table_clusters;
    uint32_t nsnapshots;
    uint64_t snapshots_offset;
    uint64_t incompatible, compatible, autoclear;
    uint32_t refcount_order;
    uint32_t header_length;
} __attribute__((packed));

struct extensions {
    uint32_t type, length;
    char format[8]; /* not terminated, padded with zeros */
    uint32_t end_type, end_length;
} __attribute__((packed));

static int write_at(int fd, uint64_t offset, const void *data, size_t n)
{
    ssize_t w = pwrite(fd, data, n, (off_t)offset);
    if (w < 0)
        return -errno;
    return (size_t)w == n ? 0 : -ENOSPC;
}

static int write_tables(int fd, const struct disk_backing *backing, uint64_t size)
{
    size_t name = strlen(backing->path);
    const char *format = backing->qcow2 ? "qcow2" : "raw";
    struct extensions ext = { .type = htobe32(EXT_BACKING_FORMAT),
                              .length = htobe32((uint32_t)strlen(format)) };
    memcpy(ext.format, format, strlen(format));
    struct header h = {
        .magic = { 'Q', 'F', 'I', 0xfb },
        .version = htobe32(3),
        .backing_offset = htobe64(sizeof(h) + sizeof(ext)),
        .backing_size = htobe32((uint32_t)name),
        .cluster_bits = htobe32(CLUSTER_BITS),
        .size = htobe64(size),
        .l1_size = htobe32((uint32_t)((size + LEVEL1_MAPS - 1) / LEVEL1_MAPS)),
        .l1_offset = htobe64(LEVEL1_AT),
        .refcount_table_offset = htobe64(REFCOUNT_TABLE_AT),
        .refcount_table_clusters = htobe32(1),
        .refcount_order = htobe32(REFCOUNT_ORDER),
        .header_length = htobe32(sizeof(h)),
    };
    uint64_t block = htobe64(REFCOUNT_BLOCK_AT);
    uint16_t used[CLUSTERS_USED];
    for (size_t i = 0; i < CLUSTERS_USED; i++)
        used[i] = htobe16(1);

    int rc = ftruncate(fd, (off_t)(CLUSTERS_USED * CLUSTER)) < 0 ? -errno : 0;
    if (rc == 0)
        rc = write_at(fd, 0, &h, sizeof(h));
    if (rc == 0)
        rc = write_at(fd, sizeof(h), &ext, sizeof(ext));
    if (rc == 0)
        rc = write_at(fd, sizeof(h) + sizeof(ext), backing->path, name);
    if (rc == 0)
        rc = write_at(fd, REFCOUNT_TABLE_AT, &block, sizeof(block));
    if (rc == 0)
        rc = write_at(fd, REFCOUNT_BLOCK_AT, used, sizeof(used));
    return rc;
}

static int give_to(int fd, uid_t uid)
{
    return uid != (uid_t)-1 && fchown(fd, uid, uid) < 0 ? -errno : 0;
}

int disk_create(const char *path, const struct disk_backing *backing, uint64_t size_mb, uid_t uid,
                struct err *err)
{
    struct stat base;
    if (stat(backing->path, &base) < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot open what the disk stands on, %s: %s",
                       backing->path, strerror(errno));
    uint64_t size = size_mb << 20, least = backing->qcow2 ? 0 : (uint64_t)base.st_size;
    if (size_mb == 0 || size_mb > DISK_MAX_MB || size < least)
        return err_set(err, ERR_INVALID, EINVAL,
                       "a disk of %llu MiB does not hold its root file system of %llu MiB",
                       (unsigned long long)size_mb, (unsigned long long)least >> 20);
    if (strlen(backing->path) > BACKING_NAME_MAX)
        return err_set(err, ERR_INVALID, ENAMETOOLONG,
                       "the path of what the disk stands on, %s, is too long", backing->path);

    AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot create the disk %s: %s", path,
                       strerror(errno));
    int rc = write_tables(fd, backing, size);
    if (rc == 0)
        rc = give_to(fd, uid);
    if (rc < 0) {
        unlink(path);
        return err_set(err, ERR_INTERNAL, -rc, "cannot write the disk %s: %s", path, strerror(-rc));
    }
    return TAKE_FD(fd);
}

int disk_sync_new(int fd, const char *path, struct err *err)
{
    char dir[PATH_MAX];
    snprintf(dir, sizeof(dir), "%s", path);
    AUTO_CLOSE int parent = open(dirname(dir), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (parent >= 0 && fsync(fd) == 0 && fsync(parent) == 0)
        return 0;
    return err_set(err, ERR_INTERNAL, errno, "cannot write the disk %s: %s", path, strerror(errno));
}

bool disk_is_blank(const char *path)
{
    uint8_t start[sizeof(((struct header *)0)->magic)] = { 0 };
    static const uint8_t none[sizeof(start)];
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    struct stat st;
    return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
           pread(fd, start, sizeof(start), 0) >= 0 && memcmp(start, none, sizeof(start)) == 0;
}

int disk_open(const char *path, uid_t uid, struct err *err)
{
    struct stat st;
    AUTO_CLOSE int fd = open(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    int rc = fd < 0 || fstat(fd, &st) < 0 ? -errno : 0;
    if (rc == 0)
        rc = S_ISREG(st.st_mode) ? give_to(fd, uid) : -EINVAL;
    if (rc < 0)
        return err_set(err, ERR_INTERNAL, -rc, "cannot open the disk %s: %s", path, strerror(-rc));
    return TAKE_FD(fd);
}

int disk_reopen(int fd, int flags)
{
    char path[32];
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    int copy = open(path, flags | O_CLOEXEC);
    return copy < 0 ? -errno : copy;
}
