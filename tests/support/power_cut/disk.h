/*
 * What of a program's writing survives a power cut.
 *
 * A disk holds, for each file and directory, what the program sees (the cache) and what fsync has
 * made to last. Operations are applied in the order in which they were seen. Names last by an fsync
 * of their directory, bytes and size of a file by an fsync of the file, neither by the other's:
 * stricter than most file systems are, as none of them promises more. An fsync makes last what was
 * there when it began.
 */
#ifndef TESTS_SUPPORT_POWER_CUT_DISK_H
#define TESTS_SUPPORT_POWER_CUT_DISK_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How a machine may come back. */
enum disk_view {
    DISK_ALL,   /* nothing was lost: the program was killed, not the machine */
    DISK_LEAST, /* only what fsync made to last */
    DISK_NAMES, /* all names, but of the bytes only what lasts */
    DISK_SIZES, /* the same with the files' sizes; the bytes between are zero */
    DISK_BYTES, /* all bytes, but of the names only those that last */
    DISK_VIEWS,
};
const char *disk_view_name(enum disk_view view);

enum disk_op_kind {
    DISK_CREATE, /* `name` in directory `at` is `node` */
    DISK_UNLINK,
    DISK_RENAME, /* `name` in `at` becomes `to_name` in directory `node` */
    DISK_WRITE,
    DISK_TRUNCATE,
    DISK_SYNC_BEGIN, /* of `at`; the two ends of an fsync have the same number in `offset` */
    DISK_SYNC_END,
};

struct disk_op {
    enum disk_op_kind kind;
    int at, node;
    bool is_dir; /* of what is created */
    char name[NAME_MAX + 1], to_name[NAME_MAX + 1];
    uint64_t offset; /* of a write; size of a truncation */
    size_t n;
    uint8_t *data;
};

struct disk;

/* An empty disk whose root directory, node 0, lasts. */
struct disk *disk_new(void);
struct disk *disk_copy(const struct disk *d);
void disk_free(struct disk *d);

/* A new node; the caller creates its name. */
int disk_add_node(struct disk *d, bool is_dir);

/* A file that is there and must not be written: views get a hard link or a copy of `path`. */
void disk_set_external(struct disk *d, int node, const char *path);

/* Everything so far lasts. */
void disk_sync_all(struct disk *d);

/* The node of a name in a directory, -1 when there is none. */
int disk_find(const struct disk *d, int dir, const char *name);

void disk_apply(struct disk *d, const struct disk_op *op);

/* Two views of the same number are the same files; of one disk and its copies only. */
uint64_t disk_view_digest(const struct disk *d, enum disk_view view);

/* Make the files and directories of a view below `path`, an empty directory. */
void disk_view_make(const struct disk *d, enum disk_view view, const char *path);

#endif
