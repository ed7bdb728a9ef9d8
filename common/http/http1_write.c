#include "common/http/http1_head.h"

#include <errno.h>
#include <inttypes.h>
#include <time.h>

static const struct {
    int status;
    const char *phrase;
} phrases[] = {
    { 100, "Continue" },
    { 101, "Switching Protocols" },
    { 200, "OK" },
    { 201, "Created" },
    { 202, "Accepted" },
    { 204, "No Content" },
    { 206, "Partial Content" },
    { 301, "Moved Permanently" },
    { 302, "Found" },
    { 303, "See Other" },
    { 304, "Not Modified" },
    { 307, "Temporary Redirect" },
    { 308, "Permanent Redirect" },
    { 400, "Bad Request" },
    { 401, "Unauthorized" },
    { 403, "Forbidden" },
    { 404, "Not Found" },
    { 405, "Method Not Allowed" },
    { 406, "Not Acceptable" },
    { 408, "Request Timeout" },
    { 409, "Conflict" },
    { 410, "Gone" },
    { 411, "Length Required" },
    { 412, "Precondition Failed" },
    { 413, "Content Too Large" },
    { 415, "Unsupported Media Type" },
    { 416, "Range Not Satisfiable" },
    { 417, "Expectation Failed" },
    { 422, "Unprocessable Content" },
    { 426, "Upgrade Required" },
    { 429, "Too Many Requests" },
    { 431, "Request Header Fields Too Large" },
    { 499, "Client Closed Request" },
    { 500, "Internal Server Error" },
    { 501, "Not Implemented" },
    { 502, "Bad Gateway" },
    { 503, "Service Unavailable" },
    { 504, "Gateway Timeout" },
    { 505, "HTTP Version Not Supported" },
    { 507, "Insufficient Storage" },
};

const char *http_status_phrase(int status)
{
    for (size_t i = 0; i < sizeof(phrases) / sizeof(phrases[0]); i++)
        if (phrases[i].status == status)
            return phrases[i].phrase;
    return "";
}

static bool is_token(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!http1_is_token((uint8_t)s.p[i]))
            return false;
    return s.n > 0;
}

/* Free of CR, LF, NUL. */
static bool is_one_line(struct str s)
{
    return str_find(s, '\r') < 0 && str_find(s, '\n') < 0 && str_find(s, '\0') < 0;
}

/* What struct http_head keeps out of its fields: written by us alone. */
static bool is_reserved(struct str name)
{
    static const char *const names[] = { "host",           "connection", "keep-alive",
                                         "content-length", "upgrade",    "transfer-encoding",
                                         "expect",         "te",         "proxy-connection" };
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        if (str_eq_nocase(name, str_of(names[i])))
            return true;
    return false;
}

int http1_check_fields(const struct http_field *fields, size_t nfields)
{
    for (size_t i = 0; i < nfields; i++)
        if (!is_token(fields[i].name) || is_reserved(fields[i].name) ||
            !is_one_line(fields[i].value))
            return -EINVAL;
    return 0;
}

static void put_field(struct buf *out, struct str name, struct str value)
{
    buf_append_str(out, name);
    buf_append(out, ": ", 2);
    buf_append_str(out, value);
    buf_append(out, "\r\n", 2);
}

void http1_write_fields(struct buf *out, const struct http_field *fields, size_t nfields)
{
    for (size_t i = 0; i < nfields; i++)
        put_field(out, fields[i].name, fields[i].value);
}

static bool has_no_space(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)s.p[i] <= 0x20 || (uint8_t)s.p[i] == 0x7f)
            return false;
    return true;
}

static void put_length(struct buf *out, int64_t length)
{
    buf_printf(out, "content-length: %" PRId64 "\r\n", length);
}

static int finish(struct buf *out)
{
    buf_append(out, "\r\n", 2);
    return out->failed ? -ENOMEM : 0;
}

/* Methods whose requests say that they have no body, since servers expect one. */
static bool expects_body(struct str method)
{
    return str_eq(method, STR("POST")) || str_eq(method, STR("PUT")) ||
           str_eq(method, STR("PATCH"));
}

int http1_write_request(struct buf *out, const struct http_head *head, enum http1_framing framing)
{
    if (!is_token(head->method) || head->target.n == 0 || !has_no_space(head->target) ||
        !has_no_space(head->authority) || !is_one_line(head->upgrade) ||
        http1_check_fields(head->fields, head->nfields) < 0)
        return -EINVAL;

    buf_append_str(out, head->method);
    buf_putc(out, ' ');
    buf_append_str(out, head->target);
    buf_puts(out, " HTTP/1.1\r\n");
    put_field(out, STR("host"), head->authority);
    http1_write_fields(out, head->fields, head->nfields);
    if (head->upgrade.n > 0) {
        buf_puts(out, "connection: upgrade\r\n");
        put_field(out, STR("upgrade"), head->upgrade);
    } else if (framing == HTTP1_CHUNKED) {
        buf_puts(out, "transfer-encoding: chunked\r\n");
    } else if (framing == HTTP1_LENGTH) {
        put_length(out, head->content_length);
    } else if (expects_body(head->method)) {
        put_length(out, 0);
    }
    return finish(out);
}

/* The date of this second, as a field line. */
static void put_date(struct buf *out)
{
    static _Thread_local time_t last;
    static _Thread_local char text[48];
    time_t now = time(NULL);
    if (now != last || !text[0]) {
        struct tm tm;
        gmtime_r(&now, &tm);
        strftime(text, sizeof(text), "date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm);
        last = now;
    }
    buf_puts(out, text);
}

int http1_write_response(struct buf *out, const struct http_head *head, enum http1_framing framing,
                         bool close)
{
    if (head->status < 100 || head->status > 999 || !is_one_line(head->upgrade) ||
        http1_check_fields(head->fields, head->nfields) < 0)
        return -EINVAL;

    buf_printf(out, "HTTP/1.1 %d %s\r\n", head->status, http_status_phrase(head->status));
    http1_write_fields(out, head->fields, head->nfields);
    if (!http_field_get(head, "date").p)
        put_date(out);
    if (head->status == 101) {
        buf_puts(out, "connection: upgrade\r\n");
        put_field(out, STR("upgrade"), head->upgrade);
        return finish(out);
    }
    if (framing == HTTP1_CHUNKED)
        buf_puts(out, "transfer-encoding: chunked\r\n");
    else if (framing == HTTP1_LENGTH)
        put_length(out, head->content_length);
    if (close)
        buf_puts(out, "connection: close\r\n");
    return finish(out);
}
