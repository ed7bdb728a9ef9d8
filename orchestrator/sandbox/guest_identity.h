/* What a sandbox's envd is told over the guest link. */
#ifndef ORCHESTRATOR_SANDBOX_GUEST_IDENTITY_H
#define ORCHESTRATOR_SANDBOX_GUEST_IDENTITY_H

#include "orchestrator/sandbox/internal.h"

typedef void (*guest_done_cb)(void *user, const ProtobufCMessage *response, const struct err *err);

/* Each starts a call and returns its handle for guest_link_cancel(), or NULL when memory is out. */

/* Who is there; the answer says which protocol it speaks. */
struct guest_call *guest_hello(struct sandbox_own *own, unsigned timeout_ms, guest_done_cb done,
                               void *user);
/* -EPROTO with a sentence unless this daemon speaks the guest's protocol. */
int guest_check_hello(const ProtobufCMessage *response, struct err *err);

/* Everything that makes the guest this sandbox: ids, environment, token, clock, entropy, and the
 * sandbox's own link secret. When it was answered, guest_link_set_secret() must follow.
 *
 * stopped_ns is the host's clock when the guest's, which was right, stood still; 0: not known. It
 * is for the first call after the guest went on, whose handling takes long: the clock is then moved
 * on by how long it stood still instead of being set to the time of the call. */
struct guest_call *guest_configure(struct sandbox_own *own, uint64_t stopped_ns, guest_done_cb done,
                                   void *user);

/* The same with the name of nobody, for a guest that waits for its sandbox. */
struct guest_call *guest_rehearse(struct sandbox_own *own, guest_done_cb done, void *user);

/*
 * Whether the clock that the guest told in its answer to guest_configure() or guest_refresh() is
 * right. A time that the host tells is as old as the call is when the guest reads it, and the first
 * call of a restored guest is slow: it waits for the link, and under emulation all code is new.
 * Then guest_refresh() sets it again, which the guest has got used to; CLOCK_TRIES of them are
 * enough.
 */
#define CLOCK_TRIES 3
bool guest_configured_in_time(const struct sandbox_own *own,
                              const ProtobufCMessage *configure_response);
bool guest_refreshed_in_time(const struct sandbox_own *own,
                             const ProtobufCMessage *refresh_response);

/* Clock and entropy of a guest that stood still; stopped_ns as of guest_configure(). */
struct guest_call *guest_refresh(struct sandbox_own *own, uint64_t stopped_ns, guest_done_cb done,
                                 void *user);

/* Finish what is in flight, and with `sync` write the file systems out. */
struct guest_call *guest_quiesce(struct sandbox_own *own, bool sync, unsigned timeout_ms,
                                 guest_done_cb done, void *user);

/* The answer to that came, or (NULL) did not: note whether the guest's clock is right. */
void guest_note_clock(struct sandbox_own *own, const ProtobufCMessage *quiesce_response);

/* When the guest's clock stood still, for who restores it from what is saved now; 0: it was not
 * right, or that is not known. */
uint64_t guest_clock_stopped_ns(const struct sandbox_own *own);

#endif
