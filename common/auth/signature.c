#include "common/auth/signature.h"

#include "common/base/encode.h"
#include "common/base/sha256.h"

#include <errno.h>

#define VERSION "v1_"

static void add(struct sha256 *hash, struct str part, bool colon)
{
    if (colon)
        sha256_update(hash, ":", 1);
    if (part.n)
        sha256_update(hash, part.p, part.n);
}

int signature_make(struct str path, struct str operation, struct str user, struct str token,
                   struct str expiration, struct buf *out)
{
    struct sha256 hash;
    uint8_t digest[SHA256_SIZE];
    sha256_init(&hash);
    add(&hash, path, false);
    add(&hash, operation, true);
    add(&hash, user, true);
    add(&hash, token, true);
    if (expiration.n)
        add(&hash, expiration, true);
    sha256_final(&hash, digest);
    buf_puts(out, VERSION);
    return base64_encode(out, digest, sizeof(digest), false) && !out->failed ? 0 : -ENOMEM;
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
