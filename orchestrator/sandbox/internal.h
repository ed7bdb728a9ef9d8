/* What the files of this folder share. */
#ifndef ORCHESTRATOR_SANDBOX_INTERNAL_H
#define ORCHESTRATOR_SANDBOX_INTERNAL_H

#include "common/base/cleanup.h"
#include "common/base/map.h"
#include "orchestrator/sandbox/events.h"
#include "orchestrator/sandbox/host.h"
#include "orchestrator/store/ids.h"
#include "orchestrator/store/store.h"
#include "orchestrator/vmm/vmm.h"

/* Sandboxes, and so VMM uids, of one daemon at most. */
#define SANDBOX_SLOTS 1024

struct sandbox_host {
    uv_loop_t *loop;
    struct defer_queue *defer;
    const struct config *config;
    struct store *store;
    struct vmm_driver *driver;
    struct map by_id;    /* every sandbox, in whatever state */
    struct list running; /* by sandbox.node */
    struct list killing; /* kill operations */
    struct list creating;
    bool slots[SANDBOX_SLOTS]; /* in use; slot n owns uid config->uid_base + n */
    uv_timer_t expiry;
    bool recovering, stopping, kill_all, timer_closed;
    bool draining; /* no new sandboxes until the operator says so */
    struct event_log events;
    void (*on_stopped)(void *user);
    void *stop_user;
    struct deferred stop_check;
};

/* Everything of one sandbox that only this folder needs. */
struct sandbox_own {
    struct sandbox sb; /* what others see */
    int slot;          /* -1: none */
    char run_dir[PATH_MAX];
    char build_id[ID_UUID_SIZE];
    uint8_t link_secret[LINK_SECRET_SIZE];
    struct create *create;   /* under way, or NULL */
    struct kill *kill;       /* under way, or NULL */
    struct recover *recover; /* adopting, or NULL */
    char end_reason[32];
    char end_detail[256];
};

static inline struct sandbox_own *own_of(struct sandbox *sb)
{
    return container_of(sb, struct sandbox_own, sb);
}

/* host.c */
struct sandbox_own *sandbox_alloc(struct sandbox_host *h, const char *id);
void sandbox_running(struct sandbox *sb); /* list it, arm the expiry */
int slot_take(struct sandbox_host *h, int wanted);
uid_t slot_uid(const struct sandbox_host *h, int slot);
void sandbox_host_check_stop(struct sandbox_host *h);
void sandbox_fill_config(const struct sandbox_own *own, struct vmm_config *config);
void sandbox_save(struct sandbox_own *own, const char *state,
                  void (*done)(void *user, const struct err *err), void *user);
void sandbox_make_tokens(struct sandbox *sb, bool allow_public_traffic);
extern const struct vmm_events sandbox_vmm_events;
extern const struct guest_link_events sandbox_link_events;

/* expiry.c */
void expiry_init(struct sandbox_host *h);
void expiry_rearm(struct sandbox_host *h);

/* kill.c: end a sandbox that was listed or created; done may be NULL. */
void sandbox_end(struct sandbox *sb, const char *reason, const char *detail,
                 void (*done)(void *user, bool found), void *user);

/* create.c */
void create_cancel_all(struct sandbox_host *h);
void create_vm_ended(struct create *op, const char *detail);

#endif
