#include "orchestrator/vmm/jail_steps.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/syscall.h>
#include <unistd.h>

#define KVM_NODE        "/dev/kvm"
#define LIMIT_FILES     256
#define LIMIT_PROCESSES 256 /* threads of this uid: virtual CPUs, QEMU's at most 64 I/O workers */
#define LIMIT_MEMLOCK   65536

/* Not needed by a VMM that is handed its files as descriptors. */
static const char *const masked_dirs[] = {
    "/boot", "/home", "/media", "/mnt", "/opt", "/root", "/run", "/srv", "/tmp", "/var",
};

static const struct {
    const char *path;
    unsigned major, minor;
} dev_nodes[] = {
    { "/dev/null", 1, 3 },
    { "/dev/zero", 1, 5 },
    { "/dev/random", 1, 8 },
    { "/dev/urandom", 1, 9 },
};

const char *jail_step_name(int step)
{
    static const char *const names[JAIL_STEP_NR] = {
        [JAIL_STEP_GROUP] = "put into a control group",
        [JAIL_STEP_SESSION] = "make a session for",
        [JAIL_STEP_FDS] = "hand descriptors to",
        [JAIL_STEP_NAMESPACES] = "make namespaces for",
        [JAIL_STEP_DEV] = "make an own /dev for",
        [JAIL_STEP_MASK] = "mask directories from",
        [JAIL_STEP_LIMITS] = "set the resource limits of",
        [JAIL_STEP_STDIO] = "redirect the output of",
        [JAIL_STEP_BOUNDING] = "drop the capability bounding set of",
        [JAIL_STEP_UID] = "set uid and gid of",
        [JAIL_STEP_CAPS] = "drop the capabilities of",
        [JAIL_STEP_PRIVS] = "set no_new_privs for",
        [JAIL_STEP_EXEC] = "execute",
    };
    return step >= 0 && step < JAIL_STEP_NR ? names[step] : "start";
}

int jail_plan_init(struct jail_plan *plan, const struct jail_spec *spec, int go, int report,
                   struct err *err)
{
    *plan = (struct jail_plan){ .spec = spec,
                                .ncaps = cap_max_bits(),
                                .user_ns = geteuid() != 0,
                                .report_fd = -1,
                                .log_fd = spec->log_fd,
                                .go_source = go,
                                .report_source = report };
    plan->no_caps = cap_init();
    if (!plan->no_caps)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    struct stat st;
    if (spec->kvm && stat(KVM_NODE, &st) == 0 && S_ISCHR(st.st_mode)) {
        plan->kvm = st.st_rdev;
        if ((st.st_mode & 0060) == 0060)
            plan->kvm_group = st.st_gid;
    }
    return 0;
}

void jail_plan_deinit(struct jail_plan *plan)
{
    cap_free(plan->no_caps);
    plan->no_caps = NULL;
}

/* An own session, cwd and umask, and signals as a new process expects them. */
static int make_session(void)
{
    sigset_t none;
    sigemptyset(&none);
    for (int sig = 1; sig < NSIG; sig++)
        signal(sig, SIG_DFL); /* fails for the two that cannot be changed */
    if (sigprocmask(SIG_SETMASK, &none, NULL) < 0 || setsid() < 0 || chdir("/") < 0)
        return -1;
    umask(077);
    return 0;
}

/* Move every descriptor out of the way, then those of the list to JAIL_FIRST_FD and following, the
 * two pipes behind them, and close the rest. */
static int move_fds(struct jail_plan *plan)
{
    const struct jail_spec *spec = plan->spec;
    int clear = JAIL_FIRST_FD + JAIL_MAX_FDS + 2;
    for (size_t i = 0; i < spec->nfds; i++) {
        plan->fds[i] = fcntl(spec->fds[i], F_DUPFD_CLOEXEC, clear);
        if (plan->fds[i] < 0)
            return -1;
    }
    int go = fcntl(plan->go_source, F_DUPFD_CLOEXEC, clear);
    int report = fcntl(plan->report_source, F_DUPFD_CLOEXEC, clear);
    int log = fcntl(plan->log_fd, F_DUPFD_CLOEXEC, clear);
    if (go < 0 || report < 0 || log < 0)
        return -1;

    int next = JAIL_FIRST_FD;
    for (size_t i = 0; i < spec->nfds; i++)
        if (dup2(plan->fds[i], next++) < 0)
            return -1;
    plan->go_fd = next++;
    if (dup3(report, next, O_CLOEXEC) < 0)
        return -1;
    plan->report_fd = next++;
    if (dup3(go, plan->go_fd, O_CLOEXEC) < 0 || dup2(log, STDOUT_FILENO) < 0 ||
        dup2(log, STDERR_FILENO) < 0)
        return -1;
    return (int)syscall(SYS_close_range, (unsigned)next, ~0U, 0);
}

int jail_enter_namespaces(const struct jail_plan *plan)
{
    int flags = 0;
    if (plan->spec->means.net_ns)
        flags |= CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS;
    if (plan->spec->means.mount_ns)
        flags |= CLONE_NEWNS;
    if (flags && plan->user_ns)
        flags |= CLONE_NEWUSER;
    return flags ? unshare(flags) : 0;
}

