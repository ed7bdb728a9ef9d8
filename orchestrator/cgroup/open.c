/* Which groups this host gives us. A controller is in one hierarchy: a host that mounts both
 * versions has those that count here in one of them, and the other is of no use. */
#include "orchestrator/cgroup/internal.h"

#include "common/base/cleanup.h"
#include "common/base/encode.h"
#include "common/base/fileio.h"
#include "common/base/sha256.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define MOUNTS_MAX      1048576
#define CONTROLLERS_MAX 4096
#define OWN_GROUP       "/sandpit"
#define TAKE_TRIES      8

/* Any that a kernel must take. */
static const struct cgroup_limits trial = {
    .memory_bytes = 64 << 20, .swap_bytes = 64 << 20, .pids = 16, .cpu_percent = 100, .weight = 100
};

struct search {
    struct cgroups *c;
    const char *root;
    struct str mounts;
};

static void __attribute__((format(printf, 2, 3))) note(struct cgroups *c, const char *fmt, ...)
{
    size_t at = strlen(c->missing);
    va_list ap;
    if (at)
        at += (size_t)snprintf(c->missing + at, sizeof(c->missing) - at, "; ");
    if (at >= sizeof(c->missing))
        return;
    va_start(ap, fmt);
    vsnprintf(c->missing + at, sizeof(c->missing) - at, fmt, ap);
    va_end(ap);
}

/* Whether `word` is in the group's list of controllers. */
static bool has_controller(const char *dir, const char *word)
{
    char path[PATH_MAX];
    struct buf text = { 0 };
    bool found = false;
    snprintf(path, sizeof(path), "%s/cgroup.controllers", dir);
    if (file_read(path, CONTROLLERS_MAX, &text, NULL) == 0) {
        struct str line = buf_str(&text), rest = str_split(&line, '\n');
        while (rest.p && !found)
            found = str_eq(str_split(&rest, ' '), str_of(word));
    }
    buf_deinit(&text);
    return found;
}

static int enable(const char *dir, enum cgroup_limit limit)
{
    char text[16];
    snprintf(text, sizeof(text), "+%s", limit_name(limit));
    return group_write(dir, "cgroup.subtree_control", text);
}

/* A group without limits and processes: while it is there, another owner's cgroups_close() cannot
 * remove the one that it is in. Its name does not begin with the tag, as those of VMMs do. */
static void hold_path(const struct cgroups *c, const char *dir, char out[static PATH_MAX])
{
    snprintf(out, PATH_MAX, "%.*s/hold-%s", CGROUP_DIR_MAX, dir, c->tag);
}

/* Between the two steps another owner may remove the group again. */
static int make_base(const struct cgroups *c, const char *dir)
{
    char hold[PATH_MAX];
    hold_path(c, dir, hold);
    for (int i = 0; i < TAKE_TRIES; i++) {
        if (mkdir(dir, 0755) < 0 && errno != EEXIST)
            return -errno;
        if (mkdir(hold, 0755) == 0 || errno == EEXIST)
            return 0;
        if (errno != ENOENT)
            return -errno;
    }
    return -EAGAIN;
}

/* The group that all others are made in: there already, or ours to make. */
static int take_base(const struct search *s, const char *dir)
{
    struct stat st;
    if (s->c->own)
        return make_base(s->c, dir);
    return stat(dir, &st) < 0 ? -errno : 0;
}

void cgroups_close(struct cgroups *c)
{
    char hold[PATH_MAX];
    for (int i = 0; i < CGROUP_LIMIT_NR && c->own; i++) {
        if (!c->base[i][0])
            continue;
        hold_path(c, c->base[i], hold);
        (void)rmdir(hold);
        (void)rmdir(c->base[i]); /* the kernel refuses one that has groups */
    }
    *c = (struct cgroups){ 0 };
}

/* Whether the controllers, or some of them, are in version 2, usable or not. */
static bool find_v2(const struct search *s)
{
    struct cgroups *c = s->c;
    char point[CGROUP_DIR_MAX], top[CGROUP_DIR_MAX], dir[CGROUP_DIR_MAX];
    if (!mount_find_v2(s->mounts, point, sizeof(point)))
        return false;
    if (snprintf(top, sizeof(top), "%s%s", s->root, point) >= (int)sizeof(top) ||
        snprintf(dir, sizeof(dir), "%s%s", top, c->where) >= (int)sizeof(dir))
        return false;
    bool any = false;
    for (int i = 0; i < CGROUP_LIMIT_NR; i++) {
        c->can[i] = has_controller(c->own ? top : dir, limit_name(i));
        any |= c->can[i];
        if (c->can[i] && c->own)
            (void)enable(top, i); /* or it was: what counts is what the group has */
    }
    if (!any)
        return false;
    for (int i = 0; i < CGROUP_LIMIT_NR; i++)
        memcpy(c->base[i], dir, sizeof(dir));
    int rc = take_base(s, dir);
    if (rc < 0) {
        note(c, "%s cannot be used: %s", dir, strerror(-rc));
        memset(c->can, 0, sizeof(c->can));
        return true;
    }
    c->version = CGROUP_V2;
    for (int i = 0; i < CGROUP_LIMIT_NR; i++) {
        rc = !c->can[i] || !has_controller(dir, limit_name(i)) ? -ENODEV : enable(dir, i);
        if (rc == -ENODEV)
            note(c, "no %s: %s is not given it", limit_name(i), dir);
        else if (rc < 0)
            note(c, "no %s: %s cannot pass it on: %s", limit_name(i), dir, strerror(-rc));
        c->can[i] = rc == 0;
    }
    return true;
}

