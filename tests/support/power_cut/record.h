/*
 * What a program, its threads and its children do to the files below a directory, by ptrace: every
 * system call that makes, names, writes or syncs a file. Writing through a shared mapping, through
 * io_uring or by another program is not seen.
 */
#ifndef TESTS_SUPPORT_POWER_CUT_RECORD_H
#define TESTS_SUPPORT_POWER_CUT_RECORD_H

#include "tests/support/power_cut/disk.h"

/* Files of more bytes that are there at the start must not be written. */
#define RECORD_FILE_MAX (64 << 20)

struct recording {
    struct disk *start; /* what was there before */
    struct disk_op *ops;
    size_t nops;
    int status; /* of the program, as waitpid() tells it */
};

/* Run main(user) in a child, whose exit status is what main returns, until it and everything it
 * started have ended. false, with a reason on stderr, when this host lets nobody trace. */
bool record(struct recording *r, const char *root, int (*main)(void *user), void *user);
void recording_free(struct recording *r);

/* Which moments are looked at. */
struct recording_pick {
    const char *from, *until; /* names that appear in the root: after the one, before the other */
    size_t writes;            /* of the moments after a write each so many-th; 0: each */
    size_t first, last;       /* told: steps of the recording */
    size_t looks;             /* told: so many views were different */
};

/* Call check(user, dir, view, step) for each view after each number of operations from 0 to all, or
 * as `pick` has it, but for views that are as one before; `scratch` is made and removed each time.
 * Stops at the first failure and returns its value. */
int recording_check(const struct recording *r, struct recording_pick *pick, const char *scratch,
                    int (*check)(void *user, const char *dir, enum disk_view view, size_t step),
                    void *user);

/* One operation as text, for people. */
void recording_describe(const struct recording *r, size_t step, char *out, size_t n);

#endif
