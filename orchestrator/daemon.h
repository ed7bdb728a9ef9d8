/* The daemon: opens everything, serves, and closes it in reverse. */
#ifndef ORCHESTRATOR_DAEMON_H
#define ORCHESTRATOR_DAEMON_H

#include "orchestrator/config.h"

/* Serve until SIGTERM or SIGINT. Returns the program's exit code; what went wrong is in the log.
 * *config is completed by what only a started daemon knows. */
int daemon_run(struct config *config);

#endif
