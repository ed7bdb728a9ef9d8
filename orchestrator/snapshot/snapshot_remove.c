#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "orchestrator/snapshot/durable.h"
#include "orchestrator/snapshot/snapshot.h"
#include "orchestrator/snapshot/snapshot_io.h"

#include <dirent.h>
#include <errno.h>

static int cannot_remove(const char *dir, int errnum, struct err *err)
{
    return err_set(err, ERR_INTERNAL, errnum, "cannot remove the snapshot %s: %s", dir,
                   strerror(errnum));
}

int snapshot_retire(const char *dir, struct err *err)
{
    char path[PATH_MAX];
    int rc = snapshot_path(path, dir, SNAPSHOT_SUFFIX_GONE, err);
    return rc == 0 && rename(dir, path) < 0 && errno != ENOENT ? cannot_remove(dir, errno, err)
                                                               : rc;
}

/* The new name lasts before the first byte goes: the old one must not come back without it. */
int snapshot_remove(const char *dir, struct err *err)
{
    char path[PATH_MAX];
    int rc = snapshot_retire(dir, err);
    if (rc < 0)
        return rc;
    rc = durable_parent(dir);
    if (rc < 0)
        return cannot_remove(dir, -rc, err);
    rc = snapshot_path(path, dir, SNAPSHOT_SUFFIX_GONE, err);
    return rc < 0 ? rc : file_remove_tree(path, err);
}

static bool is_leftover(const char *name)
{
    size_t n = strlen(name);
    static const char *const suffixes[] = { SNAPSHOT_SUFFIX_NEW, SNAPSHOT_SUFFIX_GONE };
    for (size_t i = 0; i < ARRAY_LEN(suffixes); i++) {
        size_t k = strlen(suffixes[i]);
        if (n > k && strcmp(name + n - k, suffixes[i]) == 0)
            return true;
    }
    return false;
}

int snapshot_sweep(const char *parent, struct err *err)
{
    char path[PATH_MAX];
    DIR *d = opendir(parent);
    if (!d && errno == ENOENT)
        return 0;
    if (!d)
        return err_set(err, ERR_INTERNAL, errno, "cannot read %s: %s", parent, strerror(errno));
    int rc = 0;
    for (const struct dirent *e = readdir(d); e && rc == 0; e = readdir(d)) {
        if (!is_leftover(e->d_name))
            continue;
        if (snprintf(path, sizeof(path), "%s/%s", parent, e->d_name) >= (int)sizeof(path))
            continue;
        rc = durable_parent(path); /* as for snapshot_remove() */
        rc = rc < 0 ? cannot_remove(path, -rc, err) : file_remove_tree(path, err);
    }
    closedir(d);
    return rc;
}
