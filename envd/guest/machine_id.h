/* The machine id of machine-id(5), which programs take for the name of the installation. */
#ifndef ENVD_GUEST_MACHINE_ID_H
#define ENVD_GUEST_MACHINE_ID_H

#include "common/base/err.h"

#include <stdbool.h>

#define MACHINE_ID_DIGITS 32

/* 32 lower-case hexadecimal digits, not all of them 0. */
bool machine_id_ok(const char *id);

/* Write it to etc/machine-id below `root`, and to var/lib/dbus/machine-id where that is a file of
 * its own. 0 or -errno. */
int machine_id_set(const char *root, const char *id, struct err *err);

#endif
