/* What the files of the link share. */
#ifndef ORCHESTRATOR_LINK_LINK_INTERNAL_H
#define ORCHESTRATOR_LINK_LINK_INTERNAL_H

#include "common/base/list.h"
#include "common/base/sm.h"
#include "common/io/io_fd.h"
#include "common/link/link_frame.h"
#include "orchestrator/link/guest_link.h"
#include "orchestrator/link/stream_open.h"

#define LINK_PAUSE_MIN_MS 10
#define LINK_PAUSE_MAX_MS 1000
#define LINK_STABLE_MS    1000 /* a session that lived this long was a good one */

/* Of running VM time. The first tries wait less for the acknowledgement: QEMU 7.2 sometimes holds
 * the guest's output back after a client that went away while the VM was stopped (its port stays
 * throttled), until the next client has gone too. */
#define LINK_CONNECT_MS   1000
#define LINK_GREETING_MS  1000
#define LINK_ACK_FIRST_MS 250
#define LINK_ACK_MS       1000
#define LINK_ANSWER_MS    1000 /* to a first call, from the acknowledgement on */

/* What may come before the acknowledgement: what an old session left in queues (0.6 MB seen). */
#define LINK_GARBAGE_MAX (16U << 20)

/*
 * PAUSE -> CONNECT -> (GREETING: hybrid vsock | ACKING: virtio-serial | neither) -> UP
 * With a first call sent behind the marker: ACKING -> ANSWERING -> UP.
 * Any failure goes back to PAUSE; quiesce goes by DRAINING to QUIET, and resume from there to
 * PAUSE.
 */
enum link_state {
    LINK_PAUSE,
    LINK_CONNECT,
    LINK_GREETING,
    LINK_ACKING,
    LINK_ANSWERING,
    LINK_UP,
    LINK_DRAINING,
    LINK_QUIET,
    LINK_CLOSED,
    LINK_STATE_NR
};

/* One try of the stream. It outlives its use by the link: handles close later. */
struct link_conn {
    struct guest_link *l; /* NULL once given up */
    struct io_fd fd;
    uv_poll_t poll; /* while connecting */
    int raw;        /* the descriptor meanwhile, else -1 */
};

struct guest_link {
    uv_loop_t *loop;
    struct defer_queue *defer;
    struct link_address address;
    uint8_t secret[LINK_SECRET_SIZE];
    uint8_t next_secret[LINK_SECRET_SIZE]; /* which a first call gives to the guest */
    bool has_next_secret, told_next_secret, tried_next_secret;
    const struct guest_link_events *events;
    void *user;

    struct sm sm;
    struct link_conn *conn;        /* NULL in PAUSE, CLOSED; may be in QUIET */
    struct http2_session *session; /* UP, DRAINING */
    uv_timer_t timer;              /* the pause, or the deadline of the state */
    uint64_t timer_from, timer_left;
    bool timer_waits; /* for the VM to run */
    bool vm_running;
    unsigned pause_ms, ack_ms;
    uint64_t up_since;

    uint8_t nonce[LINK_NONCE_SIZE];
    struct link_scanner scanner; /* for the acknowledgement */
    struct hybrid_greeting greeting;
    size_t garbage;

    struct list calls;
    struct guest_call *first; /* sent behind the marker and not answered; NULL: none */
    bool first_sent;          /* in this try */
    bool first_refused;       /* the guest's envd knows no first calls */
    struct link_frame answer; /* to it */
    struct deferred quiesce;  /* quiesced while there was no session */
    void (*quiesce_done)(void *user, int rc);
    void *quiesce_user;
};

/* guest_link.c */

/* A session begins: what the connection carries from here on is its. */
void link_up(struct guest_link *l);
/* A try that led nowhere. One that found nobody there is repeated more and more seldom; one that
 * only had no answer in time has waited already. */
void link_try_failed(struct guest_link *l, int errnum);
/* The state's deadline. One that `waits` counts while the VM runs only. */
void link_timer_set(struct guest_link *l, uint64_t ms, bool waits);

/* marker.c */

/* The marker, and nothing but a first call until it was acknowledged. */
void link_send_marker(struct guest_link *l);
/* Discard everything up to the acknowledgement of our nonce. Returns how many bytes were taken. */
size_t link_take_ack(struct guest_link *l, const uint8_t *data, size_t n);
/* The answer to the first call. Returns how many bytes were taken. */
size_t link_take_answer(struct guest_link *l, const uint8_t *data, size_t n);
/* Of the marker that was sent last, or of one since that is known to be the guest's. */
const uint8_t *link_marker_secret(const struct guest_link *l);

/* guest_call.c */
void guest_calls_start(struct guest_link *l); /* the link is up: those that waited */
void guest_calls_fail(struct guest_link *l);  /* the link is being closed */

/* The marker was written: a first call that waits goes behind it, if there is one. */
void guest_calls_send_first(struct guest_link *l);
/* Its answer is whole, in l->answer. */
void guest_calls_take_answer(struct guest_link *l);
/* The try is over: one that was not answered waits for the next. */
void guest_calls_forget_first(struct guest_link *l);

#endif
