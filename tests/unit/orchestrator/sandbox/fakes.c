/* Asks, and the doubles of store and image. */
#include "tests/unit/orchestrator/sandbox/fakes.h"

#include "common/base/cleanup.h"
#include "orchestrator/image/image.h"

#include <stdio.h>

struct fakes fakes;

void fakes_init(struct db *db)
{
    fakes = (struct fakes){ .db = db };
    list_init(&fakes.asks);
    list_init(&fakes.jobs);
    list_init(&fakes.vmms);
    list_init(&fakes.orphans);
}

struct ask *ask_new(const char *name, void *owner, void (*answer)(struct ask *, const struct err *),
                    void *user)
{
    struct ask *a = calloc(1, sizeof(*a));
    if (!a)
        abort();
    a->name = name;
    a->owner = owner;
    a->answer = answer;
    a->user = user;
    list_push_back(&fakes.asks, &a->node);
    return a;
}

void ask_cancel(struct ask *a)
{
    list_remove(&a->node);
    free(a);
}

void ask_cancel_all(const void *owner)
{
    list_for_each_safe (node, &fakes.asks) {
        struct ask *a = container_of(node, struct ask, node);
        if (a->owner == owner)
            ask_cancel(a);
    }
}

static bool is(const char *wanted, const char *name)
{
    return wanted && strcmp(wanted, name) == 0;
}

static bool step_store(void)
{
    if (list_empty(&fakes.jobs) || is(fakes.hold, FAKE_STORE))
        return false;
    struct store_job *job = container_of(fakes.jobs.next, struct store_job, node);
    list_remove(&job->node);
    job->work(job, fakes.db);
    if (job->clean)
        job->clean(job);
    job->done(job);
    return true;
}

bool fakes_step(void)
{
    struct err err;
    list_for_each (node, &fakes.asks) {
        struct ask *a = container_of(node, struct ask, node);
        if (is(fakes.hold, a->name))
            continue;
        err_fill(&err, fakes.fail_code ? fakes.fail_code : ERR_INTERNAL, "%s failed", a->name);
        list_remove(&a->node);
        a->answer(a, is(fakes.fail, a->name) ? &err : NULL);
        free(a);
        return true;
    }
    return step_store();
}

bool fakes_waits(const char *name)
{
    if (strcmp(name, FAKE_STORE) == 0)
        return !list_empty(&fakes.jobs);
    list_for_each (node, &fakes.asks)
        if (is(name, container_of(node, struct ask, node)->name))
            return true;
    return false;
}

void store_run(struct store *s, struct store_job *job)
{
    (void)s;
    list_push_back(&fakes.jobs, &job->node);
}

const uint8_t *store_secret(const struct store *s)
{
    static const uint8_t secret[STORE_SECRET_SIZE] = { 1 };
    (void)s;
    return secret;
}

int image_manifest_load(const char *dir, struct image_manifest *out, struct err *err)
{
    (void)dir;
    (void)err;
    *out = (struct image_manifest){ .disk_mb = 1, .cmdline = "quiet" };
    memset(out->kernel.sha256, 'a', sizeof(out->kernel.sha256) - 1);
    return 0;
}

enum vmm_board image_kernel_board(enum image_kernel kernel)
{
    (void)kernel;
    return VMM_BOARD_PC;
}

void image_boot_files(const char *dir, const struct image_manifest *m, struct vmm_template *out,
                      char rootfs[static PATH_MAX])
{
    rootfs[0] = '\0';
    (void)dir;
    *out = (struct vmm_template){ .kernel = "" };
    snprintf(out->cmdline, sizeof(out->cmdline), "%s", m->cmdline);
}
