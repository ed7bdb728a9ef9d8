/* The subcommands that work on the database, each run in a child of its own as a shell would. */
#include "tests/support/test.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "orchestrator/cmd.h"
#include "orchestrator/store/keys.h"

#include <fcntl.h>
#include <string.h>
#include <sys/wait.h>

static char root[64], dir[80];

struct output {
    int status;
    struct buf out, err;
};

static void output_free(struct output *o)
{
    buf_deinit(&o->out);
    buf_deinit(&o->err);
}

static void read_all(const char *path, struct buf *out)
{
    assert_int_equal(file_read(path, 1 << 20, out, NULL), 0);
    buf_putc(out, '\0');
}

/* Run a subcommand with --data-dir; arguments up to NULL. */
static void run(struct output *o, int (*cmd)(int, char **), const char *name, ...)
{
    char *argv[16] = { (char *)(uintptr_t)name };
    int argc = 1;
    va_list ap;
    va_start(ap, name);
    for (char *arg; (arg = va_arg(ap, char *)) != NULL;)
        argv[argc++] = arg;
    va_end(ap);
    argv[argc++] = (char *)(uintptr_t) "--data-dir";
    argv[argc++] = dir;

    char out[96], err[96];
    snprintf(out, sizeof(out), "%s/out", root);
    snprintf(err, sizeof(err), "%s/err", root);
    fflush(stdout);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int o_fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        int e_fd = open(err, O_WRONLY | O_CREAT | O_TRUNC, 0600);
        if (dup2(o_fd, 1) < 0 || dup2(e_fd, 2) < 0)
            _exit(99);
        int rc = cmd(argc, argv);
        fflush(stdout);
        _exit(rc);
    }
    *o = (struct output){ 0 };
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    o->status = WEXITSTATUS(status);
    read_all(out, &o->out);
    read_all(err, &o->err);
}

static const char *text(const struct buf *b)
{
    return (const char *)buf_head(b);
}

static int setup(void **state)
{
    (void)state;
    snprintf(root, sizeof(root), "/tmp/test-commands.XXXXXX");
    assert_non_null(mkdtemp(root));
    snprintf(dir, sizeof(dir), "%s/data", root);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return file_remove_tree(root, NULL);
}

static int look_up(const char *key, struct store_key *found)
{
    struct err err;
    struct db *db;
    char hash[KEY_HASH_SIZE];
    assert_true(key_hash(str_of(key), hash));
    assert_int_equal(db_open(&db, dir, &err), 0);
    int rc = db_key_lookup(db, hash, found, &err);
    db_close(db);
    return rc;
}

static void test_create_prints_the_key_alone(void **state)
{
    (void)state;
    struct output o;
    run(&o, cmd_key, "key", "create", "--name", "ci", NULL);
    assert_int_equal(o.status, CMD_OK);
    assert_int_equal(strlen(text(&o.out)), KEY_SIZE); /* and a line end */
    assert_string_equal(text(&o.err), "");
    char key[KEY_SIZE];
    memcpy(key, text(&o.out), KEY_SIZE - 1);
    key[KEY_SIZE - 1] = '\0';
    output_free(&o);
    struct store_key found;
    assert_int_equal(look_up(key, &found), 0);
    assert_string_equal(found.name, "ci");

    run(&o, cmd_key, "key", "list", NULL);
    assert_int_equal(o.status, CMD_OK);
    assert_non_null(strstr(text(&o.out), found.id));
    assert_non_null(strstr(text(&o.out), "valid"));
    assert_null(strstr(text(&o.out), key)); /* only its mask */
    output_free(&o);

    run(&o, cmd_key, "key", "revoke", found.id, NULL);
    assert_int_equal(o.status, CMD_OK);
    output_free(&o);
    assert_true(look_up(key, &found) < 0);
    run(&o, cmd_key, "key", "revoke", found.id, NULL);
    assert_int_equal(o.status, CMD_FAILED);
    assert_non_null(strstr(text(&o.err), "was revoked before"));
    output_free(&o);
}

static void test_wrong_calls_tell_what_is_wrong(void **state)
{
    (void)state;
    struct output o;
    run(&o, cmd_key, "key", "create", "--team", "No team", NULL);
    assert_int_equal(o.status, CMD_FAILED);
    assert_non_null(strstr(text(&o.err), "'No team' is no name for a team"));
    assert_string_equal(text(&o.out), "");
    output_free(&o);
    run(&o, cmd_key, "key", "revoke", NULL);
    assert_int_equal(o.status, CMD_USAGE);
    output_free(&o);
    run(&o, cmd_key, "key", "create", "extra", NULL);
    assert_int_equal(o.status, CMD_USAGE);
    assert_string_equal(text(&o.err), "sandpit key create: unexpected argument 'extra'\n");
    output_free(&o);
    run(&o, cmd_key, "key", "polish", NULL);
    assert_int_equal(o.status, CMD_USAGE);
    output_free(&o);
    run(&o, cmd_env, "env", "--key", "a", "--create", NULL);
    assert_int_equal(o.status, CMD_USAGE);
    output_free(&o);
}

/* What a shell makes of the exports, by asking one. */
static void test_env_is_for_eval(void **state)
{
    (void)state;
    struct output o;
    run(&o, cmd_env, "env", "--key", "it's; echo \"$HOME\"", "--host", "::", "--api-port", "4000",
        "--domain", "box.example", NULL);
    assert_int_equal(o.status, CMD_OK);
    struct buf script = { 0 };
    buf_printf(&script,
               "%s\nprintf '%%s|%%s|%%s|%%s' \"$E2B_API_KEY\" \"$E2B_API_URL\" \"$E2B_SANDBOX_URL\""
               " \"$E2B_DOMAIN\"",
               text(&o.out));
    buf_putc(&script, '\0');
    char path[96], got[512] = { 0 };
    snprintf(path, sizeof(path), "%s/script", root);
    assert_int_equal(file_replace(path, text(&script), strlen(text(&script)), 0600, NULL), 0);
    char line[128];
    snprintf(line, sizeof(line), "/bin/sh %s", path);
    FILE *f = popen(line, "re");
    assert_non_null(f);
    assert_true(fread(got, 1, sizeof(got) - 1, f) > 0);
    assert_int_equal(pclose(f), 0);
    assert_string_equal(got,
                        "it's; echo \"$HOME\"|http://[::1]:4000|http://[::1]:3002|box.example");
    buf_deinit(&script);
    output_free(&o);
}

static void test_env_makes_a_key_that_works(void **state)
{
    (void)state;
    struct output o;
    run(&o, cmd_env, "env", "--create", "--domain", "none", NULL);
    assert_int_equal(o.status, CMD_OK);
    const char *at = strstr(text(&o.out), "E2B_API_KEY='");
    assert_non_null(at);
    char key[KEY_SIZE] = { 0 };
    memcpy(key, at + strlen("E2B_API_KEY='"), KEY_SIZE - 1);
    struct store_key found;
    assert_int_equal(look_up(key, &found), 0);
    assert_null(strstr(text(&o.out), "E2B_DOMAIN"));
    output_free(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_create_prints_the_key_alone, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_calls_tell_what_is_wrong, setup, teardown),
        cmocka_unit_test_setup_teardown(test_env_is_for_eval, setup, teardown),
        cmocka_unit_test_setup_teardown(test_env_makes_a_key_that_works, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
