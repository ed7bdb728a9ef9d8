#include "orchestrator/api/respond.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/json_text.h"
#include "common/base/log.h"

#include <stdarg.h>

#define FIELDS_MAX 8

/* The path tells what was asked; the query may hold what a log must not. */
static void log_request(const struct api_call *c, int status)
{
    log_info("request", LOG_TEXT("method", c->r.head->method), LOG_TEXT("path", c->r.path),
             LOG_INT("status", status), LOG_STR("team", c->key.team_slug),
             LOG_INT("us", (clock_mono_ns() - c->began_ns) / 1000));
}

static void send_text(struct api_call *c, int status, const char *text,
                      const struct http_field *fields, size_t n)
{
    struct http_field all[FIELDS_MAX];
    size_t count = api_cors_fields(all);
    for (size_t i = 0; i < n && count < FIELDS_MAX; i++)
        all[count++] = fields[i];
    c->responded = true;
    log_request(c, status);
    http_respond_fields(c->r.stream, status, text ? "application/json; charset=utf-8" : NULL, all,
                        count, text, text ? strlen(text) : 0);
}

static bool can_respond(const struct api_call *c)
{
    return c->r.stream && !c->responded;
}

void api_respond_fields(struct api_call *c, int status, json_t *body,
                        const struct http_field *fields, size_t n)
{
    if (can_respond(c)) {
        AUTO_FREE char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
        if (text)
            send_text(c, status, text, fields, n);
        else
            send_text(c, 500, "{\"code\":500,\"message\":\"out of memory\"}", NULL, 0);
    }
    json_decref(body);
}

void api_respond(struct api_call *c, int status, json_t *body)
{
    api_respond_fields(c, status, body, NULL, 0);
}

void api_respond_empty(struct api_call *c, int status, const struct http_field *fields, size_t n)
{
    if (can_respond(c))
        send_text(c, status, NULL, fields, n);
}

void api_fail(struct api_call *c, int status, const char *fmt, ...)
{
    char message[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof(message), fmt, ap);
    va_end(ap);
    api_fail_code(c, status, NULL, message);
}

void api_fail_code(struct api_call *c, int status, const char *error_code, const char *message)
{
    struct buf text = { 0 };
    buf_printf(&text, "{\"code\":%d,\"message\":", status);
    json_text_quote(&text, str_of(message));
    if (error_code)
        buf_printf(&text, ",\"error_code\":\"%s\"", error_code);
    buf_puts(&text, "}");
    AUTO_FREE char *body = buf_take_text(&text);
    buf_deinit(&text);
    if (can_respond(c))
        send_text(c, status, body ? body : "{\"code\":500,\"message\":\"out of memory\"}", NULL, 0);
}

void api_fail_err(struct api_call *c, const struct err *err)
{
    int status = err_code_http(err->code);
    if (status >= 500)
        log_error("a request failed", LOG_TEXT("path", c->r.path), LOG_STR("reason", err->msg));
    api_fail_code(c, status, NULL, err->msg);
}

void api_fail_no_sandbox(struct api_call *c, const char *id)
{
    api_fail(c, 404, "Sandbox \"%.128s\" doesn't exist or you don't have access to it", id);
}
