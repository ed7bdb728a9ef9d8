#include "common/base/fileio.h"
#include "tests/support/power_cut/record.h"

#include <errno.h>
#include <error.h>
#include <stdio.h>
#include <sys/stat.h>

static int check_view(const struct disk *d, enum disk_view view, const char *scratch, size_t step,
                      int (*check)(void *user, const char *dir, enum disk_view view, size_t step),
                      void *user)
{
    struct err err;
    if (mkdir(scratch, 0700) < 0)
        error(99, errno, "power cut: %s", scratch);
    disk_view_make(d, view, scratch);
    int rc = check(user, scratch, view, step);
    if (file_remove_tree(scratch, &err) < 0)
        error(99, 0, "power cut: %s", err.msg);
    return rc;
}

int recording_check(const struct recording *r, const char *scratch,
                    int (*check)(void *user, const char *dir, enum disk_view view, size_t step),
                    void *user)
{
    struct disk *d = disk_copy(r->start);
    int rc = 0;
    for (size_t step = 0; rc == 0; step++) {
        for (int view = 0; view < DISK_VIEWS && rc == 0; view++)
            rc = check_view(d, (enum disk_view)view, scratch, step, check, user);
        if (step == r->nops)
            break;
        disk_apply(d, &r->ops[step]);
    }
    disk_free(d);
    return rc;
}

void recording_describe(const struct recording *r, size_t step, char *out, size_t n)
{
    static const char *const kinds[] = { "create",   "unlink",      "rename",   "write",
                                         "truncate", "sync begins", "sync ends" };
    if (step >= r->nops) {
        snprintf(out, n, "the end");
        return;
    }
    const struct disk_op *op = &r->ops[step];
    snprintf(out, n, "%s node %d %s %s node %d offset %llu bytes %zu", kinds[op->kind], op->at,
             op->name, op->to_name, op->node, (unsigned long long)op->offset, op->n);
}
