/* snapshot.json: what a snapshot is of, and what it needs to be run again. */
#ifndef ORCHESTRATOR_SNAPSHOT_MANIFEST_H
#define ORCHESTRATOR_SNAPSHOT_MANIFEST_H

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/link/link_marker.h"
#include "orchestrator/snapshot/memory.h"
#include "orchestrator/store/ids.h"

#define SNAPSHOT_FORMAT       1
#define SNAPSHOT_MANIFEST_MAX 16384
#define SNAPSHOT_DIGEST_SIZE  (2 * SHA256_SIZE + 1)

struct snapshot_state {
    uint64_t size;
    char sha256[SNAPSHOT_DIGEST_SIZE];
};

struct snapshot_manifest {
    char id[ID_UUID_SIZE];
    char created[CLOCK_TEXT_MAX]; /* RFC 3339 */

    /* The machine: a VM is resumed only where all of it is the same. */
    char vmm_version[64], machine[32], accelerator[8];
    char cpu_model[128]; /* the host's; with cpu_flags it counts only where the guest sees it */
    char cpu_flags[SNAPSHOT_DIGEST_SIZE];
    char kernel[SNAPSHOT_DIGEST_SIZE], cmdline[SNAPSHOT_DIGEST_SIZE];
    char devices[SNAPSHOT_DIGEST_SIZE]; /* of the text by which the VMM's driver describes them */
    unsigned vcpus, memory_mb;
    uint64_t disk_mb;

    /* The guest. */
    char envd_version[32];
    unsigned guest_protocol;
    char boot_id[ID_UUID_SIZE]; /* of its kernel; "" when it could not be asked */
    bool guest_unresponsive;    /* it did not answer when it was to become quiet */
    uint8_t link_secret[LINK_SECRET_SIZE];

    char build_id[ID_UUID_SIZE];      /* image build under its disk */
    char base_build_id[ID_UUID_SIZE]; /* build whose RAM the pages are relative to; "": zeros */
    bool filesystem_only;             /* the disk alone: no memory, no state; both are zero then */
    struct memory_file memory;
    struct snapshot_state state;

    /* The host's wall clock when the guest's stood still, in nanoseconds, if that was right then;
     * 0: not known, and not in the text. */
    uint64_t clock_stopped_ns;
};

/* Parse the text of a manifest. Strict: another format, an unknown, missing, doubled, too long or
 * impossible field is refused and named (ERR_DATA_LOSS; ERR_PRECONDITION for another format), and
 * so is a text that is not what was written (it holds its own digest). */
int snapshot_manifest_parse(const char *text, size_t n, struct snapshot_manifest *out,
                            struct err *err);

/* Append the manifest's text. ERR_INVALID names a field that no parser would accept. */
int snapshot_manifest_print(const struct snapshot_manifest *m, struct buf *out, struct err *err);

#endif
