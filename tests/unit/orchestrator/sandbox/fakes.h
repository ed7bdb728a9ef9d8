/* Doubles of what sandbox/ stands on. A step that is asynchronous in truth waits here until the
 * test finishes it; one of each kind at a time. */
#ifndef TESTS_UNIT_ORCHESTRATOR_SANDBOX_FAKES_H
#define TESTS_UNIT_ORCHESTRATOR_SANDBOX_FAKES_H

#include "orchestrator/store/store.h"
#include "orchestrator/vmm/vmm.h"

struct vmm {
    void *user;
    const struct vmm_events *events;
    void (*started)(struct vmm *v, const struct err *err);
    void (*resumed)(void *user, const struct err *err);
    void *resumed_user;
    struct vmm_record record;
    struct link_address address;
};

struct guest_link {
    void *user;
};

struct fakes {
    /* What is asked for and waits: NULL when nothing is. */
    void (*find_done)(void *user, const struct store_build *build, const struct err *err);
    void (*put_done)(void *user, const struct err *err);
    void (*end_done)(void *user, const struct err *err);
    void (*call_done)(void *user, const ProtobufCMessage *response, const struct err *err);
    void (*destroyed)(void *user);
    void *find_user, *put_user, *end_user, *call_user, *destroyed_user;
    struct store_job *job;
    struct vmm *vmm;
    /* What there is. */
    int vmms, links, released;
    char state[16];      /* as it was put last */
    char end_reason[32]; /* of the last end */
    char template_ref[300];
    const struct store_sandbox *row; /* of an earlier daemon */
};
extern struct fakes fakes;

#endif
