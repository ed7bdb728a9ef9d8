#include "envd/core/emulation.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>

#define LEAF_FEATURES        1
#define FEATURE_HYPERVISOR   (1U << 31) /* of ecx */
#define LEAF_HYPERVISOR_NAME 0x40000000

bool processor_is_emulated(void)
{
    unsigned a, b, c, d;
    if (!__get_cpuid(LEAF_FEATURES, &a, &b, &c, &d) || !(c & FEATURE_HYPERVISOR))
        return false;
    __cpuid(LEAF_HYPERVISOR_NAME, a, b, c, d);
    const unsigned name[3] = { b, c, d };
    return memcmp(name, "TCGTCGTCGTCG", sizeof(name)) == 0;
}
#else
bool processor_is_emulated(void)
{
    return false;
}
#endif
