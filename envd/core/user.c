#include "envd/core/user.h"

#include "common/base/fileio.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

/* One of the two files, read again when its identity or time changed. */
struct table {
    const char *path;
    struct buf text;
    dev_t dev;
    ino_t ino;
    struct timespec mtime;
    off_t size;
    bool loaded;
    uint64_t checked_ns; /* when it was last seen to be unchanged */
};

/* Names that are only shown may be this old: a listing asks for thousands. */
#define NAMES_AGE_NS 1000000U

static struct table passwd = { .path = "/etc/passwd" };
static struct table group = { .path = "/etc/group" };

/* The last names asked for: directory listings ask for the same few ids again and again. */
static struct name_cache {
    bool used;
    uint32_t id;
    char name[USER_NAME_MAX + 1];
} uid_cache[8], gid_cache[8];

static void forget(void)
{
    memset(uid_cache, 0, sizeof(uid_cache));
    memset(gid_cache, 0, sizeof(gid_cache));
}

void user_set_files(const char *passwd_path, const char *group_path)
{
    passwd.path = passwd_path;
    group.path = group_path;
    passwd.loaded = group.loaded = false;
    forget();
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static int load(struct table *t, struct err *err)
{
    struct stat st;
    t->checked_ns = now_ns();
    if (stat(t->path, &st) < 0)
        return err_set(err, ERR_NOT_FOUND, errno, "cannot read %s: %s", t->path, strerror(errno));
    if (t->loaded && st.st_dev == t->dev && st.st_ino == t->ino && st.st_size == t->size &&
        st.st_mtim.tv_sec == t->mtime.tv_sec && st.st_mtim.tv_nsec == t->mtime.tv_nsec)
        return 0;
    buf_clear(&t->text);
    t->loaded = false;
    forget();
    int rc = file_read(t->path, USER_FILE_MAX, &t->text, err);
    if (rc < 0)
        return rc;
    t->dev = st.st_dev;
    t->ino = st.st_ino;
    t->size = st.st_size;
    t->mtime = st.st_mtim;
    t->loaded = true;
    return 0;
}

/* Cut a line into exactly n fields; false when there are fewer. */
static bool cut_fields(struct str line, struct str *field, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (!line.p)
            return false;
        field[i] = str_split(&line, ':');
    }
    return true;
}

bool user_parse_line(struct str line, struct user *out)
{
    struct str f[7];
    uint64_t uid, gid;
    *out = (struct user){ 0 };
    if (!cut_fields(line, f, 7) || f[0].n == 0 || !str_copy(f[0], out->name, sizeof(out->name)))
        return false;
    if (!str_to_u64(f[2], UINT32_MAX - 1, &uid) || !str_to_u64(f[3], UINT32_MAX - 1, &gid))
        return false;
    out->uid = (uid_t)uid;
    out->gid = (gid_t)gid;
    return str_copy(f[5], out->home, sizeof(out->home)) &&
           str_copy(f[6], out->shell, sizeof(out->shell));
}

/* Whether a comma list names the user. */
static bool has_member(struct str members, struct str name)
{
    while (members.p)
        if (str_eq(str_split(&members, ','), name))
            return true;
    return false;
}

static void read_groups(struct user *u)
{
    u->groups[u->ngroups++] = u->gid;
    if (load(&group, NULL) < 0)
        return;
    struct str rest = buf_str(&group.text);
    while (rest.p && u->ngroups < USER_GROUPS_MAX) {
        struct str f[4];
        uint64_t gid;
        if (!cut_fields(str_split(&rest, '\n'), f, 4) || !str_to_u64(f[2], UINT32_MAX - 1, &gid) ||
            gid == u->gid)
            continue;
        if (has_member(f[3], str_of(u->name)))
            u->groups[u->ngroups++] = (gid_t)gid;
    }
}

int user_find(struct str name, struct user *out, struct err *err)
{
    int rc = load(&passwd, err);
    if (rc < 0)
        return rc;
    struct str rest = buf_str(&passwd.text);
    bool is_name = name.n > 0 && str_find(name, ':') < 0 && str_find(name, '\n') < 0;
    while (is_name && rest.p) {
        struct str line = str_split(&rest, '\n');
        if (line.n <= name.n || line.p[name.n] != ':' || !str_starts(line, name))
            continue;
        if (!user_parse_line(line, out))
            continue;
        read_groups(out);
        return 0;
    }
    return err_set(err, ERR_NOT_FOUND, ENOENT, "user '%.*s' does not exist", STR_ARG(name));
}

/* The name in column 0 of the line whose column 2 is `id`. */
static bool name_of(struct table *t, uint32_t id, char *out)
{
    if (load(t, NULL) < 0)
        return false;
    struct str rest = buf_str(&t->text);
    while (rest.p) {
        struct str f[3];
        uint64_t found;
        if (cut_fields(str_split(&rest, '\n'), f, 3) && str_to_u64(f[2], UINT32_MAX, &found) &&
            found == id && f[0].n && str_copy(f[0], out, USER_NAME_MAX + 1))
            return true;
    }
    return false;
}

static void cached_name(struct table *t, struct name_cache *cache, uint32_t id, char *out)
{
    if (!t->loaded || now_ns() - t->checked_ns > NAMES_AGE_NS)
        load(t, NULL);
    struct name_cache *c = &cache[id % 8];
    if (!c->used || c->id != id) {
        c->id = id;
        c->used = true;
        if (!name_of(t, id, c->name))
            snprintf(c->name, sizeof(c->name), "%" PRIu32, id);
    }
    memcpy(out, c->name, sizeof(c->name));
}

void user_name_of(uid_t uid, char *out)
{
    cached_name(&passwd, uid_cache, uid, out);
}

void group_name_of(gid_t gid, char *out)
{
    cached_name(&group, gid_cache, gid, out);
}
