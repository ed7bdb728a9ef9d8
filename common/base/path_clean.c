#include "common/base/path_clean.h"

#include <string.h>

size_t path_clean(char *path, size_t n)
{
    size_t out = 0; /* path[0..out) is clean and ends without a slash */
    for (size_t i = 0; i < n;) {
        while (i < n && path[i] == '/')
            i++;
        size_t start = i;
        while (i < n && path[i] != '/')
            i++;
        size_t len = i - start;
        if (len == 0 || (len == 1 && path[start] == '.'))
            continue;
        if (len == 2 && path[start] == '.' && path[start + 1] == '.') {
            while (out && path[--out] != '/')
                ;
            continue;
        }
        path[out++] = '/';
        memmove(path + out, path + start, len);
        out += len;
    }
    if (out == 0)
        path[out++] = '/';
    return out;
}
