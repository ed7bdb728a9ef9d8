/* How a session on a virtio-serial port begins: the marker, its acknowledgement, and a first call
 * between the two and the session. docs/guest-link.md */
#include "orchestrator/link/link_internal.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

void guest_link_set_secret(struct guest_link *l, const uint8_t secret[static LINK_SECRET_SIZE])
{
    memcpy(l->secret, secret, LINK_SECRET_SIZE);
    l->has_next_secret = l->tried_next_secret = false;
}

void guest_link_expect_secret(struct guest_link *l, const uint8_t secret[static LINK_SECRET_SIZE])
{
    memcpy(l->next_secret, secret, LINK_SECRET_SIZE);
    l->has_next_secret = true;
    l->told_next_secret = l->tried_next_secret = false;
}

const uint8_t *link_marker_secret(const struct guest_link *l)
{
    return l->tried_next_secret ? l->next_secret : l->secret;
}

/* The secret for this try: after one that may have told the guest another it is that one, then by
 * turns. */
static const uint8_t *pick_secret(struct guest_link *l)
{
    bool next = l->has_next_secret && l->told_next_secret && !l->tried_next_secret;
    l->tried_next_secret = next;
    return link_marker_secret(l);
}

void link_send_marker(struct guest_link *l)
{
    uint8_t marker[LINK_SECRET_SIZE + LINK_NONCE_SIZE];
    if (getrandom(l->nonce, sizeof(l->nonce), 0) != (ssize_t)sizeof(l->nonce)) {
        link_try_failed(l, EIO);
        return;
    }
    link_scanner_init(&l->scanner, LINK_ACK);
    l->garbage = 0;
    memcpy(marker, pick_secret(l), LINK_SECRET_SIZE);
    memcpy(marker + LINK_SECRET_SIZE, l->nonce, LINK_NONCE_SIZE);
    sm_move(&l->sm, LINK_ACKING);
    link_timer_set(l, l->ack_ms, true);
    l->ack_ms = l->ack_ms * 2 < LINK_ACK_MS ? l->ack_ms * 2 : LINK_ACK_MS;
    io_write(&l->conn->fd.io, marker, sizeof(marker));
    guest_calls_send_first(l);
}

static void count_garbage(void *user, const uint8_t *data, size_t n)
{
    struct guest_link *l = user;
    (void)data;
    l->garbage += n;
}

static void link_acked(struct guest_link *l)
{
    l->ack_ms = LINK_ACK_FIRST_MS;
    /* Which secret the guest has is certain again, but for a call that went behind the marker. */
    if (l->tried_next_secret)
        guest_link_set_secret(l, l->next_secret);
    l->told_next_secret = l->first_sent;
    if (!l->first_sent) {
        link_up(l);
        return;
    }
    sm_move(&l->sm, LINK_ANSWERING);
    link_timer_set(l, LINK_ANSWER_MS, true);
}

size_t link_take_answer(struct guest_link *l, const uint8_t *data, size_t n)
{
    size_t used;
    int rc = link_frame_feed(&l->answer, data, n, &used);
    if (rc < 0) { /* an envd that knows no first calls has done nothing, and begun its session */
        l->first_refused = true;
        l->told_next_secret = rc != -EPROTO;
        link_try_failed(l, -rc);
        return n;
    }
    if (rc == 0)
        return used;
    guest_calls_take_answer(l);
    if (sm_state(&l->sm) == LINK_ANSWERING)
        link_up(l);
    return used;
}

size_t link_take_ack(struct guest_link *l, const uint8_t *data, size_t n)
{
    uint8_t nonce[LINK_NONCE_SIZE];
    size_t used;
    if (link_scanner_feed(&l->scanner, data, n, count_garbage, l, nonce, &used)) {
        if (memcmp(nonce, l->nonce, sizeof(nonce)) == 0) {
            link_acked(l);
            return used;
        }
        l->garbage += LINK_ACK_SIZE + LINK_NONCE_SIZE; /* an older one */
    }
    if (l->garbage > LINK_GARBAGE_MAX)
        link_try_failed(l, EPROTO);
    return used;
}
