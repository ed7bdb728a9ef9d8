#include "orchestrator/sandbox/guest_identity.h"

#include "common/base/arena.h"
#include "common/base/clock.h"
#include "common/link/guest_protocol.h"
#include "guest.pb-c.h"
#include "orchestrator/link/guest_clock.h"
#include "orchestrator/link/machine_id.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>

/* A guest under emulation on a busy host is slow to run code it has not run before. */
#define CONFIGURE_DEADLINE_MS 30000
#define REFRESH_DEADLINE_MS   30000

/* What a guest is called before it is a sandbox. */
#define NOBODY "spare"

struct guest_call *guest_hello(struct sandbox_own *own, unsigned timeout_ms, guest_done_cb done,
                               void *user)
{
    Sandpit__Guest__V1__HelloRequest hello = SANDPIT__GUEST__V1__HELLO_REQUEST__INIT;
    hello.protocol = GUEST_PROTOCOL;
    return guest_link_call(own->sb.link, "/sandpit.guest.v1.Guest/Hello", &hello.base,
                           &sandpit__guest__v1__hello_response__descriptor, timeout_ms, done, user);
}

int guest_check_hello(const ProtobufCMessage *response, struct err *err)
{
    const Sandpit__Guest__V1__HelloResponse *r = (const void *)response;
    if (r->protocol == GUEST_PROTOCOL)
        return 0;
    return err_set(err, ERR_PRECONDITION, EPROTO,
                   "the template's envd speaks guest protocol %u, this daemon %d", r->protocol,
                   GUEST_PROTOCOL);
}

/* The object's members as protobuf map entries, in `arena`; the texts are borrowed. */
static size_t map_entries(json_t *envs, struct arena *arena,
                          Sandpit__Guest__V1__ConfigureRequest__EnvsEntry ***out)
{
    size_t n = 0;
    const char *name;
    json_t *value;
    *out = arena_alloc(arena, json_object_size(envs) * sizeof(**out) + 1);
    json_object_foreach (envs, name, value) {
        Sandpit__Guest__V1__ConfigureRequest__EnvsEntry *e = arena_alloc(arena, sizeof(*e));
        if (!*out || !e)
            return 0;
        sandpit__guest__v1__configure_request__envs_entry__init(e);
        e->key = (char *)(uintptr_t)name;
        e->value = (char *)(uintptr_t)json_string_value(value);
        (*out)[n++] = e;
    }
    return n;
}

static void random_entropy(uint8_t out[static GUEST_ENTROPY_SIZE])
{
    if (getrandom(out, GUEST_ENTROPY_SIZE, 0) != GUEST_ENTROPY_SIZE)
        memset(out, 0, GUEST_ENTROPY_SIZE);
}

/* How long the guest stood still until it went on; 0: not known. With KVM a guest's clock may go on
 * meanwhile, and its first call is no slower than any other. */
static int64_t stood_still(struct sandbox_own *own, uint64_t stopped_ns)
{
    const struct sandbox *sb = &own->sb;
    int64_t went_on = vmm_went_on_ns(sb->vmm), stopped = (int64_t)stopped_ns;
    own->clock_moved_ns = 0;
    if (vmm_driver_host(sb->host->driver)->kvm || !stopped || went_on <= stopped)
        return 0;
    own->clock_moved_ns = went_on;
    return went_on - stopped;
}

static struct guest_call *configure(struct sandbox_own *own, const char *name, bool rehearsal,
                                    uint64_t stopped_ns, guest_done_cb done, void *user)
{
    struct sandbox *sb = &own->sb;
    struct arena arena = { 0 };
    uint8_t entropy[GUEST_ENTROPY_SIZE];
    char id[SANDBOX_ID_SIZE], machine_id[MACHINE_ID_SIZE], default_user[] = "user";
    random_entropy(entropy);
    machine_id_of(name, machine_id);
    snprintf(id, sizeof(id), "%s", name);

    Sandpit__Guest__V1__ConfigureRequest r = SANDPIT__GUEST__V1__CONFIGURE_REQUEST__INIT;
    r.rehearsal = rehearsal;
    r.sandbox_id = id;
    r.template_id = sb->template_id;
    r.hostname = id;
    r.machine_id = machine_id;
    if (!rehearsal) {
        r.link_secret = (ProtobufCBinaryData){ LINK_SECRET_SIZE, own->link_secret };
        guest_link_expect_secret(sb->link, own->link_secret);
    }
    r.access_token = sb->envd_token;
    r.n_envs = map_entries(own->envs, &arena, &r.envs);
    r.default_user = default_user;
    r.wall_clock_ns = clock_wall_ns();
    r.stood_still_ns = stood_still(own, stopped_ns);
    r.went_on_ns = own->clock_moved_ns;
    r.entropy = (ProtobufCBinaryData){ sizeof(entropy), entropy };
    struct guest_call *call = guest_link_call_first(sb->link, GUEST_LINK_FIRST_CONFIGURE, &r.base,
                                                    CONFIGURE_DEADLINE_MS, done, user);
    arena_deinit(&arena);
    return call;
}

