/* Names of files that are being written and will be renamed: nobody is told of them. */
#ifndef ENVD_FILESYSTEM_TEMP_NAME_H
#define ENVD_FILESYSTEM_TEMP_NAME_H

#include <stdbool.h>
#include <string.h>

/* ".NAME" TEMP_NAME_MARK and TEMP_NAME_RANDOM characters. */
#define TEMP_NAME_MARK   ".sandpit-"
#define TEMP_NAME_RANDOM 6

static inline bool temp_name_is(const char *name)
{
    const size_t tail = sizeof(TEMP_NAME_MARK) - 1 + TEMP_NAME_RANDOM;
    size_t n = strlen(name);
    return name[0] == '.' && n > tail &&
           memcmp(name + n - tail, TEMP_NAME_MARK, sizeof(TEMP_NAME_MARK) - 1) == 0;
}

#endif