static int make_node(const char *path, dev_t dev, mode_t mode, uid_t uid)
{
    if (mknod(path, S_IFCHR | mode, dev) < 0 || chmod(path, mode) < 0)
        return -1;
    return uid == (uid_t)-1 ? 0 : chown(path, uid, uid);
}

int jail_make_dev(const struct jail_plan *plan)
{
    if (!plan->spec->means.mount_ns)
        return 0;
    if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k") < 0)
        return -1;
    for (size_t i = 0; i < ARRAY_LEN(dev_nodes); i++)
        if (make_node(dev_nodes[i].path, makedev(dev_nodes[i].major, dev_nodes[i].minor), 0666,
                      (uid_t)-1) < 0)
            return -1;
    if (!plan->kvm)
        return 0;
    return make_node(KVM_NODE, plan->kvm, 0600, plan->spec->means.own_uid ? plan->spec->uid : 0);
}

static int mask_dirs(const struct jail_plan *plan)
{
    if (!plan->spec->means.mount_ns)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(masked_dirs); i++) {
        const char *dir = masked_dirs[i];
        size_t n = strlen(dir);
        if (strncmp(plan->spec->program, dir, n) == 0 && plan->spec->program[n] == '/')
            continue;
        if (mount("tmpfs", dir, "tmpfs", MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                  "mode=555,size=4k") < 0 &&
            errno != ENOENT && errno != ENOTDIR)
            return -1;
    }
    return 0;
}

static int limit(int what, rlim_t most)
{
    struct rlimit now, r = { .rlim_cur = most, .rlim_max = most };
    if (getrlimit((__rlimit_resource_t)what, &now) < 0)
        return -1;
    if (now.rlim_max < most)
        r.rlim_cur = r.rlim_max = now.rlim_max;
    return setrlimit((__rlimit_resource_t)what, &r);
}

static int set_limits(const struct jail_plan *plan)
{
    if (limit(RLIMIT_NOFILE, LIMIT_FILES) < 0 || limit(RLIMIT_CORE, 0) < 0 ||
        limit(RLIMIT_MEMLOCK, LIMIT_MEMLOCK) < 0 ||
        limit(RLIMIT_FSIZE, plan->spec->max_file_size) < 0)
        return -1;
    /* The limit counts all processes of the uid, so it makes sense for an own one only. */
    return plan->spec->means.own_uid ? limit(RLIMIT_NPROC, LIMIT_PROCESSES) : 0;
}

static int redirect_stdin(void)
{
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    return fd == STDIN_FILENO ? fcntl(fd, F_SETFD, 0) : dup2(fd, STDIN_FILENO);
}

static int drop_bounding(const struct jail_plan *plan)
{
    if (!plan->spec->means.own_uid && !plan->spec->means.net_ns)
        return 0; /* no privileges at all: nothing to drop, and not allowed to */
    for (cap_value_t cap = 0; cap < plan->ncaps; cap++)
        if (cap_drop_bound(cap) < 0 && errno != EINVAL)
            return -1;
    return 0;
}

int jail_switch_uid(const struct jail_plan *plan)
{
    const struct jail_spec *spec = plan->spec;
    if (!spec->means.own_uid || spec->uid == (uid_t)-1)
        return 0;
    gid_t groups[1] = { plan->kvm_group };
    /* glibc's wrappers tell every thread by a signal and wait for it; the threads of the parent do
     * not exist here, so use the bare calls. */
    size_t n = plan->kvm && !spec->means.mount_ns && plan->kvm_group ? 1 : 0;
    if (syscall(SYS_setgroups, n, groups) < 0 ||
        syscall(SYS_setresgid, spec->uid, spec->uid, spec->uid) < 0 ||
        syscall(SYS_setresuid, spec->uid, spec->uid, spec->uid) < 0)
        return -1;
    return 0;
}

int jail_apply(struct jail_plan *plan)
{
    const struct cgroup_door *door = plan->spec->door;
    if (door && !plan->in_group && cgroup_door_enter(door) < 0)
        return JAIL_STEP_GROUP;
    if (make_session() < 0)
        return JAIL_STEP_SESSION;
    if (move_fds(plan) < 0)
        return JAIL_STEP_FDS;
    if (jail_enter_namespaces(plan) < 0)
        return JAIL_STEP_NAMESPACES;
    if (jail_make_dev(plan) < 0)
        return JAIL_STEP_DEV;
    if (mask_dirs(plan) < 0)
        return JAIL_STEP_MASK;
    if (set_limits(plan) < 0)
        return JAIL_STEP_LIMITS;
    if (redirect_stdin() < 0)
        return JAIL_STEP_STDIO;
    if (drop_bounding(plan) < 0)
        return JAIL_STEP_BOUNDING;
    if (jail_switch_uid(plan) < 0)
        return JAIL_STEP_UID;
    if (cap_set_proc(plan->no_caps) < 0)
        return JAIL_STEP_CAPS;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return JAIL_STEP_PRIVS;
    return JAIL_STEPS_DONE;
}
