/* The executables that a template brings for the moment when a clone of it has become a sandbox:
 * the place to renew what a snapshot has copied, such as keys or the state of a random generator.
 */
#ifndef ENVD_GUEST_ON_RESTORE_H
#define ENVD_GUEST_ON_RESTORE_H

#include "envd/core/envd.h"

#include <sys/types.h>

#define ON_RESTORE_DIR         "/etc/sandpit/on-restore.d"
#define ON_RESTORE_DEADLINE_MS 2000 /* for all of them together */
#define ON_RESTORE_FILES_MAX   64

/* Whether there may be something to run, or something still runs. What a rehearsal has looked up is
 * good for the Configure that follows it: a guest that has no name yet runs nobody's code, and the
 * path's lookup is 4 ms of a cold guest. */
bool on_restore_wanted(struct envd *e, const char *dir, bool rehearsal);

/*
 * Run every executable regular file of `dir` whose name does not begin with a dot, one after the
 * other by name, as envd's own user, in the environment that processes of the sandbox have. What
 * they print goes where envd's own log goes. One that fails is logged, and the next one runs; when
 * the time is up the one that runs is killed and those after it are skipped.
 *
 * true: they run, and done comes once, never from inside. false: there is nothing to run (any
 * longer), and done does not come. Those of an earlier call that still run are killed first, and
 * its done comes at once.
 */
bool on_restore_start(struct envd *e, const char *dir, unsigned deadline_ms,
                      void (*done)(void *user), void *user);

/* A child has ended (from waitpid). false when it is none of these. */
bool on_restore_reaped(struct envd *e, pid_t pid, int status);

#endif
