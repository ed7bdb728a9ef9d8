/* A host of sandboxes over the doubles, with the template "base" in a data directory of its own. */
#ifndef TESTS_UNIT_ORCHESTRATOR_SANDBOX_WORLD_H
#define TESTS_UNIT_ORCHESTRATOR_SANDBOX_WORLD_H

#include "tests/support/test.h"

#include "orchestrator/sandbox/host.h"
#include "orchestrator/sandbox/internal.h"
#include "tests/support/tempdir.h"
#include "tests/unit/orchestrator/sandbox/fakes.h"

struct world {
    struct tempdir dir;
    uv_loop_t loop;
    struct defer_queue defer;
    struct config config;
    struct store_build base;
    char team[ID_UUID_SIZE];
    struct sandbox_host *host;
    /* What was told last. */
    struct sandbox *made;
    char id[SANDBOX_ID_SIZE]; /* of the sandbox that was made last */
    char snapshot_id[300];
    struct err err;
    int created, killed, not_killed, stopped, recovered, paused, connected, resumed, snapshotted;
    int forked, children;
};

int world_setup(void **state);
int world_teardown(void **state);
#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

/* Everything that waits for nobody: until the loop, its workers and the doubles have no more to
 * do. Timers are not waited for. */
void world_run(struct world *w);

#define WORLD_UNTIL(w, condition)                                                                  \
    do {                                                                                           \
        int64_t deadline_ = clock_mono_ms() + 10000;                                               \
        while (world_run(w), !(condition)) {                                                       \
            if (clock_mono_ms() > deadline_)                                                       \
                fail_msg("waited in vain for: %s", #condition);                                    \
            uv_run(&(w)->loop, UV_RUN_ONCE);                                                       \
        }                                                                                          \
    } while (0)

/* Run until the ask waits. */
void world_hold(struct world *w, const char *name);
/* Let it go, and everything after it. */
void world_go(struct world *w);

/* Begin an operation; its result is in the world. */
void world_create(struct world *w, const char *ref);
void world_kill(struct world *w);
void world_pause(struct world *w);
void world_pause_disk(struct world *w);
void world_connect(struct world *w);
void world_reboot(struct world *w);
void world_snapshot(struct world *w, const char *name);
void world_fork(struct world *w, unsigned count);
void world_stop(struct world *w, bool kill_all);
void world_recover(struct world *w);

/* A running sandbox; its id is in the world. */
void world_have_sandbox(struct world *w);
/* The same, paused. */
void world_have_paused(struct world *w);

/* As a daemon that is killed and started again: nothing is told to anybody, VMs go on. */
void world_restart(struct world *w);

/* A number from the database. */
int64_t world_number(const struct world *w, const char *sql);

/* Nothing is left of any sandbox: no VM, no link, no file, no row. */
void world_assert_empty(struct world *w);

/* The sandbox of the world is in this state, in memory as on record. */
void world_assert_state(struct world *w, enum sandbox_state state, const char *recorded);

#endif
