#include "test_store.h"

#include "common/base/clock.h"
#include "orchestrator/store/store.h"
#include "orchestrator/store/statement.h"

#include <errno.h>
#include <string.h>

static struct store_build build;

static void fill(struct db *db, struct store_sandbox *sb, const char *id)
{
    struct err err;
    struct store_team team;
    struct store_template t;
    assert_int_equal(db_team_find(db, NULL, &team, &err), 0);
    *sb = (struct store_sandbox){
        .started_ns = 1000,
        .end_ns = 2000,
        .vcpus = 2,
        .memory_mb = 512,
        .disk_mb = 4096,
        .secure = true,
        .metadata = "{\"a\":\"b\"}",
        .config = "{}",
        .vmm_pid = 77,
        .vmm_start_ticks = 1234567890123,
        .uid = (uid_t)-1,
    };
    memset(sb->link_secret, 0xa5, sizeof(sb->link_secret));
    snprintf(sb->id, sizeof(sb->id), "%s", id);
    snprintf(sb->state, sizeof(sb->state), "creating");
    snprintf(sb->run_dir, sizeof(sb->run_dir), "/run/%s", id);
    memcpy(sb->team_id, team.id, sizeof(sb->team_id));
    if (db_template_find(db, team.id, "base", &t, &err)) {
        build = (struct store_build){ .vcpus = 1 };
        assert_int_equal(db_template_publish(db, NULL, "base", &build, &t, &err), 0);
    }
    memcpy(sb->template_id, t.id, sizeof(sb->template_id));
    memcpy(sb->build_id, build.id, sizeof(sb->build_id));
}

struct seen {
    int n;
    struct store_sandbox last;
    char metadata[64];
};

static void see(void *user, const struct store_sandbox *sb)
{
    struct seen *s = user;
    s->n++;
    s->last = *sb;
    snprintf(s->metadata, sizeof(s->metadata), "%s", sb->metadata);
}

struct obituary {
    int n;
    char reason[80];
    size_t detail_n;
    char detail_last;
};

static void read_death(void *user, const struct store_death *d)
{
    struct obituary *o = user;
    if (o->n++)
        return;
    snprintf(o->reason, sizeof(o->reason), "%s", d->reason);
    o->detail_n = strlen(d->detail);
    o->detail_last = o->detail_n ? d->detail[o->detail_n - 1] : '\0';
}

static void test_put_then_load_gives_the_same(void **state)
{
    struct db *db = place_open(*state);
    struct store_sandbox sb;
    struct err err;
    fill(db, &sb, "i1");
    assert_int_equal(db_sandbox_put(db, &sb, &err), 0);
    snprintf(sb.state, sizeof(sb.state), "running");
    assert_int_equal(db_sandbox_put(db, &sb, &err), 0);
    assert_int_equal(db_sandbox_set_end(db, "i1", 3000, &err), 0);

    struct seen seen = { 0 };
    assert_int_equal(db_sandbox_load(db, see, &seen, &err), 0);
    assert_int_equal(seen.n, 1);
    assert_string_equal(seen.last.state, "running");
    assert_string_equal(seen.last.run_dir, "/run/i1");
    assert_string_equal(seen.metadata, "{\"a\":\"b\"}");
    assert_int_equal(seen.last.end_ns, 3000);
    assert_int_equal(seen.last.uid, (uid_t)-1);
    assert_int_equal(seen.last.vmm_pid, 77);
    assert_true(seen.last.vmm_start_ticks == 1234567890123);
    assert_true(seen.last.secure);
    assert_false(seen.last.private_traffic);
    assert_memory_equal(seen.last.link_secret, sb.link_secret, sizeof(sb.link_secret));

    /* The template was spawned once, however often the row was written. */
    struct store_template t;
    assert_int_equal(db_template_find(db, sb.team_id, "base", &t, &err), 0);
    assert_int_equal(t.spawn_count, 1);
    assert_int_equal(t.last_spawned_ns, 1000);
}

static void test_put_refuses_an_unknown_build(void **state)
{
    struct db *db = place_open(*state);
    struct store_sandbox sb;
    struct err err;
    fill(db, &sb, "i1");
    snprintf(sb.build_id, sizeof(sb.build_id), "none");
    assert_int_equal(db_sandbox_put(db, &sb, &err), -ENOENT);
    struct seen seen = { 0 };
    assert_int_equal(db_sandbox_load(db, see, &seen, &err), 0);
    assert_int_equal(seen.n, 0);
}

