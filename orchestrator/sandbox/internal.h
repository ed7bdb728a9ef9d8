/* What the files of this folder share. */
#ifndef ORCHESTRATOR_SANDBOX_INTERNAL_H
#define ORCHESTRATOR_SANDBOX_INTERNAL_H

#include "common/base/cleanup.h"
#include "common/base/map.h"
#include "orchestrator/sandbox/events.h"
#include "orchestrator/sandbox/host.h"
#include "orchestrator/sandbox/metrics.h"
#include "orchestrator/sandbox/source.h"
#include "orchestrator/sandbox/turns.h"
#include "orchestrator/store/ids.h"
#include "orchestrator/store/store.h"
#include "orchestrator/vmm/vmm.h"

/* Running sandboxes and spares, and so VMM uids, of one daemon at most. */
#define SANDBOX_SLOTS 1024

/* What creates name when they name nothing else. */
#define SANDBOX_DEFAULT_TEMPLATE "base"

struct pool;

/* See pool.c. */
#define SPARE_COMMAND_MS 10000

struct sandbox_host {
    uv_loop_t *loop;
    struct defer_queue *defer;
    const struct config *config;
    struct store *store;
    struct vmm_driver *driver;
    struct map by_id;       /* every sandbox, in whatever state */
    struct list running;    /* by sandbox.node */
    struct list paused;     /* by sandbox.node; pausing and resuming ones too */
    struct list killing;    /* kill operations */
    struct list creating;   /* create operations */
    struct turns turns;     /* of creates that do more than claim a hot spare */
    size_t busy;            /* other changes under way */
    size_t forks;           /* under way */
    bool collect_wanted;    /* layers may be left that nothing stands on */
    struct list bases;      /* struct base_memory */
    struct list base_loads; /* images whose memory is being loaded */
    struct pool *pool;
    unsigned spare_command_ms; /* for the program that a spare runs to end */
    bool slots[SANDBOX_SLOTS]; /* in use; slot n owns uid config->uid_base + n */
    uv_timer_t expiry;
    bool recovering, stopping, kill_all;
    bool draining; /* no new sandboxes until the operator says so */
    struct event_log events;
    struct sandbox_metrics metrics;
    struct list watchers; /* struct sandbox_watcher */
    void (*on_stopped)(void *user);
    void *stop_user;
    struct deferred stop_check;
};

/* A change of a sandbox that others must wait for. */
enum sandbox_transition {
    TRANSITION_NONE,
    TRANSITION_PAUSE,
    TRANSITION_RESUME,
    TRANSITION_SNAPSHOT,
};

/* Everything of one sandbox that only this folder needs. */
struct sandbox_own {
    struct sandbox sb;           /* what others see */
    int slot;                    /* -1: none */
    char run_dir[PATH_MAX];      /* its VMM's: named after it, or after the spare that started it */
    char build_id[ID_UUID_SIZE]; /* what it was made from: an image or a snapshot */
    char base_build_id[ID_UUID_SIZE];  /* the image whose memory its own stands on; empty: zeros */
    char image_build_id[ID_UUID_SIZE]; /* the image under its disk */
    char image_dir[PATH_MAX];
    char layer_id[ID_UUID_SIZE];        /* the overlay it writes */
    char parent_layer_id[ID_UUID_SIZE]; /* what that stands on; empty: the image */
    char snapshot_id[ID_UUID_SIZE];     /* of a pause with memory, until it runs again */
    uint8_t link_secret[LINK_SECRET_SIZE];
    int64_t run_began_ns;        /* wall clock; its longest life counts from here */
    json_t *envs;                /* object of strings; never NULL */
    struct create *create;       /* under way, or NULL */
    struct kill *kill;           /* under way, or NULL */
    struct recover *recover;     /* adopting, or NULL */
    struct restore *restore;     /* its VM is being restored, or NULL */
    struct cold_boot *cold_boot; /* it is being booted, or NULL */
    struct flush *flush;         /* its disk is brought up to its memory, or NULL */
    struct spare *spare;         /* it waits in the pool, or NULL */
    bool loaded;                 /* its VM has the snapshot's memory and devices */
    bool clock_right;            /* the guest's, when it was last asked to become quiet */
    int64_t quiesce_sent_ns;     /* when that was, by the host's */
    int64_t clock_moved_ns;      /* when it went on, if its clock was moved on then; else 0 */
    struct merge *merge;         /* of its layers, or NULL */
    const struct store_create_key
        *create_key; /* the record that is being written has it, or NULL */
    enum sandbox_transition transition;
    void *operation;                                               /* of that */
    struct list waiters;                                           /* struct transition_waiter */
    void (*vm_ended)(struct sandbox_own *own, const char *detail); /* told instead of an end */
    char end_reason[32];
    char end_detail[256];
    char end_actor[64];
};

static inline struct sandbox_own *own_of(struct sandbox *sb)
{
    return container_of(sb, struct sandbox_own, sb);
}

/* limits.c */
/* Memory that can be had without swapping, or UINT64_MAX when the kernel does not tell. */
uint64_t host_memory_available_mb(void);
/* ERR_UNAVAILABLE while stopping, or when the host is short of memory or disk; ERR_EXHAUSTED when
 * as many run as may, of the team (NULL: of any) or in all. */
