/* Kernel modules: which ones are needed for the wanted ones, and in what order they load. */
#ifndef ORCHESTRATOR_IMAGE_MODULES_H
#define ORCHESTRATOR_IMAGE_MODULES_H

#include "common/base/err.h"
#include "common/base/str.h"

#define MODULE_NAME_MAX  64
#define MODULES_MAX      128 /* of one order */
#define MODULE_DEPTH_MAX 16  /* of dependencies */

struct module_order {
    size_t n;
    char names[MODULES_MAX][MODULE_NAME_MAX]; /* '-' written as '_' */
};

/* The value of "depends=" in the .modinfo section of a module file (64-bit little-endian ELF):
 * names with commas between, empty when it needs nothing. 0, or -EINVAL when it is no module. */
int module_depends(struct str file, struct str *depends, struct err *err);

/*
 * Append `name` to the order after everything it depends on; what is there already is not added
 * again. depends(user, name, out) tells what a module needs, in names with commas between; the text
 * must live until the call ends. -ELOOP when modules need each other, or -errno of depends().
 */
int module_order_add(struct module_order *order, struct str name,
                     int (*depends)(void *user, const char *name, struct str *out, struct err *err),
                     void *user, struct err *err);

#endif
