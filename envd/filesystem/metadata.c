#include "envd/filesystem/metadata.h"

#include "envd/filesystem/text.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <sys/xattr.h>

#define PREFIX_LEN (sizeof(METADATA_PREFIX) - 1)
#define NAMES_MAX  65536 /* the kernel's limit on a list of names */

/* The first `small` bytes usually hold the list; else it is read anew into the arena. */
static const char *list_names(struct arena *arena, const char *path, char *small, size_t size,
                              size_t *n)
{
    char *names = small;
    ssize_t got = llistxattr(path, names, size);
    if (got < 0 && errno == ERANGE) {
        names = arena_alloc(arena, NAMES_MAX);
        got = names ? llistxattr(path, names, NAMES_MAX) : -1;
    }
    *n = got > 0 ? (size_t)got : 0;
    return names;
}

/* The text of one attribute, or NULL. One that the API could not have set is not shown. */
static char *read_value(struct arena *arena, const char *path, const char *name)
{
    char value[METADATA_TOTAL_MAX];
    ssize_t n = lgetxattr(path, name, value, sizeof(value));
    if (n < 0)
        return NULL;
    return text_valid(arena, (struct str){ value, (size_t)n });
}

static size_t count_ours(const char *names, size_t n)
{
    size_t count = 0;
    for (const char *p = names; p < names + n; p += strlen(p) + 1)
        count += strncmp(p, METADATA_PREFIX, PREFIX_LEN) == 0;
    return count;
}

void metadata_read(struct arena *arena, const char *path, Filesystem__EntryInfo *entry)
{
    char small[1024];
    size_t n;
    const char *names = list_names(arena, path, small, sizeof(small), &n);
    size_t count = n ? count_ours(names, n) : 0;
    if (count == 0)
        return;
    entry->metadata = arena_zalloc(arena, count * sizeof(entry->metadata[0]));
    if (!entry->metadata)
        return;
    for (const char *p = names; p < names + n; p += strlen(p) + 1) {
        if (strncmp(p, METADATA_PREFIX, PREFIX_LEN) != 0)
            continue;
        Filesystem__EntryInfo__MetadataEntry *e = arena_alloc(arena, sizeof(*e));
        char *key = text_valid(arena, str_of(p + PREFIX_LEN));
        char *value = read_value(arena, path, p);
        if (!e || !key || !value)
            continue;
        filesystem__entry_info__metadata_entry__init(e);
        e->key = key;
        e->value = value;
        entry->metadata[entry->n_metadata++] = e;
    }
}

static bool is_unsupported(int errnum)
{
    return errnum == ENOTSUP || errnum == ENOSYS;
}

static int remove_all(int fd)
{
    char names[METADATA_TOTAL_MAX];
    ssize_t n = flistxattr(fd, names, sizeof(names));
    if (n < 0)
        return is_unsupported(errno) || errno == ERANGE ? 0 : -errno;
    for (const char *p = names; p < names + n; p += strlen(p) + 1)
        if (strncmp(p, METADATA_PREFIX, PREFIX_LEN) == 0 && fremovexattr(fd, p) < 0 &&
            errno != ENODATA && !is_unsupported(errno))
            return -errno;
    return 0;
}

int metadata_replace(int fd, const struct metadata *entries, size_t n)
{
    int rc = remove_all(fd);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        char name[PREFIX_LEN + METADATA_KEY_MAX + 1];
        snprintf(name, sizeof(name), METADATA_PREFIX "%.*s", STR_ARG(entries[i].key));
        if (fsetxattr(fd, name, entries[i].value.p, entries[i].value.n, 0) == 0)
            continue;
        if (is_unsupported(errno))
            return 0;
        rc = -errno;
    }
    return rc;
}
