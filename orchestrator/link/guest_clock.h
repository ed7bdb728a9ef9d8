/* What a guest tells of its clock. */
#ifndef ORCHESTRATOR_LINK_GUEST_CLOCK_H
#define ORCHESTRATOR_LINK_GUEST_CLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* How far from the host's a guest's clock may be, which is more than it is then: the answer took
 * its time too. */
#define GUEST_CLOCK_TOLERANCE_NS 5000000

/* Whether a guest that told `told_ns` at some moment between from_ns and to_ns of the host's clock
 * has the right time. One of an older envd tells 0, and is believed. */
bool guest_clock_is_right(int64_t told_ns, int64_t from_ns, int64_t to_ns);

#endif
