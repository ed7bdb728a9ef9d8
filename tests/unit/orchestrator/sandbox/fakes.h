/*
 * Doubles of what sandbox/ stands on: a VMM whose memory is a mapping of this process, a guest link
 * that answers by itself, a store whose jobs run on the loop's thread, over a real database.
 *
 * Each asynchronous step is an ask with the name of its function (of a call into the guest: of its
 * method). fakes_step() answers one; the ask that `hold` names waits, what `fail` names fails.
 */
#ifndef TESTS_UNIT_ORCHESTRATOR_SANDBOX_FAKES_H
#define TESTS_UNIT_ORCHESTRATOR_SANDBOX_FAKES_H

#include "orchestrator/store/store.h"
#include "orchestrator/vmm/vmm.h"

struct ask {
    struct list node;
    const char *name;
    void *owner; /* whose end takes it back */
    void (*answer)(struct ask *a, const struct err *err);
    union {
        void (*vmm)(struct vmm *v, const struct err *err);
        void (*plain)(void *user, const struct err *err);
        void (*fd)(void *user, int fd, const struct err *err);
        void (*gone)(void *user);
        void (*drained)(void *user, int rc);
        void (*called)(void *user, const ProtobufCMessage *msg, const struct err *err);
    } done;
    void *user;
};

struct vmm {
    struct list node; /* of fakes.vmms */
    const struct vmm_events *events;
    void *user;
    struct vmm_record record;
    struct link_address address;
    char run_dir[PATH_MAX], top[PATH_MAX];
    int top_fd;
    uint8_t *memory;
    size_t size;
    bool running, ended, background;
    int64_t stopped_ns, went_on_ns;
};

struct fakes {
    struct db *db;
    struct list asks, jobs, vmms;
    struct list orphans; /* VMs that were let go, and run on */
    const char *hold, *fail;
    enum err_code fail_code; /* ERR_OK: ERR_INTERNAL */
    size_t links;
    bool silent_command;
    size_t commands_canceled;
    size_t released, swept, boots, starts, replaced;
    unsigned refreshes, configures;
    unsigned syncs;         /* so many were asked to write their file systems out */
    unsigned late;          /* so many answers tell a clock that is behind */
    int64_t slow_ns;        /* answers that tell a clock were told so long ago */
    int64_t stood_still_ns; /* of the last Configure or Refresh */
};
extern struct fakes fakes;

#define FAKE_STORE "store" /* what all jobs of the store are called */
#define FAKE_DRAIN "drain"

void fakes_init(struct db *db);

/* Answer one ask or run one job; false when there is none that does not wait. */
bool fakes_step(void);

/* Whether the ask of this name waits. */
bool fakes_waits(const char *name);

/* The only VM there is. */
struct vmm *fakes_vmm(void);

/* VMs that were let go end too. */
void fakes_end_orphans(void);

/* The VM ends by itself; what it was asked for fails. */
void fakes_end_vmm(struct vmm *v);

/* asks.c, for the other doubles. */
struct ask *ask_new(const char *name, void *owner, void (*answer)(struct ask *, const struct err *),
                    void *user);
void ask_cancel(struct ask *a);
void ask_cancel_all(const void *owner);

#endif
