#include "envd/guest/hosts.h"

#include "common/base/fileio.h"
#include "envd/guest/in_place.h"

#include <errno.h>

#define SELF_ADDRESS "127.0.1.1"

static bool is_self(struct str line)
{
    struct str address = STR(SELF_ADDRESS);
    return str_starts(line, address) && line.n > address.n &&
           (line.p[address.n] == ' ' || line.p[address.n] == '\t');
}

int hosts_set_self(const char *path, const char *name, struct err *err)
{
    struct buf old = { 0 }, text = { 0 };
    int rc = file_read(path, HOSTS_MAX, &old, err);
    if (rc == -ENOENT)
        rc = 0;
    struct str rest = buf_str(&old);
    while (rest.p) {
        struct str line = str_split(&rest, '\n');
        if (is_self(line) || (!rest.p && line.n == 0))
            continue;
        buf_append_str(&text, line);
        buf_putc(&text, '\n');
    }
    buf_printf(&text, SELF_ADDRESS " %s\n", name);
    if (rc == 0 && text.failed)
        rc = err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    if (rc == 0)
        rc = write_in_place(path, buf_str(&text), 0644, err);
    buf_deinit(&old);
    buf_deinit(&text);
    return rc;
}
