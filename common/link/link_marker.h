/* The reset marker of the guest link: constants of both ends, and the scanner that finds a marker
 * in a stream of anything. docs/guest-link.md */
#ifndef COMMON_LINK_LINK_MARKER_H
#define COMMON_LINK_LINK_MARKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LINK_SECRET_SIZE 32
#define LINK_NONCE_SIZE  16
#define LINK_ACK_SIZE    32

/* Secret of a guest that has not been given its own yet: it serves nobody but its daemon then. */
extern const uint8_t LINK_SECRET_INITIAL[LINK_SECRET_SIZE];

/* What the guest answers a marker with, followed by the nonce. */
extern const uint8_t LINK_ACK[LINK_ACK_SIZE];

/* Name of the virtio-serial port and the vsock port. */
#define LINK_PORT_NAME  "sandpit.link.0"
#define LINK_VSOCK_PORT 49982

/* Finds `pattern` followed by a nonce across any cuts of the input. */
struct link_scanner {
    uint8_t pattern[LINK_SECRET_SIZE];
    uint8_t held[LINK_SECRET_SIZE + LINK_NONCE_SIZE]; /* a tail that may begin a match */
    size_t nheld;
};

void link_scanner_init(struct link_scanner *s, const uint8_t pattern[static LINK_SECRET_SIZE]);

/*
 * Take n bytes. Bytes that are certainly no part of a marker are given to pass(user, p, n) in
 * order (pass may be NULL: they are dropped). When pattern and nonce were seen, the nonce is copied
 * out, true is returned and *used says how many of the n bytes were taken: the rest begins the new
 * session. Otherwise false with *used == n; a possible beginning is held back (only that).
 */
bool link_scanner_feed(struct link_scanner *s, const uint8_t *data, size_t n,
                       void (*pass)(void *user, const uint8_t *p, size_t n), void *user,
                       uint8_t nonce[static LINK_NONCE_SIZE], size_t *used);

/* Look for another pattern from now on. What was held back is no marker then, and is passed on. */
void link_scanner_change(struct link_scanner *s, const uint8_t pattern[static LINK_SECRET_SIZE],
                         void (*pass)(void *user, const uint8_t *p, size_t n), void *user);

/*
 * Give what is held to pass(): no more input has come for LINK_HOLD_MS. The last byte of a message
 * begins the secret once in 256 times, and without this it would wait for the next message. A whole
 * secret goes on waiting for its nonce.
 */
void link_scanner_release(struct link_scanner *s,
                          void (*pass)(void *user, const uint8_t *p, size_t n), void *user);

/* A host writes its marker at once, so that it arrives in one piece or in pieces right after each
 * other. One that is torn apart for longer is not found, and the host tries again. */
#define LINK_HOLD_MS 3

#endif
