#include "common/base/fileio.h"
#include "tests/support/power_cut/record.h"

#include <errno.h>
#include <error.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

/* The digests of the views that were looked at. */
struct looked {
    uint64_t *items;
    size_t n;
};

static bool is_new(struct looked *l, uint64_t digest)
{
    for (size_t i = 0; i < l->n; i++)
        if (l->items[i] == digest)
            return false;
    l->items = reallocarray(l->items, l->n + 1, sizeof(*l->items));
    if (!l->items)
        error(99, ENOMEM, "power cut");
    l->items[l->n++] = digest;
    return true;
}

/* The operation that makes the name in the root; without one the end, or the error. */
static size_t find_mark(const struct recording *r, const char *name)
{
    for (size_t i = 0; i < r->nops; i++)
        if (r->ops[i].kind == DISK_CREATE && r->ops[i].at == 0 && strcmp(r->ops[i].name, name) == 0)
            return i;
    error(99, 0, "power cut: the program made no %s", name);
    return 0;
}

static bool is_picked(const struct recording *r, const struct recording_pick *pick, size_t step,
                      size_t *writes)
{
    if (step < pick->first)
        return false;
    if (step == pick->first || step == pick->last || r->ops[step - 1].kind != DISK_WRITE)
        return true;
    return ++*writes % (pick->writes ? pick->writes : 1) == 0;
}

int recording_check(const struct recording *r, struct recording_pick *pick, const char *scratch,
                    int (*check)(void *user, const char *dir, enum disk_view view, size_t step),
                    void *user)
{
    struct recording_pick all = { 0 };
    struct looked looked = { 0 };
    struct disk *d = disk_copy(r->start);
    size_t writes = 0;
    int rc = 0;
    pick = pick ? pick : &all;
    pick->first = pick->from ? find_mark(r, pick->from) + 1 : 0;
    pick->last = pick->until ? find_mark(r, pick->until) : r->nops;
    for (size_t step = 0; rc == 0; step++) {
        bool picked = is_picked(r, pick, step, &writes);
        for (int view = 0; picked && view < DISK_VIEWS && rc == 0; view++)
            if (is_new(&looked, disk_view_digest(d, (enum disk_view)view)))
                rc = check_view(d, (enum disk_view)view, scratch, step, check, user);
        if (step == pick->last)
            break;
        disk_apply(d, &r->ops[step]);
    }
    pick->looks = looked.n;
    free(looked.items);
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