struct guest_call *guest_configure(struct sandbox_own *own, uint64_t stopped_ns, guest_done_cb done,
                                   void *user)
{
    return configure(own, own->sb.id, false, stopped_ns, done, user);
}

struct guest_call *guest_rehearse(struct sandbox_own *own, guest_done_cb done, void *user)
{
    return configure(own, NOBODY, true, 0, done, user);
}

/* A clock that was moved on is right at any moment since, and the answer may be slow as well; what
 * is looked for is one that somebody else has set. One that was set is right now. */
static bool in_time(const struct sandbox_own *own, int64_t told_ns)
{
    int64_t now = clock_wall_ns();
    return guest_clock_is_right(told_ns, own->clock_moved_ns ? own->clock_moved_ns : now, now);
}

bool guest_configured_in_time(const struct sandbox_own *own,
                              const ProtobufCMessage *configure_response)
{
    const Sandpit__Guest__V1__ConfigureResponse *r = (const void *)configure_response;
    return in_time(own, r->wall_clock_ns);
}

bool guest_refreshed_in_time(const struct sandbox_own *own,
                             const ProtobufCMessage *refresh_response)
{
    const Sandpit__Guest__V1__RefreshResponse *r = (const void *)refresh_response;
    return in_time(own, r->wall_clock_ns);
}

struct guest_call *guest_refresh(struct sandbox_own *own, uint64_t stopped_ns, guest_done_cb done,
                                 void *user)
{
    uint8_t entropy[GUEST_ENTROPY_SIZE];
    Sandpit__Guest__V1__RefreshRequest r = SANDPIT__GUEST__V1__REFRESH_REQUEST__INIT;
    random_entropy(entropy);
    r.wall_clock_ns = clock_wall_ns();
    r.stood_still_ns = stood_still(own, stopped_ns);
    r.went_on_ns = own->clock_moved_ns;
    r.entropy = (ProtobufCBinaryData){ sizeof(entropy), entropy };
    return guest_link_call_first(own->sb.link, GUEST_LINK_FIRST_REFRESH, &r.base,
                                 REFRESH_DEADLINE_MS, done, user);
}

struct guest_call *guest_quiesce(struct sandbox_own *own, bool sync, unsigned timeout_ms,
                                 guest_done_cb done, void *user)
{
    Sandpit__Guest__V1__QuiesceRequest r = SANDPIT__GUEST__V1__QUIESCE_REQUEST__INIT;
    r.sync = sync;
    own->quiesce_sent_ns = clock_wall_ns();
    return guest_link_call(own->sb.link, "/sandpit.guest.v1.Guest/Quiesce", &r.base,
                           &sandpit__guest__v1__quiesce_response__descriptor, timeout_ms, done,
                           user);
}

void guest_note_clock(struct sandbox_own *own, const ProtobufCMessage *quiesce_response)
{
    const Sandpit__Guest__V1__QuiesceResponse *r = (const void *)quiesce_response;
    /* The answer of a guest that has hardly run yet takes its time too. */
    own->clock_right =
        r && r->wall_clock_ns &&
        guest_clock_is_right(r->wall_clock_ns, own->quiesce_sent_ns, clock_wall_ns());
}

uint64_t guest_clock_stopped_ns(const struct sandbox_own *own)
{
    return own->clock_right ? (uint64_t)vmm_stopped_ns(own->sb.vmm) : 0;
}
