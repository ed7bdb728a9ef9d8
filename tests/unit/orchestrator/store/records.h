/* Records that tests begin with. */
#ifndef TESTS_UNIT_ORCHESTRATOR_STORE_RECORDS_H
#define TESTS_UNIT_ORCHESTRATOR_STORE_RECORDS_H

#include "test_store.h"

#include "orchestrator/store/deaths.h"
#include "orchestrator/store/keys.h"
#include "orchestrator/store/sandboxes.h"
#include "orchestrator/store/snapshots.h"
#include "orchestrator/store/statement.h"

#include <errno.h>
#include <string.h>

/* Fail the test unless rc is 0. */
#define OK(call)                                                                                   \
    do {                                                                                           \
        if (call)                                                                                  \
            fail_msg("%s: %s", #call, err.msg);                                                    \
    } while (0)

static inline int64_t number(struct db *db, const char *sql)
{
    struct err err;
    int64_t n = -1;
    OK(db_number(db, &n, &err, sql, ""));
    return n;
}

static inline void default_team(struct db *db, char id[static ID_UUID_SIZE])
{
    struct err err;
    struct store_team team;
    OK(db_team_find(db, NULL, &team, &err));
    memcpy(id, team.id, ID_UUID_SIZE);
}

/* An image of the operator's under a name. */
static inline void add_image(struct db *db, const char *name, const char *dir,
                             struct store_build *out)
{
    struct err err;
    struct store_template t;
    *out = (struct store_build){ .vcpus = 2, .memory_mb = 512, .disk_mb = 4096 };
    snprintf(out->dir, sizeof(out->dir), "%s", dir);
    snprintf(out->envd_version, sizeof(out->envd_version), "0.6.13");
    OK(db_template_publish(db, NULL, name, out, &t, &err));
}

/* A sandbox of the default team, not written yet, made from a build. */
static inline void make_sandbox(struct db *db, const char *id, const struct store_build *from,
                                struct store_sandbox *sb)
{
    *sb = (struct store_sandbox){
        .started_ns = 1000, .end_ns = 2000, .vcpus = 2, .memory_mb = 512, .disk_mb = 4096
    };
    default_team(db, sb->team_id);
    snprintf(sb->id, sizeof(sb->id), "%s", id);
    snprintf(sb->state, sizeof(sb->state), "running");
    memcpy(sb->build_id, from->id, sizeof(sb->build_id));
    memcpy(sb->template_id, from->template_id, sizeof(sb->template_id));
}

/* A snapshot of the default team on an image and a layer (NULL: none). */
static inline int add_snapshot(struct db *db, const char *name, const struct store_build *image,
                               const char *layer, struct store_build *b, struct store_snapshot *out,
                               struct err *err)
{
    char team[ID_UUID_SIZE];
    default_team(db, team);
    *b = (struct store_build){ .vcpus = 2, .memory_mb = 512, .disk_mb = 4096 };
    id_uuid(b->id);
    memcpy(b->base_build_id, image->id, sizeof(b->base_build_id));
    snprintf(b->dir, sizeof(b->dir), "/snapshots/%s", b->id);
    snprintf(b->layer_id, sizeof(b->layer_id), "%s", layer ? layer : "");
    snprintf(b->source_sandbox_id, sizeof(b->source_sandbox_id), "isource");
    return db_snapshot_publish(db, team, name, b, out, err);
}

/* What may not be deleted: SQLite itself refuses it, and the record is still there. */
static inline void assert_kept(struct db *db, const char *table, const char *id)
{
    struct err err = { 0 };
    char sql[128];
    snprintf(sql, sizeof(sql), "DELETE FROM %s WHERE id = '%s'", table, id);
    assert_int_equal(db_script(db, sql, &err), -EEXIST);
    assert_non_null(strstr(err.msg, "FOREIGN KEY"));
    snprintf(sql, sizeof(sql), "SELECT count(*) FROM %s WHERE id = '%s'", table, id);
    assert_int_equal(number(db, sql), 1);
}

#endif
