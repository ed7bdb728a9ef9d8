/*
 * The small kernel: Debian's Linux source, tinyconfig and the options of kernel-micro.config, built
 * here. It runs on VMM_BOARD_MICRO, and has no module.
 */
#ifndef ORCHESTRATOR_IMAGE_KERNEL_MICRO_H
#define ORCHESTRATOR_IMAGE_KERNEL_MICRO_H

#include "orchestrator/image/apt.h"
#include "orchestrator/image/cache.h"

/* Free, for the source and what is built of it. */
#define KERNEL_MICRO_SPACE_MB 1700

/* Of the configuration that is built into this program: kernel-micro.config. */
struct str kernel_micro_config(void);

/* Whether all that a build runs is there; -ENOENT with every package that is to be installed. */
int kernel_micro_check_tools(const char *log, struct err *err);

/* What the result depends on beside Debian's source: configuration and compiler. 0 or -errno. */
int kernel_micro_key(const char *log, char out[static CACHE_KEY_SIZE], struct err *err);

/* The same for a compiler of that text. */
void kernel_micro_key_of(struct str compiler, char out[static CACHE_KEY_SIZE]);

/* Fetch, configure and build into `dir`: what kernel_make() leaves there, with no modules, and the
 * version of the source's package. Minutes of all processors. 0 or -errno. */
int kernel_micro_make(const struct apt *a, const char *dir, struct err *err);

/* Whether what kernel_micro_make() left in `dir` is of the newest source. 0 or -errno. */
int kernel_micro_is_newest(const struct apt *a, const char *dir, bool *out, struct err *err);

/* Whether each line of a fragment, "CONFIG_X=..." or "# CONFIG_X is not set", is true of a finished
 * configuration. -EINVAL names the first that is not. */
int kernel_micro_check_config(struct str fragment, struct str finished, struct err *err);

#endif
