#include "envd/files/answer.h"

#include "common/base/json_text.h"

#include <errno.h>

void answer_error_field(struct http_stream *s, int status, const char *message,
                        const struct http_field *field)
{
    struct http_field fields[2] = { { STR("x-content-type-options"), STR("nosniff") } };
    struct buf body = { 0 };
    if (field)
        fields[1] = *field;
    buf_printf(&body, "{\"code\":%d,\"message\":", status);
    json_text_quote(&body, str_of(message));
    buf_puts(&body, "}\n");
    struct str text = buf_str(&body);
    http_respond_fields(s, status, "application/json; charset=utf-8", fields, field ? 2 : 1, text.p,
                        text.n);
    buf_deinit(&body);
}

void answer_error(struct http_stream *s, int status, const char *message)
{
    answer_error_field(s, status, message, NULL);
}

int answer_status(int rc, const struct err *err)
{
    if (rc == -ENOSPC || rc == -EDQUOT)
        return 507;
    if (err->code == ERR_INVALID)
        return 400;
    if (err->code == ERR_UNAUTHENTICATED)
        return 401;
    return err->code == ERR_NOT_FOUND ? 404 : 500;
}
