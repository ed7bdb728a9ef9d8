#include "orchestrator/image/publication.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/fault.h"
#include "common/base/fileio.h"
#include "orchestrator/store/db.h"
#include "orchestrator/store/templates.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#define NEW_PREFIX ".new."

/* An older build that nothing needs is kept for so long: a sandbox may be in the middle of its
 * creation from it. */
#define UNUSED_KEPT_NS (INT64_C(3600) * 1000000000)

int publication_check_space(const char *dir, unsigned need_mb, struct err *err)
{
    struct statvfs fs;
    if (statvfs(dir, &fs) < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot look at %s: %s", dir, strerror(errno));
    uint64_t have_mb = (uint64_t)fs.f_bavail * fs.f_frsize >> 20;
    if (have_mb >= need_mb)
        return 0;
    return err_set(err, ERR_EXHAUSTED, ENOSPC,
                   "the disk of %s is full: it has %llu MB free, building needs %u", dir,
                   (unsigned long long)have_mb, need_mb);
}

bool publication_is_current(const char *data_dir, const char *name, const char *key,
                            struct image_result *out)
{
    struct db *db = NULL;
    struct store_template template;
    struct store_build build;
    struct image_manifest m;
    struct err err;
    bool same = false;
    if (access(data_dir, F_OK) < 0 || db_open(&db, data_dir, &err) < 0)
        return false;
    if (db_template_resolve(db, NULL, name, &template, &build, &err) == 0 &&
        image_manifest_load(build.dir, &m, &err) == 0 && strcmp(m.key, key) == 0) {
        same = true;
        out->unchanged = true;
        memcpy(out->build_id, build.id, sizeof(out->build_id));
        memcpy(out->template_id, template.id, sizeof(out->template_id));
        memcpy(out->dir, build.dir, sizeof(out->dir));
    }
    db_close(db);
    return same;
}

/* A living builder holds a lock on its folder. */
static void clear_abandoned(const char *templates)
{
    char path[PATH_MAX];
    DIR *list = opendir(templates);
    if (!list)
        return;
    for (struct dirent *e = readdir(list); e; e = readdir(list)) {
        if (strncmp(e->d_name, NEW_PREFIX, strlen(NEW_PREFIX)) != 0 ||
            snprintf(path, sizeof(path), "%s/%s", templates, e->d_name) >= (int)sizeof(path))
            continue;
        AUTO_CLOSE int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) == 0)
            file_remove_tree(path, NULL);
    }
    closedir(list);
}

int publication_begin(struct publication *p, const char *data_dir, const char *name,
                      struct image_result *out, struct err *err)
{
    char templates[PATH_MAX], path[PATH_MAX];
    *p = (struct publication){ .data_dir = data_dir, .name = name, .lock = -1 };
    if (snprintf(templates, sizeof(templates), "%s/templates", data_dir) >=
            (int)sizeof(templates) ||
        snprintf(path, sizeof(path), "%s/" NEW_PREFIX "%s", templates, out->build_id) >=
            (int)sizeof(path) ||
        snprintf(out->dir, sizeof(out->dir), "%s/%s", templates, out->build_id) >=
            (int)sizeof(out->dir))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", data_dir);
    int rc = store_make_dir(data_dir, err);
    if (rc == 0)
        rc = file_make_dirs(templates, 0755, err);
    if (rc < 0)
        return rc;
    clear_abandoned(templates);
    rc = publication_check_space(templates, PUBLICATION_SPACE_MB, err);
    if (rc < 0)
        return rc;
    if (mkdir(path, 0755) < 0 || chmod(path, 0755) < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot create %s: %s", path, strerror(errno));
    snprintf(p->new_dir, sizeof(p->new_dir), "%s", path);
    p->lock = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->lock < 0 || flock(p->lock, LOCK_EX | LOCK_NB) < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot lock %s: %s", path, strerror(errno));
    return 0;
}

static bool remove_build(void *user, const char *dir)
{
    const struct publication *p = user;
    char templates[PATH_MAX];
    int n = snprintf(templates, sizeof(templates), "%s/templates/", p->data_dir);
    return n < (int)sizeof(templates) && strncmp(dir, templates, (size_t)n) == 0 &&
           file_remove_tree(dir, NULL) == 0;
}

static int register_build(struct publication *p, const struct image_manifest *m,
                          struct image_result *out, struct err *err)
{
    struct db *db = NULL;
    struct store_template template;
    struct store_build build = { .disk_mb = m->disk_mb,
                                 .vcpus = (unsigned)m->vcpus,
                                 .memory_mb = (unsigned)m->memory_mb };
    memcpy(build.id, out->build_id, sizeof(build.id));
    memcpy(build.dir, out->dir, sizeof(build.dir));
    memcpy(build.envd_version, m->envd_version, sizeof(build.envd_version));
    int rc = db_open(&db, p->data_dir, err);
    if (rc < 0)
        return rc;
    if (FAULT_POINT("image.publish"))
        rc = err_set(err, ERR_INTERNAL, EIO, "fault image.publish");
    else
        rc = db_template_publish(db, NULL, p->name, &build, &template, err);
    if (rc == 0) {
        memcpy(out->template_id, template.id, sizeof(out->template_id));
        /* The new build stands, whatever becomes of the old ones. */
        struct err ignored;
        db_template_prune(db, template.id, clock_wall_ns() - UNUSED_KEPT_NS, remove_build, p,
                          &ignored);
    }
    db_close(db);
    return rc;
}

int publication_finish(struct publication *p, const struct image_manifest *m,
                       struct image_result *out, struct err *err)
{
    int rc = image_manifest_write(p->new_dir, m, err);
    if (rc < 0)
        return rc;
    if (syncfs(p->lock) < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot sync %s: %s", p->new_dir, strerror(errno));
    if (rename(p->new_dir, out->dir) < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot rename %s: %s", p->new_dir,
                       strerror(errno));
    p->new_dir[0] = '\0';
    rc = register_build(p, m, out, err);
    if (rc < 0)
        file_remove_tree(out->dir, NULL);
    return rc;
}

void publication_end(struct publication *p)
{
    if (p->new_dir[0])
        file_remove_tree(p->new_dir, NULL);
    p->new_dir[0] = '\0';
    if (p->lock >= 0)
        close(p->lock);
    p->lock = -1;
}
