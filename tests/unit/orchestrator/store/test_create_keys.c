#include "records.h"

static struct store_build image;
static char team[ID_UUID_SIZE];

static struct db *open_store(void **state)
{
    struct db *db = place_open(*state);
    add_image(db, "base", "/base", &image);
    default_team(db, team);
    return db;
}

/* A sandbox and the key that it was made with. */
static int put(struct db *db, const char *id, const char *key, int64_t when_ns, struct err *err)
{
    struct store_sandbox sb;
    struct store_create_key k = { .request = { 7, 8, 9 }, .when_ns = when_ns };
    memcpy(k.team_id, team, sizeof(k.team_id));
    snprintf(k.key, sizeof(k.key), "%s", key);
    make_sandbox(db, id, &image, &sb);
    sb.create_key = &k;
    return db_sandbox_put(db, &sb, err);
}

struct seen {
    size_t n;
    char text[512];
};

static void see(void *user, const struct store_create_key *key, const char *sandbox_id)
{
    static const uint8_t request[SHA256_SIZE] = { 7, 8, 9 };
    struct seen *s = user;
    size_t at = strlen(s->text);
    assert_string_equal(key->team_id, team);
    assert_memory_equal(key->request, request, sizeof(request));
    if (s->n++ < 8)
        snprintf(s->text + at, sizeof(s->text) - at, "%s=%s ", key->key, sandbox_id);
}

static struct seen list(struct db *db, int64_t since_ns)
{
    struct err err;
    struct seen s = { 0 };
    OK(db_create_key_list(db, since_ns, see, &s, &err));
    return s;
}

static void test_a_key_is_written_with_its_sandbox(void **state)
{
    struct err err;
    struct db *db = open_store(state);
    OK(put(db, "i1", "b", 100, &err));
    OK(put(db, "i2", "a", 200, &err));
    assert_string_equal(list(db, 0).text, "b=i1 a=i2 ");
    assert_string_equal(list(db, 101).text, "a=i2 ");
    /* A record that is written again keeps it. */
    struct store_sandbox sb;
    make_sandbox(db, "i1", &image, &sb);
    OK(db_sandbox_put(db, &sb, &err));
    assert_string_equal(list(db, 0).text, "b=i1 a=i2 ");
}

static void test_neither_is_written_when_one_cannot_be(void **state)
{
    struct err err;
    struct db *db = open_store(state);
    snprintf(image.id, sizeof(image.id), "gone");
    assert_true(put(db, "i1", "a", 100, &err) < 0);
    assert_int_equal(list(db, 0).n, 0);
    assert_int_equal(number(db, "SELECT count(*) FROM sandboxes"), 0);
}

static void test_a_sandbox_that_ended_keeps_its_key_and_an_undone_one_does_not(void **state)
{
    struct err err;
    struct db *db = open_store(state);
    struct store_death d = { .sandbox_id = "i1", .team_id = team, .when_ns = 300, .reason = "api" };
    OK(put(db, "i1", "a", 100, &err));
    OK(put(db, "i2", "b", 200, &err));
    OK(db_sandbox_end(db, &d, &err));
    assert_string_equal(list(db, 0).text, "a=i1 b=i2 ");
    d.sandbox_id = "i2";
    d.reason = DEATH_OF_CREATE;
    OK(db_sandbox_end(db, &d, &err));
    assert_string_equal(list(db, 0).text, "a=i1 ");
}

static void test_keys_are_forgotten_after_a_day(void **state)
{
    struct err err;
    struct db *db = open_store(state);
    OK(put(db, "i1", "a", 100, &err));
    OK(put(db, "i2", "b", 100 + CREATE_KEY_KEPT_NS, &err));
    assert_int_equal(list(db, 0).n, 2);
    OK(put(db, "i3", "c", 101 + CREATE_KEY_KEPT_NS, &err));
    assert_string_equal(list(db, 0).text, "b=i2 c=i3 ");
}

static void test_the_newest_are_kept(void **state)
{
    struct err err;
    struct db *db = open_store(state);
    OK(put(db, "i1", "a", 100, &err));
    OK(db_script(db,
                 "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)"
                 "INSERT INTO create_keys SELECT (SELECT team_id FROM create_keys), 'k' || i,"
                 " (SELECT request FROM create_keys), 'i', 100 FROM n",
                 &err));
    OK(put(db, "i2", "b", 200, &err));
    assert_int_equal(list(db, 0).n, CREATE_KEYS_KEPT);
    assert_int_equal(list(db, 200).n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_TEST(test_a_key_is_written_with_its_sandbox),
        PLACE_TEST(test_neither_is_written_when_one_cannot_be),
        PLACE_TEST(test_a_sandbox_that_ended_keeps_its_key_and_an_undone_one_does_not),
        PLACE_TEST(test_keys_are_forgotten_after_a_day),
        PLACE_TEST(test_the_newest_are_kept),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
