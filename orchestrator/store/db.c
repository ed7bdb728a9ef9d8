#include "orchestrator/store/db.h"

#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "orchestrator/store/schema.h"
#include "orchestrator/store/statement.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#define DATA_DIR_MODE 0711

int store_make_dir(const char *data_dir, struct err *err)
{
    return file_make_dirs(data_dir, DATA_DIR_MODE, err);
}

/* Make the file with the right mode; SQLite gives its -wal and -shm the same. */
static int make_file(const char *path, struct err *err)
{
    AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return err_set(err, ERR_DENIED, errno, "cannot open %s: %s", path, strerror(errno));
    return 0;
}

int db_open(struct db **out, const char *data_dir, struct err *err)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/" DB_FILE, data_dir) >= (int)sizeof(path))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "the data directory's path is too long");
    int rc = store_make_dir(data_dir, err);
    if (rc == 0)
        rc = make_file(path, err);
    if (rc)
        return rc;

    struct db *db = calloc(1, sizeof(*db));
    if (!db)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    rc = sqlite3_open_v2(path, &db->sqlite, SQLITE_OPEN_READWRITE, NULL);
    if (rc != SQLITE_OK) {
        rc = db_error(db, rc, err);
    } else {
        sqlite3_busy_timeout(db->sqlite, DB_BUSY_MS);
        rc = db_script(db,
                       "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                       "PRAGMA foreign_keys = ON",
                       err);
        if (rc == 0)
            rc = schema_migrate(db, path, err);
    }
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
