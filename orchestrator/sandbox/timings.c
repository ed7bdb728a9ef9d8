#include "orchestrator/sandbox/sandbox.h"

#include <stdio.h>

static const char *const phase_names[SANDBOX_PHASE_NR] = {
    [SANDBOX_PHASE_QUEUE] = "queue",     [SANDBOX_PHASE_VMM] = "vmm",
    [SANDBOX_PHASE_RESTORE] = "restore", [SANDBOX_PHASE_LINK] = "link",
    [SANDBOX_PHASE_INIT] = "init",       [SANDBOX_PHASE_SAVE] = "save",
};

const char *sandbox_phase_name(enum sandbox_phase phase)
{
    return phase_names[phase];
}

size_t sandbox_timings_text(const struct sandbox_timings *t, char *out, size_t n)
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; i < SANDBOX_PHASE_NR; i++) {
        char part[48];
        if (!t->us[i])
            continue;
        int len = snprintf(part, sizeof(part), "%s%s;dur=%u.%03u", at ? ", " : "", phase_names[i],
                           t->us[i] / 1000, t->us[i] % 1000);
        if (at + (size_t)len >= n)
            break;
        memcpy(out + at, part, (size_t)len + 1);
        at += (size_t)len;
    }
    return at;
}
