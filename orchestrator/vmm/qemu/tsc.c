#include "orchestrator/vmm/qemu/tsc.h"
#include "common/base/str.h"
#include "orchestrator/vmm/vmm.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define TRIES 32

struct moment {
    uint64_t ticks;
    int64_t ns;
};

/* Both clocks at one moment. Of some readings the one that was interrupted least: it has the
 * narrowest gap around the other clock. */
static struct moment read_moment(void)
{
    struct moment best = { 0 };
    uint64_t narrowest = UINT64_MAX;
    for (int i = 0; i < TRIES; i++) {
        struct timespec now;
        uint64_t before = __builtin_ia32_rdtsc();
        clock_gettime(CLOCK_MONOTONIC_RAW, &now);
        uint64_t gap = __builtin_ia32_rdtsc() - before;
        if (gap < narrowest) {
            narrowest = gap;
            best = (struct moment){ before + gap / 2, now.tv_sec * 1000000000LL + now.tv_nsec };
        }
    }
    return best;
}

unsigned tsc_measure(void)
{
    struct moment from = read_moment();
    nanosleep(&(struct timespec){ .tv_nsec = TSC_MEASURE_MS * 1000000L }, NULL);
    struct moment to = read_moment();
    if (to.ns <= from.ns || to.ticks <= from.ticks)
        return 0;
    double khz = (double)(to.ticks - from.ticks) * 1e6 / (double)(to.ns - from.ns);
    return khz < UINT32_MAX ? (unsigned)(khz + 0.5) : 0;
}

/* Take the frequency off a machine's text. */
static bool split(const char *machine, struct str *type, uint64_t *khz)
{
    const char *mark = strstr(machine, TSC_MARK);
    *type = mark ? (struct str){ machine, (size_t)(mark - machine) } : str_of(machine);
    *khz = 0;
    return !mark || str_to_u64(str_of(mark + strlen(TSC_MARK)), UINT32_MAX, khz);
}

bool vmm_machine_fits(const char *recorded, const char *here)
{
    struct str a, b;
    uint64_t a_khz, b_khz;
    if (!split(recorded, &a, &a_khz) || !split(here, &b, &b_khz) || !str_eq(a, b))
        return false;
    uint64_t apart = a_khz > b_khz ? a_khz - b_khz : b_khz - a_khz;
    return a_khz == 0 || (b_khz && apart * TSC_SAME_PARTS < b_khz);
}
