#include "records.h"

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
    char metadata[64], envs[64];
};

static void see(void *user, const struct store_sandbox *sb)
{
    struct seen *s = user;
    s->n++;
    s->last = *sb;
    snprintf(s->metadata, sizeof(s->metadata), "%s", sb->metadata);
    snprintf(s->envs, sizeof(s->envs), "%s", sb->envs);
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

/* What a paused one needs to go on, and a resume, which is no new spawn. */
static void test_put_keeps_what_a_paused_one_needs(void **state)
{
    struct db *db = place_open(*state);
    struct store_sandbox sb;
    struct store_template t;
    struct err err;
    fill(db, &sb, "i1");
    snprintf(sb.state, sizeof(sb.state), "running");
    snprintf(sb.layer_id, sizeof(sb.layer_id), "layer-1");
    assert_int_equal(db_sandbox_put(db, &sb, &err), 0);

    snprintf(sb.state, sizeof(sb.state), "paused");
    sb.envs = "{\"A\":\"1\"}";
    snprintf(sb.layer_id, sizeof(sb.layer_id), "layer-2");
    snprintf(sb.layer_parent_id, sizeof(sb.layer_parent_id), "layer-1");
    memcpy(sb.base_build_id, sb.build_id, sizeof(sb.base_build_id));
    snprintf(sb.snapshot_id, sizeof(sb.snapshot_id), "snapshot-1");
    snprintf(sb.key_id, sizeof(sb.key_id), "key-1");
    sb.paused_ns = 4000;
    sb.filesystem_only = true;
    sb.create_timeout_s = 300;
    sb.run_began_ns = 301;
    assert_int_equal(db_sandbox_put(db, &sb, &err), 0);

    struct seen seen = { 0 };
    assert_int_equal(db_sandbox_load(db, see, &seen, &err), 0);
    assert_int_equal(seen.n, 1);
    assert_string_equal(seen.last.state, "paused");
    assert_string_equal(seen.envs, "{\"A\":\"1\"}");
    assert_string_equal(seen.last.layer_id, "layer-2");
    assert_string_equal(seen.last.layer_parent_id, "layer-1");
    assert_string_equal(seen.last.base_build_id, sb.build_id);
    assert_string_equal(seen.last.snapshot_id, "snapshot-1");
    assert_string_equal(seen.last.key_id, "key-1");
    assert_int_equal(seen.last.paused_ns, 4000);
    assert_int_equal(seen.last.create_timeout_s, 300);
    assert_int_equal(seen.last.run_began_ns, 301);
    assert_true(seen.last.filesystem_only);
    assert_false(seen.last.unresponsive);

    /* Nothing under it can go, although it does not run. */
    assert_kept(db, "builds", sb.build_id);
    assert_kept(db, "layers", "layer-2");
    assert_kept(db, "layers", "layer-1");

    snprintf(sb.state, sizeof(sb.state), "running");
    sb.filesystem_only = false;
    sb.unresponsive = true;
    sb.layer_parent_id[0] = '\0'; /* of a layer on record it tells nothing */
    assert_int_equal(db_sandbox_put(db, &sb, &err), 0);
    seen = (struct seen){ 0 };
    assert_int_equal(db_sandbox_load(db, see, &seen, &err), 0);
    assert_string_equal(seen.last.layer_parent_id, "layer-1");
    assert_true(seen.last.unresponsive && !seen.last.filesystem_only);
    assert_int_equal(db_template_find(db, sb.team_id, "base", &t, &err), 0);
    assert_int_equal(t.spawn_count, 1);
}

static void test_put_leaves_no_layer_without_its_sandbox(void **state)
{
    struct db *db = place_open(*state);
    struct store_sandbox sb;
    struct err err;
    fill(db, &sb, "i1");
    snprintf(sb.layer_id, sizeof(sb.layer_id), "layer-1");
    snprintf(sb.layer_parent_id, sizeof(sb.layer_parent_id), "collected");
    assert_int_equal(db_sandbox_put(db, &sb, &err), -ENOENT);
    assert_string_equal(err.msg, "the disk layer collected is not on record");
    sb.layer_parent_id[0] = '\0';
    snprintf(sb.team_id, sizeof(sb.team_id), "nobody");
    assert_int_equal(db_sandbox_put(db, &sb, &err), -EEXIST);
    assert_int_equal(number(db, "SELECT count(*) FROM layers"), 0);
    assert_int_equal(number(db, "SELECT count(*) FROM sandboxes"), 0);
}

static void test_put_refuses_an_unknown_build(void **state)
{
    struct db *db = place_open(*state);
    struct store_sandbox sb;
    struct err err;
    fill(db, &sb, "i1");
    snprintf(sb.build_id, sizeof(sb.build_id), "none");
    assert_int_equal(db_sandbox_put(db, &sb, &err), -ENOENT);
    assert_string_equal(err.msg,
                        "the template that the sandbox is made from does not exist any more");
    memcpy(sb.build_id, build.id, sizeof(sb.build_id));
    snprintf(sb.base_build_id, sizeof(sb.base_build_id), "none");
    assert_int_equal(db_sandbox_put(db, &sb, &err), -ENOENT);
    struct seen seen = { 0 };
    assert_int_equal(db_sandbox_load(db, see, &seen, &err), 0);
    assert_int_equal(seen.n, 0);
}

static void test_put_on_a_full_disk_says_so(void **state)
{
    struct db *db = place_open(*state);
    struct store_sandbox sb;
    struct err err;
    NEED_FAULT_POINTS();
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_TEST(test_put_then_load_gives_the_same),
        PLACE_TEST(test_put_keeps_what_a_paused_one_needs),
        PLACE_TEST(test_put_leaves_no_layer_without_its_sandbox),
        PLACE_TEST(test_put_refuses_an_unknown_build),
        PLACE_TEST(test_put_on_a_full_disk_says_so),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
