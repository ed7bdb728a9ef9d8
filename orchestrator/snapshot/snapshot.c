#include "orchestrator/snapshot/snapshot.h"
#include "common/base/cleanup.h"
#include "common/base/encode.h"
#include "common/base/fault.h"
#include "common/base/fileio.h"
#include "orchestrator/snapshot/durable.h"
#include "orchestrator/snapshot/snapshot_io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>

#define SUFFIX_NEW  ".new"  /* being made */
#define SUFFIX_GONE ".gone" /* being removed */
#define COPY_BYTES  65536

static int path_of(char out[static PATH_MAX], const char *dir, const char *suffix, struct err *err)
{
    if (snprintf(out, PATH_MAX, "%s%s", dir, suffix) >= PATH_MAX)
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", dir);
    return 0;
}

int snapshot_begin(const char *dir, int *dirfd, struct err *err)
{
    char path[PATH_MAX];
    struct stat st;
    int rc = path_of(path, dir, SUFFIX_NEW, err);
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

static int read_some(int fd, uint8_t *to, uint64_t at)
{
    ssize_t n;
    do
        n = pread(fd, to, COPY_BYTES, (off_t)at);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : (int)n;
}

/* Digest what is in `from`, and copy it to `to` unless that is -1. 0 or -errno; *writing tells
 * which side failed. */
static int copy_state(int from, int to, struct snapshot_state *out, bool *writing)
{
    uint8_t sum[SHA256_SIZE];
    struct sha256 hash;
    AUTO_FREE uint8_t *block = malloc(COPY_BYTES);
    *writing = false;
    out->size = 0;
    if (!block)
        return -ENOMEM;
    sha256_init(&hash);
    for (;;) {
        int n = read_some(from, block, out->size);
        if (n <= 0 || out->size + (uint64_t)n > SNAPSHOT_STATE_MAX) {
            if (n > 0)
                return -EFBIG;
            sha256_final(&hash, sum);
            hex_encode(sum, sizeof(sum), out->sha256);
            return n;
        }
        sha256_update(&hash, block, (size_t)n);
        int rc = to < 0 ? 0 : snapshot_pwrite(to, block, (size_t)n, out->size);
        if (rc < 0) {
            *writing = true;
            return rc;
        }
        out->size += (uint64_t)n;
    }
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
    int rc = copy_state(state_fd, fd, &m->state, &writing);
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
    int rc = path_of(path, dir, SUFFIX_NEW, err);
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
    if (path_of(path, dir, SUFFIX_NEW, &err) == 0)
        (void)file_remove_tree(path, &err);
}

static int damaged(struct err *err, const char *dir, const char *what)
{
    return err_set(err, ERR_DATA_LOSS, EIO, "the snapshot %s is damaged: %s", dir, what);
}

static int load_manifest(const char *dir, struct snapshot_manifest *out, struct err *err)
{
    char path[PATH_MAX];
    struct buf text = { 0 };
    int rc = path_of(path, dir, "/" SNAPSHOT_FILE_MANIFEST, err);
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
    int rc = copy_state(fd, -1, &got, &writing);
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
    if (rc == 0 && !out->filesystem_only)
        rc = open_state(dir, at, out, &state, err);
    if (rc < 0)
        return rc;
    if (dirfd)
        *dirfd = TAKE_FD(at);
    if (state_fd)
        *state_fd = TAKE_FD(state);
    return 0;
}

int snapshot_remove(const char *dir, struct err *err)
{
    char path[PATH_MAX];
    int rc = path_of(path, dir, SUFFIX_GONE, err);
    if (rc == 0)
        rc = file_remove_tree(path, err);
    if (rc < 0)
        return rc;
    if (rename(dir, path) < 0 && errno != ENOENT)
        return err_set(err, ERR_INTERNAL, errno, "cannot remove the snapshot %s: %s", dir,
                       strerror(errno));
    rc = durable_parent(dir);
    if (rc < 0)
        return err_set(err, ERR_INTERNAL, -rc, "cannot remove the snapshot %s: %s", dir,
                       strerror(-rc));
    return file_remove_tree(path, err);
}

static bool is_leftover(const char *name)
{
    size_t n = strlen(name);
    static const char *const suffixes[] = { SUFFIX_NEW, SUFFIX_GONE };
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
        rc = file_remove_tree(path, err);
    }
    closedir(d);
    return rc;
}
