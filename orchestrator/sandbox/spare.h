/* What the files of the pool share: its spares, and who makes and ends them. */
#ifndef ORCHESTRATOR_SANDBOX_SPARE_H
#define ORCHESTRATOR_SANDBOX_SPARE_H

#include "common/base/sm.h"
#include "orchestrator/link/guest_command.h"
#include "orchestrator/sandbox/pool.h"

/* After a create, and again after a failure, before the next spare is begun. */
#define REFILL_DELAY_MS 20
#define RETRY_DELAY_MS  5000

enum spare_state {
    SPARE_PREPARE,
    SPARE_HELLO,
    SPARE_COMMAND,
    SPARE_REHEARSE,
    SPARE_SYNC,
    SPARE_STOP,
    SPARE_READY,
    SPARE_TAKEN,
    SPARE_UNDO,
    SPARE_NR
};

struct spare {
    struct list node; /* of pool->spares */
    struct sm sm;
    struct sandbox_own *own;
    struct source *source;
    struct guest_call *call;
    struct guest_command *command;
    struct sandbox_timings timings;
    struct deferred undo;
    bool hot;
    struct sandbox_own *taker; /* whom its VMM is for */
    void (*taken)(void *user, bool is_taken);
    void *taken_user;
};

struct pool {
    struct sandbox_host *host;
    struct list images, spares;
    uv_timer_t timer;
    uv_timer_t command_timer; /* of the one that is being made */
    int handles;              /* of the timers */
    bool stopping;
    struct spare *making; /* the one not READY yet, or NULL */
};

/* spare.c: begin to make one; nobody is told of its end. */
void spare_make(struct pool *p, struct source *source, bool hot);
/* End it, whatever it does. */
void spare_drop(struct spare *s);
/* The same, and say why; another one is made after a while. */
void spare_fail(struct spare *s, const struct err *err);
void spare_vm_ended(struct spare *s, const char *detail);

/* pool.c: see what is missing, in so many milliseconds. */
void pool_refill(struct pool *p, unsigned ms);

#endif
