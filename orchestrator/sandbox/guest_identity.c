#include "orchestrator/sandbox/guest_identity.h"

#include "common/base/arena.h"
#include "common/base/clock.h"
#include "common/link/guest_protocol.h"
#include "guest.pb-c.h"
#include "orchestrator/link/machine_id.h"

#include <errno.h>
#include <stdio.h>
#include <sys/random.h>

/* A guest under emulation on a busy host is slow to run code it has not run before. */
#define CONFIGURE_DEADLINE_MS 30000
#define REFRESH_DEADLINE_MS   30000

/* What a guest is called before it is a sandbox. */
#define NOBODY "spare"

/* How far from the host's a guest's clock may be, which is more than it is then: the answer took
 * its time too. */
#define CLOCK_TOLERANCE_NS 5000000

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

static struct guest_call *configure(struct sandbox_own *own, const char *name, bool rehearsal,
                                    guest_done_cb done, void *user)
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
    if (!rehearsal)
        r.link_secret = (ProtobufCBinaryData){ LINK_SECRET_SIZE, own->link_secret };
    r.access_token = sb->envd_token;
    r.n_envs = map_entries(own->envs, &arena, &r.envs);
    r.default_user = default_user;
    r.wall_clock_ns = clock_wall_ns();
    r.entropy = (ProtobufCBinaryData){ sizeof(entropy), entropy };
    struct guest_call *call = guest_link_call(
        sb->link, "/sandpit.guest.v1.Guest/Configure", &r.base,
        &sandpit__guest__v1__configure_response__descriptor, CONFIGURE_DEADLINE_MS, done, user);
    arena_deinit(&arena);
    return call;
}

struct guest_call *guest_configure(struct sandbox_own *own, guest_done_cb done, void *user)
{
    return configure(own, own->sb.id, false, done, user);
}

struct guest_call *guest_rehearse(struct sandbox_own *own, guest_done_cb done, void *user)
{
    return configure(own, NOBODY, true, done, user);
}

/* A guest of an older envd tells no clock. */
static bool clock_is_right(int64_t told_ns)
{
    int64_t behind = clock_wall_ns() - told_ns;
    return told_ns == 0 || (behind <= CLOCK_TOLERANCE_NS && behind >= -CLOCK_TOLERANCE_NS);
}

bool guest_configured_in_time(const ProtobufCMessage *configure_response)
{
    const Sandpit__Guest__V1__ConfigureResponse *r = (const void *)configure_response;
    return clock_is_right(r->wall_clock_ns);
}

bool guest_refreshed_in_time(const ProtobufCMessage *refresh_response)
{
    const Sandpit__Guest__V1__RefreshResponse *r = (const void *)refresh_response;
    return clock_is_right(r->wall_clock_ns);
}

struct guest_call *guest_refresh(struct sandbox_own *own, guest_done_cb done, void *user)
{
    uint8_t entropy[GUEST_ENTROPY_SIZE];
    Sandpit__Guest__V1__RefreshRequest r = SANDPIT__GUEST__V1__REFRESH_REQUEST__INIT;
    random_entropy(entropy);
    r.wall_clock_ns = clock_wall_ns();
    r.entropy = (ProtobufCBinaryData){ sizeof(entropy), entropy };
    return guest_link_call(own->sb.link, "/sandpit.guest.v1.Guest/Refresh", &r.base,
                           &sandpit__guest__v1__refresh_response__descriptor, REFRESH_DEADLINE_MS,
                           done, user);
}

struct guest_call *guest_quiesce(struct sandbox_own *own, bool sync, unsigned timeout_ms,
                                 guest_done_cb done, void *user)
{
    Sandpit__Guest__V1__QuiesceRequest r = SANDPIT__GUEST__V1__QUIESCE_REQUEST__INIT;
    r.sync = sync;
    return guest_link_call(own->sb.link, "/sandpit.guest.v1.Guest/Quiesce", &r.base,
                           &sandpit__guest__v1__quiesce_response__descriptor, timeout_ms, done,
                           user);
}
