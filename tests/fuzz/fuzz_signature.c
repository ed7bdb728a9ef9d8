/*
 * Six lines: signature, path, operation, user, token, expiration. A signature is taken exactly when
 * it is the one that the token makes and its time has not passed; a first byte '!' puts the right
 * one in place, so that both ways are walked.
 */
#include "common/auth/signature.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW 1700000000

static bool digits_only(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] < '0' || s.p[i] > '9')
            return false;
    return s.n > 0;
}

/* Whether the text is a number of now or later, told without the code under test. */
static bool is_later(struct str s)
{
    static const char now[] = "1700000000", most[] = "9223372036854775807";
    while (s.n > 1 && s.p[0] == '0')
        s = str_from(s, 1);
    if (s.n != sizeof(now) - 1)
        return s.n > sizeof(now) - 1 &&
               (s.n < sizeof(most) - 1 || (s.n == sizeof(most) - 1 && memcmp(s.p, most, s.n) <= 0));
    return memcmp(s.p, now, s.n) >= 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct str rest = { (const char *)data, size };
    struct str line[6];
    for (int i = 0; i < 6; i++) {
        line[i] = rest.p ? str_split(&rest, '\n') : (struct str){ "", 0 };
    }
    struct buf right = { 0 };
    struct err err = { 0 };
    if (signature_make(line[1], line[2], line[3], line[4], line[5], &right) < 0)
        abort();
    struct str signature = line[0].n && line[0].p[0] == '!' ? buf_str(&right) : line[0];
    int rc = signature_check(signature, line[1], line[2], line[3], line[4], line[5], NOW, &err);
    bool want = line[4].n && str_eq(signature, buf_str(&right)) &&
                (line[5].n == 0 || (digits_only(line[5]) && is_later(line[5])));
    if ((rc == 0) != want || (rc < 0 && err.code != ERR_UNAUTHENTICATED))
        abort();
    buf_deinit(&right);
    return 0;
}
