/* Whether this machine's processor is emulated. */
#ifndef ENVD_CORE_EMULATION_H
#define ENVD_CORE_EMULATION_H

#include <stdbool.h>

/* QEMU without KVM (TCG), by the signature that it gives in CPUID leaf 0x40000000. */
bool processor_is_emulated(void);

#endif
