/* Between spawn.c and spawn_child.c only: what the child is given, prepared by the parent so that
 * the child calls nothing but system calls. */
#ifndef ENVD_PROCESS_SPAWN_CHILD_H
#define ENVD_PROCESS_SPAWN_CHILD_H

#include "envd/process/spawn.h"

enum spawn_step {
    SPAWN_FILES,
    SPAWN_SESSION,
    SPAWN_TTY,
    SPAWN_CGROUP,
    SPAWN_USER,
    SPAWN_CWD,
    SPAWN_EXEC,
};

struct spawn_plan {
    const struct spawn *s;
    bool switch_user;
    char **candidates; /* paths to try, NULL-terminated */
    char **argv;       /* argv[-1] exists, for running a script by /bin/sh */
    bool join_cgroup;  /* the child was not born in s->cgroup */
    bool same_addresses;
    /* Written by the child, which shares the parent's memory, and read after it has gone on. */
    int errnum; /* 0: the command runs, or has said that it cannot */
    enum spawn_step step;
};

/* Never returns. */
int spawn_child(void *plan);

#endif
