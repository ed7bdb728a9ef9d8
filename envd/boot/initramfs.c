/*
 * /init of the initramfs. The kernel has no virtio driver built in, so the root device is not there
 * before the modules are loaded. Everything is done by system calls: the initramfs holds envd, the
 * modules and nothing else.
 *
 *     load /modules.list -> wait for the device -> mount it -> move /dev /proc /sys -> delete the
 *     initramfs (its pages are the guest's memory) -> make the new root the root -> exec envd
 */
#include "envd/boot/initramfs.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/fileio.h"
#include "common/base/log.h"
#include "envd/boot/boot.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MODULE_LIST "/modules.list"
#define NEW_ROOT    "/newroot"
#define ENVD_PATH   "/usr/bin/envd"
#define LIST_MAX    65536
#define CMDLINE_MAX 8192
/* mke2fs has left nothing to be done later, and a bitmap is read when it is needed: no thread of
 * the file system works in the first seconds of every clone. */
#define ROOT_OPTIONS "noinit_itable,no_prefetch_block_bitmaps"
#define ROOT_WAIT_MS 20000
#define ROOT_POLL_NS 2000000
#define DELETE_DEPTH 16

bool boot_root_device(struct str cmdline, char out[static BOOT_DEVICE_MAX])
{
    struct str value = STR("/dev/vda");
    while (cmdline.p) {
        struct str word = str_split(&cmdline, ' ');
        if (word.n > 0 && word.p[word.n - 1] == '\n')
            word.n--;
        if (str_starts(word, STR("root=")))
            value = str_from(word, 5);
    }
    if (!str_starts(value, STR("/dev/")) || value.n == 5)
        return false;
    for (size_t i = 5; i < value.n; i++) {
        char c = value.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '_' || c == '-';
        if (!plain)
            return false;
    }
    return str_copy(value, out, BOOT_DEVICE_MAX);
}

struct str boot_next_module(struct str *rest)
{
    while (rest->p) {
        struct str line = str_trim(str_split(rest, '\n'));
        if (line.n > 0)
            return line;
    }
    return (struct str){ "", 0 };
}

static int mount_kernel(const char *type, const char *path, struct err *err)
{
    if (mkdir(path, 0755) < 0 && errno != EEXIST)
        return err_set(err, ERR_INTERNAL, errno, "create %s: %s", path, strerror(errno));
    if (mount(type, path, type, MS_NOSUID, NULL) < 0 && errno != EBUSY)
        return err_set(err, ERR_INTERNAL, errno, "mount %s: %s", path, strerror(errno));
    return 0;
}

static void load_module(struct str path)
{
    char text[256];
    if (!str_copy(path, text, sizeof(text))) {
        log_warn("module path is too long", LOG_TEXT("path", path));
        return;
    }
    AUTO_CLOSE int fd = open(text, O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && (syscall(SYS_finit_module, fd, "", 0) == 0 || errno == EEXIST))
        return;
    log_warn("cannot load a module", LOG_STR("path", text), LOG_STR("reason", strerror(errno)));
}

/* A module that does not load is no end: what counts is whether the root device comes. */
static int load_modules(struct err *err)
{
    struct buf list = { 0 };
    int rc = file_read(MODULE_LIST, LIST_MAX, &list, err);
    if (rc == 0) {
        struct str rest = buf_str(&list);
        for (struct str path = boot_next_module(&rest); path.n > 0; path = boot_next_module(&rest))
            load_module(path);
    }
    buf_deinit(&list);
    return rc;
}

static int find_root_device(char out[static BOOT_DEVICE_MAX], struct err *err)
{
    struct buf cmdline = { 0 };
    int rc = file_read("/proc/cmdline", CMDLINE_MAX, &cmdline, err);
    if (rc == 0 && !boot_root_device(buf_str(&cmdline), out))
        rc = err_set(err, ERR_INVALID, EINVAL, "root= of the kernel command line is no device");
    buf_deinit(&cmdline);
    return rc;
}

