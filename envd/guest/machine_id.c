#include "envd/guest/machine_id.h"

#include "envd/guest/in_place.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

bool machine_id_ok(const char *id)
{
    return strspn(id, "0123456789abcdef") == MACHINE_ID_DIGITS && id[MACHINE_ID_DIGITS] == '\0' &&
           strspn(id, "0") < MACHINE_ID_DIGITS;
}

int machine_id_set(const char *root, const char *id, struct err *err)
{
    char text[MACHINE_ID_DIGITS + 2], path[PATH_MAX];
    struct stat st;
    snprintf(text, sizeof(text), "%s\n", id);
    snprintf(path, sizeof(path), "%s/etc/machine-id", root);
    int rc = write_in_place(path, str_of(text), 0444, err);
    if (rc < 0)
        return rc;
    snprintf(path, sizeof(path), "%s/var/lib/dbus/machine-id", root);
    if (lstat(path, &st) < 0 || !S_ISREG(st.st_mode))
        return 0;
    return write_in_place(path, str_of(text), 0444, err);
}
