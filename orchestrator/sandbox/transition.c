/* One change of a sandbox at a time; who comes meanwhile waits or is refused. */
#include "orchestrator/sandbox/internal.h"

#include <assert.h>

void transition_begin(struct sandbox_own *own, enum sandbox_transition what)
{
    assert(own->transition == TRANSITION_NONE);
    own->transition = what;
    own->sb.host->busy++;
    sandbox_ref(&own->sb);
}

void transition_end(struct sandbox_own *own)
{
    struct sandbox_host *h = own->sb.host;
    own->transition = TRANSITION_NONE;
    h->busy--;
    /* The first may begin a transition, for whose end the others wait. */
    while (own->transition == TRANSITION_NONE && !list_empty(&own->waiters)) {
        struct transition_waiter *w =
            container_of(own->waiters.next, struct transition_waiter, node);
        list_remove(&w->node);
        w->go(w);
    }
    sandbox_unref(&own->sb);
    expiry_rearm(h);
    sandbox_host_check_stop(h);
}

void transition_wait(struct sandbox_own *own, struct transition_waiter *w,
                     void (*go)(struct transition_waiter *w))
{
    w->go = go;
    list_push_back(&own->waiters, &w->node);
}
