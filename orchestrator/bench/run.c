/* The sandboxes that are measured, through the daemon's HTTP, one operation after the other. */
#include "orchestrator/bench/bench.h"
#include "orchestrator/bench/http.h"
#include "orchestrator/bench/own_daemon.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/encode.h"
#include "common/base/fileio.h"
#include "orchestrator/store/ids.h"
#include "process.pb-c.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* For the pool to be full again, and for what an operation left to do to be done. */
#define SETTLE_US 700000

/* Idle sandboxes are left alone for so long before they are looked at, and looked at for so long.
 */
#define IDLE_BEFORE_US 5000000
#define IDLE_US        10000000

#define FIELD_SIZE 640

static volatile sig_atomic_t interrupted;

void bench_interrupt(void)
{
    interrupted = 1;
}

bool bench_interrupted(void)
{
    return interrupted;
}

struct sandbox_seen {
    char id[ID_SANDBOX_SIZE];
    char token_field[FIELD_SIZE]; /* "X-Access-Token: ..." */
};

struct bench {
    const struct bench_options *o;
    struct bench_result *out;
    struct own_daemon daemon;
    struct bench_http *http;
    char key_field[64 + KEY_SIZE];
};

/* Take a Server-Timing value apart: "vmm;dur=31.000, restore;dur=4.2". */
static void add_phases(struct bench_phase *phases, const char *timing)
{
    struct str rest = str_of(timing);
    while (rest.p && rest.n > 0) {
        struct str part = str_trim(str_split(&rest, ','));
        struct str name = str_split(&part, ';');
        double ms;
        size_t i = 0;
        if (!part.p || sscanf(part.p, "dur=%lf", &ms) != 1)
            continue;
        while (i < BENCH_PHASES_MAX && phases[i].name[0] && !str_eq(name, str_of(phases[i].name)))
            i++;
        if (i < BENCH_PHASES_MAX && str_copy(name, phases[i].name, BENCH_PHASE_SIZE))
            samples_add(&phases[i].ms, ms);
    }
}

static void api_request(const struct bench *b, struct bench_request *r, const char *method,
                        const char *path, const char *body, int expected)
{
    *r = (struct bench_request){ .method = method,
                                 .fields = { b->key_field, "Content-Type: application/json" },
                                 .body = body,
                                 .body_n = body ? strlen(body) : 0,
                                 .expected = expected };
    snprintf(r->url, sizeof(r->url), "http://127.0.0.1:%u%s", b->daemon.api_port, path);
}

static int take_sandbox(const struct bench_request *r, struct sandbox_seen *out, struct err *err)
{
    struct str text = buf_str(&r->answer);
    json_t *root = json_loadb(text.p, text.n, 0, NULL);
    const char *id = json_string_value(json_object_get(root, "sandboxID"));
    const char *token = json_string_value(json_object_get(root, "envdAccessToken"));
    int rc = 0;
    if (!id || !str_copy(str_of(id), out->id, sizeof(out->id)))
        rc = err_set(err, ERR_INTERNAL, EIO, "the daemon's answer names no sandbox");
    else
        snprintf(out->token_field, sizeof(out->token_field), "X-Access-Token: %s",
                 token ? token : "");
    json_decref(root);
    return rc;
}

#define CREATE_BODY "{\"templateID\":\"base\",\"timeout\":3600}"

static int create(struct bench *b, struct sandbox_seen *sb, struct err *err)
{
    struct bench_request r;
    api_request(b, &r, "POST", "/v2/sandboxes", CREATE_BODY, 201);
    int rc = bench_http_send(b->http, &r, 1, err);
    if (rc == 0)
        rc = take_sandbox(&r, sb, err);
    if (rc == 0) {
        samples_add(&b->out->ops[BENCH_CREATE], r.ms);
        add_phases(b->out->phases[BENCH_CREATE], r.timing);
    }
    bench_request_deinit(&r);
    return rc;
}

/* The message of Process.Start in its envelope. */
static void pack_start(const char *text, struct buf *out)
{
    char bash[] = "/bin/bash", login[] = "-l", flag[] = "-c";
    char *args[] = { login, flag, (char *)(uintptr_t)text };
    Process__ProcessConfig config = PROCESS__PROCESS_CONFIG__INIT;
    Process__StartRequest start = PROCESS__START_REQUEST__INIT;
    config.cmd = bash;
    config.args = args;
    config.n_args = ARRAY_LEN(args);
    start.process = &config;
    uint32_t n = (uint32_t)process__start_request__get_packed_size(&start), be = htonl(n);
    buf_putc(out, 0);
    buf_append(out, &be, sizeof(be));
    uint8_t *at = buf_reserve(out, n);
    if (at)
        buf_commit(out, process__start_request__pack(&start, at));
}

