/* Running a command as a user. */
#ifndef ENVD_PROCESS_SPAWN_H
#define ENVD_PROCESS_SPAWN_H

#include "common/base/arena.h"
#include "common/base/err.h"
#include "envd/core/user.h"

#include <sys/types.h>

#define SPAWN_OOM_SCORE_ADJ  100
#define SPAWN_IOPRIO_LEVEL   4 /* of class best-effort */
#define SPAWN_UMASK          022
#define SPAWN_NOT_FOUND      127
#define SPAWN_NOT_EXECUTABLE 126

struct spawn {
    const char *cmd; /* a path when it has a '/', else looked up in env's PATH */
    char *const *args;
    size_t nargs;
    char *const *env;
    const char *cwd;
    const struct user *user;
    int in, out, err; /* become 0, 1, 2 of the process; borrowed */
    bool tty;         /* `in` is a terminal, which becomes the controlling one */
    int cgroup;       /* directory of the cgroup (v2) to be in, or -1 */
};

/*
 * Start the command in a session of its own: uid, gid and groups of the user, default signals, no
 * other file descriptor, umask 022, oom_score_adj, io priority and nice as every user process has
 * them. On an emulated processor its addresses are not randomised: code is translated once for each
 * address that it is at. Returns 0 and *pid, or -errno with err (ERR_INVALID): the working
 * directory is no directory or not the user's to enter, the arguments are too long; ERR_EXHAUSTED:
 * no more processes.
 *
 * A command that does not exist or cannot be executed is no failure: the process says so on its
 * stderr and exits with 127 or 126, as a shell would. A file without a format that the kernel knows
 * is given to /bin/sh.
 *
 * The caller is suspended until the process has called execve (vfork): no signal of the caller's
 * is handled meanwhile.
 */
int spawn(const struct spawn *s, struct arena *arena, pid_t *pid, struct err *err);

#endif
