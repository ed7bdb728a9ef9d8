#include "envd/files/files.h"

#include "common/base/cleanup.h"
#include "files_fixture.h"

#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

static uv_loop_t loop;

static int setup(void **state)
{
    fixture_setup(state);
    struct fixture *x = *state;
    assert_int_equal(uv_loop_init(&loop), 0);
    x->envd.loop = &loop;
    tempdir_write(&x->dir, "home/1", "one ");
    tempdir_write(&x->dir, "home/2", "two ");
    tempdir_write(&x->dir, "home/3", "three");
    return 0;
}

static int teardown(void **state)
{
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return fixture_teardown(state);
}

static void begin(struct fixture *x, const char *body)
{
    fixture_request(x, "POST", "/files/compose");
    files_compose(&x->r);
    fake_stream_data(&x->f, body, strlen(body));
    fake_stream_end(&x->f);
}

static void post(struct fixture *x, const char *body)
{
    begin(x, body);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(x->f.ended);
}

static void test_files_become_one(void **state)
{
    struct fixture *x = *state;
    char want[PATH_MAX + 64];
    struct stat st;
    post(x, "{\"source_paths\":[\"2\",\"1\",\"~/3\"],\"destination\":\"new/all\"}");
    snprintf(want, sizeof(want), "{\"path\":\"%s\",\"name\":\"all\",\"type\":\"file\"}",
             tempdir_path(&x->dir, "home/new/all"));
    AUTO_FREE char *body = fixture_body(x);
    assert_string_equal(body, want);
    assert_int_equal(x->f.status, 200);
    AUTO_FREE char *text = tempdir_read(&x->dir, "home/new/all");
    assert_string_equal(text, "two one three");
    assert_int_equal(tempdir_count(&x->dir, "home"), 1);
    assert_int_equal(tempdir_count(&x->dir, "home/new"), 1);
    assert_int_equal(stat(tempdir_path(&x->dir, "home/new/all"), &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0644);
    if (geteuid() == 0)
        assert_int_equal(st.st_uid, TESTER_UID);
}

/* Refused, and nothing has changed. */
static void refused(struct fixture *x, const char *body, int status)
{
    post(x, body);
    if (x->f.status != status)
        fail_msg("%s: %d", body, x->f.status);
    AUTO_FREE char *one = tempdir_read(&x->dir, "home/1");
    assert_string_equal(one, "one ");
    assert_true(tempdir_exists(&x->dir, "home/2"));
    assert_false(tempdir_exists(&x->dir, "home/out"));
}

static void test_refusals(void **state)
{
    struct fixture *x = *state;
    tempdir_mkdir(&x->dir, "home/dir");
    assert_int_equal(symlink("1", tempdir_path(&x->dir, "home/link")), 0);
    refused(x, "", 400);
    refused(x, "[]", 400);
    refused(x, "{\"source_paths\":[\"1\"]}", 400);
    refused(x, "{\"source_paths\":[],\"destination\":\"out\"}", 400);
    refused(x, "{\"source_paths\":\"1\",\"destination\":\"out\"}", 400);
    refused(x, "{\"source_paths\":[\"1\",2],\"destination\":\"out\"}", 400);
    refused(x, "{\"source_paths\":[\"1\",\"\"],\"destination\":\"out\"}", 400);
    refused(x, "{\"source_paths\":[\"1\",\"dir\"],\"destination\":\"out\"}", 400);
    refused(x, "{\"source_paths\":[\"2\",\"1\"],\"destination\":\"1\"}", 400);
    refused(x, "{\"source_paths\":[\"2\",\"1\"],\"destination\":\"link\"}", 400);
    refused(x, "{\"source_paths\":[\"1\"],\"destination\":\"dir\"}", 400);
    refused(x, "{\"source_paths\":[\"1\",\"missing\"],\"destination\":\"out\"}", 404);
    refused(x, "{\"source_paths\":[\"1\"],\"destination\":\"out\",\"username\":\"ghost\"}", 401);
    refused(x, "{\"source_paths\":[\"1\"],\"destination\":\"out\",\"username\":1}", 400);
}

static void test_the_client_may_go(void **state)
{
    struct fixture *x = *state;
    begin(x, "{\"source_paths\":[\"1\",\"2\"],\"destination\":\"out\"}");
    fake_stream_close(&x->f, 104);
    uv_run(&loop, UV_RUN_DEFAULT);
    AUTO_FREE char *text = tempdir_read(&x->dir, "home/out");
    assert_string_equal(text, "one two ");
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        CASE(test_files_become_one),
        CASE(test_refusals),
        CASE(test_the_client_may_go),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
