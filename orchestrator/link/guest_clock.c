#include "orchestrator/link/guest_clock.h"

bool guest_clock_is_right(int64_t told_ns, int64_t from_ns, int64_t to_ns)
{
    return told_ns == 0 || (told_ns >= from_ns - GUEST_CLOCK_TOLERANCE_NS &&
                            told_ns <= to_ns + GUEST_CLOCK_TOLERANCE_NS);
}
