/* The guest link of a single VM: calls of the control service, and a command through envd. */
#include "orchestrator/bench/single_vm_internal.h"

#include "common/base/cleanup.h"
#include "orchestrator/link/guest_command.h"

#include <errno.h>
#include <string.h>

int single_vm_link(struct single_vm *s, const uint8_t secret[static LINK_SECRET_SIZE], bool running,
                   struct err *err)
{
    s->link = guest_link_new(&s->loop, &s->defer, vmm_link_address(s->vm), secret, NULL, s);
    if (!s->link)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory opening the guest link");
    if (running)
        return 0;
    guest_link_set_vm_running(s->link, false);
    /* Connecting to a unix socket and a first small write need no answer. */
    uv_run(&s->loop, UV_RUN_NOWAIT);
    uv_run(&s->loop, UV_RUN_NOWAIT);
    return 0;
}

struct calling {
    struct single_vm *s;
    struct guest_call *call;
};

static void on_called(void *user, const ProtobufCMessage *response, const struct err *err)
{
    struct calling *c = user;
    (void)response;
    c->call = NULL;
    single_vm_finish(c->s, err);
}

int single_vm_call_first(struct single_vm *s, enum guest_link_first which,
                         const ProtobufCMessage *request, unsigned timeout_ms, struct err *err)
{
    struct calling c = { .s = s };
    single_vm_begin(s);
    c.call = guest_link_call_first(s->link, which, request, timeout_ms, on_called, &c);
    if (!c.call)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory calling the guest");
    int rc = single_vm_wait(s, 0, err);
    if (c.call)
        guest_link_cancel(c.call);
    return rc;
}

struct running {
    struct single_vm *s;
    struct guest_command *command;
    const char *expected;
    bool seen;
};

static void on_output(void *user, const uint8_t *output, size_t n, const struct err *err)
{
    struct running *r = user;
    r->command = NULL;
    r->seen = n > 0 && memmem(output, n, r->expected, strlen(r->expected));
    single_vm_finish(r->s, err);
}

int single_vm_run(struct single_vm *s, const char *user, const char *command, const char *expected,
                  unsigned timeout_ms, struct err *err)
{
    struct running r = { .s = s, .expected = expected };
    const char *const args[] = { "-l", "-c", command, NULL };
    single_vm_begin(s);
    r.command = guest_command_run(s->link, user, "/bin/bash", args, on_output, &r);
    if (!r.command)
        return err_set(err, ERR_UNAVAILABLE, ENOTCONN, "the guest link is down");
    int rc = single_vm_wait(s, timeout_ms, err);
    if (r.command)
        guest_command_cancel(r.command);
    if (rc == 0 && !r.seen)
        rc = err_set(err, ERR_UNAVAILABLE, EIO, "a command's output did not come back");
    return rc;
}

static void on_quiet(void *user, int rc)
{
    struct err err;
    if (rc < 0)
        err_fill(&err, ERR_DEADLINE, "the guest link did not end in order: %s", strerror(-rc));
    single_vm_finish(user, rc < 0 ? &err : NULL);
}

int single_vm_unlink(struct single_vm *s, unsigned timeout_ms, struct err *err)
{
    single_vm_begin(s);
    guest_link_quiesce(s->link, timeout_ms, GUEST_LINK_END_UNTOLD, on_quiet, s);
    int rc = single_vm_wait(s, 0, err);
    guest_link_close(TAKE(s->link));
    return rc;
}
