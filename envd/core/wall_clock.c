#include "envd/core/wall_clock.h"
#include "common/base/clock.h"
#include "common/base/log.h"

#include <errno.h>
#include <sys/timex.h>
#include <time.h>

#define CLOCK_BEHIND_NS 50000000LL
#define CLOCK_AHEAD_NS  5000000000LL
#define CLOCK_EXACT_NS  1000000LL

static void set_unless_within(int64_t wanted_ns, int64_t behind_ns, int64_t ahead_ns)
{
    int64_t behind = wanted_ns - clock_wall_ns();
    if (behind <= behind_ns && behind >= -ahead_ns)
        return;
    struct timespec ts = { .tv_sec = wanted_ns / 1000000000, .tv_nsec = wanted_ns % 1000000000 };
    if (clock_settime(CLOCK_REALTIME, &ts) < 0)
        log_warn("cannot set the clock", LOG_STR("reason", strerror(errno)));
}

void wall_clock_set(int64_t wanted_ns)
{
    set_unless_within(wanted_ns, CLOCK_EXACT_NS, CLOCK_EXACT_NS);
}

/* In the kernel at once, so that no time is lost between reading and setting. */
void wall_clock_move(int64_t by_ns)
{
    struct timex t = { .modes = ADJ_SETOFFSET | ADJ_NANO };
    t.time.tv_sec = by_ns / 1000000000;
    t.time.tv_usec = by_ns % 1000000000; /* nanoseconds, as ADJ_NANO has it */
    if (clock_adjtime(CLOCK_REALTIME, &t) < 0)
        log_warn("cannot move the clock", LOG_STR("reason", strerror(errno)));
}

void wall_clock_correct(int64_t wanted_ns)
{
    set_unless_within(wanted_ns, CLOCK_BEHIND_NS, CLOCK_AHEAD_NS);
}
