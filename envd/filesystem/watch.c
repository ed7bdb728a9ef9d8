#include "envd/filesystem/notifier_internal.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <stdio.h>

static char *join(const char *dir, const char *name)
{
    size_t n = strlen(dir);
    const char *slash = n && dir[n - 1] != '/' && *name ? "/" : "";
    struct buf b = { 0 };
    buf_puts(&b, dir);
    buf_puts(&b, slash);
    buf_puts(&b, name);
    return buf_take_text(&b);
}

char *watch_path(const struct watch_node *node, const char *name)
{
    AUTO_FREE char *below = join(node->path, name);
    return below ? join(node->watch->root, below) : NULL;
}

void watch_forget(struct watch_node *node)
{
    map_remove(&node->watch->nodes, str_of(node->path));
    node->watch = NULL;
    list_remove(&node->link);
    list_push_back(&node->dir->notifier->dead_nodes, &node->link);
}

static void drop_node(struct watch_node *node)
{
    struct watched_dir *d = node->dir;
    watch_forget(node);
    notifier_release(d);
}

void watch_lost(struct watch *w, const struct err *err)
{
    if (w->events)
        w->events->on_lost(w, err);
}

static void emit(struct watch *w, enum watch_event event, const char *name)
{
    if (w->events)
        w->events->on_event(w, event, name);
}

static struct watch_node *add_node(struct watch *w, struct watched_dir *d, const char *path)
{
    struct watch_node *node = calloc(1, sizeof(*node));
    char *copy = str_dup(str_of(path));
    if (!node || !copy || !map_set(&w->nodes, str_of(path), node)) {
        free(node);
        free(copy);
        return NULL;
    }
    node->watch = w;
    node->dir = d;
    node->path = copy;
    list_push_back(&d->nodes, &node->link);
    return node;
}

static int add_tree(struct watch *w, const char *path, bool announce);

/* Report the entries of a directory that has just come, and watch those that are directories. What
 * is not known yet of a directory that is watched already will be reported by its own event. */
static int add_entries(struct watch *w, struct watched_dir *d, bool is_new, const char *path,
                       const struct buf *entries, bool announce)
{
    for (const char *p = dir_next(entries, NULL); w->events && p; p = dir_next(entries, p)) {
        if (!is_new && !d->is_untracked && dir_known(d, p + 1) == KNOWN_NOT)
            continue;
        AUTO_FREE char *below = join(path, p + 1);
        if (!below)
            return -ENOMEM;
        if (announce)
            emit(w, WATCH_CREATE, below);
        int rc =
            w->is_recursive && (enum known)p[0] == KNOWN_DIR ? add_tree(w, below, announce) : 0;
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* What may happen to a directory between its name being told and its being opened. */
static bool is_vanished(int errnum)
{
    return errnum == ENOENT || errnum == ENOTDIR || errnum == ELOOP || errnum == ENAMETOOLONG ||
           errnum == EACCES;
}

/* Watch the directory `path` and, in a recursive watch, all below. 0 also when it has vanished,
 * unless it is the root. */
static int add_tree(struct watch *w, const char *path, bool announce)
{
    bool is_root = path[0] == '\0';
    AUTO_FREE char *full = join(w->root, path);
    struct watched_dir *d;
    bool is_new;
    if (!full)
        return -ENOMEM;
    if (map_get(&w->nodes, str_of(path)))
        return 0;
    int rc = notifier_add(w->notifier, full, is_root, &d, &is_new);
    if (rc < 0)
        return !is_root && is_vanished(-rc) ? 0 : rc;
    if (!add_node(w, d, path)) {
        notifier_release(d);
        return -ENOMEM;
    }
    struct buf entries = { 0 };
    if (is_new || w->is_recursive || announce)
        rc = dir_read(full, &entries);
    if (rc == 0 && is_new)
        dir_remember(d, &entries);
    if (rc == 0 && (w->is_recursive || announce))
        rc = add_entries(w, d, is_new, path, &entries, announce);
    buf_deinit(&entries);
    return rc < 0 && !is_root && is_vanished(-rc) ? 0 : rc;
}

/* A directory left the watched tree, or was deleted. */
static void drop_tree(struct watch *w, const char *path)
{
    struct str top = str_of(path);
    for (struct map_entry *e = map_next(&w->nodes, NULL); e; e = map_next(&w->nodes, e)) {
        struct watch_node *node = e->value;
        struct str at = str_of(node->path);
        if (str_starts(at, top) && (at.n == top.n || at.p[top.n] == '/'))
            drop_node(node);
    }
}

static enum watch_event event_of(uint32_t mask)
{
    if (mask & (IN_CREATE | IN_MOVED_TO))
        return WATCH_CREATE;
    if (mask & (IN_MOVED_FROM | IN_MOVE_SELF))
        return WATCH_RENAME;
    if (mask & IN_ATTRIB)
        return WATCH_CHMOD;
    return mask & IN_MODIFY ? WATCH_WRITE : WATCH_REMOVE;
}

static int explain(int rc, const char *path, struct err *err)
{
    switch (-rc) {
    case ENOENT:
        return err_set(err, ERR_NOT_FOUND, ENOENT, "path not found: %s", path);
    case ENOTDIR:
        return err_set(err, ERR_INVALID, ENOTDIR, "path is not a directory: %s", path);
    case ENOSPC:
        return err_set(err, ERR_EXHAUSTED, ENOSPC,
                       "too many directories are watched (fs.inotify.max_user_watches or %d)",
                       NOTIFIER_DIRS_MAX);
    default:
        return err_set(err, ERR_INTERNAL, -rc, "cannot watch %s: %s", path, strerror(-rc));
    }
}

void watch_deliver(struct watch_node *node, uint32_t mask, const char *name)
{
    struct watch *w = node->watch;
    if (*name == '\0') {
        /* Of a directory inside the tree its parent tells the same. */
        if (node->path[0] == '\0')
            emit(w, event_of(mask), ".");
        return;
    }
    AUTO_FREE char *path = join(node->path, name);
    if (!path)
        return;
    bool is_dir = w->is_recursive && (mask & IN_ISDIR);
    if (is_dir && (mask & (IN_MOVED_FROM | IN_DELETE)))
        drop_tree(w, path);
    emit(w, event_of(mask), path);
    if (is_dir && w->events && (mask & (IN_MOVED_TO | IN_CREATE))) {
        struct err err;
        int rc = add_tree(w, path, true);
        if (rc < 0 && explain(rc, path, &err) < 0)
            watch_lost(w, &err);
    }
}

int watch_start(struct watch *w, struct notifier *n, const char *root, bool is_recursive,
                const struct watch_events *events, struct err *err)
{
    *w = (struct watch){
        .notifier = n, .events = events, .root = str_dup(str_of(root)), .is_recursive = is_recursive
    };
    int rc = w->root ? add_tree(w, "", false) : -ENOMEM;
    if (rc == 0)
        return 0;
    watch_stop(w);
    return explain(rc, root, err);
}

void watch_stop(struct watch *w)
{
    w->events = NULL;
    for (struct map_entry *e = map_next(&w->nodes, NULL); e; e = map_next(&w->nodes, e))
        drop_node(e->value);
    map_deinit(&w->nodes);
    free(w->root);
    w->root = NULL;
    if (w->notifier)
        notifier_purge(w->notifier);
}
