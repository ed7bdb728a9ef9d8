/*
 * A guest's RAM on disk: the pages that differ from what the RAM was made of.
 *
 * A VM's RAM is a private mapping of a memfd (its "base": a template's RAM, or zeros), so the pages
 * it wrote are the anonymous ones of that mapping. Capturing copies them while the VM stands still;
 * saving writes them to a file straight from it. Everything here blocks: for worker threads.
 *
 * The VM must not run and its process must live during each call.
 */
#ifndef ORCHESTRATOR_SNAPSHOT_MEMORY_H
#define ORCHESTRATOR_SNAPSHOT_MEMORY_H

#include "common/base/err.h"
#include "common/base/sha256.h"
#include "orchestrator/vmm/memory.h"

#include <stdbool.h>

/* What is known of a file of pages by those who hold its manifest. */
struct memory_file {
    uint64_t size;
    char sha256[2 * SHA256_SIZE + 1]; /* of its header and table, which holds the chunks' digests */
    uint64_t pages, zero_pages;       /* with contents; written over with zeros */
};

struct memory_copy; /* dirty pages, copied */
struct page_set;    /* which they are; see pages.h */

/* How much of the RAM was written since the VM's start. */
int memory_dirty_bytes(const struct vmm_memory *m, uint64_t *bytes, struct err *err);

/* Copy the dirty pages, so that the VM may go on. ERR_UNAVAILABLE when the host has not the memory
 * for it. *out is freed with memory_copy_free(). */
int memory_capture(const struct vmm_memory *m, struct memory_copy **out, struct err *err);
void memory_copy_free(struct memory_copy *c);

/*
 * Make the file `name`, 0600, of a copy, or of a stopped VM. on_zeros: the RAM's base is zeros, so
 * zero pages are left out. ERR_EXHAUSTED when the disk is full. On failure there is no file. The
 * file is on its way to the disk, not durable: snapshot_commit() sees to that. memory_save_pages()
 * is for who has looked already which pages are dirty.
 */
int memory_write(const struct memory_copy *c, int dirfd, const char *name, bool on_zeros,
                 struct memory_file *out, struct err *err);
int memory_save(const struct vmm_memory *m, int dirfd, const char *name, bool on_zeros,
                struct memory_file *out, struct err *err);
int memory_save_pages(const struct vmm_memory *m, const struct page_set *set, int dirfd,
                      const char *name, bool on_zeros, struct memory_file *out, struct err *err);

/*
 * Write the file's pages into the RAM of a VM that waits for its state and has the same base. A VMM
 * that waits has written nothing there itself (firmware and kernel are in the saved RAM), so that
 * what the file leaves out is as it was saved; test_vm_snapshot looks.
 * Everything is checked against `expect` before it is used: ERR_DATA_LOSS says what is damaged;
 * then some pages may have been written and the VM must not run.
 */
int memory_apply(int dirfd, const char *name, const struct memory_file *expect,
                 const struct vmm_memory *m, struct err *err);

/* RAM of `bytes` made of the file and zeros: a new memfd, sealed against writing and resizing, for
 * VMs to map privately. Checked like memory_apply(); ERR_UNAVAILABLE when the host has not the
 * memory for it. The caller closes *memfd. */
int memory_load(int dirfd, const char *name, const struct memory_file *expect, uint64_t bytes,
                int *memfd, struct err *err);

#endif
