#include "tests/support/power_cut/seen.h"

#include <dirent.h>
#include <errno.h>
#include <error.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

const int seen_calls[SEEN_CALLS_MAX] = {
    SYS_open,     SYS_openat,   SYS_openat2,   SYS_creat,  SYS_mkdir,     SYS_mkdirat,
    SYS_rename,   SYS_renameat, SYS_renameat2, SYS_unlink, SYS_unlinkat,  SYS_rmdir,
    SYS_link,     SYS_linkat,   SYS_ftruncate, SYS_write,  SYS_pwrite64,  SYS_writev,
    SYS_pwritev,  SYS_pwritev2, SYS_fallocate, SYS_fsync,  SYS_fdatasync, SYS_copy_file_range,
    SYS_sendfile, -1,
};

/* A name in a directory, as a traced thread means it. */
struct name {
    int dir; /* -1: not below the root */
    char path[PATH_MAX], last[NAME_MAX + 1];
};

static int node_of_inode(const struct seen *s, const struct stat *st)
{
    for (size_t i = s->ninodes; i-- > 0;)
        if (s->inodes[i].dev == st->st_dev && s->inodes[i].ino == st->st_ino)
            return s->inodes[i].node;
    return -1;
}

static int node_of_path(const struct seen *s, const char *path)
{
    struct stat st;
    return stat(path, &st) < 0 ? -1 : node_of_inode(s, &st);
}

static int node_of_fd(const struct seen *s, pid_t tid, unsigned long long fd)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)tid, (int)fd);
    return node_of_path(s, path);
}

/* A number that was used before is a new file's from now on: the newest is found first. */
static void know_inode(struct seen *s, const struct stat *st, int node)
{
    s->inodes = reallocarray(s->inodes, s->ninodes + 1, sizeof(*s->inodes));
    if (!s->inodes)
        error(99, ENOMEM, "power cut");
    s->inodes[s->ninodes++] = (struct seen_inode){ st->st_dev, st->st_ino, node };
}

static void add_op(struct seen *s, struct disk_op op)
{
    disk_apply(s->now, &op);
    s->ops = reallocarray(s->ops, s->nops + 1, sizeof(*s->ops));
    if (!s->ops)
        error(99, ENOMEM, "power cut");
    s->ops[s->nops++] = op;
}

static uint8_t *read_range(const char *path, uint64_t offset, size_t n)
{
    uint8_t *data = malloc(n + 1);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (!data || fd < 0 || pread(fd, data, n, (off_t)offset) != (ssize_t)n)
        error(99, errno, "power cut: cannot read %s", path);
    close(fd);
    return data;
}

/* What is there before the program runs. Nodes get the same numbers on both disks. */
static void take_tree(struct seen *s, const char *path, int dir)
{
    DIR *d = opendir(path);
    char child[PATH_MAX];
    struct stat st;
    if (!d || stat(path, &st) < 0)
        error(99, errno, "power cut: %s", path);
    know_inode(s, &st, dir);
    for (const struct dirent *e = readdir(d); e; e = readdir(d)) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        snprintf(child, sizeof(child), "%s/%s", path, e->d_name);
        if (lstat(child, &st) < 0 || !(S_ISDIR(st.st_mode) || S_ISREG(st.st_mode)))
            continue;
        struct disk_op op = { .kind = DISK_CREATE, .at = dir, .is_dir = S_ISDIR(st.st_mode) };
        op.node = disk_add_node(s->start, op.is_dir);
        snprintf(op.name, sizeof(op.name), "%s", e->d_name);
        disk_apply(s->start, &op);
        know_inode(s, &st, op.node);
        if (op.is_dir) {
            take_tree(s, child, op.node);
        } else if (st.st_size > RECORD_FILE_MAX) {
            disk_set_external(s->start, op.node, child);
        } else {
            struct disk_op bytes = { .kind = DISK_WRITE,
                                     .at = op.node,
                                     .n = (size_t)st.st_size,
                                     .data = read_range(child, 0, (size_t)st.st_size) };
            disk_apply(s->start, &bytes);
            free(bytes.data);
        }
    }
    closedir(d);
}

void seen_init(struct seen *s, const char *root)
{
    *s = (struct seen){ .start = disk_new() };
    take_tree(s, root, 0);
    disk_sync_all(s->start);
    s->now = disk_copy(s->start);
}

void seen_finish(struct seen *s, struct recording *r)
{
    r->start = s->start;
    r->ops = s->ops;
    r->nops = s->nops;
    disk_free(s->now);
    free(s->inodes);
}

static bool read_text(pid_t tid, unsigned long long address, char out[static PATH_MAX])
{
    size_t n = 0;
    while (n + 1 < PATH_MAX) {
        /* Up to the end of a page at a time: the next one may not be there. */
        size_t part = 4096 - (size_t)((address + n) % 4096);
        if (part > PATH_MAX - 1 - n)
            part = PATH_MAX - 1 - n;
        struct iovec to = { out + n, part }, from = { (void *)(uintptr_t)(address + n), part };
        if (process_vm_readv(tid, &to, 1, &from, 1, 0) != (ssize_t)part)
            return false;
        if (memchr(out + n, '\0', part))
            return true;
        n += part;
    }
    return false;
}

