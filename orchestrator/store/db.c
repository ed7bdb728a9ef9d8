#include "orchestrator/store/db.h"

#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "orchestrator/store/schema.h"
#include "orchestrator/store/statement.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/file.h>

#define DATA_DIR_MODE 0711

int store_make_dir(const char *data_dir, struct err *err)
{
    return file_make_dirs(data_dir, DATA_DIR_MODE, err);
}

/* Make the file with the right mode; SQLite gives its -wal and -shm the same. One that exists is
 * not even opened: closing a descriptor of it would drop the locks this process may hold on it. */
static int make_file(const char *path, struct err *err)
{
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 && errno != EEXIST)
        return err_set(err, ERR_DENIED, errno, "cannot make %s: %s", path, strerror(errno));
    return 0;
}

static int open_file(struct db *db, const char *path, struct err *err)
{
    int rc = sqlite3_open_v2(path, &db->sqlite, SQLITE_OPEN_READWRITE, NULL);
    if (rc != SQLITE_OK)
        return db_error(db, rc, err);
    sqlite3_busy_timeout(db->sqlite, DB_BUSY_MS);
    rc = db_script(db,
                   "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                   "PRAGMA foreign_keys = ON",
                   err);
    return rc ? rc : schema_migrate(db, &schema_current, path, err);
}

/* Openings wait for each other: SQLite does not wait for the lock it needs to turn WAL on. */
static int lock_opening(const char *data_dir, int *out, struct err *err)
{
    AUTO_CLOSE int fd = open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_set(err, ERR_DENIED, errno, "cannot open %s: %s", data_dir, strerror(errno));
    while (flock(fd, LOCK_EX) < 0)
        if (errno != EINTR)
            return err_set(err, ERR_INTERNAL, errno, "cannot lock %s: %s", data_dir,
                           strerror(errno));
    *out = TAKE_FD(fd);
    return 0;
}

int db_open(struct db **out, const char *data_dir, struct err *err)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/" DB_FILE, data_dir) >= (int)sizeof(path))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "the data directory's path is too long");
    AUTO_CLOSE int opening = -1;
    int rc = store_make_dir(data_dir, err);
    if (rc == 0)
        rc = lock_opening(data_dir, &opening, err);
    if (rc == 0)
        rc = make_file(path, err);
    if (rc)
        return rc;

    struct db *db = calloc(1, sizeof(*db));
    if (!db)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    rc = open_file(db, path, err);
    if (rc) {
        db_close(db);
        return rc;
    }
    *out = db;
    return 0;
}

void db_close(struct db *db)
{
    if (!db)
        return;
    sqlite3_close(db->sqlite);
    free(db);
}
