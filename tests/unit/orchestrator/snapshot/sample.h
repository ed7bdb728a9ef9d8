/* A manifest that is right, and a snapshot that a test makes. */
#ifndef TESTS_SNAPSHOT_SAMPLE_H
#define TESTS_SNAPSHOT_SAMPLE_H

#include "orchestrator/snapshot/snapshot.h"

void sample_manifest(struct snapshot_manifest *m);

/* A memfd that holds `n` bytes of a device state. */
int sample_state(size_t n);

#endif
