/* Signatures of file URLs: "v1_" + unpadded base64 of SHA-256(path:operation:user:token[:expiry]).
 */
#ifndef COMMON_AUTH_SIGNATURE_H
#define COMMON_AUTH_SIGNATURE_H

#include "common/base/buf.h"
#include "common/base/err.h"

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

#endif
