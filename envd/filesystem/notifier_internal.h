/* Shared by notifier.c (the inotify instance) and watch.c (what one watch covers). */
#ifndef ENVD_FILESYSTEM_NOTIFIER_INTERNAL_H
#define ENVD_FILESYSTEM_NOTIFIER_INTERNAL_H

#include "common/base/buf.h"
#include "envd/filesystem/notifier.h"

#include <sys/inotify.h>

/* What is known of a name in a directory; the SEEN ones only while a directory is compared. */
enum known { KNOWN_NOT, KNOWN_FILE, KNOWN_DIR, SEEN_FILE, SEEN_DIR };

/* One directory that the kernel watches for us, for one or more watches. */
struct watched_dir {
    struct notifier *notifier;
    int wd;
    struct list nodes;
    struct map names;  /* name -> enum known */
    bool is_untracked; /* there were too many names to remember */
    struct list dead;  /* in notifier->dead_dirs */
};

/* A directory as a part of one watch. */
struct watch_node {
    struct list link;    /* in dir->nodes; later in notifier->dead_nodes */
    struct watch *watch; /* NULL when it is dead */
    struct watched_dir *dir;
    char *path; /* relative to the watch's root; "" for it */
};

struct notifier {
    uv_loop_t *loop;
    uv_poll_t poll;
    int fd;
    struct map dirs; /* decimal wd -> struct watched_dir */
    size_t names;    /* remembered, in all directories */
    bool is_overflown;
    uint32_t hidden_cookie;  /* of a temporary file that is being renamed */
    struct timespec drained; /* when the queue was last empty */
    /* An event may make nodes and directories superfluous that are being looped over: they are
     * freed when it is over. */
    struct list dead_nodes, dead_dirs;
};

/* A directory's entries, each one byte (enum known) and a terminated name. 0 or -errno. */
int dir_read(const char *path, struct buf *out);

/* Loop: for (const char *p = dir_next(b, NULL); p; p = dir_next(b, p)). */
static inline const char *dir_next(const struct buf *entries, const char *prev)
{
    const char *first = (const char *)buf_head(entries);
    const char *p = prev ? prev + strlen(prev) + 1 : first;
    return buf_len(entries) && p < first + buf_len(entries) ? p : NULL;
}

/* Watch `path`; *is_new tells that nobody did before, and that its names are not known yet. */
int notifier_add(struct notifier *n, const char *path, bool follow, struct watched_dir **out,
                 bool *is_new);

/* The directory is of no interest any more if it has no node. */
void notifier_release(struct watched_dir *d);

/* Remember what was read; a directory of too many names is not tracked. */
void dir_remember(struct watched_dir *d, const struct buf *entries);
enum known dir_known(const struct watched_dir *d, const char *name);

/* Something happened to `name` in the node's directory; mask is inotify's. */
void watch_deliver(struct watch_node *node, uint32_t mask, const char *name);

/* The full path of a name in the node's directory ("" for the directory), malloc'ed. */
char *watch_path(const struct watch_node *node, const char *name);

void watch_lost(struct watch *w, const struct err *err);

/* Take the node out of its watch and its directory; it is freed later. */
void watch_forget(struct watch_node *node);

/* Free what was forgotten. Not while directories or nodes are looped over. */
void notifier_purge(struct notifier *n);

#endif
