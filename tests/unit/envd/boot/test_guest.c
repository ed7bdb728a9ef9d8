/* boot_guest() for real: as PID 1 of namespaces of its own, in an empty root. */
#include "common/base/cleanup.h"
#include "envd/boot/boot.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define PROC_MAGIC   0x9fa0
#define SYSFS_MAGIC  0x62656572
#define TMPFS_MAGIC_ 0x01021994
#define DEVPTS_MAGIC 0x1cd1

static bool is_type(const char *path, long magic)
{
    struct statfs fs;
    return statfs(path, &fs) == 0 && (long)fs.f_type == magic;
}

static bool has_mode(const char *path, mode_t mode)
{
    struct stat st;
    return stat(path, &st) == 0 && (st.st_mode & 07777) == mode;
}

static bool loopback_is_up(void)
{
    AUTO_CLOSE int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct ifreq r = { .ifr_name = "lo" };
    return ioctl(fd, SIOCGIFFLAGS, &r) == 0 && (r.ifr_flags & IFF_UP);
}

static bool text_is(const char *path, const char *expected)
{
    char text[256] = "";
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    return fd >= 0 && read(fd, text, sizeof(text) - 1) >= 0 && strcmp(text, expected) == 0;
}

#define CHECK(what)                                                                                \
    do {                                                                                           \
        if (!(what)) {                                                                             \
            dprintf(2, "%d: not so: %s\n", __LINE__, #what);                                       \
            return 1;                                                                              \
        }                                                                                          \
    } while (0)

/* The guest's PID 1, in the new root. */
static int check_guest(void)
{
    char name[65], target[64] = "";
    struct rlimit files;
    boot_guest();
    CHECK(is_type("/proc", PROC_MAGIC));
    CHECK(is_type("/sys", SYSFS_MAGIC));
    CHECK(is_type("/dev/pts", DEVPTS_MAGIC));
    CHECK(is_type("/dev/shm", TMPFS_MAGIC_));
    CHECK(is_type("/run", TMPFS_MAGIC_));
    CHECK(has_mode("/dev/shm", 01777));
    CHECK(has_mode("/tmp", 01777));
    CHECK(has_mode("/run", 0755));
    CHECK(has_mode("/run/lock", 01777));
    CHECK(readlink("/dev/fd", target, sizeof(target) - 1) > 0 &&
          strcmp(target, "/proc/self/fd") == 0);
    CHECK(loopback_is_up());
    CHECK(gethostname(name, sizeof(name)) == 0 && strcmp(name, "from-the-tree") == 0);
    CHECK(text_is("/etc/resolv.conf", "nameserver 8.8.8.8\n"));
    CHECK(text_is("/etc/hosts", "kept\n"));
    CHECK(getrlimit(RLIMIT_NOFILE, &files) == 0);
    CHECK(files.rlim_cur == 65536 || files.rlim_cur == files.rlim_max);
    CHECK(has_mode("/var/tmp", 01777));
    /* A second time changes nothing: what is mounted is left alone. */
    CHECK(mkdir("/run/mark", 0700) == 0);
    boot_guest();
    CHECK(access("/run/mark", F_OK) == 0);
    return 0;
}

static int enter(const char *root)
{
    /* The child is PID 1 of its own namespaces. A /dev of ours: the real one is devtmpfs, which
     * is the same in every namespace, and not ours to change. */
    char dev[PATH_MAX];
    snprintf(dev, sizeof(dev), "%s/dev", root);
    CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    CHECK(mount(root, root, NULL, MS_BIND, NULL) == 0);
    CHECK(mount("tmpfs", dev, "tmpfs", 0, NULL) == 0);
    CHECK(chroot(root) == 0 && chdir("/") == 0);
    return check_guest();
}

static void test_guest_comes_up(void **state)
{
    (void)state;
    struct tempdir d;
    int status;
    tempdir_init(&d);
    tempdir_mkdir(&d, "dev");
    tempdir_write(&d, "etc/hosts", "kept\n");
    tempdir_write(&d, "etc/hostname", "from-the-tree\n");
    assert_int_equal(symlink("/run/nowhere/stub", tempdir_path(&d, "etc/resolv.conf")), 0);
    int flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWUTS | CLONE_NEWIPC | SIGCHLD;
    pid_t pid = (pid_t)syscall(SYS_clone, flags, NULL, NULL, NULL, NULL);
    if (pid < 0 && (errno == EPERM || errno == ENOSYS)) {
        tempdir_deinit(&d);
        skip();
    }
    if (pid == 0)
        _exit(enter(d.path));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    tempdir_deinit(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_guest_comes_up) };
    if (geteuid() != 0) {
        print_message("needs root: it mounts\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
