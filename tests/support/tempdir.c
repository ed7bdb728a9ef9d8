#include "tests/support/tempdir.h"

#include "common/base/fileio.h"
#include "tests/support/test.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void tempdir_init(struct tempdir *d)
{
    snprintf(d->path, sizeof(d->path), "/tmp/sandpit-test-XXXXXX");
    assert_non_null(mkdtemp(d->path));
}

void tempdir_init_in_memory(struct tempdir *d)
{
    snprintf(d->path, sizeof(d->path), "/dev/shm/sandpit-test-XXXXXX");
    if (!mkdtemp(d->path))
        tempdir_init(d);
}

void tempdir_deinit(struct tempdir *d)
{
    struct err err = { 0 };
    assert_int_equal(file_remove_tree(d->path, &err), 0);
}

const char *tempdir_path(const struct tempdir *d, const char *name)
{
    static char paths[16][PATH_MAX];
    static unsigned next;
    char *path = paths[next++ % 16];
    int n = snprintf(path, PATH_MAX, "%s/%s", d->path, name);
    assert_true(n > 0 && n < PATH_MAX);
    return path;
}

static void make_parents(const char *path)
{
    char dir[PATH_MAX];
    struct err err = { 0 };
    snprintf(dir, sizeof(dir), "%s", path);
    *strrchr(dir, '/') = '\0';
    assert_int_equal(file_make_dirs(dir, 0755, &err), 0);
}

void tempdir_write(const struct tempdir *d, const char *name, const char *text)
{
    const char *path = tempdir_path(d, name);
    make_parents(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(fd_write_all(fd, text, strlen(text)), 0);
    close(fd);
}

void tempdir_mkdir(const struct tempdir *d, const char *name)
{
    const char *path = tempdir_path(d, name);
    make_parents(path);
    assert_int_equal(mkdir(path, 0755), 0);
}

char *tempdir_read(const struct tempdir *d, const char *name)
{
    struct buf text = { 0 };
    if (file_read(tempdir_path(d, name), 64U << 20, &text, NULL) < 0)
        return NULL;
    buf_reserve(&text, 1);
    return buf_take_text(&text);
}

size_t tempdir_count(const struct tempdir *d, const char *name)
{
    DIR *dir = opendir(tempdir_path(d, name));
    size_t n = 0;
    assert_non_null(dir);
    while (readdir(dir))
        n++;
    closedir(dir);
    return n - 2;
}

bool tempdir_exists(const struct tempdir *d, const char *name)
{
    struct stat st;
    return lstat(tempdir_path(d, name), &st) == 0;
}
