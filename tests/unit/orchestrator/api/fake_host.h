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
    struct list running;
    size_t count;
    unsigned next_id;

    bool hold;                /* creates wait until fake_host_release() */
    struct fake_create *held; /* at most one */
    struct err fail;          /* code set: the next create fails with it */

    /* What the last create was asked. */
    struct {
        unsigned timeout_s;
        bool secure, public_traffic;
        char team_id[TEAM_ID_SIZE];
        char template_ref[256];
        json_t *envs, *metadata, *config; /* owned, or NULL */
    } asked;
};

void fake_host_init(struct sandbox_host *h, const struct config *config, struct store *store,
                    struct defer_queue *defer);
void fake_host_deinit(struct sandbox_host *h);

/* A running sandbox, without a request. metadata is taken over; NULL: empty. */
struct sandbox *fake_host_add(struct sandbox_host *h, const char *id, const char *team_id,
                              int64_t started_ns, json_t *metadata);
void fake_host_clear(struct sandbox_host *h);

/* Let the create that is held go on. */
void fake_host_release(struct sandbox_host *h);

#endif
