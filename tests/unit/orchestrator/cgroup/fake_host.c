#include "fake_host.h"

#include "common/base/cleanup.h"
#include "common/base/str.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

struct fake_host fake;

int __real_mkdir(const char *path, mode_t mode);
int __real_rmdir(const char *path);
ssize_t __real_write(int fd, const void *data, size_t n);
int __wrap_mkdir(const char *path, mode_t mode);
int __wrap_rmdir(const char *path);
ssize_t __wrap_write(int fd, const void *data, size_t n);

static bool is_ours(const char *path)
{
    size_t n = strlen(fake.dir.path);
    return n && strncmp(path, fake.dir.path, n) == 0 && strstr(path, "/sys/fs/cgroup/");
}

static bool refuses(const char *path)
{
    if (!fake.refused || !strstr(path, fake.refused))
        return false;
    errno = fake.refused_errno;
    return true;
}

static void make_file(const char *dir, const char *name, const char *text)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(__real_write(fd, text, strlen(text)), strlen(text));
}

static void read_text(const char *dir, const char *name, char *out, size_t n)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, out, n - 1);
    out[got > 0 ? got : 0] = '\0';
}

static bool has_file(const char *dir, const char *name)
{
    char path[PATH_MAX];
    struct stat st;
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return stat(path, &st) == 0;
}

static void fill_v2(const char *dir, const char *controllers)
{
    make_file(dir, "cgroup.procs", "");
    make_file(dir, "cgroup.controllers", controllers);
    make_file(dir, "cgroup.subtree_control", "");
    if (strstr(controllers, "memory")) {
        make_file(dir, "memory.max", "max");
        make_file(dir, "memory.events", "low 0\noom 0\noom_kill 0\n");
        if (!fake.no_swap)
            make_file(dir, "memory.swap.max", "max");
    }
    if (strstr(controllers, "pids"))
        make_file(dir, "pids.max", "max");
    if (strstr(controllers, "cpu")) {
        make_file(dir, "cpu.max", "max 100000");
        make_file(dir, "cpu.weight", "100");
    }
}

static void fill_v1(const char *dir)
{
    make_file(dir, "cgroup.procs", "");
    make_file(dir, "tasks", "");
    if (strstr(dir, FAKE_V1("memory"))) {
        make_file(dir, "memory.limit_in_bytes", "9223372036854771712");
        make_file(dir, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 0\n");
        if (!fake.no_swap)
            make_file(dir, "memory.memsw.limit_in_bytes", "9223372036854771712");
    }
    if (strstr(dir, FAKE_V1("pids")))
        make_file(dir, "pids.max", "max");
    if (strstr(dir, FAKE_V1("cpu"))) {
        make_file(dir, "cpu.shares", "1024");
        make_file(dir, "cpu.cfs_period_us", "100000");
        make_file(dir, "cpu.cfs_quota_us", "-1");
    }
}

/* The words that were written, "+memory+pids", as a list. */
static void enabled(const char *dir, char *out, size_t n)
{
    read_text(dir, "cgroup.subtree_control", out, n);
    for (char *p = out; *p; p++)
        if (*p == '+')
            *p = ' ';
    if (out[0] == ' ')
        memmove(out, out + 1, strlen(out));
}

int __wrap_mkdir(const char *path, mode_t mode)
{
    char parent[PATH_MAX], words[256];
    if (is_ours(path) && refuses(path))
        return -1;
    snprintf(parent, sizeof(parent), "%.*s", (int)(strrchr(path, '/') - path), path);
    if (fake.goes && strstr(path, fake.goes)) {
        fake.goes = NULL;
        assert_int_equal(rmdir(parent), 0);
    }
    int rc = __real_mkdir(path, mode);
    if (rc < 0 || !is_ours(path))
        return rc;
    if (has_file(parent, "cgroup.subtree_control")) {
        enabled(parent, words, sizeof(words));
        fill_v2(path, words);
    } else {
        fill_v1(path);
    }
    return 0;
}

static size_t count_dirs(DIR *list)
{
    size_t n = 0;
    for (struct dirent *e = readdir(list); e; e = readdir(list))
        n += e->d_type == DT_DIR && e->d_name[0] != '.';
    return n;
}

int __wrap_rmdir(const char *path)
{
    char text[64], file[PATH_MAX];
    if (!is_ours(path))
        return __real_rmdir(path);
    read_text(path, has_file(path, "tasks") ? "tasks" : "cgroup.procs", text, sizeof(text));
    if (text[0] && kill(atoi(text), 0) == 0) {
        errno = EBUSY;
        return -1;
    }
    DIR *list = opendir(path);
    if (!list)
        return -1;
    if (count_dirs(list) > 0) {
        closedir(list);
        errno = EBUSY;
        return -1;
    }
    rewinddir(list);
    for (struct dirent *e = readdir(list); e; e = readdir(list)) {
        snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
        if (e->d_name[0] != '.')
            unlink(file);
    }
    closedir(list);
    return __real_rmdir(path);
}

ssize_t __wrap_write(int fd, const void *data, size_t n)
{
    char link[64], path[PATH_MAX], own[16];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof(path) - 1);
    path[len > 0 ? len : 0] = '\0';
    if (!is_ours(path))
        return __real_write(fd, data, n);
    if (refuses(path))
        return -1;
    if (strstr(path, "cgroup.subtree_control"))
        lseek(fd, 0, SEEK_END);
    else
        assert_int_equal(ftruncate(fd, 0), 0);
    if (strstr(path, "/cgroup.procs") || strstr(path, "/tasks")) {
        /* Who enters is the writer. */
        assert_memory_equal(data, "0", n);
        len = snprintf(own, sizeof(own), "%d", (int)getpid());
        return __real_write(fd, own, (size_t)len) == len ? (ssize_t)n : -1;
    }
    return __real_write(fd, data, n);
}

