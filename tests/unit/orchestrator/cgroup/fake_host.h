/* A directory that behaves as /sys/fs/cgroup does: groups come with their files, a write replaces
 * a value, a group that has a living process cannot be removed. Linked with --wrap for mkdir,
 * rmdir and write. */
#ifndef TESTS_UNIT_ORCHESTRATOR_CGROUP_FAKE_HOST_H
#define TESTS_UNIT_ORCHESTRATOR_CGROUP_FAKE_HOST_H

#include "orchestrator/cgroup/cgroup.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#define FAKE_V2      "sys/fs/cgroup/unified"
#define FAKE_V1(ctl) "sys/fs/cgroup/" ctl

struct fake_host {
    struct tempdir dir;
    const char *refused; /* part of the path of a file that refuses writes, or of a new group */
    int refused_errno;
    const char *goes; /* once, when a group of such a path is made: the one that it is in */
    bool no_swap;     /* the kernel does not count it */
};

/* The one that the wrapped calls belong to. */
extern struct fake_host fake;

void fake_init(void);
void fake_deinit(void);

/* Mount version 2 with these controllers, such as "cpu io memory pids". */
void fake_add_v2(const char *controllers);
/* Mount a hierarchy of version 1; "cpu,cpuacct" are two in one. */
void fake_add_v1(const char *controllers);
/* A group that is there, such as FAKE_V2 "/a.slice", with these controllers of version 2. */
void fake_add_group(const char *group, const char *controllers);

/* This process comes into the group. */
int fake_enter(const struct cgroups *c, const char *name);

void fake_open(struct cgroups *c, const char *where);

/* Groups in a group. */
size_t fake_count_groups(const char *group);

/* The value of a file of the fake; it must be there. In one static buffer. */
const char *fake_value(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
