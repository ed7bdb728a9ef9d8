/* Parts of boot_initramfs() that look at text from outside. */
#ifndef ENVD_BOOT_INITRAMFS_H
#define ENVD_BOOT_INITRAMFS_H

#include "common/base/str.h"

#define BOOT_DEVICE_MAX 64

/* The value of root= on a kernel command line (the last one counts) into out, "/dev/vda" when there
 * is none. false when it is no path of a device below /dev that fits. */
bool boot_root_device(struct str cmdline, char out[static BOOT_DEVICE_MAX]);

/* The next module of a list, one path a line; blank lines are skipped. An empty text at the end. */
struct str boot_next_module(struct str *rest);

#endif
