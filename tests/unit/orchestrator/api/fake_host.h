/*
 * A double of orchestrator/sandbox: it defines the functions of sandbox.h and host.h that the API
 * calls, and is linked instead of orch_sandbox. Sandboxes are records; a template is looked up in
 * the real store; nothing boots.
 */
#ifndef TESTS_UNIT_ORCHESTRATOR_API_FAKE_HOST_H
#define TESTS_UNIT_ORCHESTRATOR_API_FAKE_HOST_H

#include "common/io/defer.h"
#include "orchestrator/sandbox/host.h"
#include "orchestrator/store/store.h"

#define FAKE_MAX 64 /* sandboxes at once; a create beyond it is refused as the real host does */

struct fake_create;

struct sandbox_host {
    const struct config *config;
    struct store *store;
    struct defer_queue *defer;
    struct list running, paused;     /* as the real host has them */
    struct sandbox_watcher *watcher; /* NULL: none */
    size_t count;                    /* of the running ones */
    unsigned next_id;
    int64_t run_began_ns; /* of each, for its longest life; 0: when it was made */

    bool hold;                      /* creates wait until fake_host_release() */
    struct fake_create *held;       /* at most one */
    struct err fail;                /* code set: the next operation fails with it */
    struct sandbox_timings timings; /* told by every operation */
    struct store_death death;       /* all there are; sandbox_id NULL: none */

    /* What the last create was asked. */
    struct {
        unsigned timeout_s;
        bool secure, public_traffic;
        bool auto_pause, auto_pause_memory, auto_resume;
        char actor[64]; /* of the last operation of any kind */
        char team_id[TEAM_ID_SIZE];
        char template_ref[256];
        json_t *envs, *metadata, *config;   /* owned, or NULL */
        struct store_create_key create_key; /* no key: none */
    } asked;

    /* What the last pause, connect, snapshot or fork was asked. */
    struct {
        bool memory, require_healthy, reboot, must_be_paused, only_wait;
        int64_t timeout_s;
        unsigned count;
        char name[256]; /* empty: none */
    } transition;
};

void fake_host_init(struct sandbox_host *h, const struct config *config, struct store *store,
                    struct defer_queue *defer);
void fake_host_deinit(struct sandbox_host *h);

/* A running sandbox, without a request. metadata is taken over; NULL: empty. */
struct sandbox *fake_host_add(struct sandbox_host *h, const char *id, const char *team_id,
                              int64_t started_ns, json_t *metadata);
void fake_host_clear(struct sandbox_host *h);

/* Put a sandbox into a state, and on the list for it. */
void fake_host_move(struct sandbox *sb, enum sandbox_state state);

/* The error that the next operation is to fail with, or of no code; it is used up by this. */
struct err fake_host_take_failure(struct sandbox_host *h);

/* Let the create that is held go on. */
void fake_host_release(struct sandbox_host *h);

#endif
