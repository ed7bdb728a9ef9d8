#include "orchestrator/store/ids.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <sys/random.h>

void id_random_bytes(void *out, size_t n)
{
    uint8_t *p = out;
    while (n > 0) {
        ssize_t got = getrandom(p, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        assert(got > 0); /* cannot fail on any kernel that runs this program */
        p += got;
        n -= (size_t)got;
    }
}

void id_uuid(char out[static ID_UUID_SIZE])
{
    uint8_t b[16];
    id_random_bytes(b, sizeof(b));
    b[6] = (uint8_t)((b[6] & 0x0f) | 0x40);
    b[8] = (uint8_t)((b[8] & 0x3f) | 0x80);
    snprintf(out, ID_UUID_SIZE,
             "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0], b[1],
             b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14],
             b[15]);
}

/* n characters of [a-z0-9], each equally likely: bytes of 252 (7 * 36) and above are thrown away.
 */
static void alnum(char *out, size_t n)
{
    static const char set[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    size_t done = 0;
    while (done < n) {
        uint8_t b;
        id_random_bytes(&b, 1);
        if (b < 252)
            out[done++] = set[b % 36];
    }
    out[n] = '\0';
}

void id_template(char out[static ID_TEMPLATE_SIZE])
{
    alnum(out, ID_TEMPLATE_SIZE - 1);
}

void id_sandbox(char out[static ID_SANDBOX_SIZE])
{
    out[0] = 'i';
    alnum(out + 1, ID_SANDBOX_SIZE - 2);
}