static void test_end_leaves_one_death_and_keeps_seven_days(void **state)
{
    struct db *db = place_open(*state);
    struct store_sandbox sb;
    struct err err;
    int64_t now = clock_wall_ns();
    fill(db, &sb, "i1");
    assert_int_equal(db_sandbox_put(db, &sb, &err), 0);
    char detail[DEATH_DETAIL_MAX + 100];
    memset(detail, 'x', sizeof(detail));
    detail[sizeof(detail) - 2] = 'z';
    detail[sizeof(detail) - 1] = '\0';
    struct store_death d = { .sandbox_id = "i1",
                             .team_id = sb.team_id,
                             .when_ns = now,
                             .reason = "timeout",
                             .detail = detail };
    assert_int_equal(db_sandbox_end(db, &d, &err), 0);
    assert_int_equal(db_sandbox_end(db, &d, &err), 0); /* again: nothing */
    struct obituary o = { 0 };
    assert_int_equal(db_death_list(db, "i1", read_death, &o, &err), 0);
    assert_int_equal(o.n, 1);
    assert_string_equal(o.reason, "timeout");
    assert_int_equal(o.detail_n, DEATH_DETAIL_MAX);
    assert_int_equal(o.detail_last, 'z');

    fill(db, &sb, "i2");
    assert_int_equal(db_sandbox_put(db, &sb, &err), 0);
    d = (struct store_death){ .sandbox_id = "i2",
                              .team_id = sb.team_id,
                              .when_ns = now + DEATH_KEPT_NS + 1,
                              .reason = "api",
                              .detail = "" };
    assert_int_equal(db_sandbox_end(db, &d, &err), 0);
    o = (struct obituary){ 0 };
    assert_int_equal(db_death_list(db, NULL, read_death, &o, &err), 0);
    assert_int_equal(o.n, 1);
    assert_string_equal(o.reason, "api");
}

#ifdef SANDPIT_FAULT_POINTS
static void test_put_on_a_full_disk_says_so(void **state)
{
    struct db *db = place_open(*state);
    struct store_sandbox sb;
    struct err err;
    fill(db, &sb, "i1");
    setenv("SANDPIT_FAULTS", "store.commit", 1);
    int rc = db_sandbox_put(db, &sb, &err);
    unsetenv("SANDPIT_FAULTS");
    assert_int_equal(rc, -ENOSPC);
    assert_string_equal(err.msg,
                        "the disk of the data directory is full: the database cannot be written");
    struct seen seen = { 0 };
    assert_int_equal(db_sandbox_load(db, see, &seen, &err), 0);
    assert_int_equal(seen.n, 0);
}
#endif

/* --- the daemon's queue --- */

struct order {
    char text[64];
    bool closed;
    char build_id[ID_UUID_SIZE];
    char message[256];
};

static struct order order;

static void note(const char *what)
{
    size_t n = strlen(order.text);
    snprintf(order.text + n, sizeof(order.text) - n, "%s ", what);
}

static void on_put(void *user, const struct err *err)
{
    note(err ? "put-failed" : user);
}

static void on_found(void *user, const struct store_build *found, const struct err *err)
{
    (void)user;
    note(found ? "found" : "missing");
    snprintf(order.build_id, sizeof(order.build_id), "%s", found ? found->id : "");
    snprintf(order.message, sizeof(order.message), "%s", err ? err->msg : "");
}

static void on_closed(void *user)
{
    (void)user;
    order.closed = true;
}

static struct store *late_store;
static struct store_sandbox late_row;

static void on_put_again(void *user, const struct err *err)
{
    on_put(user, err);
    store_sandbox_end(late_store,
                      &(struct store_death){ .sandbox_id = "i2",
                                             .team_id = late_row.team_id,
                                             .when_ns = 5,
                                             .reason = "why",
                                             .detail = "detail" },
                      on_put, (void *)(uintptr_t) "ended");
}

static void test_store_runs_requests_in_order_and_all_before_it_closes(void **state)
{
    struct place *p = *state;
    struct err err;
    struct store_sandbox sb;
    uv_loop_t loop;
    fill(place_open(p), &sb, "i1");
    assert_int_equal(uv_loop_init(&loop), 0);
    struct store *s;
    assert_int_equal(store_new(&s, &loop, p->dir, &err), 0);
    struct store *other;
    assert_int_equal(store_new(&other, &loop, p->dir, &err), -EBUSY);

    order = (struct order){ 0 };
    store_sandbox_put(s, &sb, on_put, (void *)(uintptr_t) "one");
    store_template_find(s, "base", sb.team_id, on_found, NULL);
    store_sandbox_set_end(s, "i1", 9, NULL, NULL);
    assert_string_equal(order.text, ""); /* never from inside */
    uv_run(&loop, UV_RUN_DEFAULT);       /* ends: an idle store keeps no loop alive */
    assert_string_equal(order.text, "one found ");
    assert_string_equal(order.build_id, build.id);

    order = (struct order){ 0 };
    late_store = s;
    late_row = sb;
    snprintf(sb.id, sizeof(sb.id), "i2");
    store_template_find(s, "none", sb.team_id, on_found, NULL);
    store_sandbox_put(s, &sb, on_put_again, (void *)(uintptr_t) "two");
    store_close(s, on_closed, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(order.closed);
    assert_string_equal(order.text, "missing two ended ");
    assert_int_equal(uv_loop_close(&loop), 0);

    struct seen seen = { 0 };
    assert_int_equal(db_sandbox_load(p->db, see, &seen, &err), 0);
    assert_int_equal(seen.n, 1);
    assert_string_equal(seen.last.id, "i1");
    assert_int_equal(seen.last.end_ns, 9);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_TEST(test_put_then_load_gives_the_same),
        PLACE_TEST(test_put_refuses_an_unknown_build),
        PLACE_TEST(test_end_leaves_one_death_and_keeps_seven_days),
#ifdef SANDPIT_FAULT_POINTS
        PLACE_TEST(test_put_on_a_full_disk_says_so),
#endif
        PLACE_TEST(test_store_runs_requests_in_order_and_all_before_it_closes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
