/* The guest's wall clock: it stands still while the VM is stopped. */
#ifndef ENVD_CORE_WALL_CLOCK_H
#define ENVD_CORE_WALL_CLOCK_H

#include <stdint.h>

/* Set the clock to the told time (nanoseconds since 1970, not negative), unless it is already
 * within the bounds of the contract: at most 50 ms behind and 5 s ahead. A failure is logged. */
void wall_clock_set(int64_t wanted_ns);

#endif
