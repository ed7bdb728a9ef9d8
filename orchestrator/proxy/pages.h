/* Answers of the proxy itself, byte for byte as clients match on them. */
#ifndef ORCHESTRATOR_PROXY_PAGES_H
#define ORCHESTRATOR_PROXY_PAGES_H

#include "common/http/http.h"

enum proxy_page {
    PAGE_NOT_FOUND,      /* 502 */
    PAGE_PORT_CLOSED,    /* 502 */
    PAGE_TOKEN_MISSING,  /* 403 */
    PAGE_TOKEN_INVALID,  /* 403 */
    PAGE_INTERNAL_ROUTE, /* 404 */
    PAGE_WAKE_DENIED,    /* 403: the credentials do not open a paused sandbox */
    PAGE_TRANSITION,     /* 409 */
    PAGE_LIMIT,          /* 429: more may not run; the text says how many */
    PAGE_BUSY,           /* 503: the host cannot now; the text says why */
};

struct proxy_page_facts {
    const char *id;
    uint16_t port;
    const char *text; /* the message of PAGE_LIMIT and PAGE_BUSY; of PAGE_NOT_FOUND why it ended, if
                         that is known, beside the message that clients match on */
};

/* Answer with the page, as HTML to a browser that navigates and as JSON to everyone else. Facts and
 * path are used where the page has them. */
void proxy_page_send(struct http_stream *s, const struct http_head *head, enum proxy_page page,
                     const struct proxy_page_facts *facts);

/* 400 with a plain sentence. */
void proxy_bad_request(struct http_stream *s, const char *message);

/* Whether the request looks like a browser's navigation. */
bool proxy_wants_html(const struct http_head *head);

#endif