/* A command whose answer nobody could have prepared. */
static int first_command(struct bench *b, const struct sandbox_seen *sb, struct err *err)
{
    char nonce[ID_UUID_SIZE], command[ID_UUID_SIZE + 16], id_field[64];
    struct buf body = { 0 };
    id_uuid(nonce);
    snprintf(command, sizeof(command), "printf %%s %s", nonce);
    snprintf(id_field, sizeof(id_field), "E2b-Sandbox-Id: %s", sb->id);
    pack_start(command, &body);
    struct bench_request r = {
        .method = "POST",
        .fields = { id_field, "E2b-Sandbox-Port: 49983", sb->token_field,
                    "Content-Type: application/connect+proto", "Connect-Protocol-Version: 1",
                    "Authorization: Basic dXNlcjo=" /* "user:" */ },
        .body = body.data,
        .body_n = body.len,
        .expected = 200,
    };
    snprintf(r.url, sizeof(r.url), "http://127.0.0.1:%u/process.Process/Start",
             b->daemon.proxy_port);
    int rc = bench_http_send(b->http, &r, 1, err);
    if (rc == 0 && !memmem(buf_head(&r.answer), buf_len(&r.answer), nonce, strlen(nonce)))
        rc = err_set(err, ERR_INTERNAL, EIO, "a command's output did not come back");
    if (rc == 0)
        samples_add(&b->out->ops[BENCH_FIRST_COMMAND], r.ms);
    bench_request_deinit(&r);
    buf_deinit(&body);
    return rc;
}

/* An operation on a sandbox that exists. */
static int operate(struct bench *b, enum bench_op op, const struct sandbox_seen *sb,
                   struct err *err)
{
    static const struct {
        const char *method, *suffix, *body;
        int expected;
    } how[BENCH_OP_NR] = {
        [BENCH_PAUSE] = { "POST", "/pause", "{}", 204 },
        [BENCH_RESUME] = { "POST", "/connect", "{\"timeout\":3600}", 201 },
        [BENCH_KILL] = { "DELETE", "", NULL, 204 },
    };
    struct bench_request r;
    char path[128];
    snprintf(path, sizeof(path), "/sandboxes/%s%s", sb->id, how[op].suffix);
    api_request(b, &r, how[op].method, path, how[op].body, how[op].expected);
    int rc = bench_http_send(b->http, &r, 1, err);
    if (rc == 0) {
        samples_add(&b->out->ops[op], r.ms);
        add_phases(b->out->phases[op], r.timing);
    }
    bench_request_deinit(&r);
    return rc;
}

static int measure_one(struct bench *b, struct err *err)
{
    static const enum bench_op rest[] = { BENCH_PAUSE, BENCH_RESUME, BENCH_KILL };
    struct sandbox_seen sb;
    usleep(SETTLE_US);
    int rc = create(b, &sb, err);
    if (rc == 0)
        rc = first_command(b, &sb, err);
    for (size_t i = 0; i < ARRAY_LEN(rest) && rc == 0; i++)
        rc = operate(b, rest[i], &sb, err);
    return rc;
}

/* Create so many at once. */
static int create_many(struct bench *b, size_t n, struct sandbox_seen *out, struct samples *ms,
                       struct err *err)
{
    AUTO_FREE struct bench_request *all = calloc(n, sizeof(*all));
    if (!all)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    for (size_t i = 0; i < n; i++)
        api_request(b, &all[i], "POST", "/v2/sandboxes", CREATE_BODY, 201);
    int rc = bench_http_send(b->http, all, n, err);
    for (size_t i = 0; i < n; i++) {
        if (rc == 0)
            rc = take_sandbox(&all[i], &out[i], err);
        if (rc == 0)
            samples_add(ms, all[i].ms);
        bench_request_deinit(&all[i]);
    }
    return rc;
}

static int kill_many(struct bench *b, size_t n, const struct sandbox_seen *all, struct err *err)
{
    struct bench_request r;
    int rc = 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        char path[128];
        snprintf(path, sizeof(path), "/sandboxes/%s", all[i].id);
        api_request(b, &r, "DELETE", path, NULL, 204);
        rc = bench_http_send(b->http, &r, 1, err);
        bench_request_deinit(&r);
    }
    return rc;
}

