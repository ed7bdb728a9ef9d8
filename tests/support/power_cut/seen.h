/* From system calls of traced threads to operations on a disk. */
#ifndef TESTS_SUPPORT_POWER_CUT_SEEN_H
#define TESTS_SUPPORT_POWER_CUT_SEEN_H

#include "tests/support/power_cut/record.h"

#include <sys/types.h>

#define SEEN_CALLS_MAX 40

/* Numbers of the system calls that matter, up to -1. */
extern const int seen_calls[SEEN_CALLS_MAX];

struct seen_call {
    pid_t tid;
    long nr, result;
    unsigned long long args[5];
};

struct seen_inode {
    dev_t dev;
    ino_t ino;
    int node;
};

struct seen {
    struct disk *start, *now;
    struct disk_op *ops;
    size_t nops;
    struct seen_inode *inodes;
    size_t ninodes;
    uint64_t syncs;
    struct {
        pid_t tid;
        uint64_t id; /* 0: none */
    } syncing[256];
};

void seen_init(struct seen *s, const char *root);
void seen_enter(struct seen *s, const struct seen_call *c);
void seen_leave(struct seen *s, const struct seen_call *c);

/* Hand what was seen over. */
void seen_finish(struct seen *s, struct recording *r);

#endif
