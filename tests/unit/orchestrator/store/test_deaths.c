#include "records.h"

#include "common/base/clock.h"

static struct db *open_with_sandbox(void **state, const char *id, struct store_sandbox *sb)
{
    struct db *db = place_open(*state);
    struct store_build image;
    struct err err;
    add_image(db, "base", "/base", &image);
    make_sandbox(db, id, &image, sb);
    OK(db_sandbox_put(db, sb, &err));
    return db;
}

static void count(void *user, const struct store_death *d)
{
    (void)d;
    ++*(int *)user;
}

static void test_end_makes_one_record_of_the_row(void **state)
{
    struct store_sandbox sb;
    struct store_death found;
    struct err err;
    struct db *db = open_with_sandbox(state, "i1", &sb);
    struct store_death d = { .sandbox_id = "i1",
                             .team_id = sb.team_id,
                             .when_ns = clock_wall_ns(),
                             .reason = "out_of_memory",
                             .detail = "the guest had no memory left",
                             .actor = "key e2b_ab...cdef",
                             .console = "Out of memory: Killed process\nKernel panic\n",
                             .facts = "memory 512 MB, disk 4096 MB" };
    OK(db_sandbox_end(db, &d, &err));
    OK(db_sandbox_end(db, &d, &err)); /* again: nothing */
    assert_int_equal(number(db, "SELECT count(*) FROM sandboxes"), 0);
    int n = 0;
    OK(db_death_list(db, "i1", count, &n, &err));
    assert_int_equal(n, 1);

    OK(db_death_find(db, "i1", sb.team_id, &found, &err));
    assert_string_equal(found.sandbox_id, "i1");
    assert_string_equal(found.team_id, sb.team_id);
    assert_int_equal(found.when_ns, d.when_ns);
    assert_string_equal(found.reason, d.reason);
    assert_string_equal(found.detail, d.detail);
    assert_string_equal(found.actor, d.actor);
    assert_string_equal(found.console, d.console);
    assert_string_equal(found.facts, d.facts);
    store_death_deinit(&found);

    /* Another team hears nothing of it, the operator does. */
    assert_int_equal(db_death_find(db, "i1", "another", &found, &err), -ENOENT);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(db_death_find(db, "i2", NULL, &found, &err), -ENOENT);
    OK(db_death_find(db, "i1", NULL, &found, &err));
    store_death_deinit(&found);
}

static void test_end_keeps_so_much_of_each_text(void **state)
{
    struct store_sandbox sb;
    struct store_death found;
    struct err err;
    struct db *db = open_with_sandbox(state, "i1", &sb);
    char long_text[DEATH_DETAIL_MAX + 101], console[DEATH_CONSOLE_MAX + 3];
    memset(long_text, 'x', sizeof(long_text));
    long_text[0] = 'a';
    long_text[sizeof(long_text) - 2] = 'z';
    long_text[sizeof(long_text) - 1] = '\0';
    /* Its last DEATH_CONSOLE_MAX bytes begin in the middle of a character. */
    memset(console, 'c', sizeof(console));
    memcpy(console, "\xe2\x82\xac", 3);
    console[sizeof(console) - 1] = '\0';
    char reason[DEATH_REASON_MAX + 2];
    memset(reason, 'r', sizeof(reason));
    memcpy(reason + DEATH_REASON_MAX - 1, "\xc3\xa9", 3); /* and the first ones end in one */

    struct store_death d = { .sandbox_id = "i1",
                             .team_id = sb.team_id,
                             .reason = reason,
                             .detail = long_text,
                             .console = console,
                             .facts = long_text };
    OK(db_sandbox_end(db, &d, &err));
    OK(db_death_find(db, "i1", NULL, &found, &err));
    assert_int_equal(strlen(found.detail), DEATH_DETAIL_MAX);
    assert_int_equal(found.detail[DEATH_DETAIL_MAX - 1], 'z');
    assert_int_equal(strlen(found.facts), DEATH_FACTS_MAX);
    assert_int_equal(found.facts[0], 'a');
    assert_int_equal(strlen(found.console), DEATH_CONSOLE_MAX - 1);
    assert_int_equal(found.console[0], 'c');
    assert_int_equal(strlen(found.reason), DEATH_REASON_MAX - 1);
    assert_string_equal(found.actor, "");
    store_death_deinit(&found);
}

static void test_end_forgets_after_seven_days(void **state)
{
    struct store_sandbox sb;
    struct store_death found;
    struct err err;
    int64_t now = clock_wall_ns();
    struct db *db = open_with_sandbox(state, "i1", &sb);
    struct store_death d = { .sandbox_id = "i1", .team_id = sb.team_id, .when_ns = now };
    OK(db_sandbox_end(db, &d, &err));
    snprintf(sb.id, sizeof(sb.id), "i2");
    OK(db_sandbox_put(db, &sb, &err));
    d = (struct store_death){ .sandbox_id = "i2",
                              .team_id = sb.team_id,
                              .when_ns = now + DEATH_KEPT_NS + 1 };
    OK(db_sandbox_end(db, &d, &err));
    assert_int_equal(db_death_find(db, "i1", NULL, &found, &err), -ENOENT);
    OK(db_death_find(db, "i2", NULL, &found, &err));
    assert_string_equal(found.reason, "");
    store_death_deinit(&found);
}

static void test_so_many_are_kept(void **state)
{
    struct store_sandbox sb;
    struct store_death found;
    struct err err;
    struct db *db = open_with_sandbox(state, "i1", &sb);
    char sql[512];
    snprintf(sql, sizeof(sql),
             "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)"
             " INSERT INTO deaths (sandbox_id, team_id, ended_ns, reason, detail)"
             " SELECT 'old' || i, 't', %lld, '', '' FROM n",
             DEATHS_KEPT, (long long)clock_wall_ns());
    OK(db_script(db, sql, &err));
    struct store_death d = { .sandbox_id = "i1",
                             .team_id = sb.team_id,
                             .when_ns = clock_wall_ns() };
    OK(db_sandbox_end(db, &d, &err));
    assert_int_equal(number(db, "SELECT count(*) FROM deaths"), DEATHS_KEPT);
    assert_int_equal(db_death_find(db, "old1", NULL, &found, &err), -ENOENT);
    OK(db_death_find(db, "old2", NULL, &found, &err));
    store_death_deinit(&found);
    OK(db_death_find(db, "i1", NULL, &found, &err));
    store_death_deinit(&found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_TEST(test_end_makes_one_record_of_the_row),
        PLACE_TEST(test_end_keeps_so_much_of_each_text),
        PLACE_TEST(test_end_forgets_after_seven_days),
        PLACE_TEST(test_so_many_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