static int mount_root(struct err *err)
{
    char device[BOOT_DEVICE_MAX];
    int rc = find_root_device(device, err);
    if (rc < 0)
        return rc;
    int64_t deadline = clock_mono_ms() + ROOT_WAIT_MS;
    struct stat st;
    while (stat(device, &st) < 0) {
        if (clock_mono_ms() > deadline)
            return err_set(err, ERR_NOT_FOUND, ENODEV, "the root device %s did not appear", device);
        nanosleep(&(struct timespec){ .tv_nsec = ROOT_POLL_NS }, NULL);
    }
    if (mkdir(NEW_ROOT, 0755) < 0 && errno != EEXIST)
        return err_set(err, ERR_INTERNAL, errno, "create %s: %s", NEW_ROOT, strerror(errno));
    if (mount(device, NEW_ROOT, "ext4", MS_NOATIME, ROOT_OPTIONS) < 0)
        return err_set(err, ERR_INTERNAL, errno, "mount %s: %s", device, strerror(errno));
    return 0;
}

static int move_mounts(struct err *err)
{
    static const char *const paths[] = { "/dev", "/proc", "/sys" };
    for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
        char to[32];
        snprintf(to, sizeof(to), "%s%s", NEW_ROOT, paths[i]);
        if (mkdir(to, 0755) < 0 && errno != EEXIST)
            return err_set(err, ERR_INTERNAL, errno, "create %s: %s", to, strerror(errno));
        if (mount(paths[i], to, NULL, MS_MOVE, NULL) < 0)
            return err_set(err, ERR_INTERNAL, errno, "move %s: %s", paths[i], strerror(errno));
    }
    return 0;
}

/* Remove what lies in the folder `fd` (taken over) on the device `dev`, leaving mount points. Best
 * effort: what stays costs memory, nothing else. */
static void delete_tree(int fd, dev_t dev, unsigned depth)
{
    DIR *dir = fdopendir(fd);
    if (!dir) {
        close(fd);
        return;
    }
    for (struct dirent *entry = readdir(dir); entry; entry = readdir(dir)) {
        struct stat st;
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0 ||
            fstatat(fd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_dev != dev)
            continue;
        if (S_ISDIR(st.st_mode) && depth > 0) {
            int below = openat(fd, entry->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
            if (below >= 0)
                delete_tree(below, dev, depth - 1);
        }
        unlinkat(fd, entry->d_name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
    }
    closedir(dir);
}

static int switch_root(struct err *err)
{
    struct stat st;
    if (chdir(NEW_ROOT) < 0)
        return err_set(err, ERR_INTERNAL, errno, "enter %s: %s", NEW_ROOT, strerror(errno));
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd >= 0 && fstat(fd, &st) == 0)
        delete_tree(fd, st.st_dev, DELETE_DEPTH);
    else if (fd >= 0)
        close(fd);
    if (mount(".", "/", NULL, MS_MOVE, NULL) < 0)
        return err_set(err, ERR_INTERNAL, errno, "move the root: %s", strerror(errno));
    if (chroot(".") < 0 || chdir("/") < 0)
        return err_set(err, ERR_INTERNAL, errno, "change the root: %s", strerror(errno));
    return 0;
}

int boot_initramfs(struct err *err)
{
    int rc = mount_kernel("devtmpfs", "/dev", err);
    if (rc == 0)
        rc = mount_kernel("proc", "/proc", err);
    if (rc == 0)
        rc = mount_kernel("sysfs", "/sys", err);
    if (rc == 0)
        rc = load_modules(err);
    if (rc == 0)
        rc = mount_root(err);
    if (rc == 0)
        rc = move_mounts(err);
    if (rc == 0)
        rc = switch_root(err);
    if (rc < 0)
        return rc;
    execl(ENVD_PATH, ENVD_PATH, (char *)NULL);
    return err_set(err, ERR_INTERNAL, errno, "start %s: %s", ENVD_PATH, strerror(errno));
}
