#include "orchestrator/image/kernel.h"
#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "common/base/log.h"
#include "common/base/map.h"
#include "orchestrator/image/command.h"
#include "orchestrator/image/modules.h"
#include "orchestrator/image/unpack.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define KERNEL_PACKAGE "linux-image-cloud-amd64"
#define KERNEL_RECIPE  "1" /* raised when kernel_make() makes something else of the same package */
#define TREE_DEPTH_MAX 12

/* In the order of their use: what the root disk needs comes first. */
static const char *const wanted[] = {
    "virtio_pci", "virtio_blk", "virtio_console",
    "virtio_net", "virtio_rng", "vmw_vsock_virtio_transport",
    "overlay",    "fuse",       "pvpanic_pci",
};

struct modules {
    struct map paths; /* name -> malloc'ed path in the unpacked package */
    struct map files; /* name -> malloc'ed struct buf of the unpacked module */
    struct module_order order;
};

void kernel_key(char out[static CACHE_KEY_SIZE])
{
    struct cache_key key;
    cache_key_init(&key, "kernel");
    cache_key_add(&key, "package", STR(KERNEL_PACKAGE));
    cache_key_add(&key, "suite", STR(APT_SUITE));
    cache_key_add(&key, "recipe", STR(KERNEL_RECIPE));
    for (size_t i = 0; i < ARRAY_LEN(wanted); i++)
        cache_key_add(&key, "module", str_of(wanted[i]));
    cache_key_text(&key, out);
}

static int out_of_memory(struct err *err)
{
    return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
}

/* Note a module's path under its name; other files are passed over. */
static int note_module(struct modules *m, const char *dir, const char *file, struct err *err)
{
    char name[NAME_MAX + 1], path[PATH_MAX];
    const char *end = strstr(file, ".ko");
    if (!end || (end[3] != '\0' && end[3] != '.'))
        return 0;
    snprintf(name, sizeof(name), "%.*s", (int)(end - file), file);
    for (char *p = name; *p; p++)
        if (*p == '-')
            *p = '_';
    if (snprintf(path, sizeof(path), "%s/%s", dir, file) >= (int)sizeof(path))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", dir);
    char *copy = strdup(path);
    if (!copy || !map_set(&m->paths, str_of(name), copy)) {
        free(copy);
        return out_of_memory(err);
    }
    return 0;
}

/* NOLINTNEXTLINE(misc-no-recursion): bounded by TREE_DEPTH_MAX */
static int find_modules(struct modules *m, const char *dir, unsigned depth, struct err *err)
{
    char path[PATH_MAX];
    int rc = 0;
    DIR *list = opendir(dir);
    if (!list)
        return err_set(err, ERR_INTERNAL, errno, "cannot read %s: %s", dir, strerror(errno));
    for (struct dirent *e = readdir(list); e && rc == 0; e = readdir(list)) {
        if (e->d_type == DT_REG) {
            rc = note_module(m, dir, e->d_name, err);
        } else if (e->d_type == DT_DIR && e->d_name[0] != '.' && depth > 0 &&
                   snprintf(path, sizeof(path), "%s/%s", dir, e->d_name) < (int)sizeof(path)) {
            rc = find_modules(m, path, depth - 1, err);
        }
    }
    closedir(list);
    return rc;
}

static int depends(void *user, const char *name, struct str *out, struct err *err)
{
    struct modules *m = user;
    const char *path = map_get(&m->paths, str_of(name));
    if (!path)
        return err_set(err, ERR_NOT_FOUND, ENOENT, "the kernel's package has no module %s", name);
    struct buf *file = calloc(1, sizeof(*file));
    if (!file || !map_set(&m->files, str_of(name), file)) {
        free(file);
        return out_of_memory(err);
    }
    int rc = unpack_file(path, UNPACK_MODULE_MAX, file, err);
    return rc < 0 ? rc : module_depends(buf_str(file), out, err);
}

static int write_file(const char *dir, const char *name, struct str data, struct err *err)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", dir);
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0444);
    int rc = fd < 0 ? -errno : fd_write_all(fd, data.p, data.n);
    if (rc < 0)
        return err_set(err, rc == -ENOSPC ? ERR_EXHAUSTED : ERR_INTERNAL, -rc,
                       "cannot write %s: %s", path, strerror(-rc));
    return 0;
}

