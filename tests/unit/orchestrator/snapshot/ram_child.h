/* A process that stands in for a VM: its "RAM" is a private mapping of a sealed memfd. */
#ifndef TESTS_RAM_CHILD_H
#define TESTS_RAM_CHILD_H

#include "orchestrator/snapshot/pages.h"

struct ram_child {
    struct vmm_memory m;
    int go; /* closed: the child ends */
    size_t npages;
};

/* Writes pages of the child's RAM, in the child; with the same arguments it does the same. */
typedef void (*ram_write_cb)(uint8_t *ram, size_t npages);

/* Start one whose base is `base` (npages of it; NULL: zeros), and let it run `write` (may be
 * NULL). Returns when that is done. */
void ram_child_start(struct ram_child *c, const uint8_t *base, size_t npages, ram_write_cb write);

/* The same with a base that is a memfd, which stays the caller's. */
void ram_child_start_on(struct ram_child *c, int memfd, size_t npages, ram_write_cb write);
void ram_child_stop(struct ram_child *c);

/* All of its RAM, malloc'ed. */
uint8_t *ram_child_read(const struct ram_child *c);

/* Its RAM is what `write` makes of `base`. */
void ram_child_expect(const struct ram_child *c, const uint8_t *base, ram_write_cb write);

/* npages of varied contents, malloc'ed: text, noise and zero pages. */
uint8_t *ram_make_base(size_t npages);

#endif
