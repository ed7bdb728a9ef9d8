/* Debian's cloud kernel, unpacked from its package. */
#ifndef ORCHESTRATOR_IMAGE_KERNEL_H
#define ORCHESTRATOR_IMAGE_KERNEL_H

#include "orchestrator/image/apt.h"
#include "orchestrator/image/cache.h"

#define KERNEL_VERSION_MAX 128

/* What the result depends on beside Debian's archive. */
void kernel_key(char out[static CACHE_KEY_SIZE]);

/* Fetch and unpack into `dir`: kernel (an ELF vmlinux, or the bzImage when it holds none), version,
 * a folder modules with each NAME.ko and modules.list in the order of loading. 0 or -errno. */
int kernel_make(const struct apt *a, const char *dir, struct err *err);

/* The version that kernel_make() wrote down. */
int kernel_version(const char *dir, char out[static KERNEL_VERSION_MAX], struct err *err);

#endif
