#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "common/base/log.h"
#include "orchestrator/cgroup/cgroup.h"
#include "orchestrator/doctor_kept.h"
#include "orchestrator/cmd.h"
#include "orchestrator/fault_points.h"
#include "orchestrator/image/image.h"
#include "orchestrator/options.h"
#include "orchestrator/store/keys.h"
#include "orchestrator/store/lock.h"
#include "orchestrator/store/templates.h"
#include "orchestrator/vmm/jail.h"
#include "orchestrator/vmm/vmm.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/statvfs.h>

static const char help[] =
    "Usage: sandpit doctor [--data-dir DIR] [--host ADDRESS] [--api-port PORT]\n"
    "                      [--proxy-port PORT] [--accel WHICH] [--memory-mb N]\n"
    "                      [--cgroup WHERE]\n"
    "\n"
    "Tell what this host can do and what is missing, by trying it.\n"
    "\n"
    "Example:\n"
    "    sandpit doctor --data-dir /srv/sandpit && systemctl start sandpit\n"
    "\n"
    "Exit status: 0 a sandbox can be created, 1 none can, 2 called wrongly.\n"
#ifdef SANDPIT_FAULT_POINTS
    "\n  --fault-points    list the fault points that tests can arm in this build\n"
#endif
    ;

#define MEMINFO_MAX     65536
#define VMM_OVERHEAD_MB 96   /* of QEMU itself, around the guest's memory */
#define IMAGE_SPACE_MB  4096 /* what building an image takes, with what it keeps */
#define RUN_SPACE_MB    512  /* below this a sandbox has no room to write */

struct doctor {
    struct config config;
    unsigned missing; /* things without which no sandbox can be created */
};

enum verdict { FINE, NOTE, MISSING };

static void __attribute__((format(printf, 3, 4)))
say(struct doctor *d, enum verdict verdict, const char *fmt, ...)
{
    static const char *const labels[] = { "ok", "note", "MISSING" };
    va_list ap;
    printf("%-8s ", labels[verdict]);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    fflush(stdout); /* the next check may take seconds */
    d->missing += verdict == MISSING;
}

static void check_user(struct doctor *d)
{
    if (geteuid() == 0)
        say(d, FINE, "This is root.");
    else
        say(d, NOTE,
            "This is not root: VMs run as this user and are not kept apart by user ids, and no "
            "image can be built.");
}

static void check_vmm(struct doctor *d)
{
    uv_loop_t loop;
    struct defer_queue defer;
    struct vmm_driver *driver;
    struct err err;
    if (uv_loop_init(&loop) < 0)
        return;
    defer_queue_init(&defer, &loop);
    struct vmm_driver_options options = { .loop = &loop,
                                          .defer = &defer,
                                          .accel = d->config.accel };
    if (vmm_driver_new(&driver, &options, &err)) {
        say(d, MISSING, "No VM can run: %s.", err.msg);
    } else {
        const struct vmm_host *host = vmm_driver_host(driver);
        say(d, FINE, "VMs are run by %s.", host->version);
        if (host->kvm)
            say(d, FINE, "KVM ran a guest: sandboxes are fast.");
        else
            say(d, NOTE, "KVM is not used (%s): sandboxes run under emulation, and slower.",
                host->kvm_reason);
        vmm_driver_free(driver);
    }
    defer_queue_close(&defer);
    uv_run(&loop, UV_RUN_DEFAULT);
    uv_loop_close(&loop);
}

static void check_jail(struct doctor *d)
{
    struct jail_means means;
    char weakness[256];
    jail_probe(&means);
    jail_weakness(&means, weakness, sizeof(weakness));
    if (weakness[0])
        say(d, NOTE, "A child that was jailed like a VM shows: %s.", weakness);
    else
        say(d, FINE,
            "A child could be jailed like a VM: own user, no capabilities, empty network, own "
            "/dev.");
}

/* A line "Name:   123 kB" of /proc/meminfo in MiB; -1 when there is none. */
static int64_t meminfo_mb(struct str text, const char *name)
{
    struct str rest = text;
    while (rest.p) {
        struct str value = str_split(&rest, '\n');
        struct str key = str_split(&value, ':');
        if (!value.p || !str_eq(key, str_of(name)))
            continue;
        value = str_trim(value);
        uint64_t kb;
        struct str digits = str_split(&value, ' ');
        return str_to_u64(digits, INT64_MAX, &kb) ? (int64_t)(kb / 1024) : -1;
    }
    return -1;
}

