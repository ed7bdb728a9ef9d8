/* The double of the VMM. Its memory is a private mapping of the memfd it is given, as a real one's
 * is, so that snapshots of it are real ones. */
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/fileio.h"
#include "tests/unit/orchestrator/sandbox/fakes.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

static const char state_text[] = "state of the devices";

struct vmm *fakes_vmm(void)
{
    return list_empty(&fakes.vmms) ? NULL : container_of(fakes.vmms.next, struct vmm, node);
}

static struct vmm *vmm_new(const struct vmm_config *config, const struct vmm_events *events,
                           void *user)
{
    struct vmm *v = calloc(1, sizeof(*v));
    if (!v)
        abort();
    v->events = events;
    v->user = user;
    v->top_fd = -1;
    v->record.pid = getpid();
    v->record.start_ticks = 1;
    snprintf(v->run_dir, sizeof(v->run_dir), "%s", config->run_dir);
    snprintf(v->top, sizeof(v->top), "%s", config->disk.top ? config->disk.top : "");
    v->size = (size_t)config->memory_mb << 20;
    int fd = config->memory_fd;
    if (fd < 0) {
        fd = memfd_create("zeros", MFD_CLOEXEC);
        if (fd < 0 || ftruncate(fd, (off_t)v->size) < 0)
            abort();
    }
    v->memory = mmap(NULL, v->size, PROT_READ | PROT_WRITE, MAP_PRIVATE, fd, 0);
    if (v->memory == MAP_FAILED)
        abort();
    if (fd != config->memory_fd)
        close(fd);
    v->background = config->background;
    list_push_back(&fakes.vmms, &v->node);
    return v;
}

void vmm_set_background(struct vmm *v, bool background)
{
    v->background = background;
}

static void vmm_free(struct vmm *v)
{
    ask_cancel_all(v);
    if (v->top_fd >= 0)
        close(v->top_fd);
    munmap(v->memory, v->size);
    list_remove(&v->node);
    free(v);
}

