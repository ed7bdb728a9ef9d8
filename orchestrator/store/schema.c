#include "orchestrator/store/schema.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/log.h"
#include "orchestrator/store/ids.h"
#include "orchestrator/store/statement.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

/* A step that a release had is never edited. */
static const char *const steps[DB_VERSION] = {
    /* 1. Times are nanoseconds since 1970. A template of no team is the operator's, public to all;
     * names of those have the owner ''. */
    "CREATE TABLE teams ("
    "  id TEXT PRIMARY KEY, name TEXT NOT NULL, slug TEXT NOT NULL UNIQUE,"
    "  created_ns INTEGER NOT NULL) STRICT;"
    "CREATE TABLE keys ("
    "  id TEXT PRIMARY KEY, team_id TEXT NOT NULL REFERENCES teams(id), name TEXT NOT NULL,"
    "  hash TEXT NOT NULL UNIQUE, mask_prefix TEXT NOT NULL, mask_length INTEGER NOT NULL,"
    "  mask_first TEXT NOT NULL, mask_last TEXT NOT NULL, created_ns INTEGER NOT NULL,"
    "  last_used_ns INTEGER, revoked_ns INTEGER) STRICT;"
    "CREATE INDEX keys_team ON keys(team_id);"
    "CREATE TABLE templates ("
    "  id TEXT PRIMARY KEY, team_id TEXT REFERENCES teams(id), public INTEGER NOT NULL,"
    "  created_ns INTEGER NOT NULL, updated_ns INTEGER NOT NULL, last_spawned_ns INTEGER,"
    "  spawn_count INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE TABLE template_names ("
    "  owner TEXT NOT NULL, name TEXT NOT NULL,"
    "  template_id TEXT NOT NULL REFERENCES templates(id) ON DELETE CASCADE,"
    "  PRIMARY KEY (owner, name)) STRICT;"
    "CREATE INDEX template_names_template ON template_names(template_id);"
    "CREATE TABLE builds ("
    "  id TEXT PRIMARY KEY,"
    "  template_id TEXT NOT NULL REFERENCES templates(id) ON DELETE CASCADE,"
    "  status TEXT NOT NULL, dir TEXT NOT NULL, vcpus INTEGER NOT NULL,"
    "  memory_mb INTEGER NOT NULL, disk_mb INTEGER NOT NULL, envd_version TEXT NOT NULL,"
    "  created_ns INTEGER NOT NULL, finished_ns INTEGER) STRICT;"
    "CREATE INDEX builds_template ON builds(template_id);"
    "CREATE TABLE template_tags ("
    "  template_id TEXT NOT NULL REFERENCES templates(id) ON DELETE CASCADE,"
    "  tag TEXT NOT NULL, build_id TEXT NOT NULL REFERENCES builds(id) ON DELETE CASCADE,"
    "  created_ns INTEGER NOT NULL, PRIMARY KEY (template_id, tag)) STRICT;"
    "CREATE TABLE sandboxes ("
    "  id TEXT PRIMARY KEY, team_id TEXT NOT NULL REFERENCES teams(id),"
    "  template_id TEXT NOT NULL, build_id TEXT NOT NULL REFERENCES builds(id),"
    "  alias TEXT NOT NULL, envd_version TEXT NOT NULL, state TEXT NOT NULL,"
    "  started_ns INTEGER NOT NULL, end_ns INTEGER NOT NULL, vcpus INTEGER NOT NULL,"
    "  memory_mb INTEGER NOT NULL, disk_mb INTEGER NOT NULL, secure INTEGER NOT NULL,"
    "  private_traffic INTEGER NOT NULL, metadata TEXT NOT NULL, config TEXT NOT NULL,"
    "  vmm_pid INTEGER NOT NULL, vmm_start_ticks INTEGER NOT NULL, link_secret BLOB NOT NULL,"
    "  uid INTEGER NOT NULL, run_dir TEXT NOT NULL) STRICT;"
    "CREATE TABLE deaths ("
    "  sandbox_id TEXT NOT NULL, team_id TEXT NOT NULL, ended_ns INTEGER NOT NULL,"
    "  reason TEXT NOT NULL, detail TEXT NOT NULL) STRICT;"
    "CREATE INDEX deaths_sandbox ON deaths(sandbox_id);"
    "CREATE INDEX deaths_ended ON deaths(ended_ns);"
    "CREATE TABLE settings (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;",

    /* 2. Snapshots. Whatever a record stands on is a reference, so that none can be deleted under
     * another: a build under a sandbox or another build, a layer under any of the three. An image
     * has no base_build_id, nor has a sandbox whose memory began as zeros. */
    "CREATE TABLE layers ("
    "  id TEXT PRIMARY KEY, parent_id TEXT REFERENCES layers(id),"
    "  created_ns INTEGER NOT NULL) STRICT;"
    "CREATE INDEX layers_parent ON layers(parent_id);"
    "ALTER TABLE templates ADD COLUMN kind TEXT NOT NULL DEFAULT 'image';"
    "ALTER TABLE builds ADD COLUMN kind TEXT NOT NULL DEFAULT 'image';"
    "ALTER TABLE builds ADD COLUMN base_build_id TEXT REFERENCES builds(id);"
    "ALTER TABLE builds ADD COLUMN layer_id TEXT REFERENCES layers(id);"
    "ALTER TABLE builds ADD COLUMN source_sandbox_id TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE builds ADD COLUMN filesystem_only INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE builds ADD COLUMN memory_base TEXT NOT NULL DEFAULT 'zeros';"
    "ALTER TABLE builds ADD COLUMN created_by TEXT NOT NULL DEFAULT '';"
    "CREATE INDEX builds_base ON builds(base_build_id);"
    "CREATE INDEX builds_layer ON builds(layer_id);"
    "CREATE INDEX template_tags_build ON template_tags(build_id);"
    "ALTER TABLE sandboxes ADD COLUMN envs TEXT NOT NULL DEFAULT '{}';"
    "ALTER TABLE sandboxes ADD COLUMN layer_id TEXT REFERENCES layers(id);"
    "ALTER TABLE sandboxes ADD COLUMN base_build_id TEXT REFERENCES builds(id);"
    "ALTER TABLE sandboxes ADD COLUMN snapshot_id TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE sandboxes ADD COLUMN paused_ns INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE sandboxes ADD COLUMN filesystem_only INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE sandboxes ADD COLUMN unresponsive INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE sandboxes ADD COLUMN create_timeout_s INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE sandboxes ADD COLUMN key_id TEXT NOT NULL DEFAULT '';"
    "CREATE INDEX sandboxes_build ON sandboxes(build_id);"
    "CREATE INDEX sandboxes_base ON sandboxes(base_build_id);"
    "CREATE INDEX sandboxes_layer ON sandboxes(layer_id);"
    "ALTER TABLE deaths ADD COLUMN actor TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE deaths ADD COLUMN console TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE deaths ADD COLUMN facts TEXT NOT NULL DEFAULT '';",

    /* 3. The longest life of a sandbox counts from when it was made or resumed. Of those that were
     * on record nobody knows when that was. */
    "ALTER TABLE sandboxes ADD COLUMN run_began_ns INTEGER NOT NULL DEFAULT 0;"
    "UPDATE sandboxes SET run_began_ns = CAST(strftime('%s', 'now') AS INTEGER) * 1000000000;",

    /* 4. No reference to the sandbox: it may end before its key is forgotten. */
    "CREATE TABLE create_keys ("
    "  team_id TEXT NOT NULL, key TEXT NOT NULL, request BLOB NOT NULL,"
    "  sandbox_id TEXT NOT NULL, created_ns INTEGER NOT NULL,"
    "  PRIMARY KEY (team_id, key)) STRICT;"
    "CREATE INDEX create_keys_sandbox ON create_keys(sandbox_id);"
    "CREATE INDEX create_keys_created ON create_keys(created_ns);",
};

