#include "common/base/err.h"

#include "common/base/utf8.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct {
    const char *name;
    int http;
} codes[] = {
    [ERR_OK] = { "ok", 200 },
    [ERR_CANCELED] = { "canceled", 499 },
    [ERR_UNKNOWN] = { "unknown", 500 },
    [ERR_INVALID] = { "invalid_argument", 400 },
    [ERR_DEADLINE] = { "deadline_exceeded", 504 },
    [ERR_NOT_FOUND] = { "not_found", 404 },
    [ERR_EXISTS] = { "already_exists", 409 },
    [ERR_DENIED] = { "permission_denied", 403 },
    [ERR_EXHAUSTED] = { "resource_exhausted", 429 },
    [ERR_PRECONDITION] = { "failed_precondition", 400 },
    [ERR_ABORTED] = { "aborted", 409 },
    [ERR_RANGE] = { "out_of_range", 400 },
    [ERR_UNIMPLEMENTED] = { "unimplemented", 501 },
    [ERR_INTERNAL] = { "internal", 500 },
    [ERR_UNAVAILABLE] = { "unavailable", 503 },
    [ERR_DATA_LOSS] = { "data_loss", 500 },
    [ERR_UNAUTHENTICATED] = { "unauthenticated", 401 },
};

#define CODES (sizeof(codes) / sizeof(codes[0]))

static void __attribute__((format(printf, 3, 0)))
fill(struct err *err, enum err_code code, const char *fmt, va_list ap)
{
    err->code = code;
    err->reason = NULL;
    vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
    utf8_make_valid(err->msg);
}

void err_fill(struct err *err, enum err_code code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fill(err, code, fmt, ap);
    va_end(ap);
}

int err_set(struct err *err, enum err_code code, int errnum, const char *fmt, ...)
{
    if (err) {
        va_list ap;
        va_start(ap, fmt);
        fill(err, code, fmt, ap);
        va_end(ap);
    }
    return -errnum;
}

const char *err_code_name(enum err_code code)
{
    return (unsigned)code < CODES ? codes[code].name : codes[ERR_UNKNOWN].name;
}

int err_code_parse(const char *name)
{
    for (size_t i = 0; i < CODES; i++)
        if (strcmp(codes[i].name, name) == 0)
            return (int)i;
    return -1;
}

int err_code_http(enum err_code code)
{
    return (unsigned)code < CODES ? codes[code].http : 500;
}