/* A number behind a word in a file of /proc. */
static double proc_number(pid_t pid, const char *file, const char *word)
{
    char path[64];
    struct buf text = { 0 };
    double x = 0;
    snprintf(path, sizeof(path), "/proc/%d/%s", (int)pid, file);
    if (file_read(path, 1 << 16, &text, NULL) == 0) {
        buf_putc(&text, '\0');
        const char *at = text.failed ? NULL : strstr((char *)buf_head(&text), word);
        if (at)
            x = strtod(at + strlen(word), NULL);
    }
    buf_deinit(&text);
    return x;
}

/* CPU time of a process so far, in seconds: utime and stime, the 12th and 13th number behind the
 * name in brackets. */
static double cpu_seconds(pid_t pid)
{
    char path[64];
    struct buf text = { 0 };
    double user = 0, kernel = 0;
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (file_read(path, 4096, &text, NULL) == 0) {
        buf_putc(&text, '\0');
        const char *at = text.failed ? NULL : strrchr((char *)buf_head(&text), ')');
        if (!at || sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lf %lf", &user,
                          &kernel) != 2)
            user = kernel = 0;
    }
    buf_deinit(&text);
    return (user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

static void watch_idle(struct bench *b, size_t n, const struct sandbox_seen *all)
{
    double pss_kb = 0, cpu = 0;
    AUTO_FREE pid_t *pids = calloc(n, sizeof(*pids));
    if (!pids)
        return;
    usleep(IDLE_BEFORE_US);
    int64_t begun = clock_mono_ns();
    for (size_t i = 0; i < n; i++) {
        pids[i] = own_daemon_vmm(all[i].id);
        cpu -= cpu_seconds(pids[i]);
    }
    usleep(IDLE_US);
    for (size_t i = 0; i < n; i++)
        cpu += cpu_seconds(pids[i]);
    double seconds = (double)(clock_mono_ns() - begun) / 1e9;
    for (size_t i = 0; i < n; i++)
        pss_kb += proc_number(pids[i], "smaps_rollup", "Pss:");
    b->out->pss_mb = pss_kb / 1024 / (double)n;
    b->out->idle_cpu_percent = 100 * cpu / seconds / (double)n;
}

/* Some at once, which are then looked at while they are idle. */
static int measure_many(struct bench *b, size_t n, struct samples *ms, bool idle, struct err *err)
{
    AUTO_FREE struct sandbox_seen *all = calloc(n, sizeof(*all));
    if (n == 0)
        return 0;
    if (!all)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    usleep(SETTLE_US);
    int rc = create_many(b, n, all, ms, err);
    if (rc == 0 && idle)
        watch_idle(b, n, all);
    return rc == 0 ? kill_many(b, n, all, err) : rc;
}

static int measure(struct bench *b, struct err *err)
{
    struct samples unused = { 0 };
    int rc = 0;
    for (unsigned i = 0; i < b->o->n && rc == 0 && !interrupted; i++)
        rc = measure_one(b, err);
    if (rc == 0 && interrupted)
        rc = err_set(err, ERR_CANCELED, EINTR, "interrupted");
    if (rc == 0)
        rc = measure_many(b, b->o->burst, &b->out->burst, false, err);
    if (rc == 0)
        rc = measure_many(b, b->o->idle, &unused, true, err);
    samples_deinit(&unused);
    return rc;
}

int bench_run(const struct bench_options *o, struct bench_result *out, struct err *err)
{
    struct bench b = { .o = o, .out = out };
    *out = (struct bench_result){ 0 };
    int rc = own_daemon_prepare(&b.daemon, o, err);
    if (rc == 0 && o->floor)
        rc = bench_floor_in_child(o, b.daemon.build, b.daemon.dir, out->floor_p50_ms, err);
    if (rc == 0)
        rc = own_daemon_start(&b.daemon, o, err);
    if (rc == 0 && !(b.http = bench_http_new()))
        rc = err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    snprintf(b.key_field, sizeof(b.key_field), "X-API-Key: %s", b.daemon.key);
    snprintf(out->kernel, sizeof(out->kernel), "%s", b.daemon.kernel);
    snprintf(out->accel, sizeof(out->accel), "%s", b.daemon.accel);
    if (rc == 0)
        rc = measure(&b, err);
    bench_http_free(b.http);
    own_daemon_end(&b.daemon);
    return rc;
}

void bench_result_deinit(struct bench_result *r)
{
    samples_deinit(&r->burst);
    for (size_t i = 0; i < BENCH_OP_NR; i++) {
        samples_deinit(&r->ops[i]);
        for (size_t k = 0; k < BENCH_PHASES_MAX; k++)
            samples_deinit(&r->phases[i][k].ms);
    }
}
