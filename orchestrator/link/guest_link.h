/*
 * The guest link: one byte stream into a VM, an HTTP/2 client session on it, and the rule by which
 * both ends find a fresh start after anything that broke it. docs/guest-link.md has the rule and
 * why hang-ups are no signal.
 */
#ifndef ORCHESTRATOR_LINK_GUEST_LINK_H
#define ORCHESTRATOR_LINK_GUEST_LINK_H

#include "common/base/err.h"
#include "common/http/http2.h"
#include "common/link/link_marker.h"

#include <protobuf-c/protobuf-c.h>

/* How the stream is opened. */
enum link_opener {
    LINK_VIRTIO_SERIAL, /* unix socket that QEMU serves for the port; resync marker needed */
    LINK_HYBRID_VSOCK,  /* unix socket; "CONNECT <port>\n", then "OK <n>\n" (Firecracker) */
    LINK_AF_VSOCK,      /* cid and port, where the host has /dev/vhost-vsock */
};

struct link_address {
    enum link_opener opener;
    char path[108]; /* unix socket of the first two */
    uint32_t cid;   /* LINK_AF_VSOCK */
    uint32_t port;  /* vsock port; LINK_VSOCK_PORT */
};

/* The marker secret of a guest that was not given one yet, and the acknowledgement that every envd
 * answers a marker with, are constants of both ends: common/link/link_marker.h. */

struct guest_link;

struct guest_link_events {
    /* A session is up (again). */
    void (*on_up)(struct guest_link *l);
    /* The session was lost, and the link goes on trying by itself; or it was quiesced. Comes once
     * after each on_up, but not for guest_link_close(). */
    void (*on_down)(struct guest_link *l);
};

/* Starts connecting at once and reconnects, with a pause of 10 ms growing to 1 s, until closed.
 * `user` is borrowed. NULL when memory is out. */
struct guest_link *guest_link_new(uv_loop_t *loop, struct defer_queue *defer,
                                  const struct link_address *address,
                                  const uint8_t secret[static LINK_SECRET_SIZE],
                                  const struct guest_link_events *events, void *user);
void *guest_link_user(const struct guest_link *l);
bool guest_link_is_up(const struct guest_link *l);

/* Use this secret for the sessions to come (after Init gave it to the guest). */
void guest_link_set_secret(struct guest_link *l, const uint8_t secret[static LINK_SECRET_SIZE]);

/* While the VM is stopped no acknowledgement can come: the deadline of 1 s waits. */
void guest_link_set_vm_running(struct guest_link *l, bool running);

/* A stream of the current session for one HTTP request or CONNECT; NULL when the link is down or at
 * its limit of streams. */
struct http_stream *guest_link_stream(struct guest_link *l, const struct http_stream_events *events,
                                      void *user);

/* The current session, for tunnel_open(); NULL when down. */
struct http2_session *guest_link_session(struct guest_link *l);

/* Call a method of the control service when the link is up, waiting for it within the deadline.
 * done once, never from inside: with ERR_DEADLINE when time was up, with ERR_UNAVAILABLE when the
 * session was lost under the call (which may have had its effect: it is not repeated) or the link
 * was closed. Returns a handle for guest_link_cancel, or NULL when memory is out. timeout_ms 0: no
 * deadline. */
struct guest_call;
struct guest_call *
guest_link_call(struct guest_link *l, const char *method, const ProtobufCMessage *msg,
                const ProtobufCMessageDescriptor *output, unsigned timeout_ms,
                void (*done)(void *user, const ProtobufCMessage *response, const struct err *err),
                void *user);
void guest_link_cancel(struct guest_call *c);

/*
 * A call for a guest that has just been restored: on a link that waits for the guest to answer the
 * marker it goes right behind that, past HTTP/2, whose first session is half of what such a guest
 * has to run until it answers. On any other link, or when the guest declines, it is a
 * guest_link_call(). One that was not answered is sent again, so the guest must not mind.
 */
enum guest_link_first { GUEST_LINK_FIRST_CONFIGURE, GUEST_LINK_FIRST_REFRESH };
struct guest_call *guest_link_call_first(struct guest_link *l, enum guest_link_first which,
                                         const ProtobufCMessage *msg, unsigned timeout_ms,
                                         void (*done)(void *user, const ProtobufCMessage *response,
                                                      const struct err *err),
                                         void *user);

/* What is called next gives the guest this secret. Until guest_link_set_secret() a try that led
 * nowhere may have left the guest with either. */
void guest_link_expect_secret(struct guest_link *l, const uint8_t secret[static LINK_SECRET_SIZE]);

/* Whether the guest is told by a GOAWAY that its session is over. One that is saved at once would
 * not get to reading it, and is spared the work after it is restored: the next marker ends the
 * session. */
enum guest_link_end { GUEST_LINK_END_TOLD, GUEST_LINK_END_UNTOLD };

/* End the session in order: no new streams, a PING; done(0) when the guest answered and the session
 * ended, done(-ETIMEDOUT) after timeout_ms (then the session is cut), another negative errno when
 * it broke meanwhile, -ENOTCONN when there was none. done comes once, never from inside. The link
 * stays down until guest_link_resume(), which may be called after done. The connection to a
 * virtio-serial port stays open meanwhile. */
void guest_link_quiesce(struct guest_link *l, unsigned timeout_ms, enum guest_link_end end,
                        void (*done)(void *user, int rc), void *user);
void guest_link_resume(struct guest_link *l);

/* Close: open streams get on_close(ECONNRESET), calls that were not canceled their done. The link
 * frees itself; no event of its own, and no done of a quiesce, comes after. */
void guest_link_close(struct guest_link *l);

#endif
