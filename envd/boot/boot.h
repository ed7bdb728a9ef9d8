/* envd as PID 1: in the initramfs, and in the guest's root file system. */
#ifndef ENVD_BOOT_BOOT_H
#define ENVD_BOOT_BOOT_H

#include "common/base/err.h"

/* /init of the initramfs: load the modules listed in /modules.list, mount the root device that the
 * kernel command line names (root=, default /dev/vda), switch to it and exec /usr/bin/envd there.
 * Returns only on failure. */
int boot_initramfs(struct err *err);

/* PID 1 in the root file system: mount /proc, /sys, /dev, /dev/pts, /dev/shm, /run, /tmp if absent,
 * cgroup v2; bring lo up; set the hostname; write /etc/resolv.conf if it is missing. Failures that
 * leave a usable guest are logged, not fatal. */
void boot_guest(void);

/* Sync, unmount or remount read-only, power off. Does not return as PID 1. */
void boot_power_off(void);

#endif
