/*
 * Control groups of the host: a group for each VMM, with limits of memory, processes and CPU time.
 * One seam for version 2, version 1, and hosts that give us none. docs/decisions/host-cgroups.md
 */
#ifndef ORCHESTRATOR_CGROUP_CGROUP_H
#define ORCHESTRATOR_CGROUP_CGROUP_H

#include "common/base/err.h"

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define CGROUP_AUTO "auto" /* where: a group of our own at the top */
#define CGROUP_OFF  "none" /* where: no groups */

#define CGROUP_TAG_SIZE 17
#define CGROUP_DIR_MAX  (PATH_MAX - 320) /* leaves room for a group and a file in it */

enum cgroup_version { CGROUP_NONE, CGROUP_V1, CGROUP_V2 };

enum cgroup_limit { CGROUP_MEMORY, CGROUP_PIDS, CGROUP_CPU, CGROUP_LIMIT_NR };

/* 0 is no limit. */
struct cgroup_limits {
    uint64_t memory_bytes;
    uint64_t swap_bytes; /* beside that memory; needs it */
    unsigned pids;
    unsigned cpu_percent; /* of one CPU */
    unsigned weight;      /* of its share when CPUs are scarce: 100 is what each has by default */
};

/* The place where groups are made. Only this folder looks into `base`. */
struct cgroups {
    enum cgroup_version version;
    bool own; /* the group that all are made in is ours to make and to remove */
    bool can[CGROUP_LIMIT_NR];
    char base[CGROUP_LIMIT_NR][CGROUP_DIR_MAX]; /* the directory; version 2 has one for all */
    char tag[CGROUP_TAG_SIZE];                  /* begins the name of each group of this owner */
    char where[128];                            /* below the top of the hierarchy */
    char missing[512]; /* what cannot be had and why; empty: nothing is missing */
};

struct cgroups_options {
    const char *where; /* CGROUP_AUTO, CGROUP_OFF, or a group's absolute path; it must exist */
    const char *owner; /* a text of its own for each daemon of a host: its data directory */
    const char *root;  /* of /proc and /sys; NULL: the host's */
};

/* Find out what can be had by trying it: a group is made, given limits and a child, and removed.
 * Never fails: what does not work is in `missing`. Blocking; call before serving. */
void cgroups_open(struct cgroups *c, const struct cgroups_options *options);

/* The group of our own at the top goes with its last user: it stays while another owner has it open
 * or there is a group in it. For those that were opened, or all zero. */
void cgroups_close(struct cgroups *c);

/* Such as "version 2, below /sandpit: memory, pids, cpu" or "none". */
void cgroups_text(const struct cgroups *c, char *out, size_t n);

/* The following block for microseconds to milliseconds; any thread. With CGROUP_NONE they do
 * nothing. `name` is [A-Za-z0-9_-]+ and the owner's own. */

/* Make a group with those of the limits that the host can set. On failure there is none. */
int cgroup_create(const struct cgroups *c, const char *name, const struct cgroup_limits *limits,
                  struct err *err);

/* What a child is put into a group by. Its descriptors are close-on-exec. */
struct cgroup_door {
    int dir;                    /* for clone3(); -1: none */
    int files[CGROUP_LIMIT_NR]; /* for the child itself */
    size_t nfiles;
};
#define CGROUP_NO_DOOR                                                                             \
    (struct cgroup_door)                                                                           \
    {                                                                                              \
        .dir = -1                                                                                  \
    }

int cgroup_door_open(const struct cgroups *c, const char *name, struct cgroup_door *out,
                     struct err *err);
void cgroup_door_close(struct cgroup_door *d);

/* fork(). The child is in the group (*inside), or must call cgroup_door_enter() before it has a
 * second thread. To move it from outside would take the kernel milliseconds. Between here and exec
 * the child may make system calls only. */
pid_t cgroup_fork(const struct cgroup_door *d, bool *inside);
int cgroup_door_enter(const struct cgroup_door *d); /* 0 or -1 with errno */

/* Give the group another weight, not 0, where the host has that. 0 or -errno. */
int cgroup_set_weight(const struct cgroups *c, const char *name, unsigned weight);

/* Remove the group, which no process is in any more. A group that is not there is no error. 0 or
 * -errno. */
int cgroup_remove(const struct cgroups *c, const char *name);

/* Whether the kernel killed a process of the group for want of memory, the group's or the host's.
 */
bool cgroup_ran_out_of_memory(const struct cgroups *c, const char *name);

/* Remove the owner's groups that no process is in. Returns how many. */
size_t cgroups_sweep(const struct cgroups *c);

#endif
