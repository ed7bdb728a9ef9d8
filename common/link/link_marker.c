#include "common/link/link_marker.h"

#include <string.h>

/* Both were drawn once from the kernel's generator. */
const uint8_t LINK_SECRET_INITIAL[LINK_SECRET_SIZE] = {
    0x43, 0x9b, 0xaa, 0x06, 0x52, 0x80, 0x9b, 0xc9, 0x29, 0x87, 0x44, 0x40, 0xd5, 0x1a, 0xc3, 0x33,
    0xc4, 0xd4, 0xb0, 0x31, 0x0e, 0x10, 0x3f, 0xc7, 0x2c, 0x23, 0x9f, 0x05, 0x71, 0x4a, 0x00, 0x56,
};

const uint8_t LINK_ACK[LINK_ACK_SIZE] = {
    0x92, 0x50, 0x30, 0xcc, 0x8f, 0x4c, 0x1c, 0x57, 0xc4, 0x1c, 0x59, 0x0a, 0x24, 0xa6, 0x3f, 0xe6,
    0x87, 0x73, 0x81, 0x92, 0x71, 0x7a, 0x6e, 0x2c, 0xbf, 0x8d, 0x83, 0xcc, 0x0a, 0xf7, 0x41, 0x15,
};

void link_scanner_init(struct link_scanner *s, const uint8_t pattern[static LINK_SECRET_SIZE])
{
    memcpy(s->pattern, pattern, LINK_SECRET_SIZE);
    s->nheld = 0;
}

/* The length of the longest end of p[0..n) that begins the pattern, and is not all of it. */
static size_t tail_match(const struct link_scanner *s, const uint8_t *p, size_t n)
{
    size_t most = n < LINK_SECRET_SIZE - 1 ? n : LINK_SECRET_SIZE - 1;
    for (size_t k = most; k > 0; k--)
        if (memcmp(p + n - k, s->pattern, k) == 0)
            return k;
    return 0;
}

/*
 * Bytes that were held come first. While fewer than the pattern are held, join them with the first
 * new bytes in a window that any match beginning in the held ones must lie in; once nothing is held
 * the input is searched in place.
 */
static size_t feed_held(struct link_scanner *s, const uint8_t *data, size_t n,
                        void (*pass)(void *user, const uint8_t *p, size_t n), void *user)
{
    uint8_t window[2 * LINK_SECRET_SIZE];
    size_t held = s->nheld;
    size_t more = n < LINK_SECRET_SIZE ? n : LINK_SECRET_SIZE;
    memcpy(window, s->held, held);
    memcpy(window + held, data, more);
    size_t len = held + more;

    /* The first place at which what is there agrees with the pattern as far as it goes. */
    size_t at = 0;
    while (at < len) {
        size_t k = len - at < LINK_SECRET_SIZE ? len - at : LINK_SECRET_SIZE;
        if (memcmp(window + at, s->pattern, k) == 0)
            break;
        at++;
    }
    if (at >= held) { /* no match begins in the held bytes */
        if (pass)
            pass(user, window, held);
        s->nheld = 0;
        return 0;
    }
    if (pass && at > 0)
        pass(user, window, at);
    size_t keep = len - at < LINK_SECRET_SIZE ? len - at : LINK_SECRET_SIZE;
    memcpy(s->held, window + at, keep);
    s->nheld = keep;
    return at + keep - held;
}

/* The pattern is held: fill the nonce up. */
static bool feed_nonce(struct link_scanner *s, const uint8_t *data, size_t n,
                       uint8_t nonce[static LINK_NONCE_SIZE], size_t *used)
{
    size_t want = sizeof(s->held) - s->nheld;
    size_t take = n < want ? n : want;
    if (take > 0)
        memcpy(s->held + s->nheld, data, take);
    s->nheld += take;
    *used += take;
    if (s->nheld < sizeof(s->held))
        return false;
    memcpy(nonce, s->held + LINK_SECRET_SIZE, LINK_NONCE_SIZE);
    s->nheld = 0;
    return true;
}

bool link_scanner_feed(struct link_scanner *s, const uint8_t *data, size_t n,
                       void (*pass)(void *user, const uint8_t *p, size_t n), void *user,
                       uint8_t nonce[static LINK_NONCE_SIZE], size_t *used)
{
    *used = 0;
    while (*used < n) {
        const uint8_t *p = data + *used;
        size_t left = n - *used;
        if (s->nheld >= LINK_SECRET_SIZE)
            return feed_nonce(s, p, left, nonce, used);
        if (s->nheld > 0) {
            *used += feed_held(s, p, left, pass, user);
            continue;
        }
        const uint8_t *found = memmem(p, left, s->pattern, LINK_SECRET_SIZE);
        size_t keep = found ? LINK_SECRET_SIZE : tail_match(s, p, left);
        size_t passed = found ? (size_t)(found - p) : left - keep;
        if (pass && passed > 0)
            pass(user, p, passed);
        memcpy(s->held, p + passed, keep);
        s->nheld = keep;
        *used += passed + keep;
    }
    return false;
}

void link_scanner_change(struct link_scanner *s, const uint8_t pattern[static LINK_SECRET_SIZE],
                         void (*pass)(void *user, const uint8_t *p, size_t n), void *user)
{
    uint8_t held[sizeof(s->held)];
    size_t n = s->nheld;
    memcpy(held, s->held, n);
    link_scanner_init(s, pattern);
    if (pass && n > 0)
        pass(user, held, n);
}

void link_scanner_release(struct link_scanner *s,
                          void (*pass)(void *user, const uint8_t *p, size_t n), void *user)
{
    uint8_t held[sizeof(s->held)];
    size_t n = s->nheld;
    if (n == 0 || n >= LINK_SECRET_SIZE)
        return;
    memcpy(held, s->held, n);
    s->nheld = 0;
    pass(user, held, n);
}
