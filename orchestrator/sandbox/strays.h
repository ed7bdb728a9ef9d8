/* What an earlier daemon left that no record names. */
#ifndef ORCHESTRATOR_SANDBOX_STRAYS_H
#define ORCHESTRATOR_SANDBOX_STRAYS_H

#include "orchestrator/sandbox/internal.h"

/* Whether the host was started anew since its boot was remembered. On the store's worker. */
int host_boot_changed(struct db *db, bool *changed, struct err *err);
int host_boot_remember(struct db *db, struct err *err);

/* Remove the folders of snapshots and the files of layers that nothing on record stands on. `rows`
 * are all sandboxes on record. On the store's worker. */
void strays_remove(const struct sandbox_host *h, struct db *db, const struct store_sandbox *rows,
                   size_t nrows);

/* End every VMM whose run directory belongs to no sandbox of this daemon. Blocking; before serving.
 */
void strays_sweep(struct sandbox_host *h);

/* Whether the process has the file open; true as well when that cannot be seen. */
bool process_has_open(pid_t pid, const char *path);

#endif