/* Resolve what a thread named: its directory through /proc, so that what was renamed is found. */
static struct name resolve(const struct seen *s, pid_t tid, int at, unsigned long long address)
{
    char text[PATH_MAX], dir[PATH_MAX + 64], base[64] = "";
    struct name n = { .dir = -1 };
    if (!read_text(tid, address, text))
        return n;
    size_t len = strlen(text);
    while (len > 1 && text[len - 1] == '/')
        text[--len] = '\0';
    if (text[0] != '/' && at == AT_FDCWD)
        snprintf(base, sizeof(base), "/proc/%d/cwd/", (int)tid);
    else if (text[0] != '/')
        snprintf(base, sizeof(base), "/proc/%d/fd/%d/", (int)tid, at);
    char *slash = strrchr(text, '/');
    const char *last = slash ? slash + 1 : text;
    snprintf(dir, sizeof(dir), "%s%.*s", base, slash ? (int)(slash - text + 1) : 0, text);
    snprintf(n.last, sizeof(n.last), "%s", last);
    if (snprintf(n.path, sizeof(n.path), "%s%s", dir, last) < (int)sizeof(n.path))
        n.dir = node_of_path(s, dir[0] ? dir : ".");
    return n;
}

static void saw_create(struct seen *s, const struct name *n, bool is_dir)
{
    struct stat st;
    if (n->dir < 0 || disk_find(s->now, n->dir, n->last) >= 0 || lstat(n->path, &st) < 0)
        return;
    struct disk_op op = { .kind = DISK_CREATE, .at = n->dir, .is_dir = is_dir };
    op.node = disk_add_node(s->now, is_dir);
    snprintf(op.name, sizeof(op.name), "%s", n->last);
    know_inode(s, &st, op.node);
    add_op(s, op);
}

static void saw_open(struct seen *s, const struct seen_call *c, int at, unsigned long long path,
                     unsigned long long flags)
{
    if ((flags & O_TMPFILE) == O_TMPFILE)
        return;
    if (flags & O_CREAT) {
        struct name n = resolve(s, c->tid, at, path);
        saw_create(s, &n, false);
    }
    int node = flags & O_TRUNC ? node_of_fd(s, c->tid, (unsigned long long)c->result) : -1;
    if (node >= 0)
        add_op(s, (struct disk_op){ .kind = DISK_TRUNCATE, .at = node });
}

static void saw_unlink(struct seen *s, const struct name *n)
{
    if (n->dir < 0)
        return;
    struct disk_op op = { .kind = DISK_UNLINK, .at = n->dir };
    snprintf(op.name, sizeof(op.name), "%s", n->last);
    add_op(s, op);
}

static void saw_rename(struct seen *s, const struct name *from, const struct name *to)
{
    if (from->dir < 0 && to->dir < 0)
        return;
    if (from->dir < 0 || to->dir < 0)
        error(99, 0, "power cut: %s is moved over the root's border", from->last);
    struct disk_op op = { .kind = DISK_RENAME, .at = from->dir, .node = to->dir };
    snprintf(op.name, sizeof(op.name), "%s", from->last);
    snprintf(op.to_name, sizeof(op.to_name), "%s", to->last);
    add_op(s, op);
}

static void saw_link(struct seen *s, const struct name *to)
{
    int node = to->dir < 0 ? -1 : node_of_path(s, to->path);
    if (node < 0)
        return;
    struct disk_op op = { .kind = DISK_CREATE, .at = to->dir, .node = node };
    snprintf(op.name, sizeof(op.name), "%s", to->last);
    add_op(s, op);
}

/* Bytes are taken out of the file that they were written to. */
static void saw_bytes(struct seen *s, const struct seen_call *c, int node, uint64_t offset,
                      size_t n)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)c->tid, (int)c->args[0]);
    add_op(s, (struct disk_op){ .kind = DISK_WRITE,
                                .at = node,
                                .offset = offset,
                                .n = n,
                                .data = read_range(path, offset, n) });
}

static uint64_t position(const struct seen_call *c)
{
    char path[64];
    unsigned long long at = 0;
    snprintf(path, sizeof(path), "/proc/%d/fdinfo/%d", (int)c->tid, (int)c->args[0]);
    FILE *f = fopen(path, "re");
    if (!f || fscanf(f, "pos: %llu", &at) != 1)
        error(99, errno, "power cut: %s", path);
    fclose(f);
    return at;
}

static void saw_write(struct seen *s, const struct seen_call *c)
{
    bool placed = c->nr == SYS_pwrite64 || c->nr == SYS_pwritev ||
                  (c->nr == SYS_pwritev2 && c->args[3] != (unsigned long long)-1);
    int node = node_of_fd(s, c->tid, c->args[0]);
    if (node < 0 || c->result == 0)
        return;
    size_t n = (size_t)c->result;
    saw_bytes(s, c, node, placed ? c->args[3] : position(c) - n, n);
}

