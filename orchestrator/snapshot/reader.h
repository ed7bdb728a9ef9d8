/* A file of memory pages, opened and checked against what its manifest tells. */
#ifndef ORCHESTRATOR_SNAPSHOT_READER_H
#define ORCHESTRATOR_SNAPSHOT_READER_H

#include "orchestrator/snapshot/format.h"
#include "orchestrator/snapshot/memory.h"

struct reader {
    int fd;
    struct format_header header;
    struct format_entry *entries;
};

/* Open the file for a RAM of `ram_size`. ERR_DATA_LOSS when it is not what `expect` says,
 * ERR_PRECONDITION when it is another RAM's. On failure there is nothing to close. */
int reader_open(struct reader *r, int dirfd, const char *name, const struct memory_file *expect,
                uint64_t ram_size, struct err *err);
void reader_close(struct reader *r);

/* Put each chunk's pages where they belong; called on several threads. 0 or -errno. */
typedef int (*reader_put_cb)(void *user, const struct format_chunk *chunk);

/* Read, check and put every chunk. `target` names what is written for the error's sentence. */
int reader_run(const struct reader *r, const char *target, reader_put_cb put, void *user,
               struct err *err);

#endif