int sandbox_host_admit(struct sandbox_host *h, const char *team_id, struct err *err);
/* The same once it is known how large it is: unless the operator set a number of sandboxes, no more
 * memory is promised to guests than there is. */
int sandbox_host_admit_memory(const struct sandbox_host *h, struct err *err);
/* For one that was admitted: what runs out from then on is the host's, and no client's limit. */
void blame_host_for_lack(struct err *err);

/* lifecycle.c */
/* What of the lifecycle a later daemon must know is in sb->config. */
void sandbox_write_lifecycle(struct sandbox *sb);
void sandbox_read_lifecycle(struct sandbox *sb);

/* host.c */
struct sandbox_own *sandbox_alloc(struct sandbox_host *h, const char *id);
/* The run directory of a VMM that is started for it. */
void sandbox_own_run_dir(struct sandbox_own *own);
/* What its VMM, with its control group, is called. */
const char *sandbox_vmm_name(const struct sandbox_own *own);
void sandbox_runs_on(struct sandbox *sb); /* list it, arm the expiry */
int slot_take(struct sandbox_host *h, int wanted);
void slot_give(struct sandbox_own *own);
uid_t slot_uid(const struct sandbox_host *h, int slot);
void sandbox_host_check_stop(struct sandbox_host *h);
void sandbox_make_tokens(struct sandbox *sb, bool allow_public_traffic);
extern const struct vmm_events sandbox_vmm_events;
extern const struct guest_link_events sandbox_link_events;

/* shape.c */
/* Sizes, versions and ancestry are those of the source. */
void sandbox_take_shape(struct sandbox_own *own, const struct source *source);
/* Remove the overlay that no record names. */
void sandbox_drop_layer(struct sandbox_own *own);
/* The end of a sandbox that nobody saw, when its VM is gone. */
void sandbox_discard(struct sandbox_own *own);

/* record.c: the sandbox's row as it should be found by a later daemon; the overlay it names is
 * written down with it. done may be NULL: then a failure is logged. */
void sandbox_save(struct sandbox_own *own, const char *state,
                  void (*done)(void *user, const struct err *err), void *user);
/* Forget what nothing stands on any more: layers, and snapshot folders. In the background. */
void sandbox_collect(struct sandbox_host *h);
/* What it was paused to is none any more, before its guest goes on. */
void sandbox_retire_snapshot(struct sandbox_own *own,
                             void (*done)(void *user, const struct err *err), void *user);
/* It is paused with its disk alone from now on: what it was paused to is removed once that is
 * written down. On failure it is paused as it was. */
void sandbox_forget_memory(struct sandbox_own *own, void (*done)(void *user, const struct err *err),
                           void *user);
/* It runs, and its row is not to say any more what it was paused to. */
void sandbox_resumed(struct sandbox_own *own);
/* Remove a snapshot's folder, in the background. */
void sandbox_drop_snapshot(struct sandbox_host *h, const char *snapshot_id);

/* merge.c: keep the number of layers under a running sandbox's disk small. */
void merge_layers(struct sandbox_own *own);
/* Before its VM is let go, which ends a merge without a word. */
void merge_forget(struct sandbox_own *own);

/* transition.c */
struct transition_waiter {
    struct list node;
    void (*go)(struct transition_waiter *w);
};
void transition_begin(struct sandbox_own *own, enum sandbox_transition what);
void transition_end(struct sandbox_own *own);
/* Called from the loop once no transition is under way, with the sandbox in whatever state. */
void transition_wait(struct sandbox_own *own, struct transition_waiter *w,
                     void (*go)(struct transition_waiter *w));

/* expiry.c */
void expiry_init(struct sandbox_host *h);
void expiry_rearm(struct sandbox_host *h);

/* kill.c: end a sandbox that was listed or created; done may be NULL. */
void sandbox_end(struct sandbox *sb, const char *reason, const char *detail, const char *actor,
                 void (*done)(void *user, const struct err *err), void *user);
/* No end is waited for any more that cannot be written down. */
void kill_give_up(struct sandbox_host *h);

/* resume.c: cold boots under way end soon, with the sandbox paused. What comes with its memory is
 * waited for: it is faster, and its memory would be lost. */
void resume_cancel_boots(struct sandbox_host *h);

/* Resume a paused sandbox that nothing else happens to, and tell; with `reboot` from its disk. */
void resume_begin(struct sandbox_own *own, int64_t timeout_s, bool reboot,
                  sandbox_connected_cb done, void *user);
/* Be told of the end of the resume that is under way. */
void resume_join(struct sandbox_own *own, sandbox_connected_cb done, void *user);

/* create.c */
void create_cancel_all(struct sandbox_host *h);
size_t create_count(const struct sandbox_host *h, const char *team_id);
void create_vm_ended(struct create *op, const char *detail);
/* The same as sandbox_create() with what it is made from at hand: a child of a fork. `like` is the
 * sandbox whose settings it takes. */
void create_from_source(struct sandbox_host *h, const struct sandbox_own *like,
                        struct source *source, unsigned timeout_s, sandbox_created_cb done,
                        void *user);

#endif
