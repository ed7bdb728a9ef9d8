/* Pseudo-terminals. */
#ifndef ENVD_PROCESS_PTY_H
#define ENVD_PROCESS_PTY_H

#include "common/base/err.h"
#include "envd/core/user.h"

#include <stdint.h>

#define PTY_COLS_DEFAULT 80
#define PTY_ROWS_DEFAULT 24

struct pty {
    int master; /* reading gives EIO when nobody has the other side open: end of file */
    int slave;
};

/* Open a pair of this size; the slave belongs to `user`, as it does after a login. Both are
 * close-on-exec. 0, or -errno with a sentence. */
int pty_open(struct pty *out, uint16_t cols, uint16_t rows, const struct user *user,
             struct err *err);

/* Tell the programs on the terminal a new size. Returns 0 or -errno. */
int pty_resize(int master, uint16_t cols, uint16_t rows);

#endif