static void check_memory(struct doctor *d)
{
    struct buf text = { 0 };
    unsigned need = d->config.memory_mb + VMM_OVERHEAD_MB;
    if (file_read("/proc/meminfo", MEMINFO_MAX, &text, NULL) == 0) {
        int64_t mb = meminfo_mb(buf_str(&text), "MemAvailable");
        bool enough = mb >= (int64_t)need;
        say(d, enough ? FINE : MISSING,
            "%lld MiB of memory are available, a sandbox takes up to %u MiB.", (long long)mb, need);
    }
    buf_deinit(&text);
    struct buf mode = { 0 };
    if (file_read("/proc/sys/vm/overcommit_memory", 16, &mode, NULL) == 0 && buf_len(&mode) > 0 &&
        buf_head(&mode)[0] == '2')
        say(d, NOTE,
            "The kernel promises no more memory than there is (vm.overcommit_memory = 2): fewer "
            "sandboxes fit.");
    buf_deinit(&mode);
}

/* The directory itself, or the nearest one above it that exists. */
static void existing_part(const char *dir, char out[static PATH_MAX])
{
    snprintf(out, PATH_MAX, "%s", dir);
    while (access(out, F_OK) < 0 && strcmp(out, "/") != 0) {
        char *slash = strrchr(out, '/');
        slash[slash == out ? 1 : 0] = '\0';
    }
}

/* Whether a file can be made in it, by making one that has no name. */
static bool can_write(const char *dir)
{
    AUTO_CLOSE int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd >= 0)
        return true;
    return (errno == EOPNOTSUPP || errno == EISDIR) && access(dir, W_OK | X_OK) == 0;
}

static void check_data_dir(struct doctor *d)
{
    char dir[PATH_MAX];
    struct statvfs vfs;
    existing_part(d->config.data_dir, dir);
    if (!can_write(dir)) {
        say(d, MISSING, "%s cannot be written: %s.", dir, strerror(errno));
        return;
    }
    if (statvfs(dir, &vfs) < 0)
        return;
    uint64_t free_mb = (uint64_t)vfs.f_bavail * vfs.f_frsize >> 20;
    say(d, free_mb < RUN_SPACE_MB ? MISSING : (free_mb < IMAGE_SPACE_MB ? NOTE : FINE),
        "%s can be written and has %llu MiB free; building an image takes about %d.",
        d->config.data_dir, (unsigned long long)free_mb, IMAGE_SPACE_MB);
}

/* The template that clients ask for when they name none. */
static bool check_template(struct doctor *d)
{
    char path[PATH_MAX];
    struct db *db;
    struct err err;
    struct store_team team;
    struct store_template t;
    struct store_build build;
    struct image_manifest manifest;
    snprintf(path, sizeof(path), "%s/" DB_FILE, d->config.data_dir);
    if (access(path, F_OK) < 0) {
        say(d, MISSING, "There is no template yet: run sandpit image build.");
        return false;
    }
    if (db_open(&db, d->config.data_dir, &err)) {
        say(d, MISSING, "%s.", err.msg);
        return false;
    }
    int rc = db_team_find(db, NULL, &team, &err);
    if (rc == 0)
        rc = db_template_resolve(db, team.id, "base", &t, &build, &err);
    db_close(db);
    if (rc == 0)
        rc = image_manifest_load(build.dir, &manifest, &err);
    if (rc) {
        say(d, MISSING, "The template base cannot be used: %s. Run sandpit image build.", err.msg);
        return false;
    }
    say(d, FINE, "The template base is there: kernel %s, envd %s.", manifest.kernel_version,
        manifest.envd_version);
    return true;
}

static bool in_path(const char *program)
{
    static const char *const dirs[] = { "/usr/bin", "/usr/sbin",      "/bin",
                                        "/sbin",    "/usr/local/bin", "/usr/local/sbin" };
    char path[PATH_MAX];
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++) {
        snprintf(path, sizeof(path), "%s/%s", dirs[i], program);
        if (access(path, X_OK) == 0)
            return true;
    }
    return false;
}

static void check_tools(struct doctor *d, bool has_template)
{
    static const struct {
        const char *program, *package;
    } tools[] = { { "apt-get", "apt" },      { "dpkg-deb", "dpkg" }, { "mmdebstrap", "mmdebstrap" },
                  { "mke2fs", "e2fsprogs" }, { "tar", "tar" },       { "cp", "coreutils" } };
    unsigned absent = 0;
    for (size_t i = 0; i < ARRAY_LEN(tools); i++) {
        if (in_path(tools[i].program))
            continue;
        absent++;
        say(d, has_template ? NOTE : MISSING,
            "No image can be built: %s is not installed (package %s).", tools[i].program,
            tools[i].package);
    }
    char envd[PATH_MAX];
    struct err err;
    if (image_find_envd(envd, &err)) {
        absent++;
        say(d, has_template ? NOTE : MISSING, "No image can be built: %s.", err.msg);
    }
    if (!absent)
        say(d, FINE, "Everything that building an image takes is installed.");
}

