/* The daemon's queue of requests. */
#include "records.h"

#include "common/base/cleanup.h"
#include "orchestrator/store/store.h"

struct order {
    char text[256];
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
    struct store_build image;
    add_image(place_open(p), "base", "/base", &image);
    make_sandbox(p->db, "i1", &image, &sb);
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
    assert_string_equal(order.build_id, image.id);

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

    assert_int_equal(number(p->db, "SELECT count(*) FROM sandboxes"), 1);
    assert_int_equal(number(p->db, "SELECT end_ns FROM sandboxes WHERE id = 'i1'"), 9);
}

static struct store_build published;
static struct store_snapshot snapshot, listed;
static char actor[64];

static void on_change(void *user, const struct err *err)
{
    note(err ? err->msg : user);
}

static void on_published(void *user, const struct store_snapshot *s, const struct store_build *b,
                         const struct err *err)
{
    note(err ? err->msg : user);
    assert_true(!s == !!err && !b == !!err);
    if (err)
        return;
    snapshot = *s;
    published = *b;
}

static void on_listed(void *user, const struct store_snapshot *list, size_t n,
                      const struct err *err)
{
    note(err ? err->msg : n == 1 ? user : "wrong");
    if (n == 1)
        listed = list[0];
}

static void on_death(void *user, const struct store_death *d, const struct err *err)
{
    note(err ? "no-death" : user);
    assert_true(!d == !!err);
    snprintf(actor, sizeof(actor), "%s", d ? d->actor : "");
}

static bool remove_one(void *user, const char *id)
{
    (void)user;
    return id[0] != '\0';
}

static void on_removed(void *user, const char *build_id, const char *dir)
{
    (void)user;
    assert_string_equal(build_id, published.id);
    assert_string_equal(dir, "/snapshots/1");
}

#define SAY(word) ((void *)(uintptr_t)(word))

