/* Turns: of many that come at once a few go on, in the order in which they came. All together would
 * all be as late as the last. */
#ifndef ORCHESTRATOR_SANDBOX_TURNS_H
#define ORCHESTRATOR_SANDBOX_TURNS_H

#include "common/base/list.h"

#include <stdbool.h>
#include <stddef.h>

struct turns {
    struct list waiting; /* struct turn */
    size_t taken, max;
};

/* One that comes; zeroed, it has no turn and waits for none. */
struct turn {
    struct list node;
    bool taken;
    void (*go)(struct turn *t);
};

void turns_init(struct turns *turns, size_t max);

/* true: it has its turn. false: it waits, and go is called when it has it, from inside the
 * turn_end() of another. */
bool turn_take(struct turns *turns, struct turn *t, void (*go)(struct turn *t));

static inline bool turn_waits(const struct turn *t)
{
    return list_linked(&t->node);
}

/* It needs its turn no more, or waits for it no more; the next one has it. May be called of one
 * that did neither. */
void turn_end(struct turns *turns, struct turn *t);

#endif