void fake_init(void)
{
    fake = (struct fake_host){ 0 };
    struct tempdir dir;
    tempdir_init(&dir);
    tempdir_write(&dir, "proc/self/mountinfo",
                  "20 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda1 rw\n"
                  "25 20 0:22 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755\n");
    tempdir_mkdir(&dir, "sys/fs/cgroup");
    fake.dir = dir;
}

void fake_deinit(void)
{
    struct tempdir dir = fake.dir;
    fake = (struct fake_host){ 0 };
    tempdir_deinit(&dir);
}

static void add_mount(const char *line)
{
    AUTO_CLOSE int fd =
        open(tempdir_path(&fake.dir, "proc/self/mountinfo"), O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_int_equal(__real_write(fd, line, strlen(line)), strlen(line));
}

void fake_add_v2(const char *controllers)
{
    add_mount("30 25 0:26 / /sys/fs/cgroup/unified rw,nosuid shared:9 - cgroup2 cgroup2 rw\n");
    tempdir_mkdir(&fake.dir, FAKE_V2);
    fill_v2(tempdir_path(&fake.dir, FAKE_V2), controllers);
}

void fake_add_v1(const char *controllers)
{
    char line[256], dir[256];
    snprintf(line, sizeof(line),
             "31 25 0:27 / /sys/fs/cgroup/%s rw,nosuid shared:10 - cgroup cgroup rw,%s\n",
             controllers, controllers);
    add_mount(line);
    snprintf(dir, sizeof(dir), FAKE_V1("%s"), controllers);
    tempdir_mkdir(&fake.dir, dir);
    fill_v1(tempdir_path(&fake.dir, dir));
}

void fake_add_group(const char *group, const char *controllers)
{
    tempdir_mkdir(&fake.dir, group);
    fill_v2(tempdir_path(&fake.dir, group), controllers);
}

int fake_enter(const struct cgroups *c, const char *name)
{
    struct cgroup_door door;
    struct err err;
    assert_int_equal(cgroup_door_open(c, name, &door, &err), 0);
    int rc = cgroup_door_enter(&door);
    cgroup_door_close(&door);
    return rc;
}

void fake_open(struct cgroups *c, const char *where)
{
    const struct cgroups_options o = { .where = where,
                                       .owner = "/var/lib/sandpit",
                                       .root = fake.dir.path };
    cgroups_open(c, &o);
}

size_t fake_count_groups(const char *group)
{
    DIR *list = opendir(tempdir_path(&fake.dir, group));
    assert_non_null(list);
    size_t n = count_dirs(list);
    closedir(list);
    return n;
}

const char *fake_value(const char *fmt, ...)
{
    static char text[256];
    char name[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(name, sizeof(name), fmt, ap);
    va_end(ap);
    assert_true(tempdir_exists(&fake.dir, name));
    read_text(fake.dir.path, name, text, sizeof(text));
    return text;
}
