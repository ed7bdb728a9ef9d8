/* A state machine with a table of allowed moves. The owner switches on sm_state(). */
#ifndef COMMON_BASE_SM_H
#define COMMON_BASE_SM_H

#include <stdint.h>

#define SM_TO(state) (UINT32_C(1) << (state))

struct sm_rule {
    const char *name;
    uint32_t to; /* SM_TO() of each state that may follow */
};

struct sm {
    const struct sm_rule *rules;
    const char *kind; /* both borrowed for good, for the log */
    char id[40];
    int state;
    int64_t entered_ns; /* monotonic */
};

void sm_init(struct sm *sm, const char *kind, const char *id, const struct sm_rule *rules,
             int state);

static inline int sm_state(const struct sm *sm)
{
    return sm->state;
}

/* Go to `state`. A move that the table does not allow is a broken invariant and ends the program.
 * Logs the move with the milliseconds spent in the state left (level debug). */
void sm_move(struct sm *sm, int state);

#endif
