/* Why each sandbox ended. */
#ifndef ORCHESTRATOR_STORE_DEATHS_H
#define ORCHESTRATOR_STORE_DEATHS_H

#include "orchestrator/store/db.h"
#include "orchestrator/store/ids.h"

#include <stdint.h>

/* So long, and so many of all teams together: clients may end sandboxes as fast as they make them.
 */
#define DEATH_KEPT_NS (INT64_C(7) * 24 * 3600 * 1000000000)
#define DEATHS_KEPT   100000

/* Of each text at most so many bytes are kept: the first of the short ones, the last of those that
 * grow at their end. A character is never cut in two. */
/* The reason of a create that was undone after it had been written down. */
#define DEATH_OF_CREATE "create_failed"

#define DEATH_REASON_MAX  64
#define DEATH_ACTOR_MAX   64
#define DEATH_FACTS_MAX   1024
#define DEATH_DETAIL_MAX  4096 /* the last */
#define DEATH_CONSOLE_MAX 4096 /* the last */

struct store_death {
    const char *sandbox_id, *team_id;
    int64_t when_ns;
    const char *reason;
    const char *detail;
    /* NULL is kept as an empty text. */
    const char *actor;   /* who did it: "key e2b_ab...12", "deadline", "guest", "host" */
    const char *console; /* the end of what the guest wrote there; any bytes but NUL */
    const char *facts;   /* on memory and disk, as it was last known */
};

/* The sandbox is gone: its row becomes a death record, in one transaction. Nothing happens when
 * there is no row. */
int db_sandbox_end(struct db *db, const struct store_death *death, struct err *err);

/* The deaths on record, newest first; of one sandbox, or of all (NULL). The record is borrowed for
 * the call. */
int db_death_list(struct db *db, const char *sandbox_id,
                  void (*each)(void *user, const struct store_death *death), void *user,
                  struct err *err);

/* How a sandbox of the team (NULL: of any) ended; ERR_NOT_FOUND when nothing is known of its end.
 * The texts of *out are freed by store_death_deinit(). */
int db_death_find(struct db *db, const char *sandbox_id, const char *team_id,
                  struct store_death *out, struct err *err);

/* Copy a record with its texts. -ENOMEM leaves *out empty. */
int store_death_copy(struct store_death *out, const struct store_death *death, struct err *err);
void store_death_deinit(struct store_death *death);

#endif
