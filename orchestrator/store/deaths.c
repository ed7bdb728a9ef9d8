#include "orchestrator/store/deaths.h"

#include "orchestrator/store/create_keys_internal.h"
#include "orchestrator/store/statement.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool continues_character(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

/* The last `max` bytes at most. */
static const char *tail(const char *text, size_t max)
{
    if (!text)
        return "";
    size_t n = strlen(text);
    if (n <= max)
        return text;
    text += n - max;
    for (int i = 0; i < 3 && continues_character(*text); i++)
        text++;
    return text;
}

/* The first `max` bytes at most, in `out`, which has room for one more. */
static const char *head(const char *text, char *out, size_t max)
{
    size_t n = text ? strnlen(text, max + 1) : 0;
    if (n > max) {
        n = max;
        for (int i = 0; i < 3 && n > 0 && continues_character(text[n]); i++)
            n--;
    }
    if (n > 0)
        memcpy(out, text, n);
    out[n] = '\0';
    return out;
}

static int end(struct db *db, const struct store_death *d, struct err *err)
{
    char reason[DEATH_REASON_MAX + 1], actor[DEATH_ACTOR_MAX + 1], facts[DEATH_FACTS_MAX + 1];
    int rc = db_run(db, err, "DELETE FROM sandboxes WHERE id = ?", "s", d->sandbox_id);
    if (rc || sqlite3_changes(db->sqlite) == 0)
        return rc;
    rc = db_run(db, err,
                "INSERT INTO deaths (sandbox_id, team_id, ended_ns, reason, detail, actor, console,"
                " facts) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                "ssisssss", d->sandbox_id, d->team_id, d->when_ns,
                head(d->reason, reason, DEATH_REASON_MAX), tail(d->detail, DEATH_DETAIL_MAX),
                head(d->actor, actor, DEATH_ACTOR_MAX), tail(d->console, DEATH_CONSOLE_MAX),
                head(d->facts, facts, DEATH_FACTS_MAX));
    if (rc == 0 && strcmp(reason, DEATH_OF_CREATE) == 0)
        rc = create_key_forget(db, d->sandbox_id, err);
    if (rc == 0)
        rc = db_run(db, err, "DELETE FROM deaths WHERE ended_ns < ?", "i",
                    d->when_ns - DEATH_KEPT_NS);
    if (rc)
        return rc;
    return db_run(db, err, "DELETE FROM deaths WHERE rowid <= ?", "i",
                  sqlite3_last_insert_rowid(db->sqlite) - DEATHS_KEPT);
}

int db_sandbox_end(struct db *db, const struct store_death *death, struct err *err)
{
    int rc = db_begin(db, err);
    return rc ? rc : db_end(db, end(db, death, err), err);
}

#define DEATH_SELECT                                                                               \
    "SELECT sandbox_id, team_id, ended_ns, reason, detail, actor, console, facts FROM deaths"

/* Borrowed until the statement's next step. */
static struct store_death read_death(sqlite3_stmt *st)
{
    return (struct store_death){ .sandbox_id = db_text(st, 0),
                                 .team_id = db_text(st, 1),
                                 .when_ns = sqlite3_column_int64(st, 2),
                                 .reason = db_text(st, 3),
                                 .detail = db_text(st, 4),
                                 .actor = db_text(st, 5),
                                 .console = db_text(st, 6),
                                 .facts = db_text(st, 7) };
}

int db_death_list(struct db *db, const char *sandbox_id,
                  void (*each)(void *user, const struct store_death *death), void *user,
                  struct err *err)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err,
                      DEATH_SELECT " WHERE ?1 IS NULL OR sandbox_id = ?1"
                                   " ORDER BY ended_ns DESC, rowid DESC",
                      "s", sandbox_id);
    while (rc == 0) {
        int more = db_step(db, st, err);
        if (more <= 0)
            return more;
        struct store_death death = read_death(st);
        each(user, &death);
    }
    return rc;
}

int db_death_find(struct db *db, const char *sandbox_id, const char *team_id,
                  struct store_death *out, struct err *err)
{
    AUTO_STMT sqlite3_stmt *st = NULL;
    int rc = db_query(db, &st, err,
                      DEATH_SELECT " WHERE sandbox_id = ?1 AND (?2 IS NULL OR team_id = ?2)"
                                   " ORDER BY ended_ns DESC, rowid DESC LIMIT 1",
                      "ss", sandbox_id, team_id);
    if (rc == 0)
        rc = db_step(db, st, err);
    if (rc < 0)
        return rc;
    if (rc == 0)
        return err_set(err, ERR_NOT_FOUND, ENOENT, "no end of a sandbox '%.64s' is on record",
                       sandbox_id);
    struct store_death death = read_death(st);
    return store_death_copy(out, &death, err);
}

#define TEXTS 7

static void texts_of(struct store_death *d, const char **texts[static TEXTS])
{
    const char **all[TEXTS] = { &d->sandbox_id, &d->team_id, &d->reason, &d->detail,
                                &d->actor,      &d->console, &d->facts };
    memcpy(texts, all, sizeof(all));
}

int store_death_copy(struct store_death *out, const struct store_death *death, struct err *err)
{
    const char **texts[TEXTS];
    bool ok = true;
    *out = *death;
    texts_of(out, texts);
    for (size_t i = 0; i < TEXTS; i++) {
        *texts[i] = strdup(*texts[i] ? *texts[i] : "");
        ok = ok && *texts[i];
    }
    if (ok)
        return 0;
    store_death_deinit(out);
    return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
}

void store_death_deinit(struct store_death *death)
{
    const char **texts[TEXTS];
    texts_of(death, texts);
    for (size_t i = 0; i < TEXTS; i++)
        free((char *)(uintptr_t)*texts[i]);
    *death = (struct store_death){ 0 };
}
