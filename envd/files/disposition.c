#include "envd/files/disposition.h"

#include "common/base/buf.h"

static bool is_token_char(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

/* Characters that need no escape in an ext-value. */
static bool is_attr_char(unsigned char c)
{
    return is_token_char(c) && !strchr("%'*", c);
}

static void put_quoted(struct buf *b, struct str name)
{
    buf_puts(b, "filename=\"");
    for (size_t i = 0; i < name.n; i++) {
        if (name.p[i] == '"' || name.p[i] == '\\')
            buf_putc(b, '\\');
        buf_putc(b, name.p[i]);
    }
    buf_putc(b, '"');
}

static void put_extended(struct buf *b, struct str name)
{
    buf_puts(b, "filename*=utf-8''");
    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];
        if (is_attr_char(c))
            buf_putc(b, (char)c);
        else
            buf_printf(b, "%%%02X", c);
    }
}

char *disposition_inline(struct arena *arena, struct str name)
{
    bool is_token = name.n > 0;
    bool is_ascii = true;
    for (size_t i = 0; i < name.n; i++) {
        unsigned char c = (unsigned char)name.p[i];
        is_token = is_token && is_token_char(c);
        is_ascii = is_ascii && c >= 0x20 && c < 0x7f;
    }
    struct buf b = { 0 };
    buf_puts(&b, "inline; ");
    if (is_token)
        buf_printf(&b, "filename=%.*s", STR_ARG(name));
    else if (is_ascii)
        put_quoted(&b, name);
    else
        put_extended(&b, name);
    char *text = b.failed ? NULL : arena_dup(arena, buf_str(&b));
    buf_deinit(&b);
    return text;
}
