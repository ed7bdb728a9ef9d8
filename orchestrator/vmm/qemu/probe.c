#include "orchestrator/vmm/qemu/probe.h"

#include "common/base/cleanup.h"
#include "orchestrator/vmm/process.h"
#include "orchestrator/vmm/qemu/args.h"
#include "orchestrator/vmm/qemu/board.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>

#define PROGRAM    "qemu-system-x86_64"
#define OUTPUT_MAX 65536
#define PROBE_UID  65534   /* nobody; runs only code of ours */
#define DISK_SIZE  1048576 /* firmware boots no disk without a whole cylinder */
#define FILE_MAX   (64 << 20)
#define REAP_MS    5000

static bool is_program(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

int probe_program(char out[static PATH_MAX], struct err *err)
{
    static const char also[] = "/usr/bin:/usr/local/bin:/usr/libexec";
    const char *const lists[] = { getenv("PATH"), also };
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        struct str rest = str_of(lists[i]);
        while (rest.p) {
            struct str dir = str_split(&rest, ':');
            if (dir.n == 0 || dir.p[0] != '/')
                continue;
            int n = snprintf(out, PATH_MAX, "%.*s/%s", STR_ARG(dir), PROGRAM);
            if (n < PATH_MAX && is_program(out))
                return 0;
        }
    }
    return err_set(err, ERR_PRECONDITION, ENOENT,
                   "%s was not found: install the package qemu-system-x86", PROGRAM);
}

struct run {
    struct process_exit how;
    bool in_time;
    char output[OUTPUT_MAX];
};

/* Run a command in a jail to its end or its deadline. 0 when it ran at all. */
static int run(struct run *r, const struct jail_means *means, char *const *argv, bool kvm,
               const int *fds, size_t nfds, unsigned timeout_ms, struct err *err)
{
    AUTO_CLOSE int log = jail_log_new(OUTPUT_MAX);
    if (log < 0)
        return err_set(err, ERR_INTERNAL, -log, "cannot make a log in memory: %s", strerror(-log));
    struct jail_spec spec = { .program = argv[0],
                              .argv = argv,
                              .means = *means,
                              .uid = PROBE_UID,
                              .kvm = kvm,
                              .max_file_size = FILE_MAX,
                              .fds = fds,
                              .nfds = nfds,
                              .log_fd = log };
    struct jail_child child;
    int rc = jail_spawn(&child, &spec, err);
    if (rc < 0)
        return rc;
    AUTO_CLOSE int pidfd = child.pidfd;
    r->in_time = process_wait(pidfd, timeout_ms, &r->how) == 0;
    if (!r->in_time && process_end(pidfd, REAP_MS, &r->how) < 0)
        return err_set(err, ERR_INTERNAL, ETIMEDOUT, "process %d cannot be ended", (int)child.pid);
    jail_log_read(log, r->output, sizeof(r->output));
    return 0;
}

/* Ask the program something and take its standard output. */
static int query(const char *program, const struct jail_means *means, const char *option,
                 const char *value, struct run *r, struct err *err)
{
    char *argv[] = { (char *)(uintptr_t)program, (char *)(uintptr_t)option,
                     (char *)(uintptr_t)value, NULL };
    int rc = run(r, means, argv, false, NULL, 0, PROBE_QUERY_DEADLINE_MS, err);
    if (rc < 0)
        return rc;
    if (!r->in_time)
        return err_set(err, ERR_PRECONDITION, ETIMEDOUT, "%s %s did not end within %d s", program,
                       option, PROBE_QUERY_DEADLINE_MS / 1000);
    if (r->how.signaled || r->how.number != 0) {
        char how[80];
        process_exit_text(&r->how, how, sizeof(how));
        return err_set(err, ERR_PRECONDITION, EIO, "%s %s %s: %.120s", program, option, how,
                       r->output);
    }
    return 0;
}

int probe_version(const char *program, const struct jail_means *means, char *out, size_t n,
                  struct err *err)
{
    AUTO_FREE struct run *r = calloc(1, sizeof(*r));
    if (!r)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    int rc = query(program, means, "--version", NULL, r, err);
    if (rc < 0)
        return rc;
    static const char name[] = "QEMU emulator version ";
    struct str rest = str_of(r->output);
    struct str line = str_split(&rest, '\n');
    if (!str_starts(line, STR(name)))
        return err_set(err, ERR_PRECONDITION, EPROTO, "%s does not say what version it is",
                       program);
    snprintf(out, n, "QEMU %.*s", STR_ARG(str_from(line, sizeof(name) - 1)));
    return 0;
}

static bool offers(struct str help, const char *machine)
{
    while (help.p) {
        struct str line = str_split(&help, '\n');
        if (str_eq(str_split(&line, ' '), str_of(machine)))
            return true;
    }
    return false;
}

