#include "envd/filesystem/notifier_internal.h"

#include "common/base/cleanup.h"
#include "envd/filesystem/temp_name.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <time.h>

#define READS_PER_TURN 16
#define READ_SIZE      65536
#define MASK                                                                                       \
    (IN_MOVED_TO | IN_MOVED_FROM | IN_CREATE | IN_ATTRIB | IN_MODIFY | IN_MOVE_SELF | IN_DELETE |  \
     IN_DELETE_SELF)

static void on_readable(uv_poll_t *poll, int status, int events);

struct notifier *notifier_new(uv_loop_t *loop, struct err *err)
{
    struct notifier *n = calloc(1, sizeof(*n));
    AUTO_CLOSE int fd = n ? inotify_init1(IN_NONBLOCK | IN_CLOEXEC) : -1;
    if (fd < 0) {
        (void)!err_set(err, ERR_INTERNAL, errno, "cannot watch files: %s", strerror(errno));
        free(n);
        return NULL;
    }
    n->loop = loop;
    list_init(&n->dead_nodes);
    list_init(&n->dead_dirs);
    uv_poll_init(loop, &n->poll, fd);
    uv_poll_start(&n->poll, UV_READABLE, on_readable);
    n->fd = TAKE_FD(fd);
    clock_gettime(CLOCK_REALTIME_COARSE, &n->drained);
    return n;
}

static void on_closed(uv_handle_t *handle)
{
    struct notifier *n = container_of((uv_poll_t *)(void *)handle, struct notifier, poll);
    notifier_purge(n);
    close(n->fd);
    map_deinit(&n->dirs);
    free(n);
}

void notifier_close(struct notifier *n)
{
    uv_close((uv_handle_t *)&n->poll, on_closed);
}

/* ---- directories ---- */

static struct str key_of(int wd, char text[static 16])
{
    int len = snprintf(text, 16, "%d", wd);
    return (struct str){ text, (size_t)len };
}

int notifier_add(struct notifier *n, const char *path, bool follow, struct watched_dir **out,
                 bool *is_new)
{
    char key[16];
    int wd = inotify_add_watch(n->fd, path, MASK | IN_ONLYDIR | (follow ? 0 : IN_DONT_FOLLOW));
    if (wd < 0)
        return -errno;
    *out = map_get(&n->dirs, key_of(wd, key));
    *is_new = !*out;
    if (*out)
        return 0;
    struct watched_dir *d = calloc(1, sizeof(*d));
    if (!d || n->dirs.count >= NOTIFIER_DIRS_MAX || !map_set(&n->dirs, key_of(wd, key), d)) {
        free(d);
        inotify_rm_watch(n->fd, wd);
        return -ENOSPC;
    }
    d->notifier = n;
    d->wd = wd;
    list_init(&d->nodes);
    *out = d;
    return 0;
}

static void bury(struct watched_dir *d)
{
    char key[16];
    map_remove(&d->notifier->dirs, key_of(d->wd, key));
    list_push_back(&d->notifier->dead_dirs, &d->dead);
}

void notifier_purge(struct notifier *n)
{
    list_for_each_safe (link, &n->dead_nodes) {
        struct watch_node *node = container_of(link, struct watch_node, link);
        free(node->path);
        free(node);
    }
    list_for_each_safe (link, &n->dead_dirs) {
        struct watched_dir *d = container_of(link, struct watched_dir, dead);
        n->names -= d->names.count;
        map_deinit(&d->names);
        free(d);
    }
    list_init(&n->dead_nodes);
    list_init(&n->dead_dirs);
}

void notifier_release(struct watched_dir *d)
{
    if (!list_empty(&d->nodes))
        return;
    inotify_rm_watch(d->notifier->fd, d->wd); /* fails when the directory is gone */
    bury(d);
}

/* ---- names ---- */

enum known dir_known(const struct watched_dir *d, const char *name)
{
    return (enum known)(uintptr_t)map_get(&d->names, str_of(name));
}

static void give_up_names(struct watched_dir *d)
{
    d->notifier->names -= d->names.count;
    map_deinit(&d->names);
    d->is_untracked = true;
}

static void remember(struct watched_dir *d, const char *name, enum known known)
{
    if (d->is_untracked)
        return;
    size_t before = d->names.count;
    if (d->notifier->names >= NOTIFIER_NAMES_MAX ||
        !map_set(&d->names, str_of(name), (void *)(uintptr_t)known)) {
        give_up_names(d);
        return;
    }
    d->notifier->names += d->names.count - before;
}