static void find_v1(const struct search *s)
{
    struct cgroups *c = s->c;
    for (int i = 0; i < CGROUP_LIMIT_NR; i++) {
        char point[CGROUP_DIR_MAX];
        if (!mount_find_v1(s->mounts, limit_name(i), point, sizeof(point))) {
            note(c, "no %s: no such hierarchy is mounted", limit_name(i));
            continue;
        }
        if (snprintf(c->base[i], sizeof(c->base[i]), "%s%s%s", s->root, point, c->where) >=
            (int)sizeof(c->base[i]))
            continue;
        int rc = take_base(s, c->base[i]);
        if (rc < 0)
            note(c, "no %s: %s cannot be used: %s", limit_name(i), c->base[i], strerror(-rc));
        c->can[i] = rc == 0;
    }
    c->version = CGROUP_V1;
}

static bool can_any(const struct cgroups *c)
{
    return c->can[CGROUP_MEMORY] || c->can[CGROUP_PIDS] || c->can[CGROUP_CPU];
}

/* A child comes into the group. */
static int try_enter(const struct cgroups *c, const char *name, struct err *err)
{
    struct cgroup_door door;
    bool inside;
    int status = 0;
    int rc = cgroup_door_open(c, name, &door, err);
    if (rc < 0)
        return rc;
    pid_t pid = cgroup_fork(&door, &inside);
    if (pid == 0)
        _exit(inside || cgroup_door_enter(&door) == 0 ? 0 : errno);
    int errnum = errno;
    cgroup_door_close(&door);
    if (pid < 0)
        return err_set(err, ERR_EXHAUSTED, errnum, "cannot fork: %s", strerror(errnum));
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    errnum = WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
    if (errnum)
        return err_set(err, ERR_INTERNAL, errnum, "no process can be put into a group: %s",
                       strerror(errnum));
    return 0;
}

/* Set each limit in a group of its own, so that one that fails tells nothing about the others; then
 * all that work, with a process. */
static void try_out(struct cgroups *c)
{
    char name[32];
    struct err err;
    snprintf(name, sizeof(name), "trial-%d", (int)getpid());
    for (int i = 0; i < CGROUP_LIMIT_NR; i++) {
        struct cgroups one = *c;
        if (!c->can[i])
            continue;
        memset(one.can, 0, sizeof(one.can));
        one.can[i] = true;
        c->can[i] = cgroup_create(&one, name, &trial, &err) == 0;
        if (!c->can[i])
            note(c, "no %s: %s", limit_name(i), err.msg);
        cgroup_remove(&one, name);
    }
    int rc = cgroup_create(c, name, &trial, &err);
    if (rc == 0)
        rc = try_enter(c, name, &err);
    cgroup_remove(c, name);
    if (rc < 0) {
        note(c, "%s", err.msg);
        memset(c->can, 0, sizeof(c->can));
    }
}

static void make_tag(const char *owner, char out[static CGROUP_TAG_SIZE])
{
    uint8_t hash[SHA256_SIZE];
    sha256(owner, strlen(owner), hash);
    hex_encode(hash, (CGROUP_TAG_SIZE - 1) / 2, out);
}

void cgroups_open(struct cgroups *c, const struct cgroups_options *options)
{
    char path[PATH_MAX];
    struct buf mounts = { 0 };
    *c = (struct cgroups){ 0 };
    if (strcmp(options->where, CGROUP_OFF) == 0) {
        note(c, "control groups were not asked for");
        return;
    }
    struct search s = { .c = c, .root = options->root ? options->root : "" };
    c->own = strcmp(options->where, CGROUP_AUTO) == 0;
    make_tag(options->owner, c->tag);
    snprintf(c->where, sizeof(c->where), "%s", c->own ? OWN_GROUP : options->where);
    snprintf(path, sizeof(path), "%s/proc/self/mountinfo", s.root);
    int rc = file_read(path, MOUNTS_MAX, &mounts, NULL);
    if (rc < 0)
        note(c, "%s cannot be read: %s", path, strerror(-rc));
    s.mounts = buf_str(&mounts);
    if (!find_v2(&s))
        find_v1(&s);
    if (can_any(c))
        try_out(c);
    if (!can_any(c))
        c->version = CGROUP_NONE;
    buf_deinit(&mounts);
}
