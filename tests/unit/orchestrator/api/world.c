#include "world.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/fileio.h"
#include "common/base/log.h"
#include "common/http/listener.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

/* What a subcommand does beside the daemon: another connection to the same database. */
static void seed(struct world *w)
{
    struct err err;
    struct db *db;
    struct store_key key;
    struct store_template t;
    struct store_build build = { .vcpus = 1, .memory_mb = 512, .disk_mb = 4096 };
    assert_int_equal(db_open(&db, w->dir, &err), 0);
    assert_int_equal(db_key_create(db, NULL, "test", w->key, &key, &err), 0);
    memcpy(w->key_id, key.id, sizeof(w->key_id));
    memcpy(w->team_id, key.team_id, sizeof(w->team_id));
    assert_int_equal(db_team_create(db, OTHER_TEAM, "Other", "other", &err), 0);
    assert_int_equal(db_key_create(db, "other", "test", w->other_key, &key, &err), 0);
    snprintf(build.dir, sizeof(build.dir), "/nowhere");
    snprintf(build.envd_version, sizeof(build.envd_version), "0.6.13");
    assert_int_equal(db_template_publish(db, NULL, "base", &build, &t, &err), 0);
    memcpy(w->template_id, t.id, sizeof(w->template_id));
    build.id[0] = '\0';
    assert_int_equal(db_template_publish(db, OTHER_TEAM, "private", &build, &t, &err), 0);
    db_close(db);
}

int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    assert_non_null(w);
    struct err err = { 0 };
    log_setup(LOG_LEVEL_ERROR, "test");
    snprintf(w->root, sizeof(w->root), "/tmp/test-api.XXXXXX");
    assert_non_null(mkdtemp(w->root));
    snprintf(w->dir, sizeof(w->dir), "%s/data", w->root);
    config_defaults(&w->config);
    snprintf(w->config.data_dir, sizeof(w->config.data_dir), "%s", w->dir);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    defer_queue_init(&w->defer, &w->loop);
    if (store_new(&w->store, &w->loop, w->dir, &err))
        fail_msg("store_new: %s", err.msg);
    seed(w);
    fake_host_init(&w->host, &w->config, w->store, &w->defer);
    struct api_options api = { .config = &w->config, .store = w->store, .host = &w->host };
    w->api = api_new(&api);
    assert_non_null(w->api);
    struct http_listener_options options = { .host = "127.0.0.1",
                                             .server = { .acceptor = api_acceptor(w->api) } };
    if (http_listener_new(&w->listener, &w->loop, &w->defer, &options, &err))
        fail_msg("http_listener_new: %s", err.msg);
    w->port = http_listener_port(w->listener);
    *state = w;
    return 0;
}

static void on_store_closed(void *user)
{
    struct world *w = user;
    defer_queue_close(&w->defer);
}

static void on_api_freed(void *user)
{
    struct world *w = user;
    fake_host_deinit(&w->host);
    store_close(w->store, on_store_closed, w);
}

static void on_listener_closed(void *user)
{
    struct world *w = user;
    fake_host_release(&w->host);
    api_free(w->api, on_api_freed, w);
}

/* Everything ends, and nothing is left: the loop closes only then, and ASan sees the memory. */
int world_teardown(void **state)
{
    struct world *w = *state;
    http_listener_close(w->listener, 0, on_listener_closed, w);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    assert_int_equal(file_remove_tree(w->root, NULL), 0);
    free(w);
    return 0;
}

static void turn(struct world *w, int64_t deadline)
{
    if (clock_mono_ms() > deadline)
        fail_msg("nothing came within %d ms", WORLD_DEADLINE_MS);
    if (uv_run(&w->loop, UV_RUN_NOWAIT) == 0)
        return;
    usleep(200); /* gives the store's thread the processor; nothing depends on it */
}

void world_until(struct world *w, bool (*test)(struct world *w))
{
    int64_t deadline = clock_mono_ms() + WORLD_DEADLINE_MS;
    while (!test(w))
        turn(w, deadline);
}

int world_connect(struct world *w)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons(w->port) };
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

void world_send(struct world *w, int fd, const void *data, size_t n)
{
    int64_t deadline = clock_mono_ms() + WORLD_DEADLINE_MS;
    const char *p = data;
    while (n > 0) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent < 0 && (errno == EPIPE || errno == ECONNRESET))
            return; /* the server has said all it wanted to say */
        assert_true(sent > 0 || errno == EAGAIN);
        if (sent > 0) {
            p += sent;
            n -= (size_t)sent;
        }
        turn(w, deadline);
    }
}

