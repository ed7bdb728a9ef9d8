#include "orchestrator/api/respond.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/json_text.h"
#include "common/base/log.h"

#include <stdarg.h>

#define FIELDS_MAX 8

/* Of a Server-Timing field. */
#define TIMING_MAX 256

/* Of an id in a message. */
#define ID_SHOWN_MAX 128

#define NO_SANDBOX "Sandbox \"%.128s\" doesn't exist or you don't have access to it"

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
            send_text(c, 500, API_OUT_OF_MEMORY, NULL, 0);
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
        send_text(c, status, body ? body : API_OUT_OF_MEMORY, NULL, 0);
}

void api_fail_err_as(struct api_call *c, int status, const struct err *err)
{
    if (status >= 500)
        log_error("a request failed", LOG_TEXT("path", c->r.path), LOG_STR("reason", err->msg));
    api_fail_code(c, status, err->reason, err->msg);
}

void api_fail_err(struct api_call *c, const struct err *err)
{
    api_fail_err_as(c, err_code_http(err->code), err);
}

void api_fail_no_sandbox(struct api_call *c, const char *id)
{
    api_fail(c, 404, NO_SANDBOX, id);
}

void api_fail_ended(struct api_call *c, const char *id, const struct store_death *death)
{
    char message[256], ended[CLOCK_TEXT_MAX];
    snprintf(message, sizeof(message), NO_SANDBOX, id);
    clock_rfc3339(death->when_ns, ended);
    api_respond(c, 404,
                json_pack("{s:i, s:s, s:s, s:s, s:s, s:s, s:s}", "code", 404, "message", message,
                          "error_code", "sandbox_ended", "reason", death->reason, "detail",
                          death->detail, "actor", death->actor ? death->actor : "", "endedAt",
                          ended));
}

void api_fail_sandbox(struct api_call *c, const struct err *err)
{
    char id[ID_SHOWN_MAX + 1];
    snprintf(id, sizeof(id), "%s", c->r.params[0]);
    id[strcspn(id, "-")] = '\0'; /* the legacy form has more behind it */
    if (err->code == ERR_NOT_FOUND)
        api_fail_no_sandbox(c, id);
    else
        api_fail_err(c, err);
}

void api_respond_timed(struct api_call *c, int status, json_t *body,
                       const struct sandbox_timings *t)
{
    char text[TIMING_MAX];
    size_t n = sandbox_timings_text(t, text, sizeof(text));
    struct http_field field = { STR("server-timing"), { text, n } };
    if (body || status != 204)
        api_respond_fields(c, status, body, &field, n > 0);
    else
        api_respond_empty(c, status, &field, n > 0);
}
