/* Packed files. */
#ifndef ORCHESTRATOR_IMAGE_UNPACK_H
#define ORCHESTRATOR_IMAGE_UNPACK_H

#include "common/base/buf.h"
#include "common/base/err.h"

#define UNPACK_MODULE_MAX (64U << 20)
#define UNPACK_KERNEL_MAX (512U << 20)

/* Append the contents of a file that is plain or packed by gzip, xz, zstd, lz4 or bzip2; more than
 * `max` bytes is -EFBIG. 0 or -errno. */
int unpack_file(const char *path, size_t max, struct buf *out, struct err *err);

/* The same for bytes in memory. */
int unpack_bytes(struct str packed, size_t max, struct buf *out, struct err *err);

/* The ELF kernel inside a bzImage. It boots faster, since the guest need not unpack it itself. 0;
 * -EINVAL when the file is no bzImage or holds something else. */
int unpack_vmlinux(struct str bzimage, struct buf *out, struct err *err);

#endif
