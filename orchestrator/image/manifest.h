/* manifest.json of a template build: what its files are and how to boot them. */
#ifndef ORCHESTRATOR_IMAGE_MANIFEST_H
#define ORCHESTRATOR_IMAGE_MANIFEST_H

#include "common/base/err.h"
#include "common/base/sha256.h"
#include "common/base/str.h"

#include <stdbool.h>
#include <stdint.h>

#define IMAGE_FORMAT       2
#define IMAGE_MANIFEST_MAX 16384

/* Names of a build's files in its folder. */
#define IMAGE_FILE_KERNEL    "kernel"
#define IMAGE_FILE_INITRAMFS "initramfs"
#define IMAGE_FILE_ROOTFS    "rootfs.ext4"
#define IMAGE_FILE_MANIFEST  "manifest.json"
#define IMAGE_FILE_LAYER     "layer.qcow2" /* what the saved VM wrote to its disk */
#define IMAGE_DIR_SNAPSHOT   "snapshot"

/* Which kernel a build has. Each is made for a machine of its own. */
enum image_kernel {
    IMAGE_KERNEL_DEBIAN, /* the distribution's */
    IMAGE_KERNEL_MICRO,  /* a small one of our configuration */
    IMAGE_KERNEL_NR
};
/* "debian", "micro". */
const char *image_kernel_name(enum image_kernel kernel);
bool image_kernel_parse(struct str name, enum image_kernel *out);

struct image_file {
    uint64_t size;
    char sha256[2 * SHA256_SIZE + 1];
};

struct image_manifest {
    char build_id[64];
    char name[129];        /* the template's */
    char key[65];          /* of the inputs: the same key, the same build */
    char created[40];      /* RFC 3339 */
    char envd_version[32]; /* as `envd -version` prints it */
    char kernel_version[128];
    char source[128];              /* where the root file system came from, for people */
    char cmdline[256];             /* kernel command line, without what the VMM's driver adds */
    enum image_kernel kernel_kind; /* "kernel"; not written when it is Debian's */
    uint64_t disk_mb;
    uint64_t vcpus, memory_mb;
    struct image_file kernel, initramfs;
    struct image_file rootfs; /* sha256 is that of digest_sparse_file() */
};

/* Parse the text of a manifest. Strict: another format, an unknown, missing, doubled or too long
 * field is -EINVAL with the field named. */
int image_manifest_parse(const char *text, size_t n, struct image_manifest *out, struct err *err);

/* Write <dir>/manifest.json, 0444. 0 or -errno. */
int image_manifest_write(const char *dir, const struct image_manifest *m, struct err *err);

/* Read the manifest of a build's folder and check that its files are there with their sizes. The
 * digests are not computed. 0 or -errno. */
int image_manifest_load(const char *dir, struct image_manifest *out, struct err *err);

#endif
