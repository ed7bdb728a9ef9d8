/* SHA-256 (FIPS 180-4) and HMAC-SHA-256 (RFC 2104). envd is static and needs nothing else of a
 * crypto library, so both programs share this one. */
#ifndef COMMON_BASE_SHA256_H
#define COMMON_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_SIZE 32

struct sha256 {
    uint32_t h[8];
    uint64_t total; /* bytes taken so far */
    uint8_t block[64];
};

void sha256_init(struct sha256 *s);
void sha256_update(struct sha256 *s, const void *data, size_t n);
void sha256_final(struct sha256 *s, uint8_t out[static SHA256_SIZE]);

void sha256(const void *data, size_t n, uint8_t out[static SHA256_SIZE]);
void hmac_sha256(const void *key, size_t key_n, const void *data, size_t n,
                 uint8_t out[static SHA256_SIZE]);

#endif
