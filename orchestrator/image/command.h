/* Child processes of the image builder: never a shell line, always a log, stoppable. */
#ifndef ORCHESTRATOR_IMAGE_COMMAND_H
#define ORCHESTRATOR_IMAGE_COMMAND_H

#include "common/base/buf.h"
#include "common/base/err.h"

#define COMMAND_OUTPUT_MAX 65536
#define COMMAND_TICK_MS    250

struct command {
    const char *const *argv; /* argv[0] is looked up in PATH (and /usr/sbin, /sbin) */
    const char *package;     /* what to install when it is missing */
    const char *cwd;         /* NULL: the caller's */
    const char *log;         /* file that gets what it prints (appended) */
    struct buf *output;      /* gets its standard output instead, if not NULL; bounded */
    /* Called about every COMMAND_TICK_MS; `line` is the newest one of the log. May be NULL. */
    void (*tick)(void *user, const char *line);
    void *user;
};

/* -ENOENT with the package to install when there is no such program. */
int command_check(const char *program, const char *package, struct err *err);

/* Run it to its end. 0; -ENOENT when the program is missing; -EINTR after command_interrupt();
 * -ENOSPC when it failed on a full disk; -EIO when it failed otherwise, with the last line it
 * printed in err. */
int command_run(const struct command *c, struct err *err);

/* End the running command and refuse further ones. Async-signal-safe. */
void command_interrupt(void);

/* Whether command_interrupt() was called. */
bool command_interrupted(void);

#endif
