/* The double of the guest link: a guest that answers every call. */
#include "common/base/clock.h"
#include "common/link/guest_protocol.h"
#include "guest.pb-c.h"
#include "orchestrator/link/guest_command.h"
#include "tests/unit/orchestrator/sandbox/fakes.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct guest_link {
    void *user;
};

struct guest_link *guest_link_new(uv_loop_t *loop, struct defer_queue *defer,
                                  const struct link_address *address,
                                  const uint8_t secret[static LINK_SECRET_SIZE],
                                  const struct guest_link_events *events, void *user)
{
    (void)loop;
    (void)defer;
    (void)address;
    (void)secret;
    (void)events;
    struct guest_link *l = calloc(1, sizeof(*l));
    if (!l)
        abort();
    l->user = user;
    fakes.links++;
    return l;
}

void *guest_link_user(const struct guest_link *l)
{
    return l->user;
}

void guest_link_set_secret(struct guest_link *l, const uint8_t secret[static LINK_SECRET_SIZE])
{
    (void)l;
    (void)secret;
}

void guest_link_expect_secret(struct guest_link *l, const uint8_t secret[static LINK_SECRET_SIZE])
{
    (void)l;
    (void)secret;
}

void guest_link_set_vm_running(struct guest_link *l, bool running)
{
    (void)l;
    (void)running;
}

/* One that never ends where fakes.silent_command says so; else as of a guest that has no such
 * program. */
struct guest_command *guest_command_run(struct guest_link *l, const char *user, const char *program,
                                        const char *const *args,
                                        void (*done)(void *user_data, const uint8_t *output,
                                                     size_t n, const struct err *err),
                                        void *user_data)
{
    (void)l;
    (void)user;
    (void)program;
    (void)args;
    (void)done;
    (void)user_data;
    return fakes.silent_command ? (struct guest_command *)l : NULL;
}

void guest_command_cancel(struct guest_command *c)
{
    (void)c;
    fakes.commands_canceled++;
}

#define LATE_NS 60000000 /* more than the daemon puts up with */

static int64_t guest_clock(void)
{
    bool late = fakes.late > 0;
    fakes.late -= late;
    return clock_wall_ns() - (late ? LATE_NS : 0) - fakes.slow_ns;
}

static void answer_call(struct ask *a, const struct err *err)
{
    Sandpit__Guest__V1__ConfigureResponse configured = SANDPIT__GUEST__V1__CONFIGURE_RESPONSE__INIT;
    Sandpit__Guest__V1__RefreshResponse refreshed = SANDPIT__GUEST__V1__REFRESH_RESPONSE__INIT;
    Sandpit__Guest__V1__QuiesceResponse quiesced = SANDPIT__GUEST__V1__QUIESCE_RESPONSE__INIT;
    const ProtobufCMessage *answer;
    Sandpit__Guest__V1__HelloResponse hello = SANDPIT__GUEST__V1__HELLO_RESPONSE__INIT;
    hello.protocol = GUEST_PROTOCOL;
    answer = &hello.base;
    if (strcmp(a->name, "Configure") == 0 && !err) {
        fakes.configures++;
        configured.wall_clock_ns = guest_clock();
        answer = &configured.base;
    }
    if (strcmp(a->name, "Quiesce") == 0 && !err) {
        quiesced.wall_clock_ns = guest_clock();
        answer = &quiesced.base;
    }
    if (strcmp(a->name, "Refresh") == 0 && !err) {
        fakes.refreshes++;
        refreshed.wall_clock_ns = guest_clock();
        answer = &refreshed.base;
    }
    a->done.called(a->user, err ? NULL : answer, err);
}

struct guest_call *
guest_link_call(struct guest_link *l, const char *method, const ProtobufCMessage *msg,
                const ProtobufCMessageDescriptor *output, unsigned timeout_ms,
                void (*done)(void *user, const ProtobufCMessage *response, const struct err *err),
                void *user)
{
    (void)output;
    (void)timeout_ms;
    struct ask *a = ask_new(strrchr(method, '/') + 1, l, answer_call, user);
    if (strcmp(a->name, "Configure") == 0)
        fakes.stood_still_ns = ((const Sandpit__Guest__V1__ConfigureRequest *)msg)->stood_still_ns;
    if (strcmp(a->name, "Refresh") == 0)
        fakes.stood_still_ns = ((const Sandpit__Guest__V1__RefreshRequest *)msg)->stood_still_ns;
    a->done.called = done;
    if (strcmp(a->name, "Quiesce") == 0)
        fakes.syncs += ((const Sandpit__Guest__V1__QuiesceRequest *)(const void *)msg)->sync != 0;
    return (struct guest_call *)a; /* only ever given back */
}

struct guest_call *guest_link_call_first(struct guest_link *l, enum guest_link_first which,
                                         const ProtobufCMessage *msg, unsigned timeout_ms,
                                         void (*done)(void *user, const ProtobufCMessage *response,
                                                      const struct err *err),
                                         void *user)
{
    const char *method = which == GUEST_LINK_FIRST_CONFIGURE ? "/Configure" : "/Refresh";
    return guest_link_call(l, method, msg, NULL, timeout_ms, done, user);
}

void guest_link_cancel(struct guest_call *c)
{
    ask_cancel((struct ask *)c);
}

static void answer_drain(struct ask *a, const struct err *err)
{
    a->done.drained(a->user, err ? -ETIMEDOUT : 0);
}

void guest_link_quiesce(struct guest_link *l, unsigned timeout_ms, enum guest_link_end end,
                        void (*done)(void *user, int rc), void *user)
{
    (void)end;
    (void)timeout_ms;
    ask_new(FAKE_DRAIN, l, answer_drain, user)->done.drained = done;
}

void guest_link_resume(struct guest_link *l)
{
    (void)l;
}

void guest_link_close(struct guest_link *l)
{
    ask_cancel_all(l);
    fakes.links--;
    free(l);
}
