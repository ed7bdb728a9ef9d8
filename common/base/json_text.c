#include "common/base/json_text.h"

#include "common/base/utf8.h"

static void put_escape(struct buf *b, unsigned char c)
{
    switch (c) {
    case '"':
        buf_puts(b, "\\\"");
        break;
    case '\\':
        buf_puts(b, "\\\\");
        break;
    case '\n':
        buf_puts(b, "\\n");
        break;
    case '\r':
        buf_puts(b, "\\r");
        break;
    case '\t':
        buf_puts(b, "\\t");
        break;
    default:
        buf_printf(b, "\\u%04x", c);
    }
}

bool json_text_quote(struct buf *b, struct str s)
{
    const unsigned char *p = (const unsigned char *)s.p;
    size_t plain = 0; /* start of the run that needs no change */
    buf_putc(b, '"');
    for (size_t i = 0; i < s.n;) {
        if (p[i] >= 0x20 && p[i] < 0x7f && p[i] != '"' && p[i] != '\\') {
            i++;
            continue;
        }
        size_t len = utf8_length(p + i, s.n - i);
        if (len > 1) {
            i += len;
            continue;
        }
        buf_append(b, p + plain, i - plain);
        if (len == 0)
            buf_puts(b, "\xEF\xBF\xBD");
        else
            put_escape(b, p[i]);
        plain = ++i;
    }
    buf_append(b, p + plain, s.n - plain);
    return buf_putc(b, '"');
}