static void forget(struct watched_dir *d, const char *name)
{
    if (map_remove(&d->names, str_of(name)))
        d->notifier->names--;
}

void dir_remember(struct watched_dir *d, const struct buf *entries)
{
    for (const char *p = dir_next(entries, NULL); p; p = dir_next(entries, p))
        remember(d, p + 1, (enum known)p[0]);
}

static enum known kind_of(int dir, const struct dirent *e)
{
    struct stat st;
    if (e->d_type != DT_UNKNOWN)
        return e->d_type == DT_DIR ? KNOWN_DIR : KNOWN_FILE;
    bool is_dir = fstatat(dir, e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
    return is_dir ? KNOWN_DIR : KNOWN_FILE;
}

int dir_read(const char *path, struct buf *out)
{
    DIR *dir = opendir(path);
    if (!dir)
        return -errno;
    const struct dirent *e;
    while ((e = readdir(dir)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0 || temp_name_is(e->d_name))
            continue;
        buf_putc(out, (char)kind_of(dirfd(dir), e));
        buf_append(out, e->d_name, strlen(e->d_name) + 1);
    }
    closedir(dir);
    return out->failed ? -ENOMEM : 0;
}

/* ---- events ---- */

static size_t copy_nodes(const struct watched_dir *d, struct watch_node ***out)
{
    size_t n = 0;
    list_for_each (link, &d->nodes)
        n++;
    *out = calloc(n + 1, sizeof(**out));
    n = 0;
    if (*out)
        list_for_each (link, &d->nodes)
            (*out)[n++] = container_of(link, struct watch_node, link);
    return n;
}

static void deliver(struct watched_dir *d, uint32_t mask, const char *name)
{
    AUTO_FREE struct watch_node **nodes = NULL;
    size_t n = copy_nodes(d, &nodes);
    for (size_t i = 0; i < n; i++)
        if (nodes[i]->watch)
            watch_deliver(nodes[i], mask, name);
}

/* Files without a name, which uploads are written to, are reported as "#" and their inode. */
static bool is_nameless(const char *name)
{
    return name[0] == '#' && name[1] && strspn(name + 1, "0123456789") == strlen(name + 1);
}

/* The event's mask as it is to be understood. 0 for an upload's temporary file, of which nobody is
 * told; when that is renamed to the target, this is a creation if there was none, and else nothing:
 * a write follows. */
static uint32_t mask_of(struct notifier *n, const struct inotify_event *e)
{
    if (temp_name_is(e->name)) {
        if (e->mask & IN_MOVED_FROM)
            n->hidden_cookie = e->cookie;
        return 0;
    }
    bool is_placed = (e->mask & IN_MOVED_TO) && e->cookie && e->cookie == n->hidden_cookie;
    return is_placed ? IN_CREATE : e->mask;
}

/* Keep the names up to date; false when the event tells nothing new. */
static bool track(struct watched_dir *d, uint32_t mask, const char *name)
{
    enum known known = dir_known(d, name);
    if (mask & (IN_CREATE | IN_MOVED_TO)) {
        remember(d, name, mask & IN_ISDIR ? KNOWN_DIR : KNOWN_FILE);
        return known == KNOWN_NOT || (mask & IN_MOVED_TO);
    }
    if (mask & (IN_DELETE | IN_MOVED_FROM))
        forget(d, name);
    return d->is_untracked ? !is_nameless(name) : known != KNOWN_NOT;
}

/* The kernel watches it no more: it was deleted, or its file system unmounted. */
static void forget_dir(struct watched_dir *d)
{
    while (!list_empty(&d->nodes))
        watch_forget(container_of(d->nodes.next, struct watch_node, link));
    bury(d);
}

static void handle(struct notifier *n, const struct inotify_event *e)
{
    char key[16];
    if (e->mask & IN_Q_OVERFLOW) {
        n->is_overflown = true;
        return;
    }
    struct watched_dir *d = map_get(&n->dirs, key_of(e->wd, key));
    if (!d)
        return;
    if (e->mask & IN_IGNORED) {
        forget_dir(d);
    } else if (e->len == 0) {
        deliver(d, e->mask, "");
    } else {
        uint32_t mask = mask_of(n, e);
        if (mask && track(d, mask, e->name))
            deliver(d, mask, e->name);
    }
}

/* ---- repair after an overflow ---- */

static void report_untracked(struct watched_dir *d)
{
    struct err err;
    (void)!err_set(&err, ERR_INTERNAL, EOVERFLOW,
                   "more happened at once than the system reports: events were lost");
    list_for_each (link, &d->nodes)
        watch_lost(container_of(link, struct watch_node, link)->watch, &err);
}

/* Whether a file was written since all was known; a new one, if anything is in it. */
static bool is_changed(const struct watched_dir *d, const char *name, bool is_new)
{
    struct stat st;
    struct timespec since = d->notifier->drained;
    AUTO_FREE char *path = watch_path(container_of(d->nodes.next, struct watch_node, link), name);
    return path && lstat(path, &st) == 0 && S_ISREG(st.st_mode) && (!is_new || st.st_size > 0) &&
           (st.st_mtim.tv_sec > since.tv_sec ||
            (st.st_mtim.tv_sec == since.tv_sec && st.st_mtim.tv_nsec >= since.tv_nsec));
}

/* Report what is there and was not known, and what has been written since. */
static void compare(struct watched_dir *d, const struct buf *entries)
{
    for (const char *p = dir_next(entries, NULL); p; p = dir_next(entries, p)) {
        enum known kind = (enum known)p[0];
        bool is_new = dir_known(d, p + 1) == KNOWN_NOT;
        remember(d, p + 1, kind == KNOWN_DIR ? SEEN_DIR : SEEN_FILE);
        if (is_new)
            deliver(d, IN_CREATE | (kind == KNOWN_DIR ? IN_ISDIR : 0), p + 1);
        if (kind == KNOWN_FILE && !list_empty(&d->nodes) && is_changed(d, p + 1, is_new))
            deliver(d, IN_MODIFY, p + 1);
    }
}

/* Report the names that were not seen again. */
static void sweep(struct watched_dir *d)
{
    for (struct map_entry *e = map_next(&d->names, NULL); e; e = map_next(&d->names, e)) {
        enum known known = (enum known)(uintptr_t)e->value;
        if (known == SEEN_FILE || known == SEEN_DIR) {
            e->value = (void *)(uintptr_t)(known == SEEN_DIR ? KNOWN_DIR : KNOWN_FILE);
            continue;
        }
        AUTO_FREE char *name = str_dup(str_of(e->key));
        forget(d, e->key);
        if (name)
            deliver(d, IN_DELETE | (known == KNOWN_DIR ? IN_ISDIR : 0), name);
    }
}

static void rescan_dir(struct watched_dir *d)
{
    if (d->is_untracked) {
        report_untracked(d);
        return;
    }
    struct buf entries = { 0 };
    AUTO_FREE char *path = watch_path(container_of(d->nodes.next, struct watch_node, link), "");
    if (path && dir_read(path, &entries) == 0) {
        compare(d, &entries);
        sweep(d);
    }
    buf_deinit(&entries);
}

static void rescan(struct notifier *n)
{
    size_t count = 0;
    AUTO_FREE int *wds = calloc(n->dirs.count + 1, sizeof(*wds));
    if (!wds)
        return; /* tried again when events come */
    n->is_overflown = false;
    for (struct map_entry *e = map_next(&n->dirs, NULL); e; e = map_next(&n->dirs, e))
        wds[count++] = ((struct watched_dir *)e->value)->wd;
    for (size_t i = 0; i < count; i++) {
        char key[16];
        struct watched_dir *d = map_get(&n->dirs, key_of(wds[i], key));
        if (d && !list_empty(&d->nodes))
            rescan_dir(d);
        notifier_purge(n);
    }
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct notifier *n = container_of(poll, struct notifier, poll);
    static char bytes[READ_SIZE] __attribute__((aligned(8)));
    (void)status;
    (void)events;
    for (int i = 0; i < READS_PER_TURN; i++) {
        ssize_t got = read(n->fd, bytes, sizeof(bytes));
        if (got <= 0) {
            if (n->is_overflown)
                rescan(n);
            clock_gettime(CLOCK_REALTIME_COARSE, &n->drained);
            return;
        }
        for (ssize_t at = 0; at < got;) {
            const struct inotify_event *e = (const void *)(bytes + at);
            at += (ssize_t)(sizeof(*e) + e->len);
            handle(n, e);
            notifier_purge(n);
        }
    }
}