const char *reply_header(const struct reply *r, const char *name)
{
    static char value[1024];
    struct str rest = str_of(r->head);
    while (rest.p) {
        struct str v = str_split(&rest, '\n');
        struct str n = str_split(&v, ':');
        if (!v.p || !str_eq_nocase(n, str_of(name)))
            continue;
        if (v.n && v.p[v.n - 1] == '\r')
            v.n--;
        assert_true(str_copy(str_trim(v), value, sizeof(value)));
        return value;
    }
    return NULL;
}

/* Whether the whole answer is there; fills r when it is. */
static bool parse_reply(struct buf *in, struct reply *r)
{
    const char *text = (const char *)buf_head(in);
    const char *end = buf_len(in) ? memmem(text, buf_len(in), "\r\n\r\n", 4) : NULL;
    if (!end)
        return false;
    const char *line_end = memmem(text, buf_len(in), "\r\n", 2);
    assert_non_null(line_end);
    size_t head_n = line_end < end ? (size_t)(end - line_end - 2) : 0;
    assert_true(head_n < sizeof(r->head));
    memcpy(r->head, line_end + 2, head_n);
    r->head[head_n] = '\0';
    assert_memory_equal(text, "HTTP/1.1 ", 9);
    r->status = atoi(text + 9);
    const char *length = reply_header(r, "content-length");
    size_t n = length ? (size_t)atol(length) : 0;
    size_t at = (size_t)(end - text) + 4;
    if (buf_len(in) < at + n)
        return false;
    r->body = str_dup((struct str){ text + at, n });
    r->body_n = n;
    buf_consume(in, at + n);
    return true;
}

void world_receive(struct world *w, int fd, struct reply *r)
{
    int64_t deadline = clock_mono_ms() + WORLD_DEADLINE_MS;
    struct buf in = { 0 };
    *r = (struct reply){ 0 };
    while (!parse_reply(&in, r)) {
        uint8_t *room = buf_reserve(&in, 65536);
        assert_non_null(room);
        ssize_t n = recv(fd, room, 65536, 0);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            fail_msg("the server closed the connection after %zu bytes", buf_len(&in));
        if (n > 0)
            buf_commit(&in, (size_t)n);
        else
            turn(w, deadline);
    }
    buf_deinit(&in);
    if (!r->body_n)
        return;
    json_error_t error;
    r->json = json_loads(r->body, 0, &error);
    if (!r->json)
        fail_msg("the answer is no JSON: %s", r->body);
    assert_string_equal(reply_header(r, "content-type"), "application/json; charset=utf-8");
}

void reply_free(struct reply *r)
{
    json_decref(r->json);
    free(r->body);
    *r = (struct reply){ 0 };
}

void ask_with(struct world *w, struct reply *r, const char *key, const char *method,
              const char *target, const char *body)
{
    struct buf out = { 0 };
    buf_printf(&out, "%s %s HTTP/1.1\r\nHost: localhost\r\n", method, target);
    if (key)
        buf_printf(&out, "X-API-KEY: %s\r\n", key);
    if (body)
        buf_printf(&out, "Content-Type: application/json\r\nContent-Length: %zu\r\n", strlen(body));
    buf_puts(&out, "\r\n");
    buf_puts(&out, body ? body : "");
    int fd = world_connect(w);
    world_send(w, fd, buf_head(&out), buf_len(&out));
    world_receive(w, fd, r);
    close(fd);
    buf_deinit(&out);
}

void ask(struct world *w, struct reply *r, const char *method, const char *target, const char *body)
{
    ask_with(w, r, w->key, method, target, body);
}

void expect(struct world *w, struct reply *r, int status, const char *method, const char *target,
            const char *body)
{
    ask(w, r, method, target, body);
    if (r->status != status)
        fail_msg("%s %s: %d instead of %d: %s", method, target, r->status, status, r->body);
}

void expect_error(struct world *w, int status, const char *message, const char *method,
                  const char *target, const char *body)
{
    struct reply r;
    expect(w, &r, status, method, target, body);
    assert_non_null(r.json);
    assert_int_equal(json_integer_value(json_object_get(r.json, "code")), status);
    const char *said = json_string_value(json_object_get(r.json, "message"));
    assert_non_null(said);
    bool right = message[0] == '*' ? strstr(said, message + 1) != NULL
                                   : strncmp(said, message, strlen(message)) == 0;
    if (!right)
        fail_msg("%s %s: message \"%s\" instead of \"%s\"", method, target, said, message);
    reply_free(&r);
}