static void test_store_tells_of_layers_snapshots_and_deaths(void **state)
{
    struct place *p = *state;
    struct err err;
    struct store_sandbox sb;
    struct store_build image, b;
    struct store *s;
    uv_loop_t loop;
    add_image(place_open(p), "base", "/base", &image);
    make_sandbox(p->db, "i1", &image, &sb);
    assert_int_equal(uv_loop_init(&loop), 0);
    OK(store_new(&s, &loop, p->dir, &err));

    b = (struct store_build){ .dir = "/snapshots/1", .layer_id = "b", .vcpus = 1 };
    memcpy(b.base_build_id, image.id, sizeof(b.base_build_id));
    order = (struct order){ 0 };
    store_layer_add(s, "a", NULL, on_change, SAY("a"));
    store_layer_add(s, "b", "a", on_change, SAY("b"));
    store_layer_set_parent(s, "b", NULL, on_change, SAY("apart"));
    store_snapshot_publish(s, sb.team_id, "work", &b, on_published, SAY("published"));
    store_layer_collect(s, remove_one, on_change, SAY("collected"));
    store_snapshot_list(s, sb.team_id, &(struct snapshot_filter){ .name = "work", .limit = 10 },
                        on_listed, SAY("listed"));
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_string_equal(order.text, "a b apart published collected listed ");
    assert_string_equal(snapshot.id, "default/work:default");
    assert_string_equal(listed.build_id, published.id);
    assert_int_equal(number(p->db, "SELECT count(*) FROM layers"), 1); /* the snapshot's */

    order = (struct order){ 0 };
    sb.envs = "{}";
    store_sandbox_put(s, &sb, NULL, NULL);
    store_death_find(s, "i1", sb.team_id, on_death, SAY("dead"));
    store_sandbox_end(
        s,
        &(struct store_death){
            .sandbox_id = "i1", .team_id = sb.team_id, .reason = "timeout", .actor = "deadline" },
        NULL, NULL);
    store_death_find(s, "i1", sb.team_id, on_death, SAY("dead"));
    store_template_delete(s, sb.team_id, "work", on_removed, on_change, SAY("deleted"));
    store_template_prune(s, NULL, 1, remove_one, on_change, SAY("pruned"));
    store_snapshot_list(s, sb.team_id, &(struct snapshot_filter){ .name = "work" }, on_listed,
                        SAY("listed"));
    store_close(s, on_closed, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_string_equal(order.text, "no-death dead deleted pruned wrong ");
    assert_string_equal(actor, "deadline");
    assert_int_equal(uv_loop_close(&loop), 0);
}

static void test_store_tells_of_failures(void **state)
{
    struct place *p = *state;
    struct err err;
    struct store *s;
    uv_loop_t loop;
    place_open(p);
    assert_int_equal(uv_loop_init(&loop), 0);
    OK(store_new(&s, &loop, p->dir, &err));
    order = (struct order){ 0 };
    store_layer_add(s, "b", "a", on_put, NULL);
    store_snapshot_publish(s, "nobody", NULL, &(struct store_build){ .id = "x" }, on_published,
                           NULL);
    store_snapshot_list(s, "nobody", &(struct snapshot_filter){ .name = "?" }, on_listed, NULL);
    store_layer_set_parent(s, "a", NULL, NULL, NULL); /* only logged */
    store_close(s, on_closed, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_non_null(strstr(order.text, "put-failed team 'nobody' not found invalid template"));
    assert_int_equal(uv_loop_close(&loop), 0);
}

/* A job whose files take long: the test says how long. */
struct slow {
    struct store_job job;
    uv_sem_t began, go;
};

static void work_slow(struct store_job *job, struct db *db)
{
    (void)job;
    (void)db;
}

static void clean_slow(struct store_job *job)
{
    struct slow *w = container_of(job, struct slow, job);
    uv_sem_post(&w->began);
    uv_sem_wait(&w->go);
}

static void on_slow(struct store_job *job)
{
    (void)job;
    note("cleaned");
}

static void on_found_meanwhile(void *user, const struct store_build *found, const struct err *err)
{
    struct slow *w = user;
    on_found(NULL, found, err);
    uv_sem_post(&w->go);
}

static void test_a_lookup_does_not_wait_for_files_that_are_removed(void **state)
{
    struct place *p = *state;
    struct err err;
    struct store_build image;
    struct store *s;
    struct slow slow[2];
    char team[ID_UUID_SIZE];
    uv_loop_t loop;
    add_image(place_open(p), "base", "/base", &image);
    default_team(p->db, team);
    assert_int_equal(uv_loop_init(&loop), 0);
    OK(store_new(&s, &loop, p->dir, &err));
    order = (struct order){ 0 };
    for (size_t i = 0; i < 2; i++) {
        slow[i].job = (struct store_job){ .work = work_slow, .clean = clean_slow, .done = on_slow };
        assert_int_equal(uv_sem_init(&slow[i].began, 0), 0);
        assert_int_equal(uv_sem_init(&slow[i].go, 0), 0);
        store_run(s, &slow[i].job);
    }
    uv_sem_post(&slow[1].go);
    store_template_find(s, "base", team, on_found_meanwhile, &slow[0]);
    store_close(s, on_closed, NULL); /* waits for them */
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(order.closed);
    assert_string_equal(order.text, "found cleaned cleaned ");
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(uv_sem_trywait(&slow[i].began), 0);
        uv_sem_destroy(&slow[i].began);
        uv_sem_destroy(&slow[i].go);
    }
    assert_int_equal(uv_loop_close(&loop), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        PLACE_TEST(test_store_runs_requests_in_order_and_all_before_it_closes),
        PLACE_TEST(test_store_tells_of_layers_snapshots_and_deaths),
        PLACE_TEST(test_store_tells_of_failures),
        PLACE_TEST(test_a_lookup_does_not_wait_for_files_that_are_removed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
