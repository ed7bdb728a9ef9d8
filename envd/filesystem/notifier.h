/*
 * Watches on directories, all on one inotify instance.
 *
 * The names in each watched directory are remembered. So an event is not reported twice where a
 * directory was read while events about it were waiting, and when the kernel's queue overflows, the
 * directories are read again and what happened meanwhile is told from the difference.
 */
#ifndef ENVD_FILESYSTEM_NOTIFIER_H
#define ENVD_FILESYSTEM_NOTIFIER_H

#include "common/base/err.h"
#include "common/base/list.h"
#include "common/base/map.h"

#include <uv.h>

#define NOTIFIER_DIRS_MAX  65536  /* watched directories, of all watches */
#define NOTIFIER_NAMES_MAX 200000 /* names remembered, of all directories */

/* As in filesystem.proto. */
enum watch_event { WATCH_CREATE = 1, WATCH_WRITE, WATCH_REMOVE, WATCH_RENAME, WATCH_CHMOD };

struct notifier;
struct watch;

struct watch_events {
    /* Something happened to `name`, relative to the watched directory, "." for itself. */
    void (*on_event)(struct watch *w, enum watch_event event, const char *name);
    /* Events were lost for good; err says why. Others may follow. */
    void (*on_lost)(struct watch *w, const struct err *err);
};

/* Embedded in its owner. The members but `root` are private. */
struct watch {
    struct notifier *notifier;
    const struct watch_events *events;
    char *root;
    bool is_recursive;
    struct map nodes; /* relative path -> struct watch_node; "" is the root */
};

/* NULL with err set when the system gives no instance. */
struct notifier *notifier_new(uv_loop_t *loop, struct err *err);

/* No watch may be left. The loop must run once more. */
void notifier_close(struct notifier *n);

/*
 * Begin to watch the directory `root`, with is_recursive also all below it, links not followed.
 * Callbacks come from the loop. 0 or -errno: ERR_NOT_FOUND, ERR_INVALID (no directory),
 * ERR_EXHAUSTED (too many), ERR_INTERNAL; then nothing is watched.
 */
int watch_start(struct watch *w, struct notifier *n, const char *root, bool is_recursive,
                const struct watch_events *events, struct err *err);

/* No callback comes any more. Not from inside a callback; a second call does nothing. */
void watch_stop(struct watch *w);

#endif
