/* Groups: directories in one hierarchy (version 2) or in one for each controller (version 1). */
#include "orchestrator/cgroup/internal.h"

#include "common/base/fileio.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define EVENTS_MAX 4096

void group_path(const struct cgroups *c, enum cgroup_limit limit, const char *name,
                char out[static PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s/%s-%.200s", c->base[limit], c->tag, name);
}

bool limit_has_own_dir(const struct cgroups *c, enum cgroup_limit limit)
{
    if (!c->can[limit])
        return false;
    for (int i = 0; i < (int)limit; i++)
        if (c->can[i] && strcmp(c->base[i], c->base[limit]) == 0)
            return false;
    return true;
}

void cgroups_text(const struct cgroups *c, char *out, size_t n)
{
    if (c->version == CGROUP_NONE) {
        snprintf(out, n, "none");
        return;
    }
    const char *separator = "";
    size_t at = (size_t)snprintf(out, n, "version %d, below %s: ", c->version == CGROUP_V2 ? 2 : 1,
                                 c->where);
    for (int i = 0; i < CGROUP_LIMIT_NR && at < n; i++) {
        if (!c->can[i])
            continue;
        at += (size_t)snprintf(out + at, n - at, "%s%s", separator, limit_name(i));
        separator = ", ";
    }
}

/* One that an earlier VMM left is none of ours: its limits and counts are of that. */
static int make_dir(const char *path)
{
    if (mkdir(path, 0755) == 0)
        return 0;
    if (errno != EEXIST)
        return -errno;
    return rmdir(path) < 0 || mkdir(path, 0755) < 0 ? -errno : 0;
}

int cgroup_create(const struct cgroups *c, const char *name, const struct cgroup_limits *limits,
                  struct err *err)
{
    char path[PATH_MAX];
    int rc = 0;
    for (int i = 0; i < CGROUP_LIMIT_NR && rc == 0; i++) {
        group_path(c, i, name, path);
        if (limit_has_own_dir(c, i))
            rc = make_dir(path);
        if (rc == 0 && c->can[i])
            rc = limit_set(c->version, path, i, limits);
    }
    if (rc == 0)
        return 0;
    cgroup_remove(c, name);
    return err_set(err, ERR_INTERNAL, -rc, "cannot make the control group %s: %s", path,
                   strerror(-rc));
}

int cgroup_set_weight(const struct cgroups *c, const char *name, unsigned weight)
{
    char path[PATH_MAX];
    const struct cgroup_limits limits = { .weight = weight };
    if (!c->can[CGROUP_CPU])
        return 0;
    group_path(c, CGROUP_CPU, name, path);
    return limit_set(c->version, path, CGROUP_CPU, &limits);
}

int cgroup_remove(const struct cgroups *c, const char *name)
{
    char path[PATH_MAX];
    int rc = 0;
    for (int i = 0; i < CGROUP_LIMIT_NR; i++) {
        if (!limit_has_own_dir(c, i))
            continue;
        group_path(c, i, name, path);
        if (rmdir(path) < 0 && errno != ENOENT)
            rc = -errno;
    }
    return rc;
}

/* A line "oom_kill 1". */
static bool counts_a_kill(struct str text)
{
    while (text.p) {
        struct str value = str_split(&text, '\n');
        uint64_t n;
        if (str_eq(str_split(&value, ' '), STR("oom_kill")))
            return value.p && str_to_u64(value, UINT64_MAX, &n) && n > 0;
    }
    return false;
}

bool cgroup_ran_out_of_memory(const struct cgroups *c, const char *name)
{
    char path[PATH_MAX];
    struct buf text = { 0 };
    if (!c->can[CGROUP_MEMORY])
        return false;
    group_path(c, CGROUP_MEMORY, name, path);
    strncat(path, c->version == CGROUP_V2 ? "/memory.events" : "/memory.oom_control",
            sizeof(path) - strlen(path) - 1);
    bool killed = file_read(path, EVENTS_MAX, &text, NULL) == 0 && counts_a_kill(buf_str(&text));
    buf_deinit(&text);
    return killed;
}

static size_t sweep_dir(const char *base, struct str tag)
{
    char path[PATH_MAX];
    size_t removed = 0;
    DIR *list = opendir(base);
    if (!list)
        return 0;
    for (struct dirent *e = readdir(list); e; e = readdir(list)) {
        if (!str_starts(str_of(e->d_name), tag) || e->d_name[tag.n] != '-')
            continue;
        snprintf(path, sizeof(path), "%s/%s", base, e->d_name);
        removed += rmdir(path) == 0; /* the kernel refuses one that has processes */
    }
    closedir(list);
    return removed;
}

size_t cgroups_sweep(const struct cgroups *c)
{
    size_t removed = 0;
    for (int i = 0; i < CGROUP_LIMIT_NR; i++)
        if (limit_has_own_dir(c, i))
            removed += sweep_dir(c->base[i], str_of(c->tag));
    return removed;
}
