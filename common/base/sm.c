#include "common/base/sm.h"

#include "common/base/clock.h"
#include "common/base/log.h"

#include <stdio.h>
#include <stdlib.h>

void sm_init(struct sm *sm, const char *kind, const char *id, const struct sm_rule *rules,
             int state)
{
    *sm = (struct sm){ .rules = rules, .kind = kind, .state = state };
    snprintf(sm->id, sizeof(sm->id), "%s", id);
    sm->entered_ns = clock_mono_ns();
}

void sm_move(struct sm *sm, int state)
{
    const struct sm_rule *from = &sm->rules[sm->state], *to = &sm->rules[state];
    int64_t now = clock_mono_ns();
    if (!(from->to & SM_TO(state))) {
        log_error("state machine: move not allowed", LOG_STR("op", sm->kind), LOG_STR("id", sm->id),
                  LOG_STR("from", from->name), LOG_STR("to", to->name));
        abort();
    }
    log_debug("state", LOG_STR("op", sm->kind), LOG_STR("id", sm->id), LOG_STR("from", from->name),
              LOG_STR("to", to->name), LOG_INT("ms", (now - sm->entered_ns) / 1000000));
    sm->state = state;
    sm->entered_ns = now;
}
