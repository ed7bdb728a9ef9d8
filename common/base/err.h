/* Errors as values: a code that clients know and a sentence that a user can act on. */
#ifndef COMMON_BASE_ERR_H
#define COMMON_BASE_ERR_H

/* The canonical codes of gRPC and Connect, by gRPC's numbers. */
enum err_code {
    ERR_OK = 0,
    ERR_CANCELED = 1,
    ERR_UNKNOWN = 2,
    ERR_INVALID = 3, /* invalid_argument */
    ERR_DEADLINE = 4,
    ERR_NOT_FOUND = 5,
    ERR_EXISTS = 6, /* already_exists */
    ERR_DENIED = 7, /* permission_denied */
    ERR_EXHAUSTED = 8,
    ERR_PRECONDITION = 9,
    ERR_ABORTED = 10,
    ERR_RANGE = 11,
    ERR_UNIMPLEMENTED = 12,
    ERR_INTERNAL = 13,
    ERR_UNAVAILABLE = 14,
    ERR_DATA_LOSS = 15,
    ERR_UNAUTHENTICATED = 16,
};

/* Held by value; nothing to free. A function sets it exactly when it fails. */
struct err {
    enum err_code code;
    char msg[256];
    const char
        *reason; /* a static text that programs tell this error by, beside its code; or NULL */
};

/* Fill *err (which may be NULL) and return -errnum, so that a failing path is one line. A message
 * that is too long is cut at the end, and bytes of it that are no UTF-8 become '?', as it goes into
 * JSON and protobuf. errnum must be positive. */
int err_set(struct err *err, enum err_code code, int errnum, const char *fmt, ...)
    __attribute__((format(printf, 4, 5), warn_unused_result));

/* The same where nothing is returned: fill *err. */
void err_fill(struct err *err, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The Connect name of a code, such as "not_found"; "unknown" for a number that is none. */
const char *err_code_name(enum err_code code);

/* The code of a Connect name; -1 if there is none of that name. */
int err_code_parse(const char *name);

/* HTTP status of a unary Connect error, by the Connect protocol's table. */
int err_code_http(enum err_code code);

#endif
