#include "files_fixture.h"

#include "common/base/cleanup.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static size_t count_fds(void)
{
    uv_loop_t loop; /* the first one opens descriptors for good */
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(uv_loop_close(&loop), 0);
    struct tempdir proc = { .path = "/proc/self" };
    return tempdir_count(&proc, "fd");
}

int fixture_setup(void **state)
{
    static char passwd[PATH_MAX];
    static char group[PATH_MAX];
    static char home[PATH_MAX];
    struct fixture *x = calloc(1, sizeof(*x));
    assert_non_null(x);
    tempdir_init(&x->dir);
    tempdir_mkdir(&x->dir, "home");
    snprintf(passwd, sizeof(passwd), "%s", tempdir_path(&x->dir, "passwd"));
    snprintf(group, sizeof(group), "%s", tempdir_path(&x->dir, "group"));
    snprintf(home, sizeof(home), "%s", tempdir_path(&x->dir, "home"));
    char line[2 * PATH_MAX];
    snprintf(line, sizeof(line), "root:x:0:0::/root:/bin/sh\ntester:x:%d:%d::%s:/bin/sh\n",
             geteuid() == 0 ? TESTER_UID : (int)geteuid(),
             geteuid() == 0 ? TESTER_GID : (int)getegid(), home);
    tempdir_write(&x->dir, "passwd", line);
    snprintf(line, sizeof(line), "root:x:0:\ntesters:x:%d:\n", TESTER_GID);
    tempdir_write(&x->dir, "group", line);
    user_set_files(passwd, group);
    str_copy(STR("tester"), x->envd.default_user, sizeof(x->envd.default_user));
    x->fds = count_fds();
    *state = x;
    return 0;
}

static void end_request(struct fixture *x)
{
    if (x->is_open)
        fake_stream_deinit(&x->f);
    x->is_open = false;
}

int fixture_teardown(void **state)
{
    struct fixture *x = *state;
    end_request(x);
    assert_int_equal(count_fds(), x->fds);
    tempdir_deinit(&x->dir);
    free(x);
    return 0;
}

void fixture_request(struct fixture *x, const char *method, const char *target)
{
    end_request(x);
    fake_stream_init(&x->f, method, target);
    x->is_open = true;
    struct str rest = str_of(target);
    x->r = (struct http_request){ .stream = &x->f.s, .head = &x->f.request, .context = &x->envd };
    x->r.path = str_split(&rest, '?');
    x->r.query = rest.p ? rest : STR("");
}

char *fixture_body(const struct fixture *x)
{
    char *text = str_dup(buf_str(&x->f.body));
    assert_non_null(text);
    return text;
}

void fixture_assert_error(const struct fixture *x, int status, const char *message)
{
    struct buf want = { 0 };
    AUTO_FREE char *body = fixture_body(x);
    buf_printf(&want, "{\"code\":%d,\"message\":\"%s\"}\n", status, message);
    AUTO_FREE char *text = buf_take_text(&want);
    assert_string_equal(body, text);
    assert_int_equal(x->f.status, status);
    assert_true(x->f.ended);
    assert_string_equal(fixture_field(x, "content-type"), "application/json; charset=utf-8");
    assert_string_equal(fixture_field(x, "x-content-type-options"), "nosniff");
}

const char *fixture_field(const struct fixture *x, const char *name)
{
    const char *value = fake_stream_header(&x->f, name);
    return value ? value : "";
}
