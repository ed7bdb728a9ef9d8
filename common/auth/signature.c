#include "common/auth/signature.h"

#include "common/base/encode.h"
#include "common/base/sha256.h"

#include <errno.h>
#include <string.h>

#define VERSION "v1_"

/* Of a digest in base64 without padding. */
#define TEXT_SIZE ((SHA256_SIZE * 4 + 2) / 3)

/* Digits of a time, in a signature that is looked for: they are hashed for each token. */
#define EXPIRATION_MAX 20

static void add(struct sha256 *hash, struct str part, bool colon)
{
    if (colon)
        sha256_update(hash, ":", 1);
    if (part.n)
        sha256_update(hash, part.p, part.n);
}

static void hash_before(struct sha256 *hash, struct str path, struct str operation, struct str user)
{
    sha256_init(hash);
    add(hash, path, false);
    add(hash, operation, true);
    add(hash, user, true);
}

static void hash_rest(struct sha256 *hash, struct str token, struct str expiration,
                      uint8_t digest[static SHA256_SIZE])
{
    add(hash, token, true);
    if (expiration.n)
        add(hash, expiration, true);
    sha256_final(hash, digest);
}

static int write_text(const uint8_t digest[static SHA256_SIZE], struct buf *out)
{
    buf_puts(out, VERSION);
    return base64_encode(out, digest, SHA256_SIZE, false) && !out->failed ? 0 : -ENOMEM;
}

int signature_make(struct str path, struct str operation, struct str user, struct str token,
                   struct str expiration, struct buf *out)
{
    struct sha256 hash;
    uint8_t digest[SHA256_SIZE];
    hash_before(&hash, path, operation, user);
    hash_rest(&hash, token, expiration, digest);
    return write_text(digest, out);
}

int signature_check(struct str signature, struct str path, struct str operation, struct str user,
                    struct str token, struct str expiration, int64_t now_s, struct err *err)
{
    if (signature.n == 0)
        return err_set(err, ERR_UNAUTHENTICATED, EACCES, "missing signature query parameter");

    /* Without a token anyone could make the signature: nothing is signed with it. */
    struct buf want = { 0 };
    uint64_t expires = 0;
    bool right = token.n > 0 &&
                 (expiration.n == 0 || str_to_u64(expiration, INT64_MAX, &expires)) &&
                 signature_make(path, operation, user, token, expiration, &want) == 0 &&
                 str_eq_secret(signature, buf_str(&want));
    buf_deinit(&want);
    if (!right)
        return err_set(err, ERR_UNAUTHENTICATED, EACCES, "invalid signature");
    if (expiration.n && (int64_t)expires < now_s)
        return err_set(err, ERR_UNAUTHENTICATED, EACCES, "signature is already expired");
    return 0;
}

/* The digest that a signature tells, when it is written as signature_make() does. */
static bool read_text(struct str signature, uint8_t digest[static SHA256_SIZE])
{
    uint8_t decoded[(TEXT_SIZE / 4 + 1) * 3];
    struct buf again = { 0 };
    size_t prefix = sizeof(VERSION) - 1;
    if (signature.n != prefix + TEXT_SIZE ||
        base64_decode(str_from(signature, prefix), decoded) != SHA256_SIZE)
        return false;
    memcpy(digest, decoded, SHA256_SIZE);
    bool same = write_text(digest, &again) == 0 && str_eq(buf_str(&again), signature);
    buf_deinit(&again);
    return same;
}

bool signature_search_init(struct signature_search *s, struct str signature, struct str path,
                           struct str operation, struct str user, struct str expiration,
                           int64_t now_s)
{
    uint64_t expires;
    if (expiration.n > EXPIRATION_MAX ||
        (expiration.n &&
         (!str_to_u64(expiration, INT64_MAX, &expires) || (int64_t)expires < now_s)) ||
        !read_text(signature, s->digest))
        return false;
    s->expiration = expiration;
    hash_before(&s->before, path, operation, user);
    return true;
}

bool signature_search_matches(const struct signature_search *s, struct str token)
{
    struct sha256 hash = s->before;
    uint8_t digest[SHA256_SIZE];
    hash_rest(&hash, token, s->expiration, digest);
    return token.n > 0 && str_eq_secret((struct str){ (const char *)digest, SHA256_SIZE },
                                        (struct str){ (const char *)s->digest, SHA256_SIZE });
}
