#include "orchestrator/snapshot/snapshot.h"
#include "common/base/cleanup.h"
#include "common/base/fault.h"
#include "common/base/fileio.h"
#include "orchestrator/snapshot/durable.h"
#include "orchestrator/snapshot/snapshot_io.h"
#include "orchestrator/snapshot/state.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

int snapshot_begin(const char *dir, int *dirfd, struct err *err)
{
    char path[PATH_MAX];
    struct stat st;
    int rc = snapshot_path(path, dir, SNAPSHOT_SUFFIX_NEW, err);
    if (rc == 0 && lstat(dir, &st) == 0)
        rc = err_set(err, ERR_EXISTS, EEXIST, "there is a snapshot %s already", dir);
    if (rc == 0 && FAULT_POINT("snapshot.begin"))
        rc = snapshot_write_failed(err, EIO, "directory");
    if (rc == 0)
        rc = file_remove_tree(path, err);
    if (rc < 0)
        return rc;
    if (mkdir(path, 0700) < 0)
        return snapshot_write_failed(err, errno, "directory");
    *dirfd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (*dirfd < 0) {
        rc = snapshot_write_failed(err, errno, "directory");
        rmdir(path);
    }
    return rc;
}

int snapshot_put_state(int dirfd, int state_fd, struct snapshot_manifest *m, struct err *err)
{
    bool writing;
    if (FAULT_POINT("snapshot.state"))
        return snapshot_write_failed(err, EIO, SNAPSHOT_FILE_STATE);
    AUTO_CLOSE int fd =
        openat(dirfd, SNAPSHOT_FILE_STATE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return snapshot_write_failed(err, errno, SNAPSHOT_FILE_STATE);
    int rc = state_copy(state_fd, fd, &m->state, &writing);
    if (rc < 0 && writing)
        return snapshot_write_failed(err, -rc, SNAPSHOT_FILE_STATE);
    if (rc < 0)
        return err_set(err, ERR_INTERNAL, -rc, "cannot read the VM's device state: %s",
                       strerror(-rc));
    if (m->state.size == 0)
        return err_set(err, ERR_INTERNAL, EINVAL, "the VM's device state is empty");
    return 0;
}

static int write_manifest(int dirfd, const struct snapshot_manifest *m, struct err *err)
{
    struct buf text = { 0 };
    int rc = snapshot_manifest_print(m, &text, err);
    if (rc < 0) {
        buf_deinit(&text);
        return rc;
    }
    AUTO_CLOSE int fd =
        openat(dirfd, SNAPSHOT_FILE_MANIFEST, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    rc = FAULT_POINT("snapshot.manifest") ? -EIO : fd < 0 ? -errno : 0;
    if (rc == 0)
        rc = fd_write_all(fd, buf_head(&text), buf_len(&text));
    buf_deinit(&text);
    return rc < 0 ? snapshot_write_failed(err, -rc, SNAPSHOT_FILE_MANIFEST) : 0;
}

/* Rename, and make it last. When that is not to be had, the old name comes back. */
static int publish(const char *dir, struct err *err)
{
    char path[PATH_MAX];
    int rc = snapshot_path(path, dir, SNAPSHOT_SUFFIX_NEW, err);
    if (rc < 0)
        return rc;
    rc = FAULT_POINT("snapshot.rename")                                   ? -EIO
         : renameat2(AT_FDCWD, path, AT_FDCWD, dir, RENAME_NOREPLACE) < 0 ? -errno
                                                                          : 0;
    if (rc < 0)
        return snapshot_write_failed(err, -rc, "directory");
    rc = FAULT_POINT("snapshot.parent") ? -EIO : durable_parent(dir);
    if (rc == 0)
        return 0;
    (void)!rename(dir, path);
    return snapshot_write_failed(err, -rc, "directory");
}

int snapshot_commit(const char *dir, int dirfd, const struct snapshot_manifest *m, struct err *err)
{
    static const char *const all[] = { SNAPSHOT_FILE_MANIFEST, SNAPSHOT_FILE_STATE,
                                       SNAPSHOT_FILE_MEMORY };
    int rc = write_manifest(dirfd, m, err);
    if (rc == 0) {
        rc = FAULT_POINT("snapshot.sync")
                 ? -EIO
                 : durable_files(dirfd, all, m->filesystem_only ? 1 : ARRAY_LEN(all));
        if (rc < 0)
            rc = snapshot_write_failed(err, -rc, "files");
    }
    if (rc == 0)
        rc = publish(dir, err);
    if (rc < 0)
        snapshot_abort(dir, dirfd);
    else
        close(dirfd);
    return rc;
}

void snapshot_abort(const char *dir, int dirfd)
{
    char path[PATH_MAX];
    struct err err;
    close(dirfd);
    /* What cannot be removed now goes with the next attempt or the next start's sweep. */
    if (snapshot_path(path, dir, SNAPSHOT_SUFFIX_NEW, &err) == 0)
        (void)file_remove_tree(path, &err);
}
