/* A directory for one test, removed with all that is in it. */
#ifndef TESTS_SUPPORT_TEMPDIR_H
#define TESTS_SUPPORT_TEMPDIR_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct tempdir {
    char path[PATH_MAX];
};

/* A test stops when the directory cannot be made. */
void tempdir_init(struct tempdir *d);
void tempdir_deinit(struct tempdir *d);

/* The same in memory, where the system has such a place: for tests that make many files. */
void tempdir_init_in_memory(struct tempdir *d);

/* "<dir>/<name>", in one of 16 static buffers used in turn. */
const char *tempdir_path(const struct tempdir *d, const char *name);

/* Create a file with this text, parents included; a directory. */
void tempdir_write(const struct tempdir *d, const char *name, const char *text);
void tempdir_mkdir(const struct tempdir *d, const char *name);

/* The text of a file, malloc'ed; NULL when it cannot be read. */
char *tempdir_read(const struct tempdir *d, const char *name);

/* Number of names in a directory. */
size_t tempdir_count(const struct tempdir *d, const char *name);

bool tempdir_exists(const struct tempdir *d, const char *name);

#endif
