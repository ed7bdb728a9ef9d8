#include "orchestrator/proxy/pages.h"

#include "common/base/json_text.h"

#include <stdio.h>

static const struct {
    int status;
    const char *title;
    const char *message;
} pages[] = {
    [PAGE_NOT_FOUND] = { 502, "Sandbox Not Found", "The sandbox was not found" },
    [PAGE_PORT_CLOSED] = { 502, "Closed Port Error",
                           "The sandbox is running but port is not open" },
    [PAGE_TOKEN_MISSING] = { 403, "Missing Traffic Access Token",
                             "Sandbox is secured with traffic access token. Token header "
                             "'e2b-traffic-access-token' is missing" },
    [PAGE_TOKEN_INVALID] = { 403, "Invalid Traffic Access Token",
                             "Sandbox is secured with traffic access token. Provided token in "
                             "header 'e2b-traffic-access-token' is invalid" },
    [PAGE_INTERNAL_ROUTE] = { 404, "Reserved Endpoint",
                              "This endpoint is reserved for the E2B control plane and is not "
                              "reachable through the sandbox URL" },
    [PAGE_WAKE_DENIED] = { 403, "Sandbox Cannot Be Resumed",
                           "This sandbox can't be resumed with the credentials provided. Check "
                           "your access token and try again." },
    [PAGE_TRANSITION] = { 409, "Sandbox Is Transitioning",
                          "The sandbox is still transitioning. Try again in a moment." },
    [PAGE_LIMIT] = { 429, "Too Many Sandboxes", NULL },
    [PAGE_BUSY] = { 503, "Host Is Busy", NULL },
};

static struct str message_of(enum proxy_page page, const struct proxy_page_facts *facts)
{
    return str_of(pages[page].message ? pages[page].message : facts->text);
}

static bool contains_nocase(struct str s, struct str part)
{
    for (size_t i = 0; i + part.n <= s.n; i++)
        if (str_eq_nocase((struct str){ s.p + i, part.n }, part))
            return true;
    return false;
}

bool proxy_wants_html(const struct http_head *head)
{
    static const struct str browsers[] = { STR("mozilla"), STR("chrome"), STR("safari"),
                                           STR("firefox"), STR("edge"),   STR("opera"),
                                           STR("msie") };
    struct str agent = http_field_get(head, "user-agent");
    struct str accept = http_field_get(head, "accept");
    struct str mode = http_field_get(head, "sec-fetch-mode");
    bool browser = false;
    for (size_t i = 0; i < sizeof(browsers) / sizeof(browsers[0]); i++)
        browser = browser || contains_nocase(agent, browsers[i]);
    if (!browser)
        return false;
    if (contains_nocase(accept, STR("json")) && !contains_nocase(accept, STR("html")))
        return false;
    if (mode.p)
        return str_eq_nocase(mode, STR("navigate"));
    return !http_field_get(head, "x-requested-with").p;
}

static void put_html_text(struct buf *b, struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        if (text.p[i] == '<')
            buf_puts(b, "&lt;");
        else if (text.p[i] == '&')
            buf_puts(b, "&amp;");
        else
            buf_putc(b, text.p[i]);
    }
}

static void put_html(struct buf *b, enum proxy_page page, const struct proxy_page_facts *facts)
{
    struct str message = message_of(page, facts);
    const char *title = pages[page].title;
    bool stop = message.n && message.p[message.n - 1] == '.';
    buf_printf(b,
               "<!doctype html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\">"
               "<title>%s</title></head>\n<body>\n<h1>%s</h1>\n<p>",
               title, title);
    put_html_text(b, message);
    buf_puts(b, stop ? "</p>\n" : ".</p>\n");
    if (page != PAGE_INTERNAL_ROUTE)
        buf_printf(b, "<p>Sandbox: <code>%s</code></p>\n", facts->id);
    if (page == PAGE_PORT_CLOSED)
        buf_printf(b, "<p>There is no service running on port %u of sandbox %s.</p>\n", facts->port,
                   facts->id);
    buf_puts(b, "</body>\n</html>\n");
}

static void put_json(struct buf *b, const struct http_head *head, enum proxy_page page,
                     const struct proxy_page_facts *facts)
{
    buf_putc(b, '{');
    if (page != PAGE_INTERNAL_ROUTE)
        buf_printf(b, "\"sandboxId\":\"%s\",", facts->id);
    buf_puts(b, "\"message\":");
    json_text_quote(b, message_of(page, facts));
    if (page == PAGE_PORT_CLOSED)
        buf_printf(b, ",\"port\":%u", facts->port);
    if (page == PAGE_INTERNAL_ROUTE) {
        struct str path = head->target;
        ptrdiff_t query = str_find(path, '?');
        if (query >= 0)
            path.n = (size_t)query;
        buf_puts(b, ",\"path\":");
        json_text_quote(b, path);
    }
    buf_printf(b, ",\"code\":%d", pages[page].status);
    if (page == PAGE_NOT_FOUND && facts->text) {
        buf_puts(b, ",\"reason\":");
        json_text_quote(b, str_of(facts->text));
    }
    buf_putc(b, '}');
}

void proxy_page_send(struct http_stream *s, const struct http_head *head, enum proxy_page page,
                     const struct proxy_page_facts *facts)
{
    struct buf body = { 0 };
    bool html = proxy_wants_html(head);
    if (html)
        put_html(&body, page, facts);
    else
        put_json(&body, head, page, facts);
    http_respond(s, pages[page].status,
                 html ? "text/html; charset=utf-8" : "application/json; charset=utf-8", body.data,
                 body.len);
    buf_deinit(&body);
}

void proxy_bad_request(struct http_stream *s, const char *message)
{
    http_respond(s, 400, "text/plain; charset=utf-8", message, strlen(message));
}