static void check_cgroups(struct doctor *d)
{
    char text[256];
    struct cgroups groups;
    char owner[64]; /* a daemon on the same data directory keeps its own */
    snprintf(owner, sizeof(owner), "doctor %d", (int)getpid());
    const struct cgroups_options options = { .where = d->config.cgroup, .owner = owner };
    cgroups_open(&groups, &options);
    cgroups_text(&groups, text, sizeof(text));
    if (!groups.missing[0])
        say(d, FINE, "Each VM is limited by a control group of its own (%s).", text);
    else if (groups.version)
        say(d, NOTE, "Each VM gets a control group of its own (%s), with %s.", text,
            groups.missing);
    else
        say(d, NOTE, "VMs get no control groups of their own: %s.", groups.missing);
    cgroups_close(&groups);
}

static void on_kept(void *user, const char *text)
{
    say(user, NOTE, "%s", text);
}

static void check_kernel(struct doctor *d)
{
    if (access("/dev/vhost-vsock", R_OK | W_OK) == 0)
        say(d, FINE,
            "/dev/vhost-vsock can be used; guests are reached over virtio-serial all the same.");
    else
        say(d, NOTE, "There is no usable /dev/vhost-vsock; guests are reached over virtio-serial.");
}

static bool port_is_free(const char *host, uint16_t port)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a = { 0 };
    socklen_t size = sizeof(a.v6);
    if (inet_pton(AF_INET6, host, &a.v6.sin6_addr) == 1) {
        a.v6.sin6_family = AF_INET6;
        a.v6.sin6_port = htons(port);
    } else {
        memset(&a, 0, sizeof(a));
        a.v4.sin_family = AF_INET;
        a.v4.sin_port = htons(port);
        inet_pton(AF_INET, host, &a.v4.sin_addr);
        size = sizeof(a.v4);
    }
    AUTO_CLOSE int fd = socket(a.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int on = 1;
    if (fd < 0)
        return false;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    return bind(fd, &a.any, size) == 0 && listen(fd, 1) == 0;
}

static void check_ports(struct doctor *d)
{
    int pid = store_lock_holder(d->config.data_dir);
    if (pid) {
        say(d, FINE, "A daemon runs on %s (pid %d).", d->config.data_dir, pid);
        return;
    }
    const uint16_t ports[] = { d->config.api_port, d->config.proxy_port };
    for (size_t i = 0; i < ARRAY_LEN(ports); i++) {
        if (ports[i] == 0 || port_is_free(d->config.host, ports[i]))
            say(d, FINE, "Port %u on %s is free.", (unsigned)ports[i], d->config.host);
        else
            say(d, MISSING, "Port %u on %s cannot be listened on: %s.", (unsigned)ports[i],
                d->config.host, strerror(errno));
    }
}

static int list_fault_points(void)
{
#ifdef SANDPIT_FAULT_POINTS
    for (const char *const *p = fault_points; *p; p++)
        puts(*p);
#endif
    return CMD_OK;
}

int cmd_doctor(int argc, char **argv)
{
    struct doctor d = { 0 };
    bool faults = false;
    int first;
    const struct option_spec specs[] = {
#ifdef SANDPIT_FAULT_POINTS
        { "fault-points", NULL, &faults },
#endif
        { NULL, NULL, NULL },
    };
    static const char *const settings[] = { "data-dir", "host",      "api-port", "proxy-port",
                                            "accel",    "memory-mb", "cgroup",   NULL };
    int rc =
        options_parse(&d.config, "sandpit doctor", help, argc, argv, specs, settings, 0, &first);
    if (rc >= 0)
        return rc;
    if (faults)
        return list_fault_points();
    log_setup(LOG_LEVEL_ERROR, "sandpit"); /* what there is to say is said in sentences */
    check_user(&d);
    check_vmm(&d);
    check_jail(&d);
    check_memory(&d);
    check_data_dir(&d);
    bool has_template = check_template(&d);
    check_tools(&d, has_template);
    if (has_template)
        doctor_kept(d.config.data_dir, on_kept, &d);
    check_cgroups(&d);
    check_kernel(&d);
    check_ports(&d);
    puts(d.missing ? "\nNo sandbox can be created here yet: see what is MISSING."
                   : "\nA sandbox can be created here.");
    return d.missing ? CMD_FAILED : CMD_OK;
}
