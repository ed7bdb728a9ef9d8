#include "orchestrator/image/initramfs.h"
#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "orchestrator/image/unpack.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <limits.h>
#include <sys/stat.h>

#define LIST_SIZE_MAX 65536

static int add_entry(struct archive *a, const char *name, mode_t mode, struct str data,
                     struct err *err)
{
    struct archive_entry *entry = archive_entry_new();
    if (!entry)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    archive_entry_set_pathname(entry, name);
    archive_entry_set_mode(entry, mode);
    archive_entry_set_nlink(entry, S_ISDIR(mode) ? 2 : 1);
    archive_entry_set_size(entry, (la_int64_t)data.n);
    archive_entry_set_mtime(entry, 0, 0);
    int ok = archive_write_header(a, entry);
    archive_entry_free(entry);
    if (ok != ARCHIVE_OK || archive_write_data(a, data.p, data.n) != (la_ssize_t)data.n)
        return err_set(err, ERR_INTERNAL, archive_errno(a) > 0 ? archive_errno(a) : EIO,
                       "cannot write the initramfs: %s", archive_error_string(a));
    return 0;
}

static int add_file(struct archive *a, const char *name, mode_t mode, const char *from, size_t max,
                    struct err *err)
{
    struct buf data = { 0 };
    int rc = file_read(from, max, &data, err);
    if (rc == 0)
        rc = add_entry(a, name, S_IFREG | mode, buf_str(&data), err);
    buf_deinit(&data);
    return rc;
}

static int add_modules(struct archive *a, const char *dir, struct buf *list, struct err *err)
{
    char from[PATH_MAX], name[NAME_MAX + 16];
    snprintf(from, sizeof(from), "%s/modules.list", dir);
    struct buf files = { 0 };
    int rc = file_read(from, LIST_SIZE_MAX, &files, err);
    struct str rest = buf_str(&files);
    while (rc == 0 && rest.p) {
        struct str file = str_split(&rest, '\n');
        if (file.n == 0)
            continue;
        if (snprintf(from, sizeof(from), "%s/%.*s", dir, STR_ARG(file)) >= (int)sizeof(from) ||
            snprintf(name, sizeof(name), "modules/%.*s", STR_ARG(file)) >= (int)sizeof(name)) {
            rc = err_set(err, ERR_INVALID, ENAMETOOLONG, "the name of a module is too long");
            break;
        }
        rc = add_file(a, name, 0444, from, UNPACK_MODULE_MAX, err);
        buf_printf(list, "/%s\n", name);
    }
    buf_deinit(&files);
    return rc;
}

static int add_all(struct archive *a, struct str envd, const char *modules_dir, struct err *err)
{
    struct buf list = { 0 };
    int rc = add_entry(a, "modules", S_IFDIR | 0755, STR(""), err);
    if (rc == 0)
        rc = add_entry(a, "init", S_IFREG | 0555, envd, err);
    if (rc == 0)
        rc = add_modules(a, modules_dir, &list, err);
    if (rc == 0 && list.failed)
        rc = err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    if (rc == 0)
        rc = add_entry(a, "modules.list", S_IFREG | 0444, buf_str(&list), err);
    buf_deinit(&list);
    return rc;
}

int initramfs_write(const char *path, struct str envd, const char *modules_dir, struct err *err)
{
    struct archive *a = archive_write_new();
    if (!a)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    /* Unpacked: a kernel under emulation reads the 3 MB faster than it would unpack them. */
    int rc = 0;
    if (archive_write_set_format_cpio_newc(a) != ARCHIVE_OK ||
        archive_write_open_filename(a, path) != ARCHIVE_OK)
        rc = err_set(err, ERR_INTERNAL, archive_errno(a) > 0 ? archive_errno(a) : EIO,
                     "cannot write %s: %s", path, archive_error_string(a));
    if (rc == 0)
        rc = add_all(a, envd, modules_dir, err);
    if (rc == 0 && archive_write_close(a) != ARCHIVE_OK)
        rc = err_set(err, ERR_INTERNAL, archive_errno(a) > 0 ? archive_errno(a) : EIO,
                     "cannot write %s: %s", path, archive_error_string(a));
    archive_write_free(a);
    return rc;
}
