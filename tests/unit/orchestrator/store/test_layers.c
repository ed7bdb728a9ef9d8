#include "records.h"

/* Layer ids of tests are short; a chain as one text. */
static const char *chain(struct db *db, const char *id)
{
    static char text[STORE_LAYERS_MAX * ID_UUID_SIZE];
    char ids[STORE_LAYERS_MAX][ID_UUID_SIZE];
    size_t n = 0;
    struct err err;
    OK(db_layer_chain(db, id, ids, &n, &err));
    text[0] = '\0';
    for (size_t i = 0, at = 0; i < n; i++)
        at += (size_t)snprintf(text + at, sizeof(text) - at, "%s ", ids[i]);
    return text;
}

struct collected {
    char ids[256];
    const char *spared;
};

static bool collect(void *user, const char *id)
{
    struct collected *c = user;
    size_t n = strlen(c->ids);
    if (c->spared && strcmp(id, c->spared) == 0)
        return false;
    snprintf(c->ids + n, sizeof(c->ids) - n, "%s ", id);
    return true;
}

static void test_chain_is_from_the_oldest(void **state)
{
    struct db *db = place_open(*state);
    struct err err;
    OK(db_layer_add(db, "a", NULL, &err));
    OK(db_layer_add(db, "b", "a", &err));
    OK(db_layer_add(db, "c", "b", &err));
    OK(db_layer_add(db, "d", "", &err));
    assert_string_equal(chain(db, "c"), "a b c ");
    assert_string_equal(chain(db, "a"), "a ");
    assert_string_equal(chain(db, "d"), "d ");
    assert_string_equal(chain(db, ""), "");

    char ids[STORE_LAYERS_MAX][ID_UUID_SIZE];
    size_t n;
    assert_int_equal(db_layer_chain(db, "x", ids, &n, &err), -ENOENT);
    assert_int_equal(err.code, ERR_NOT_FOUND);
    assert_int_equal(db_layer_add(db, "a", NULL, &err), -EEXIST);
    assert_int_equal(db_layer_add(db, "e", "x", &err), -ENOENT);
    assert_string_equal(err.msg, "the disk layer x is not on record");
    assert_int_equal(number(db, "SELECT count(*) FROM layers"), 4);
}

static void test_chain_has_a_limit(void **state)
{
    struct db *db = place_open(*state);
    struct err err;
    char id[8], parent[8] = "";
    for (int i = 0; i < STORE_LAYERS_MAX; i++) {
        snprintf(id, sizeof(id), "l%d", i);
        OK(db_layer_add(db, id, parent, &err));
        memcpy(parent, id, sizeof(parent));
    }
    char ids[STORE_LAYERS_MAX][ID_UUID_SIZE];
    size_t n = 0;
    OK(db_layer_chain(db, id, ids, &n, &err));
    assert_int_equal(n, STORE_LAYERS_MAX);
    assert_int_equal(db_layer_add(db, "more", id, &err), -EMLINK);
    assert_int_equal(err.code, ERR_EXHAUSTED);
    assert_string_equal(err.msg, "a disk has at most 24 layers");
    /* A row that nobody of us wrote. */
    OK(db_script(db, "INSERT INTO layers VALUES ('more', 'l23', 1)", &err));
    assert_int_equal(db_layer_chain(db, "more", ids, &n, &err), -EIO);
    OK(db_script(db, "UPDATE layers SET parent_id = 'more' WHERE id = 'l0'", &err));
    assert_int_equal(db_layer_chain(db, "l5", ids, &n, &err), -EIO); /* a ring */
}

static void test_set_parent_only_skips_layers(void **state)
{
    struct db *db = place_open(*state);
    struct err err;
    OK(db_layer_add(db, "a", NULL, &err));
    OK(db_layer_add(db, "b", "a", &err));
    OK(db_layer_add(db, "c", "b", &err));
    OK(db_layer_add(db, "d", "c", &err));
    OK(db_layer_add(db, "other", NULL, &err));
    OK(db_layer_set_parent(db, "d", "a", &err));
    assert_string_equal(chain(db, "d"), "a d ");
    OK(db_layer_set_parent(db, "d", "a", &err)); /* again: the same */
    assert_int_equal(db_layer_set_parent(db, "d", "c", &err), -EINVAL);
    assert_int_equal(db_layer_set_parent(db, "d", "other", &err), -EINVAL);
    assert_int_equal(db_layer_set_parent(db, "d", "d", &err), -EINVAL);
    assert_int_equal(db_layer_set_parent(db, "a", "d", &err), -EINVAL);
    assert_int_equal(db_layer_set_parent(db, "x", "a", &err), -ENOENT);
    OK(db_layer_set_parent(db, "d", NULL, &err));
    assert_string_equal(chain(db, "d"), "d ");
}

static void test_collect_takes_what_nothing_stands_on(void **state)
{
    struct db *db = place_open(*state);
    struct store_build image, snapshot;
    struct store_snapshot s;
    struct store_sandbox sb;
    struct err err;
    static const char *const layers[][2] = { { "a", "" },  { "b", "a" }, { "c", "b" },
                                             { "d", "c" }, { "e", "b" }, { "f", "" } };
    for (size_t i = 0; i < sizeof(layers) / sizeof(layers[0]); i++)
        OK(db_layer_add(db, layers[i][0], layers[i][1], &err));
    add_image(db, "base", "/base", &image);
    OK(add_snapshot(db, NULL, &image, "b", &snapshot, &s, &err));
    make_sandbox(db, "i1", &image, &sb);
    memcpy(sb.layer_id, "c", 2);
    OK(db_sandbox_put(db, &sb, &err));

    assert_kept(db, "layers", "a"); /* under a layer */
    assert_kept(db, "layers", "b"); /* under a build */
    assert_kept(db, "layers", "c"); /* under a sandbox */
    struct collected c = { "", "e" };
    OK(db_layer_collect(db, collect, &c, &err));
    assert_string_equal(c.ids, "f d ");
    assert_string_equal(chain(db, "c"), "a b c ");
    assert_string_equal(chain(db, "e"), "a b e ");

    /* The sandbox is gone; the snapshot keeps its own. */
    OK(db_sandbox_end(
        db, &(struct store_death){ .sandbox_id = "i1", .team_id = "", .reason = "api" }, &err));
    c = (struct collected){ "", NULL };
    OK(db_layer_collect(db, collect, &c, &err));
    assert_string_equal(c.ids, "e c ");
    OK(db_script(db, "DELETE FROM builds WHERE kind = 'snapshot'", &err));
    c = (struct collected){ "", NULL };
    OK(db_layer_collect(db, collect, &c, &err));
    assert_string_equal(c.ids, "b a ");
    assert_int_equal(number(db, "SELECT count(*) FROM layers"), 0);
    c = (struct collected){ "", NULL };
    OK(db_layer_collect(db, collect, &c, &err));
    assert_string_equal(c.ids, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_TEST(test_chain_is_from_the_oldest),
        PLACE_TEST(test_chain_has_a_limit),
        PLACE_TEST(test_set_parent_only_skips_layers),
        PLACE_TEST(test_collect_takes_what_nothing_stands_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
