#include "envd/core/cgroup.h"

#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "common/base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>

/* Memory that user processes leave to envd and the kernel: an eighth, at most this. */
#define RESERVED_MAX (128ULL << 20)

/* Of the threads that the kernel allows at all, these parts (in eighths): what is left is envd's
 * and the kernel's, and a terminal can still be opened when commands have taken all of theirs. A
 * process takes 230 KiB at least, and the kernel allows one thread for 128 KiB: the number must end
 * before the memory. */
#define PIDS_USER_EIGHTHS 3
#define PIDS_PTYS_EIGHTHS 2
#define PIDS_DEFAULT      1024 /* of a group, where the kernel does not tell */
#define THREADS_MAX_PATH  "/proc/sys/kernel/threads-max"

struct group {
    const char *name;
    const char *cpu, *io; /* weights */
    unsigned pids_eighths;
};

static const struct group user_group = { "user", "50", "10", PIDS_USER_EIGHTHS };
static const struct group ptys_group = { "ptys", "200", "50", PIDS_PTYS_EIGHTHS };

static int put(int dir, const char *file, const char *text)
{
    AUTO_CLOSE int fd = openat(dir, file, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        return -errno;
    return 0;
}

static void put_number(int dir, const char *file, unsigned long long n)
{
    char text[32];
    snprintf(text, sizeof(text), "%llu", n);
    put(dir, file, text);
}

static unsigned long long memory_for_users(void)
{
    struct sysinfo si;
    if (sysinfo(&si) < 0)
        return 0;
    unsigned long long total = (unsigned long long)si.totalram * si.mem_unit;
    return total - (total / 8 < RESERVED_MAX ? total / 8 : RESERVED_MAX);
}

static unsigned long long pids_for(const struct group *g)
{
    struct buf text = { 0 };
    uint64_t threads = 0;
    int rc = file_read(THREADS_MAX_PATH, 64, &text, NULL);
    struct str rest = buf_str(&text);
    if (rc < 0 || !str_to_u64(str_split(&rest, '\n'), INT_MAX, &threads))
        threads = PIDS_DEFAULT * 8 / g->pids_eighths;
    buf_deinit(&text);
    return threads * g->pids_eighths / 8;
}

static int make_group(int root, const struct group *g)
{
    if (mkdirat(root, g->name, 0755) < 0 && errno != EEXIST)
        return -errno;
    int dir = openat(root, g->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0)
        return -errno;
    /* A kernel without one of the controllers still gives the grouping. */
    unsigned long long memory = memory_for_users();
    put(dir, "cpu.weight", g->cpu);
    put(dir, "io.weight", g->io);
    if (memory) {
        put_number(dir, "memory.high", memory);
        put_number(dir, "memory.max", memory);
    }
    put_number(dir, "pids.max", pids_for(g));
    return dir;
}

static int make_groups(struct envd *e, const char *path)
{
    AUTO_CLOSE int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0)
        return -errno;
    /* Not a file of a cgroup v2 file system: this is some other folder. */
    if (faccessat(root, "cgroup.procs", F_OK, 0) < 0)
        return -errno;
    put(root, "cgroup.subtree_control", "+cpu +memory");
    put(root, "cgroup.subtree_control", "+io");
    put(root, "cgroup.subtree_control", "+pids");
    int user = make_group(root, &user_group);
    int ptys = user < 0 ? user : make_group(root, &ptys_group);
    if (ptys < 0) {
        if (user >= 0)
            close(user);
        return ptys;
    }
    e->cgroup_user = user;
    e->cgroup_ptys = ptys;
    return 0;
}

void cgroup_setup(struct envd *e, const char *root)
{
    e->cgroup_user = e->cgroup_ptys = -1;
    int rc = make_groups(e, root);
    if (rc < 0)
        log_warn("no cgroups for processes", LOG_STR("root", root),
                 LOG_STR("reason", strerror(-rc)));
}
