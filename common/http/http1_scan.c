#include "common/http/http1_head.h"

enum scan_state {
    BEGIN, /* one empty line may come first */
    BEGIN_LF,
    START_FIRST,
    START, /* request or status line */
    LF,
    LINE, /* first byte of a field line, or the CR of the empty line */
    NAME,
    VALUE,
    END_LF,
    DONE,
};

bool http1_is_token(uint8_t c)
{
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))
        return true;
    return c != 0 && strchr("!#$%&'*+-.^_`|~", c) != NULL;
}

/* Text of a line: anything but controls; bytes above 0x7f are opaque. */
static bool is_text(uint8_t c)
{
    return c == '\t' || (c >= 0x20 && c != 0x7f);
}

/* The state after c, or -1. */
static int next(enum scan_state state, uint8_t c)
{
    switch (state) {
    case BEGIN:
        if (c == '\r')
            return BEGIN_LF;
        return http1_is_token(c) ? START : -1;
    case BEGIN_LF:
        return c == '\n' ? START_FIRST : -1;
    case START_FIRST:
        return http1_is_token(c) ? START : -1;
    case START:
    case VALUE:
        if (c == '\r')
            return LF;
        return is_text(c) ? (int)state : -1;
    case LF:
        return c == '\n' ? LINE : -1;
    case LINE:
        if (c == '\r')
            return END_LF;
        return http1_is_token(c) ? NAME : -1;
    case NAME:
        if (c == ':')
            return VALUE;
        return http1_is_token(c) ? NAME : -1;
    case END_LF:
        return c == '\n' ? DONE : -1;
    case DONE:
        break;
    }
    return -1;
}

enum http1_scan_result http1_scan_head(struct http1_scan *scan, const uint8_t *p, size_t n)
{
    while (scan->off < n) {
        int state = next((enum scan_state)scan->state, p[scan->off]);
        if (state < 0)
            return HTTP1_SCAN_BAD;
        scan->off++;
        if (state == START_FIRST)
            scan->begin = scan->off;
        if (state == NAME && scan->state == LINE)
            scan->lines++;
        scan->state = state;
        if (state == DONE)
            return HTTP1_SCAN_DONE;
    }
    return HTTP1_SCAN_MORE;
}

void http1_scan_trailers(struct http1_scan *scan)
{
    *scan = (struct http1_scan){ .state = LINE };
}
