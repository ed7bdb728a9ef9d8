/* Signatures of file URLs: "v1_" + unpadded base64 of SHA-256(path:operation:user:token[:expiry]).
 */
#ifndef COMMON_AUTH_SIGNATURE_H
#define COMMON_AUTH_SIGNATURE_H

#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/base/sha256.h"

/*
 * Check a signature made with `token`. operation is "read" or "write"; path and user exactly as in
 * the query (empty when absent); expiration is the query's text, empty when absent. now_s is the
 * wall clock. 0, or ERR_UNAUTHENTICATED with the contract's sentence.
 */
int signature_check(struct str signature, struct str path, struct str operation, struct str user,
                    struct str token, struct str expiration, int64_t now_s, struct err *err);

/* Append the signature that signature_check() accepts for the same arguments. 0 or -ENOMEM. */
int signature_make(struct str path, struct str operation, struct str user, struct str token,
                   struct str expiration, struct buf *out);

/*
 * The token that made a signature, looked for among many. What comes before the token is as long as
 * a client likes, so it is hashed once and not for each. false when no token can have made the
 * signature, or when it is expired. The expiration is borrowed.
 */
struct signature_search {
    struct sha256 before; /* the token: path:operation:user */
    struct str expiration;
    uint8_t digest[SHA256_SIZE]; /* that the signature tells */
};
bool signature_search_init(struct signature_search *s, struct str signature, struct str path,
                           struct str operation, struct str user, struct str expiration,
                           int64_t now_s);

/* Whether this token made it. Takes as long whatever the token. */
bool signature_search_matches(const struct signature_search *s, struct str token);

#endif
