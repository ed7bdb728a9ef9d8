/* The host's time stamp counter, which emulated guests count by. */
#ifndef ORCHESTRATOR_VMM_QEMU_TSC_H
#define ORCHESTRATOR_VMM_QEMU_TSC_H

/* Its frequency in kHz, measured anew: two measurements differ by a few millionths. Blocks for
 * TSC_MEASURE_MS. 0 when it does not count. */
#define TSC_MEASURE_MS 20
unsigned tsc_measure(void);

/* In the text of a machine that depends on it, followed by the frequency. */
#define TSC_MARK " tsc="

/* Frequencies that differ by less than one part of so many are the same: as much as a host's clock
 * may be slewed. */
#define TSC_SAME_PARTS 2000

#endif