static const char *first_offered(struct str help, const struct qemu_board *board)
{
    for (size_t i = 0; board->types[i]; i++)
        if (offers(help, board->types[i]))
            return board->types[i];
    return NULL;
}

int probe_machines(const char *program, const struct jail_means *means,
                   const char *machines[static VMM_BOARD_NR], struct err *err)
{
    AUTO_FREE struct run *r = calloc(1, sizeof(*r));
    if (!r)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    int rc = query(program, means, "-machine", "help", r, err);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < VMM_BOARD_NR; i++)
        machines[i] = first_offered(str_of(r->output), &qemu_boards[i]);
    if (machines[VMM_BOARD_PC])
        return 0;
    return err_set(err, ERR_PRECONDITION, ENOTSUP,
                   "%s has none of the machine types that are supported (the first is %s)", program,
                   qemu_boards[VMM_BOARD_PC].types[0]);
}

unsigned probe_kvm_deadline_ms(int64_t query_ns)
{
    return PROBE_KVM_DEADLINE_MS + (unsigned)(query_ns / 1000000) * PROBE_KVM_QUERIES_LONG;
}

/* The boot disk in memory. */
static int make_disk(void)
{
    AUTO_CLOSE int fd = memfd_create("probe-disk", MFD_CLOEXEC);
    if (fd < 0 || ftruncate(fd, DISK_SIZE) < 0)
        return -errno;
    if (pwrite(fd, probe_sector, PROBE_SECTOR_SIZE, 0) != PROBE_SECTOR_SIZE)
        return -EIO;
    return TAKE_FD(fd);
}

/* Why a KVM device that is there cannot be opened; 0 when it can, or when the jail makes its own.
 */
static int check_kvm_node(struct err *err)
{
    AUTO_CLOSE int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_PRECONDITION, errno, "/dev/kvm cannot be opened: %s",
                       strerror(errno));
    return 0;
}

static int judge(const struct run *r, bool kvm, unsigned timeout_ms, struct err *err)
{
    const char *what = kvm ? "KVM" : "emulation";
    char how[80];
    if (!r->in_time)
        return err_set(err, ERR_PRECONDITION, ETIMEDOUT,
                       "a small test guest did not finish under %s within %u s", what,
                       timeout_ms / 1000);
    if (!r->how.signaled && r->how.number == PROBE_EXIT_CODE)
        return 0;
    process_exit_text(&r->how, how, sizeof(how));
    struct str words = str_of(r->output), first = str_split(&words, '\n');
    return err_set(err, ERR_PRECONDITION, EIO,
                   "a small test guest does not run under %s: QEMU %s: %.*s", what, how,
                   (int)(first.n < 100 ? first.n : 100), first.p);
}

int probe_guest_run(const char *program, const char *machine, const struct jail_means *means,
                    bool kvm, unsigned timeout_ms, struct err *err)
{
    int rc = kvm ? check_kvm_node(err) : 0;
    if (rc < 0)
        return rc;
    AUTO_CLOSE int disk = make_disk();
    if (disk < 0)
        return err_set(err, ERR_INTERNAL, -disk, "cannot make a disk in memory: %s",
                       strerror(-disk));
    AUTO_FREE struct run *r = calloc(1, sizeof(*r));
    if (!r)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");

    struct qemu_machine m = { .program = program, .machine = machine, .kvm = kvm };
    struct qemu_args a = { 0 };
    qemu_args_base(&a, &m);
    qemu_args_add(&a, "-M");
    qemu_args_add(&a, "%s,%s", machine, qemu_boards[VMM_BOARD_PC].options);
    qemu_args_add(&a, "-m");
    qemu_args_add(&a, "32");
    qemu_args_add(&a, "-no-reboot");
    qemu_args_add(&a, "-blockdev");
    qemu_args_add(&a, "driver=file,node-name=f,filename=/proc/self/fd/%d", JAIL_FIRST_FD);
    qemu_args_add(&a, "-blockdev");
    qemu_args_add(&a, "driver=raw,node-name=d,file=f");
    qemu_args_add(&a, "-device");
    qemu_args_add(&a, "virtio-blk-pci,drive=d,addr=0x03,disable-legacy=on");
    qemu_args_add(&a, "-device");
    qemu_args_add(&a, "isa-debug-exit,iobase=%#x,iosize=1", PROBE_EXIT_PORT);
    if (a.failed)
        rc = err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    if (rc == 0)
        rc = run(r, means, a.argv, kvm, &disk, 1, timeout_ms, err);
    qemu_args_deinit(&a);
    return rc < 0 ? rc : judge(r, kvm, timeout_ms, err);
}
