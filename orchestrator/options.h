/* Flags of the subcommands that are not `serve`: their own, and settings of the daemon. */
#ifndef ORCHESTRATOR_OPTIONS_H
#define ORCHESTRATOR_OPTIONS_H

#include "orchestrator/config.h"

/* A flag with a value, or (text NULL) a switch. */
struct option_spec {
    const char *name; /* NULL ends a list */
    const char **text;
    bool *on;
    char letter; /* a short form; 0: none */
};

/*
 * Fill *config with defaults and environment, then read argv[1] on: flags of `specs`, flags of the
 * settings listed in `settings` (NULL ends), and at most max_args other arguments, which are moved
 * to the end of argv; *first is the index of the first one. `who` opens error messages. -1: go on;
 * else the exit status, as what was wrong has been said, or `help` where --help asked for it.
 */
int options_parse(struct config *config, const char *who, const char *help, int argc, char **argv,
                  const struct option_spec *specs, const char *const *settings, int max_args,
                  int *first);

#endif
