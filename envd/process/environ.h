/* The environment of a process. */
#ifndef ENVD_PROCESS_ENVIRON_H
#define ENVD_PROCESS_ENVIRON_H

#include "common/base/arena.h"
#include "envd/core/envd.h"
#include "process.pb-c.h"

/* The names that one request may set. */
#define PROCESS_ENVS_MAX 4096

/*
 * PATH (envd's own), HOME, USER and LOGNAME of the user, the user-set defaults, the internal ones,
 * then those of the request; later ones win. A NULL-terminated list of "NAME=value" in the arena.
 * ERR_INVALID for a name that is empty or has a '=' in it.
 */
int process_environ(const struct envd *e, const struct user *user,
                    const Process__ProcessConfig *config, struct arena *arena, char ***out,
                    struct err *err);

/* The value of a name in such a list, or NULL. */
const char *process_environ_get(char *const *env, const char *name);

#endif
