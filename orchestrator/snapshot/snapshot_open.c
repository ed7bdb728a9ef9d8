#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "orchestrator/snapshot/snapshot.h"
#include "orchestrator/snapshot/snapshot_io.h"
#include "orchestrator/snapshot/state.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

static int damaged(struct err *err, const char *dir, const char *what)
{
    return err_set(err, ERR_DATA_LOSS, EIO, "the snapshot %s is damaged: %s", dir, what);
}

static int load_manifest(const char *dir, struct snapshot_manifest *out, struct err *err)
{
    char path[PATH_MAX];
    struct buf text = { 0 };
    int rc = snapshot_path(path, dir, "/" SNAPSHOT_FILE_MANIFEST, err);
    if (rc == 0)
        rc = file_read(path, SNAPSHOT_MANIFEST_MAX, &text, err);
    if (rc == -ENOENT)
        rc = damaged(err, dir, "it has no manifest");
    if (rc == -EFBIG)
        rc = damaged(err, dir, "its manifest is too long");
    if (rc == 0) {
        struct str s = buf_str(&text);
        rc = snapshot_manifest_parse(s.p, s.n, out, err);
    }
    buf_deinit(&text);
    return rc;
}

static int open_state(const char *dir, int dirfd, const struct snapshot_manifest *m, int *out,
                      struct err *err)
{
    struct snapshot_state got;
    struct stat st;
    bool writing;
    AUTO_CLOSE int fd = openat(dirfd, SNAPSHOT_FILE_STATE, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return damaged(err, dir, "its device state is missing");
    if (fd < 0 || fstat(fd, &st) < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot read the device state in %s: %s", dir,
                       strerror(errno));
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != m->state.size)
        return damaged(err, dir, "its device state has not the size that the manifest tells");
    int rc = state_copy(fd, -1, &got, &writing);
    if (rc < 0)
        return err_set(err, ERR_INTERNAL, -rc, "cannot read the device state in %s: %s", dir,
                       strerror(-rc));
    if (got.size != m->state.size || strcmp(got.sha256, m->state.sha256) != 0)
        return damaged(err, dir, "its device state has not the digest in the manifest");
    *out = TAKE_FD(fd);
    return 0;
}

int snapshot_open(const char *dir, struct snapshot_manifest *out, int *dirfd, int *state_fd,
                  struct err *err)
{
    AUTO_CLOSE int at = open(dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    AUTO_CLOSE int state = -1;
    if (at < 0)
        return err_set(err, errno == ENOENT ? ERR_NOT_FOUND : ERR_INTERNAL, errno,
                       "cannot open the snapshot %s: %s", dir, strerror(errno));
    int rc = load_manifest(dir, out, err);
    if (rc == 0 && state_fd && !out->filesystem_only)
        rc = open_state(dir, at, out, &state, err);
    if (rc < 0)
        return rc;
    if (dirfd)
        *dirfd = TAKE_FD(at);
    if (state_fd)
        *state_fd = TAKE_FD(state);
    return 0;
}
