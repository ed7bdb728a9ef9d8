/* What an init system does first, as far as a sandbox needs it. */
#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "common/base/log.h"
#include "envd/boot/boot.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define HOSTNAME_DEFAULT "e2b.local"
/* Groups that may ping without a capability: all. */
#define PING_GROUPS_PATH "/proc/sys/net/ipv4/ping_group_range"
#define PING_GROUPS      "0 2147483647"
/* How long a read may wait for writes; the disk is the host's, which sees to that. Its timer is a
 * hundred blocks of code for a guest that was just restored. */
#define THROTTLE_PATH   "/sys/block/vda/queue/wbt_lat_usec"
#define OPEN_FILES_SOFT 65536
#define OPEN_FILES_HARD 1048576

static const struct {
    const char *type, *path, *options;
    unsigned long flags;
    mode_t mode; /* of the folder, when it has to be made */
} mounts[] = {
    { "proc", "/proc", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0555 },
    { "sysfs", "/sys", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0555 },
    { "devtmpfs", "/dev", "mode=755", MS_NOSUID, 0755 },
    { "devpts", "/dev/pts", "gid=5,mode=620,ptmxmode=666", MS_NOSUID | MS_NOEXEC, 0755 },
    { "tmpfs", "/dev/shm", "mode=1777", MS_NOSUID | MS_NODEV, 01777 },
    { "tmpfs", "/run", "mode=755", MS_NOSUID | MS_NODEV, 0755 },
    { "cgroup2", "/sys/fs/cgroup", NULL, MS_NOSUID | MS_NODEV | MS_NOEXEC, 0555 },
};

static const struct {
    const char *path;
    mode_t mode;
} folders[] = {
    { "/tmp", 01777 },
    { "/var", 0755 },
    { "/var/tmp", 01777 },
    { "/run/lock", 01777 },
};

static const struct {
    const char *to, *path;
} links[] = {
    { "/proc/self/fd", "/dev/fd" },
    { "/proc/self/fd/0", "/dev/stdin" },
    { "/proc/self/fd/1", "/dev/stdout" },
    { "/proc/self/fd/2", "/dev/stderr" },
};

static void complain(const char *what, const char *path)
{
    log_warn(what, LOG_STR("path", path), LOG_STR("reason", strerror(errno)));
}

/* Whether something is mounted there: then it lies on another device than its parent. */
static bool is_mount_point(const char *path)
{
    char parent[64];
    struct stat here, above;
    snprintf(parent, sizeof(parent), "%s/..", path);
    return stat(path, &here) == 0 && stat(parent, &above) == 0 && here.st_dev != above.st_dev;
}

static void make_folder(const char *path, mode_t mode)
{
    if (mkdir(path, mode) == 0)
        chmod(path, mode); /* past the umask */
    else if (errno != EEXIST)
        complain("cannot create a folder", path);
}

static void mount_all(void)
{
    for (size_t i = 0; i < ARRAY_LEN(mounts); i++) {
        if (is_mount_point(mounts[i].path))
            continue;
        make_folder(mounts[i].path, mounts[i].mode);
        if (mount(mounts[i].type, mounts[i].path, mounts[i].type, mounts[i].flags,
                  mounts[i].options) < 0)
            complain("cannot mount", mounts[i].path);
    }
    for (size_t i = 0; i < ARRAY_LEN(folders); i++)
        make_folder(folders[i].path, folders[i].mode);
}

static void make_links(void)
{
    for (size_t i = 0; i < ARRAY_LEN(links); i++)
        if (symlink(links[i].to, links[i].path) < 0 && errno != EEXIST)
            complain("cannot link", links[i].path);
    /* A user's file system in user space needs no root. */
    if (chmod("/dev/fuse", 0666) < 0 && errno != ENOENT)
        complain("cannot open up", "/dev/fuse");
}

static void let_all_ping(void)
{
    AUTO_CLOSE int fd = open(PING_GROUPS_PATH, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || fd_write_all(fd, PING_GROUPS, strlen(PING_GROUPS)) < 0)
        complain("cannot change a kernel setting", PING_GROUPS_PATH);
}

static void throttle_no_writes(void)
{
    AUTO_CLOSE int fd = open(THROTTLE_PATH, O_WRONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT)
        return; /* a kernel without */
    if (fd < 0 || fd_write_all(fd, "0", 1) < 0)
        complain("cannot change a kernel setting", THROTTLE_PATH);
}

static void bring_up_loopback(void)
{
    AUTO_CLOSE int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq request = { .ifr_name = "lo" };
    if (fd < 0 || ioctl(fd, SIOCGIFFLAGS, &request) < 0) {
        complain("cannot find the loopback interface", "lo");
        return;
    }
    request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
    if (ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        complain("cannot bring up the loopback interface", "lo");
}

static void set_hostname(void)
{
    struct buf text = { 0 };
    struct str name = STR(HOSTNAME_DEFAULT);
    if (file_read("/etc/hostname", 4096, &text, NULL) == 0) {
        struct str rest = buf_str(&text);
        struct str line = str_trim(str_split(&rest, '\n'));
        if (line.n > 0 && line.n <= 64)
            name = line;
    }
    if (sethostname(name.p, name.n) < 0)
        complain("cannot set the hostname", "/etc/hostname");
    buf_deinit(&text);
}

static void write_if_missing(const char *path, const char *text)
{
    struct err err;
    struct stat st;
    /* A dangling link is missing too: it points to a resolver that does not run here. */
    if (stat(path, &st) == 0)
        return;
    if (unlink(path) < 0 && errno != ENOENT)
        complain("cannot replace", path);
    if (file_replace_unsynced(path, text, strlen(text), 0644, &err) < 0)
        log_warn("cannot write", LOG_STR("path", path), LOG_STR("reason", err.msg));
}

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        struct rlimit wanted = { OPEN_FILES_SOFT, OPEN_FILES_HARD };
        if (setrlimit(RLIMIT_NOFILE, &wanted) == 0)
            return;
        /* The kernel allows no more than there is; then at least all of that. */
        limit.rlim_cur = limit.rlim_max < OPEN_FILES_SOFT ? limit.rlim_max : OPEN_FILES_SOFT;
        if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
            return;
    }
    complain("cannot raise the limit of open files", "RLIMIT_NOFILE");
}

void boot_guest(void)
{
    umask(022);
    mount_all();
    make_links();
    let_all_ping();
    throttle_no_writes();
    raise_file_limit();
    bring_up_loopback();
    set_hostname();
    write_if_missing("/etc/hosts", "127.0.0.1 localhost " HOSTNAME_DEFAULT "\n"
                                   "::1 localhost ip6-localhost ip6-loopback\n");
    write_if_missing("/etc/resolv.conf", "nameserver 8.8.8.8\n");
}