static int write_modules(struct modules *m, const char *dir, struct err *err)
{
    char modules_dir[PATH_MAX], file[MODULE_NAME_MAX + 8];
    struct buf list = { 0 };
    int rc = 0;
    if (snprintf(modules_dir, sizeof(modules_dir), "%s/modules", dir) >= (int)sizeof(modules_dir))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", dir);
    if (mkdir(modules_dir, 0755) < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot create %s: %s", modules_dir,
                       strerror(errno));
    for (size_t i = 0; i < m->order.n && rc == 0; i++) {
        const struct buf *data = map_get(&m->files, str_of(m->order.names[i]));
        snprintf(file, sizeof(file), "%s.ko", m->order.names[i]);
        rc = write_file(modules_dir, file, buf_str(data), err);
        buf_printf(&list, "%s\n", file);
    }
    if (rc == 0)
        rc = list.failed ? out_of_memory(err)
                         : write_file(modules_dir, "modules.list", buf_str(&list), err);
    buf_deinit(&list);
    return rc;
}

static void modules_deinit(struct modules *m)
{
    for (struct map_entry *e = map_next(&m->paths, NULL); e; e = map_next(&m->paths, e))
        free(e->value);
    for (struct map_entry *e = map_next(&m->files, NULL); e; e = map_next(&m->files, e)) {
        buf_deinit(e->value);
        free(e->value);
    }
    map_deinit(&m->paths);
    map_deinit(&m->files);
}

static int make_modules(const char *unpacked, const char *version, const char *dir, struct err *err)
{
    char tree[PATH_MAX];
    struct modules m = { 0 };
    if (snprintf(tree, sizeof(tree), "%s/lib/modules/%s/kernel", unpacked, version) >=
        (int)sizeof(tree))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", unpacked);
    int rc = find_modules(&m, tree, TREE_DEPTH_MAX, err);
    for (size_t i = 0; i < ARRAY_LEN(wanted) && rc == 0; i++)
        rc = module_order_add(&m.order, str_of(wanted[i]), depends, &m, err);
    if (rc == 0)
        rc = write_modules(&m, dir, err);
    modules_deinit(&m);
    return rc;
}

static int make_kernel(const char *unpacked, const char *version, const char *dir, struct err *err)
{
    char path[PATH_MAX];
    struct buf packed = { 0 }, plain = { 0 };
    struct err why;
    if (snprintf(path, sizeof(path), "%s/boot/vmlinuz-%s", unpacked, version) >= (int)sizeof(path))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", unpacked);
    int rc = file_read(path, UNPACK_KERNEL_MAX, &packed, err);
    if (rc == 0) {
        /* A kernel packed in a way of its own boots too, only slower. */
        bool elf = unpack_vmlinux(buf_str(&packed), &plain, &why) == 0;
        rc = write_file(dir, "kernel", buf_str(elf ? &plain : &packed), err);
    }
    buf_deinit(&packed);
    buf_deinit(&plain);
    return rc;
}

static int unpack(const struct apt *a, const char *deb, const char *to, struct err *err)
{
    const char *const argv[] = { "dpkg-deb", "-x", deb, to, NULL };
    struct command c = {
        .argv = argv, .package = "dpkg", .log = a->log, .tick = a->tick, .user = a->user
    };
    return command_run(&c, err);
}

int kernel_make(const struct apt *a, const char *dir, struct err *err)
{
    static const char prefix[] = "linux-image-";
    char package[APT_PACKAGE_MAX], deb[PATH_MAX], unpacked[PATH_MAX];
    if (snprintf(unpacked, sizeof(unpacked), "%s/package", dir) >= (int)sizeof(unpacked) - 256)
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", dir);
    int rc = apt_first_dependency(a, KERNEL_PACKAGE, package, err);
    if (rc == 0 && strncmp(package, prefix, sizeof(prefix) - 1) != 0)
        rc = err_set(err, ERR_INTERNAL, EINVAL, KERNEL_PACKAGE " depends on %s, which is no kernel",
                     package);
    if (rc == 0)
        rc = apt_download(a, package, dir, deb, err);
    if (rc == 0)
        rc = unpack(a, deb, unpacked, err);
    if (rc < 0)
        return rc;
    const char *version = package + sizeof(prefix) - 1;
    rc = make_kernel(unpacked, version, dir, err);
    if (rc == 0)
        rc = make_modules(unpacked, version, dir, err);
    if (rc == 0)
        rc = write_file(dir, "version", str_of(version), err);
    if (rc == 0)
        rc = file_remove_tree(unpacked, err);
    if (rc == 0 && unlink(deb) < 0)
        rc = err_set(err, ERR_INTERNAL, errno, "cannot remove %s: %s", deb, strerror(errno));
    return rc;
}

int kernel_version(const char *dir, char out[static KERNEL_VERSION_MAX], struct err *err)
{
    char path[PATH_MAX];
    struct buf text = { 0 };
    snprintf(path, sizeof(path), "%s/version", dir);
    int rc = file_read(path, KERNEL_VERSION_MAX - 1, &text, err);
    if (rc == 0 && !str_copy(buf_str(&text), out, KERNEL_VERSION_MAX))
        rc = err_set(err, ERR_INTERNAL, EINVAL, "%s is damaged", path);
    buf_deinit(&text);
    return rc;
}
