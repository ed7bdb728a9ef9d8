/* Anything that a VMM may say on its control socket, in pieces, while commands wait for answers. */
#include "common/base/cleanup.h"
#include "orchestrator/vmm/qemu/qmp.h"
#include "orchestrator/vmm/unix_socket.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define PATIENT_MS 3600000

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

struct run {
    struct qmp q;
    bool closed, lost;
    int answers, commands;
};

static void on_answer(void *user, const json_t *result, const struct err *err)
{
    struct run *r = user;
    assert(err ? err->code && err->msg[0] : result != NULL);
    assert(++r->answers <= r->commands);
}

static void ask(struct run *r, const char *command)
{
    if (qmp_execute(&r->q, command, NULL, PATIENT_MS, on_answer, r) == 0)
        r->commands++;
}

static void on_ready(struct qmp *q)
{
    struct run *r = container_of(q, struct run, q);
    ask(r, "query-status");
    ask(r, "cont");
}

static void on_event(struct qmp *q, const char *name, const json_t *data, int64_t at_ns)
{
    struct run *r = container_of(q, struct run, q);
    assert(name && !r->closed && at_ns >= 0);
    if (json_is_object(data) && r->commands < 100)
        ask(r, "stop");
    if (strcmp(name, "RESET") == 0)
        qmp_close(q);
}

static void on_lost(struct qmp *q, const struct err *err)
{
    struct run *r = container_of(q, struct run, q);
    assert(!r->lost && err->code && err->msg[0]);
    assert(r->answers == r->commands);
    r->lost = true;
}

static void on_closed(struct qmp *q)
{
    container_of(q, struct run, q)->closed = true;
}

static const struct qmp_events events = { on_ready, on_event, on_lost, on_closed };

static uv_loop_t loop;
static int listener = -1;
static char path[64];

static void set_up(void)
{
    snprintf(path, sizeof(path), "/tmp/sandpit-fuzz-qmp-%d", (int)getpid());
    unlink(path);
    listener = unix_listen(path);
    assert(listener >= 0);
    uv_loop_init(&loop);
}

/* The first byte is the size of the pieces. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static const char greeting[] = "{\"QMP\":{}}\n{\"return\":{},\"id\":1}\n";
    struct run r = { 0 };
    if (listener < 0)
        set_up();
    if (n < 2)
        return 0;
    int rc = qmp_open(&r.q, &loop, path, PATIENT_MS, &events, NULL);
    assert(rc == 0);
    int server = accept(listener, NULL, NULL);
    assert(server >= 0);
    size_t piece = data[0] & 0x7f ? data[0] & 0x7f : n;
    if (data[0] & 0x80) /* past the greeting */
        assert(send(server, greeting, sizeof(greeting) - 1, MSG_NOSIGNAL) > 0);
    for (size_t at = 1; at < n && !r.lost && !r.closed; at += piece) {
        size_t part = n - at < piece ? n - at : piece;
        (void)!send(server, data + at, part, MSG_NOSIGNAL | MSG_DONTWAIT);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    close(server);
    for (int i = 0; i < 64 && !r.lost && !r.closed; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
    qmp_close(&r.q);
    while (!r.closed)
        uv_run(&loop, UV_RUN_ONCE);
    return 0;
}