static void open_top(struct vmm *v)
{
    v->top_fd = open(v->top, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (v->top_fd < 0)
        abort();
}

static void answer_start(struct ask *a, const struct err *err)
{
    struct vmm *v = a->owner;
    if (!err && v->top[0])
        open_top(v);
    v->running = strcmp(a->name, "vmm_boot") == 0;
    a->done.vmm(v, err);
    if (err) {
        file_remove_tree(v->run_dir, NULL);
        vmm_free(v);
    }
}

static struct vmm *start(const char *name, const struct vmm_config *config,
                         const struct vmm_events *events, void *user,
                         void (*done)(struct vmm *v, const struct err *err))
{
    struct vmm *v = vmm_new(config, events, user);
    ask_new(name, v, answer_start, NULL)->done.vmm = done;
    return v;
}

struct vmm *vmm_boot(struct vmm_driver *d, const struct vmm_config *config,
                     const struct vmm_events *events, void *user,
                     void (*done)(struct vmm *v, const struct err *err))
{
    (void)d;
    fakes.boots++;
    return start("vmm_boot", config, events, user, done);
}

struct vmm *vmm_start(struct vmm_driver *d, const struct vmm_config *config,
                      const struct vmm_events *events, void *user,
                      void (*done)(struct vmm *v, const struct err *err))
{
    (void)d;
    fakes.starts++;
    return start("vmm_start", config, events, user, done);
}

static struct vmm *orphan_of(const char *run_dir)
{
    list_for_each (node, &fakes.orphans) {
        struct vmm *v = container_of(node, struct vmm, node);
        if (strcmp(v->run_dir, run_dir) == 0)
            return v;
    }
    return NULL;
}

static void answer_adopt(struct ask *a, const struct err *err)
{
    struct vmm *v = a->owner;
    struct err gone;
    err_fill(&gone, ERR_NOT_FOUND, "vmm_adopt: there is no such process");
    if (!err && v->ended)
        err = &gone;
    a->done.vmm(v, err);
    if (err)
        vmm_free(v);
}

struct vmm *vmm_adopt(struct vmm_driver *d, const struct vmm_config *config,
                      const struct vmm_record *record, const struct vmm_events *events, void *user,
                      void (*done)(struct vmm *v, const struct err *err))
{
    (void)d;
    (void)record;
    struct vmm *v = orphan_of(config->run_dir);
    if (v) {
        list_remove(&v->node);
        list_push_back(&fakes.vmms, &v->node);
        v->events = events;
        v->user = user;
        snprintf(v->top, sizeof(v->top), "%s", config->disk.top ? config->disk.top : "");
    } else {
        v = vmm_new(config, events, user);
        v->ended = true;
    }
    ask_new("vmm_adopt", v, answer_adopt, NULL)->done.vmm = done;
    return v;
}

static void answer_plain(struct ask *a, const struct err *err)
{
    struct vmm *v = a->owner;
    if (!err && strcmp(a->name, "vmm_pause") == 0) {
        v->running = false;
        v->stopped_ns = clock_wall_ns();
    }
    if (!err && strcmp(a->name, "vmm_resume") == 0) {
        v->running = true;
        v->went_on_ns = clock_wall_ns();
    }
    a->done.plain(a->user, err);
}

static void ask_plain(const char *name, struct vmm *v,
                      void (*done)(void *user, const struct err *err), void *user)
{
    ask_new(name, v, answer_plain, user)->done.plain = done;
}

int64_t vmm_stopped_ns(const struct vmm *v)
{
    return v->stopped_ns;
}

int64_t vmm_went_on_ns(const struct vmm *v)
{
    return v->went_on_ns;
}

void vmm_pause(struct vmm *v, void (*done)(void *user, const struct err *err), void *user)
{
    ask_plain("vmm_pause", v, done, user);
}

void vmm_resume(struct vmm *v, void (*done)(void *user, const struct err *err), void *user)
{
    ask_plain("vmm_resume", v, done, user);
}

void vmm_load(struct vmm *v, int state_fd, void (*done)(void *user, const struct err *err),
              void *user)
{
    char text[sizeof(state_text)] = "";
    if (pread(state_fd, text, sizeof(text), 0) < 0 || strcmp(text, state_text) != 0)
        abort(); /* what vmm_save() gave */
    ask_plain("vmm_load", v, done, user);
}

static void answer_save(struct ask *a, const struct err *err)
{
    int fd = -1;
    if (!err) {
        fd = memfd_create("state", MFD_CLOEXEC);
        if (write(fd, state_text, sizeof(state_text)) < 0)
            abort();
    }
    a->done.fd(a->user, fd, err);
}

void vmm_save(struct vmm *v, void (*done)(void *user, int state_fd, const struct err *err),
              void *user)
{
    ask_new("vmm_save", v, answer_save, user)->done.fd = done;
}

static void answer_switch(struct ask *a, const struct err *err)
{
    struct vmm *v = a->owner;
    if (!err) {
        close(v->top_fd);
        open_top(v);
    }
    a->done.plain(a->user, err);
}

void vmm_switch_disk(struct vmm *v, const char *new_top,
                     void (*done)(void *user, const struct err *err), void *user)
{
    if (access(new_top, F_OK) == 0 || !v->top[0])
        abort(); /* the caller's mistake */
    snprintf(v->top, sizeof(v->top), "%s", new_top);
    ask_new("vmm_switch_disk", v, answer_switch, user)->done.plain = done;
}

void vmm_replace_disk(struct vmm *v, const struct vmm_disk *disk,
                      void (*done)(void *user, const struct err *err), void *user)
{
    if (v->running || !disk->top)
        abort(); /* the caller's mistake */
    fakes.replaced++;
    snprintf(v->top, sizeof(v->top), "%s", disk->top);
    ask_new("vmm_replace_disk", v, answer_switch, user)->done.plain = done;
}

/* Its own layer alone: no chain here is long enough for a merge. */
const struct vmm_disk *vmm_disk(const struct vmm *v)
{
    static const struct vmm_disk disk = { .nlayers = 1 };
    (void)v;
    return &disk;
}

void vmm_merge_disk(struct vmm *v, size_t keep, void (*done)(void *user, const struct err *err),
                    void *user)
{
    (void)v;
    (void)keep;
    (void)done;
    (void)user;
    abort();
}

int vmm_memory(const struct vmm *v, struct vmm_memory *out, struct err *err)
{
    if (v->ended)
        return err_set(err, ERR_PRECONDITION, ESRCH, "the VM is not running");
    *out = (struct vmm_memory){ getpid(), (uintptr_t)v->memory, v->size };
    return 0;
}

static void answer_destroy(struct ask *a, const struct err *err)
{
    (void)err;
    a->done.gone(a->user);
}

void vmm_destroy(struct vmm *v, void (*done)(void *user), void *user)
{
    file_remove_tree(v->run_dir, NULL);
    vmm_free(v);
    ask_new("vmm_destroy", NULL, answer_destroy, user)->done.gone = done;
}

void vmm_release(struct vmm *v)
{
    fakes.released++;
    ask_cancel_all(v);
    list_remove(&v->node);
    list_push_back(&fakes.orphans, &v->node);
}

void vmm_driver_tidy(const struct vmm_driver *d)
{
    (void)d;
}

void vmm_sweep(const char *run_dir, const struct vmm_record *record)
{
    (void)record;
    fakes.swept++;
    if (orphan_of(run_dir))
        vmm_free(orphan_of(run_dir));
    file_remove_tree(run_dir, NULL);
}

void fakes_end_orphans(void)
{
    list_for_each_safe (node, &fakes.orphans)
        vmm_free(container_of(node, struct vmm, node));
}

void fakes_end_vmm(struct vmm *v)
{
    struct err err;
    err_fill(&err, ERR_UNAVAILABLE, "QEMU ended");
    v->ended = true;
    list_for_each_safe (node, &fakes.asks) {
        struct ask *a = container_of(node, struct ask, node);
        if (a->owner != v)
            continue;
        list_remove(&a->node);
        a->answer(a, &err);
        free(a);
    }
    v->events->on_end(v, VMM_END_SHUTDOWN, "the guest powered off");
}

void *vmm_user(const struct vmm *v)
{
    return v->user;
}

void vmm_set_user(struct vmm *v, void *user)
{
    v->user = user;
}

const struct vmm_record *vmm_record(const struct vmm *v)
{
    return &v->record;
}

const struct link_address *vmm_link_address(const struct vmm *v)
{
    return &v->address;
}

const struct vmm_host *vmm_driver_host(const struct vmm_driver *d)
{
    static const struct vmm_host host = {
        .accelerator = "tcg", .version = "7.2", .machine = { "pc" }, .cpu = "max"
    };
    (void)d;
    return &host;
}

const struct vmm_host *vmm_host_of(const struct vmm *v)
{
    (void)v;
    return vmm_driver_host(NULL);
}

const char *vmm_devices_text(const struct vmm_driver *d, enum vmm_board board)
{
    (void)d;
    (void)board;
    return "a disk, a port";
}

const char *vmm_end_name(enum vmm_end end)
{
    return end == VMM_END_SHUTDOWN ? "shutdown" : "other";
}

size_t vmm_console_tail(const struct vmm *v, char *out, size_t n)
{
    (void)v;
    (void)out;
    (void)n;
    return 0;
}
