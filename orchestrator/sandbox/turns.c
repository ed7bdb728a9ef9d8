#include "orchestrator/sandbox/turns.h"

#include "common/base/cleanup.h"

void turns_init(struct turns *turns, size_t max)
{
    list_init(&turns->waiting);
    turns->taken = 0;
    turns->max = max;
}

static void have(struct turns *turns, struct turn *t)
{
    t->taken = true;
    turns->taken++;
}

bool turn_take(struct turns *turns, struct turn *t, void (*go)(struct turn *t))
{
    t->go = go;
    if (turns->taken < turns->max)
        have(turns, t);
    else
        list_push_back(&turns->waiting, &t->node);
    return t->taken;
}

void turn_end(struct turns *turns, struct turn *t)
{
    list_remove(&t->node);
    if (!t->taken)
        return;
    t->taken = false;
    turns->taken--;
    if (list_empty(&turns->waiting))
        return;
    struct turn *next = container_of(turns->waiting.next, struct turn, node);
    list_remove(&next->node);
    have(turns, next);
    next->go(next);
}
