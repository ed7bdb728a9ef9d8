#include "envd/filesystem/list.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>

/* One directory: its names are read at once and sorted; no descriptor stays open, so that the depth
 * of a tree costs none. */
struct list_level {
    struct list_level *up;
    char *path; /* without a slash at the end, "" for "/" */
    uint32_t depth_left;
    struct buf text; /* the names, terminated */
    const char **names;
    size_t n, next;
};

static void free_level(struct list_level *l)
{
    buf_deinit(&l->text);
    free(l->names);
    free(l->path);
    free(l);
}

static int too_large(size_t max, struct err *err)
{
    return err_set(err, ERR_EXHAUSTED, E2BIG,
                   "more than %zu entries, or too long names, to be listed at once", max);
}

static int read_names(struct list_level *l, int fd, size_t max, struct err *err)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return err_set(err, ERR_INTERNAL, errno, "cannot read directory: %s", strerror(errno));
    }
    const struct dirent *e;
    errno = 0;
    while (l->n <= max && (e = readdir(dir)) != NULL) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        buf_append(&l->text, e->d_name, strlen(e->d_name) + 1);
        l->n++;
    }
    int errnum = l->n <= max ? errno : 0;
    closedir(dir);
    if (l->n > max || buf_len(&l->text) > LIST_BYTES_MAX)
        return too_large(max, err);
    if (errnum && errnum != ENOENT) /* ENOENT: the directory was removed meanwhile */
        return err_set(err, ERR_INTERNAL, errnum, "cannot read directory: %s", strerror(errnum));
    return l->text.failed ? err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory") : 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int sort_names(struct list_level *l, struct err *err)
{
    l->names = malloc((l->n ? l->n : 1) * sizeof(l->names[0]));
    if (!l->names)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    const char *p = buf_str(&l->text).p;
    for (size_t i = 0; i < l->n; i++, p += strlen(p) + 1)
        l->names[i] = p;
    qsort(l->names, l->n, sizeof(l->names[0]), by_name);
    return 0;
}

/* Begin with the directory open as fd (taken over). */
static int push(struct list_walk *w, int fd, const char *path, uint32_t depth, struct err *err)
{
    struct list_level *l = calloc(1, sizeof(*l));
    struct str shown = str_of(path);
    while (shown.n && shown.p[shown.n - 1] == '/')
        shown.n--;
    if (l)
        l->path = str_dup(shown);
    if (!l || !l->path) {
        free(l);
        close(fd);
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    }
    l->depth_left = depth;
    l->up = w->top;
    w->top = l;
    int rc = read_names(l, fd, w->max - w->n_entries - w->waiting, err);
    if (rc < 0)
        return rc;
    w->waiting += l->n;
    return sort_names(l, err);
}

int list_walk_init(struct list_walk *w, struct arena *arena, const char *path, uint32_t depth,
                   size_t max, struct err *err)
{
    *w = (struct list_walk){ .max = max };
    entry_reader_init(&w->reader, arena);
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0)
        return push(w, fd, path, depth ? depth : 1, err);
    switch (errno) {
    case ENOENT:
        return err_set(err, ERR_NOT_FOUND, errno, "directory not found: %s", path);
    case ENOTDIR:
        return err_set(err, ERR_INVALID, errno, "path is not a directory: %s", path);
    case ENAMETOOLONG:
        return err_set(err, ERR_INVALID, errno, "path is too long: %s", path);
    case ELOOP:
        return err_set(err, ERR_PRECONDITION, errno, "too many symbolic links in path: %s", path);
    default:
        return err_set(err, ERR_INTERNAL, errno, "cannot open directory %s: %s", path,
                       strerror(errno));
    }
}

static void pop(struct list_walk *w)
{
    struct list_level *l = w->top;
    w->top = l->up;
    if (w->here == l)
        w->here = NULL;
    free_level(l);
}

void list_walk_deinit(struct list_walk *w)
{
    while (w->top)
        pop(w);
}

static int append(struct list_walk *w, Filesystem__EntryInfo *e, struct err *err)
{
    struct arena *arena = w->reader.arena;
    if (arena_size(arena) > LIST_BYTES_MAX)
        return too_large(w->max, err);
    if (w->n_entries == w->cap) {
        size_t cap = w->cap ? w->cap * 2 : 64;
        Filesystem__EntryInfo **grown = arena_alloc(arena, cap * sizeof(grown[0]));
        if (!grown)
            return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
        if (w->n_entries)
            memcpy(grown, w->entries, w->n_entries * sizeof(grown[0]));
        w->entries = grown;
        w->cap = cap;
    }
    w->entries[w->n_entries++] = e;
    return 0;
}

/* Failures that mean that something else was put in the place of what was read before. */
static bool is_vanished(int errnum)
{
    return errnum == ENOENT || errnum == ENOTDIR || errnum == ELOOP || errnum == ENAMETOOLONG;
}

static int descend(struct list_walk *w, const char *path, uint32_t depth, struct err *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0)
        return push(w, fd, path, depth, err);
    if (is_vanished(errno))
        return 0;
    return err_set(err, ERR_INTERNAL, errno, "cannot open directory %s: %s", path, strerror(errno));
}

/* Make the level's directory the current one; false when it is not there any more. */
static bool enter(struct list_walk *w, const struct list_level *l)
{
    if (w->here == l || l->path[0] != '/')
        return true;
    int follow = l->up ? O_NOFOLLOW : 0;
    AUTO_CLOSE int fd = open(l->path, O_PATH | O_DIRECTORY | O_CLOEXEC | follow);
    if (fd < 0 || fchdir(fd) < 0)
        return false;
    w->here = l;
    return true;
}

static int visit(struct list_walk *w, struct list_level *l, const char *name, struct err *err)
{
    size_t dir_len = strlen(l->path);
    size_t name_len = strlen(name);
    char *path = arena_alloc(w->reader.arena, dir_len + name_len + 2);
    if (!path)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    memcpy(path, l->path, dir_len);
    path[dir_len] = '/';
    memcpy(path + dir_len + 1, name, name_len + 1);

    Filesystem__EntryInfo *e;
    int rc = -ENOENT;
    if (enter(w, l))
        rc = entry_read_here(&w->reader, w->here == l ? name : path, path, &e);
    if (rc < 0 && is_vanished(-rc))
        return 0;
    if (rc < 0)
        return err_set(err, ERR_INTERNAL, -rc, "cannot read %s: %s", path, strerror(-rc));
    rc = append(w, e, err);
    if (rc == 0 && l->depth_left > 1 && entry_is_real_dir(e))
        rc = descend(w, path, l->depth_left - 1, err);
    return rc;
}

static int walk(struct list_walk *w, size_t budget, struct err *err)
{
    while (w->top && budget) {
        struct list_level *l = w->top;
        if (l->next == l->n) {
            pop(w);
            continue;
        }
        budget--;
        w->waiting--;
        int rc = visit(w, l, l->names[l->next++], err);
        if (rc < 0)
            return rc;
    }
    return w->top ? 1 : 0;
}

int list_walk_step(struct list_walk *w, size_t budget, struct err *err)
{
    AUTO_CLOSE int home = open(".", O_PATH | O_DIRECTORY | O_CLOEXEC);
    w->here = NULL;
    int rc = walk(w, budget, err);
    if (home < 0 || fchdir(home) < 0)
        (void)!chdir("/");
    return rc;
}
