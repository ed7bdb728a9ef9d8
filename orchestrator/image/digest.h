/* Digests of a build's files. */
#ifndef ORCHESTRATOR_IMAGE_DIGEST_H
#define ORCHESTRATOR_IMAGE_DIGEST_H

#include "common/base/err.h"
#include "orchestrator/image/manifest.h"

#define DIGEST_BLOCK 4096

/* Size and SHA-256 of a file. */
int digest_file(const char *path, struct image_file *out, struct err *err);

/* Size and digest of a disk image that is mostly holes: SHA-256 over, for each DIGEST_BLOCK that is
 * not all zero, its number (64 bits, little-endian) and its bytes. Holes and written zeroes count
 * the same, so a copy has the digest of its original; and holes cost no time. */
int digest_sparse_file(const char *path, struct image_file *out, struct err *err);

#endif
