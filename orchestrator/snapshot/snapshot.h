/*
 * A snapshot's directory: snapshot.json, state (of the devices), memory (dirty pages).
 *
 * It is made as <dir>.new and renamed when everything in it is on the disk, so at every moment
 * there is either no <dir> or a complete one, also after a power cut. Everything here blocks.
 */
#ifndef ORCHESTRATOR_SNAPSHOT_SNAPSHOT_H
#define ORCHESTRATOR_SNAPSHOT_SNAPSHOT_H

#include "common/base/err.h"
#include "orchestrator/snapshot/manifest.h"

#define SNAPSHOT_FILE_MANIFEST "snapshot.json"
#define SNAPSHOT_FILE_STATE    "state"
#define SNAPSHOT_FILE_MEMORY   "memory"

/* Make <dir>.new, 0700; what an interrupted attempt left there goes. ERR_EXISTS when <dir> is
 * there. *dirfd takes the memory by memory_save() or memory_write(); it is closed by
 * snapshot_commit() or snapshot_abort(), one of which must follow. */
int snapshot_begin(const char *dir, int *dirfd, struct err *err);

/* Copy the device state, from offset 0 to the end of state_fd, and note size and digest in *m. */
int snapshot_put_state(int dirfd, int state_fd, struct snapshot_manifest *m, struct err *err);

/* Write the manifest and let the snapshot appear. When this returns 0 the snapshot is there and
 * survives a power cut; on failure nothing is left, as after snapshot_abort(). */
int snapshot_commit(const char *dir, int dirfd, const struct snapshot_manifest *m, struct err *err);
void snapshot_abort(const char *dir, int dirfd);

/*
 * Open a snapshot: its manifest, parsed; its directory, for memory_apply() or memory_load(); its
 * device state, checked against its digest and at offset 0 (-1 when it is of the file system only).
 * ERR_NOT_FOUND when there is none; ERR_DATA_LOSS says what is damaged. A damaged snapshot stays as
 * it is, to be looked at. dirfd and state_fd may be NULL, and the device state is not looked at
 * then; the caller closes what it gets.
 */
int snapshot_open(const char *dir, struct snapshot_manifest *out, int *dirfd, int *state_fd,
                  struct err *err);

/* The snapshot is none any more, from this moment on for whoever looks; a power cut may bring it
 * back. None is no error. Its bytes stay for snapshot_remove(). */
int snapshot_retire(const char *dir, struct err *err);

/* Remove a snapshot, also a retired one; none is no error. It disappears at once and for good (a
 * power cut may bring back all of it, never a part), its bytes after that. */
int snapshot_remove(const char *dir, struct err *err);

/* Remove what interrupted attempts and removals left in a directory of snapshots. At the start,
 * before anybody makes one. */
int snapshot_sweep(const char *parent, struct err *err);

#endif
