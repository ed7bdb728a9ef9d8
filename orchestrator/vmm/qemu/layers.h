/* Opening the files of a VM's disk for its VMM. Blocking. */
#ifndef ORCHESTRATOR_VMM_QEMU_LAYERS_H
#define ORCHESTRATOR_VMM_QEMU_LAYERS_H

#include "orchestrator/vmm/vmm.h"

/* The top, for reading and writing, given to `uid` ((uid_t)-1: the caller); and once more for
 * reading, for the VMM to change to when it is frozen. One that is not there is made (*made), with
 * `size_mb` virtual MiB. On failure *err is set and there is no file that was made. 0 or -errno. */
int layers_open_top(const struct vmm_disk *d, uint64_t size_mb, uid_t uid, int fds[static 2],
                    bool *made, struct err *err);

/* A file that is not written. A descriptor, or -errno with *err set. */
int layers_open_frozen(const char *path, const char *what, struct err *err);

#endif
