/* The inside of a copy of dirty pages. */
#ifndef ORCHESTRATOR_SNAPSHOT_COPY_H
#define ORCHESTRATOR_SNAPSHOT_COPY_H

#include "orchestrator/snapshot/memory.h"
#include "orchestrator/snapshot/pages.h"

struct memory_copy {
    struct page_set set;
    uint64_t ram_size;
    uint8_t *data; /* mapped; the pages of the set one after the other; NULL when there are none */
    size_t size;
};

#endif
