#include "orchestrator/image/cache.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/encode.h"
#include "common/base/fileio.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/stat.h>

#define WORK_PREFIX   "work."
#define MOUNTINFO_MAX (4U << 20)

void cache_key_init(struct cache_key *k, const char *step)
{
    sha256_init(&k->hash);
    cache_key_add(k, "step", str_of(step));
}

void cache_key_add(struct cache_key *k, const char *name, struct str value)
{
    uint64_t sizes[2] = { strlen(name), value.n };
    sha256_update(&k->hash, sizes, sizeof(sizes));
    sha256_update(&k->hash, name, sizes[0]);
    sha256_update(&k->hash, value.p, value.n);
}

void cache_key_text(const struct cache_key *k, char out[static CACHE_KEY_SIZE])
{
    struct sha256 hash = k->hash;
    uint8_t digest[SHA256_SIZE];
    sha256_final(&hash, digest);
    hex_encode(digest, (CACHE_KEY_SIZE - 1) / 2, out);
}

static int find_dir(struct cache *c, struct err *err)
{
    const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
    int n;
    if (xdg && xdg[0] == '/')
        n = snprintf(c->dir, sizeof(c->dir), "%s/sandpit/image", xdg);
    else if (home && home[0] == '/')
        n = snprintf(c->dir, sizeof(c->dir), "%s/.cache/sandpit/image", home);
    else
        n = snprintf(c->dir, sizeof(c->dir), "/var/cache/sandpit/image");
    if (n >= (int)sizeof(c->dir))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "the path of the cache is too long");
    snprintf(c->log, sizeof(c->log), "%s/log", c->dir);
    return 0;
}

/* A killed mmdebstrap may have left mounts; removing through one would remove the host's files. */
static void unmount_below(const char *dir)
{
    struct buf text = { 0 };
    char path[PATH_MAX];
    if (file_read("/proc/self/mountinfo", MOUNTINFO_MAX, &text, NULL) == 0) {
        struct str rest = buf_str(&text);
        while (rest.p) {
            /* "36 35 98:0 /root /mount/point ..." */
            struct str line = str_split(&rest, '\n'), field = { 0 };
            for (int i = 0; i < 5 && line.p; i++)
                field = str_split(&line, ' ');
            if (str_starts(field, str_of(dir)) && str_copy(field, path, sizeof(path)))
                umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW);
        }
    }
    buf_deinit(&text);
}

static int remove_matching(const struct cache *c, const char *prefix, const char *keep,
                           struct err *err)
{
    char path[PATH_MAX];
    int rc = 0;
    DIR *dir = opendir(c->dir);
    if (!dir)
        return err_set(err, ERR_INTERNAL, errno, "cannot read %s: %s", c->dir, strerror(errno));
    for (struct dirent *e = readdir(dir); e && rc == 0; e = readdir(dir)) {
        if (strncmp(e->d_name, prefix, strlen(prefix)) != 0 || strcmp(e->d_name, keep) == 0)
            continue;
        if (snprintf(path, sizeof(path), "%s/%s", c->dir, e->d_name) >= (int)sizeof(path))
            continue;
        unmount_below(path);
        rc = file_remove_tree(path, err);
    }
    closedir(dir);
    return rc;
}

int cache_open(struct cache *c, void (*waiting)(void *user), void *user, struct err *err)
{
    char path[PATH_MAX];
    *c = (struct cache){ .lock = -1 };
    int rc = find_dir(c, err);
    if (rc == 0)
        rc = file_make_dirs(c->dir, 0755, err);
    if (rc < 0)
        return rc;
    snprintf(path, sizeof(path), "%s/lock", c->dir);
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot open %s: %s", path, strerror(errno));
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        if (errno != EWOULDBLOCK)
            return err_set(err, ERR_INTERNAL, errno, "cannot lock %s: %s", path, strerror(errno));
        if (waiting)
            waiting(user);
        if (flock(fd, LOCK_EX) < 0)
            return err_set(err, ERR_CANCELED, errno, "interrupted");
    }
    rc = remove_matching(c, WORK_PREFIX, "", err);
    if (rc < 0)
        return rc;
    unlink(c->log);
    c->lock = TAKE_FD(fd);
    return 0;
}

void cache_close(struct cache *c)
{
    if (c->lock >= 0)
        close(c->lock);
    c->lock = -1;
}

bool cache_has(const struct cache *c, const char *step, const char *key, char out[static PATH_MAX])
{
    struct stat st;
    snprintf(out, PATH_MAX, "%s/%s-%s", c->dir, step, key);
    return stat(out, &st) == 0 && S_ISDIR(st.st_mode);
}

int cache_work_dir(const struct cache *c, char out[static PATH_MAX], struct err *err)
{
    snprintf(out, PATH_MAX, "%s/" WORK_PREFIX "XXXXXX", c->dir);
    if (!mkdtemp(out))
        return err_set(err, errno == ENOSPC ? ERR_EXHAUSTED : ERR_INTERNAL, errno,
                       "cannot create a folder in %s: %s", c->dir, strerror(errno));
    return 0;
}

void cache_discard(const char *work)
{
    unmount_below(work);
    file_remove_tree(work, NULL);
}

int cache_commit(const struct cache *c, const char *work, const char *step, const char *key,
                 struct err *err)
{
    char path[PATH_MAX], prefix[64], name[128];
    snprintf(prefix, sizeof(prefix), "%s-", step);
    snprintf(name, sizeof(name), "%s-%s", step, key);
    snprintf(path, sizeof(path), "%s/%s", c->dir, name);
    unmount_below(work);
    int rc = file_remove_tree(path, err);
    if (rc < 0)
        return rc;
    if (rename(work, path) < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot rename %s: %s", work, strerror(errno));
    return remove_matching(c, prefix, name, err);
}