/* The team that keys are of when nothing else is said. */
static int fill(struct db *db, struct err *err)
{
    char team[ID_UUID_SIZE];
    id_uuid(team);
    return db_run(db, err, "INSERT INTO teams VALUES (?, 'default', 'default', ?)", "si", team,
                  clock_wall_ns());
}

const struct schema schema_current = { .version = DB_VERSION, .steps = steps, .fill = fill };

static int read_version(struct db *db, const struct schema *schema, int *version, struct err *err)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err, "PRAGMA user_version", "");
    if (rc == 0)
        rc = db_step(db, st, err);
    if (rc < 0)
        return rc;
    *version = sqlite3_column_int(st, 0);
    if (*version < 0 || *version > schema->version)
        return err_set(err, ERR_PRECONDITION, EPROTO,
                       "the database is of version %d, and this sandpit knows versions up to %d: "
                       "run the newer sandpit that made it",
                       *version, schema->version);
    return 0;
}

/* Copy the database as it was before the migration. Runs on a connection of its own, which sees the
 * last committed state while ours holds the write lock. */
static int backup(const char *path, int version, struct err *err)
{
    char copy[PATH_MAX + 32];
    snprintf(copy, sizeof(copy), "%s.v%d", path, version);
    unlink(copy);
    /* VACUUM INTO accepts an empty file, and this one is readable by nobody else. */
    AUTO_CLOSE int fd = open(copy, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot make %s: %s", copy, strerror(errno));
    struct db source = { 0 };
    int rc = sqlite3_open_v2(path, &source.sqlite, SQLITE_OPEN_READWRITE, NULL);
    if (rc != SQLITE_OK)
        rc = db_error(&source, rc, err);
    else
        rc = db_run(&source, err, "VACUUM INTO ?", "s", copy);
    sqlite3_close(source.sqlite);
    if (rc == 0 && fsync(fd) < 0)
        rc = err_set(err, ERR_INTERNAL, errno, "cannot write %s: %s", copy, strerror(errno));
    if (rc)
        unlink(copy);
    return rc;
}

static int apply(struct db *db, const struct schema *schema, const char *path, struct err *err)
{
    /* Again, now that no one else can write: another process may have been faster. */
    int version;
    int rc = read_version(db, schema, &version, err);
    if (rc || version == schema->version)
        return rc;
    if (version > 0) {
        rc = backup(path, version, err);
        if (rc)
            return rc;
        log_info("migrating the database", LOG_INT("from", version),
                 LOG_INT("to", schema->version));
    }
    for (int v = version; v < schema->version; v++) {
        rc = db_script(db, schema->steps[v], err);
        if (rc)
            return rc;
    }
    if (version == 0 && schema->fill) {
        rc = schema->fill(db, err);
        if (rc)
            return rc;
    }
    char sql[48];
    snprintf(sql, sizeof(sql), "PRAGMA user_version = %d", schema->version);
    return db_script(db, sql, err);
}

int schema_migrate(struct db *db, const struct schema *schema, const char *path, struct err *err)
{
    int version;
    int rc = read_version(db, schema, &version, err);
    if (rc || version == schema->version)
        return rc;
    rc = db_begin(db, err);
    return rc ? rc : db_end(db, apply(db, schema, path, err), err);
}
