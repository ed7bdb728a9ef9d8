/*
 * Starting a program in a jail: an own uid and gid, no capabilities, no_new_privs, an empty network
 * namespace, an own /dev, a file system whose private parts are masked, resource limits, and no
 * descriptors but those it is given. docs/decisions/vmm-jail.md
 */
#ifndef ORCHESTRATOR_VMM_JAIL_H
#define ORCHESTRATOR_VMM_JAIL_H

#include "common/base/err.h"
#include "orchestrator/cgroup/cgroup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Number of the first inherited descriptor in the child. */
#define JAIL_FIRST_FD 3
#define JAIL_MAX_FDS  40

/* What of the jail this host lets us do. */
struct jail_means {
    bool own_uid;  /* switch to another uid and drop every capability */
    bool net_ns;   /* empty network namespace (and IPC, UTS) */
    bool mount_ns; /* own /dev, masked directories */
};

/* Find out by trying each in a child. Blocking, some milliseconds. */
void jail_probe(struct jail_means *means);

/* A sentence about what is missing; empty when nothing is. */
void jail_weakness(const struct jail_means *means, char *out, size_t n);

struct jail_spec {
    const char *program; /* absolute path */
    char *const *argv;
    struct jail_means means; /* all that is true here must succeed */
    uid_t uid;               /* uid and gid when means.own_uid */
    bool kvm;                /* give it /dev/kvm */
    uint64_t max_file_size;  /* RLIMIT_FSIZE */
    const int *fds;          /* become JAIL_FIRST_FD and following */
    size_t nfds;
    int log_fd;                     /* standard output and error */
    const struct cgroup_door *door; /* into its control group; NULL: the parent's */

    /* Called in the parent when the process exists but runs no program yet; when it fails, or when
     * the parent dies before it returned, the program is never run. May be NULL. */
    int (*on_forked)(void *user, pid_t pid, uint64_t start_ticks, struct err *err);
    void *user;
};

struct jail_child {
    pid_t pid;
    int pidfd; /* owned by the caller */
    uint64_t start_ticks;
};

/* Start it. Returns when the program was executed, or with the step that failed; then nothing is
 * left of the child. Blocking (milliseconds); any thread. */
int jail_spawn(struct jail_child *out, const struct jail_spec *spec, struct err *err);

/* A descriptor of a new bounded log for log_fd: it holds the first `size` bytes written to it,
 * writes beyond fail. -errno when it cannot be made. */
int jail_log_new(size_t size);

/* What the log holds so far, as text without its last line end. Returns its length. */
size_t jail_log_read(int fd, char *out, size_t n);

#endif
