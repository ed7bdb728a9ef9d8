/* The guest's wall clock: it stands still while the VM is stopped. */
#ifndef ENVD_CORE_WALL_CLOCK_H
#define ENVD_CORE_WALL_CLOCK_H

#include <stdint.h>

/* Both set the clock to the told time (nanoseconds since 1970, not negative); a failure is logged.
 * The first one unless it is right within a millisecond. */
void wall_clock_set(int64_t wanted_ns);

/* Move the clock on by so much. */
void wall_clock_move(int64_t by_ns);

/* By the bounds of the contract for /init: only a clock that is more than 50 ms behind or 5 s
 * ahead. */
void wall_clock_correct(int64_t wanted_ns);

#endif