/* A call after which anything in the file may be different. */
static void saw_change(struct seen *s, const struct seen_call *c, unsigned long long fd)
{
    struct stat st;
    char path[64];
    int node = node_of_fd(s, c->tid, fd);
    snprintf(path, sizeof(path), "/proc/%d/fd/%d", (int)c->tid, (int)fd);
    if (node < 0 || stat(path, &st) < 0)
        return;
    if (st.st_size > RECORD_FILE_MAX)
        error(99, 0, "power cut: a file is too large to be written here");
    add_op(s,
           (struct disk_op){ .kind = DISK_TRUNCATE, .at = node, .offset = (uint64_t)st.st_size });
    struct seen_call on = *c;
    on.args[0] = fd;
    saw_bytes(s, &on, node, 0, (size_t)st.st_size);
}

void seen_enter(struct seen *s, const struct seen_call *c)
{
    if (c->nr != SYS_fsync && c->nr != SYS_fdatasync)
        return;
    int node = node_of_fd(s, c->tid, c->args[0]);
    for (size_t i = 0; node >= 0 && i < sizeof(s->syncing) / sizeof(s->syncing[0]); i++) {
        if (s->syncing[i].id)
            continue;
        s->syncing[i].tid = c->tid;
        s->syncing[i].id = ++s->syncs;
        add_op(s, (struct disk_op){ .kind = DISK_SYNC_BEGIN, .at = node, .offset = s->syncs });
        return;
    }
}

static void saw_sync(struct seen *s, const struct seen_call *c)
{
    for (size_t i = 0; i < sizeof(s->syncing) / sizeof(s->syncing[0]); i++) {
        if (!s->syncing[i].id || s->syncing[i].tid != c->tid)
            continue;
        if (c->result == 0)
            add_op(s, (struct disk_op){ .kind = DISK_SYNC_END, .offset = s->syncing[i].id });
        s->syncing[i].id = 0;
        return;
    }
}

static void saw_name(struct seen *s, const struct seen_call *c)
{
    const unsigned long long *a = c->args;
    struct name n, to;
    switch (c->nr) {
    case SYS_mkdir:
    case SYS_mkdirat:
        n = c->nr == SYS_mkdir ? resolve(s, c->tid, AT_FDCWD, a[0])
                               : resolve(s, c->tid, (int)a[0], a[1]);
        saw_create(s, &n, true);
        break;
    case SYS_rename:
        n = resolve(s, c->tid, AT_FDCWD, a[0]);
        to = resolve(s, c->tid, AT_FDCWD, a[1]);
        saw_rename(s, &n, &to);
        break;
    case SYS_renameat:
    case SYS_renameat2:
        n = resolve(s, c->tid, (int)a[0], a[1]);
        to = resolve(s, c->tid, (int)a[2], a[3]);
        saw_rename(s, &n, &to);
        break;
    case SYS_unlink:
    case SYS_rmdir:
    case SYS_unlinkat:
        n = c->nr == SYS_unlinkat ? resolve(s, c->tid, (int)a[0], a[1])
                                  : resolve(s, c->tid, AT_FDCWD, a[0]);
        saw_unlink(s, &n);
        break;
    case SYS_link:
    case SYS_linkat:
        to = c->nr == SYS_link ? resolve(s, c->tid, AT_FDCWD, a[1])
                               : resolve(s, c->tid, (int)a[2], a[3]);
        saw_link(s, &to);
        break;
    default:
        break;
    }
}

static unsigned long long openat2_flags(const struct seen_call *c)
{
    unsigned long long flags = 0;
    struct iovec to = { &flags, sizeof(flags) };
    struct iovec from = { (void *)(uintptr_t)c->args[2], sizeof(flags) };
    (void)!process_vm_readv(c->tid, &to, 1, &from, 1, 0);
    return flags;
}

void seen_leave(struct seen *s, const struct seen_call *c)
{
    const unsigned long long *a = c->args;
    if (c->nr == SYS_fsync || c->nr == SYS_fdatasync) {
        saw_sync(s, c);
        return;
    }
    if (c->result < 0)
        return;
    switch (c->nr) {
    case SYS_open:
        saw_open(s, c, AT_FDCWD, a[0], a[1]);
        break;
    case SYS_creat:
        saw_open(s, c, AT_FDCWD, a[0], O_CREAT | O_TRUNC);
        break;
    case SYS_openat:
        saw_open(s, c, (int)a[0], a[1], a[2]);
        break;
    case SYS_openat2:
        saw_open(s, c, (int)a[0], a[1], openat2_flags(c));
        break;
    case SYS_write:
    case SYS_pwrite64:
    case SYS_writev:
    case SYS_pwritev:
    case SYS_pwritev2:
        saw_write(s, c);
        break;
    case SYS_ftruncate:
    case SYS_fallocate:
    case SYS_sendfile:
        saw_change(s, c, a[0]);
        break;
    case SYS_copy_file_range:
        saw_change(s, c, a[2]);
        break;
    default:
        saw_name(s, c);
    }
}
