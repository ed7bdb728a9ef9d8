#include "common/http/multipart_head.h"

#include "common/base/encode.h"

#include <errno.h>

static bool is_token_char(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("!#$%&'*+-.^_`|~", c));
}

static size_t token_len(struct str s)
{
    size_t n = 0;
    while (n < s.n && is_token_char((unsigned char)s.p[n]))
        n++;
    return n;
}

/*
 * Decode, in place, the quoted string at the front of *rest, a part of base[]. A backslash escapes
 * only what needs it (the tspecials): some clients send file names with unescaped backslashes.
 * false when the closing quote is missing.
 */
static bool unquote(char *base, struct str *rest, struct str *value)
{
    char *to = base + (rest->p - base);
    size_t n = 0;
    size_t i = 1;
    for (; i < rest->n && rest->p[i] != '"'; i++) {
        if (rest->p[i] == '\\' && i + 1 < rest->n && rest->p[i + 1] &&
            strchr("()<>@,;:\\\"/[]?=", rest->p[i + 1]))
            i++;
        to[n++] = rest->p[i];
    }
    if (i >= rest->n)
        return false;
    *value = (struct str){ to, n };
    *rest = str_from(*rest, i + 1);
    return true;
}

/*
 * Take one "; name=value" off *rest, a part of base[], where the value is decoded in place (it
 * never becomes longer). 1; 0 when *rest is at its end; -1 when it is malformed. Empty parameters
 * are skipped.
 */
static int next_param(char *base, struct str *rest, struct str *name, struct str *value)
{
    do {
        *rest = str_trim(*rest);
        if (rest->n == 0)
            return 0;
        if (rest->p[0] != ';')
            return -1;
        *rest = str_trim(str_from(*rest, 1));
    } while (rest->n == 0 || rest->p[0] == ';');
    size_t n = token_len(*rest);
    *name = (struct str){ rest->p, n };
    *rest = str_trim(str_from(*rest, n));
    if (n == 0 || rest->n == 0 || rest->p[0] != '=')
        return -1;
    *rest = str_trim(str_from(*rest, 1));
    if (rest->n && rest->p[0] == '"')
        return unquote(base, rest, value) ? 1 : -1;
    n = token_len(*rest);
    *value = (struct str){ rest->p, n };
    *rest = str_from(*rest, n);
    return n ? 1 : -1;
}

static bool is_boundary_char(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
           (c && strchr("'()+_,-./:=? ", c));
}

static bool is_boundary(struct str s)
{
    if (s.n == 0 || s.n > MULTIPART_BOUNDARY_MAX || s.p[s.n - 1] == ' ')
        return false;
    for (size_t i = 0; i < s.n; i++)
        if (!is_boundary_char((unsigned char)s.p[i]))
            return false;
    return true;
}

#define CONTENT_TYPE_MAX 1024

int multipart_boundary(struct str content_type, char out[static MULTIPART_BOUNDARY_MAX + 1],
                       struct err *err)
{
    char text[CONTENT_TYPE_MAX];
    if (!str_copy(str_trim(content_type), text, sizeof(text)))
        return err_set(err, ERR_INVALID, EINVAL, "the Content-Type is too long");
    struct str top = STR("multipart/");
    struct str rest = str_of(text);
    bool is_multipart = rest.n > top.n && str_eq_nocase((struct str){ text, top.n }, top);
    rest = str_from(rest, top.n);
    size_t subtype = token_len(rest);
    if (!is_multipart || subtype == 0)
        return err_set(err, ERR_INVALID, EINVAL, "the Content-Type is no multipart type");
    rest = str_from(rest, subtype);
    bool found = false;
    struct str name;
    struct str value;
    int got;
    while ((got = next_param(text, &rest, &name, &value)) > 0) {
        if (!str_eq_nocase(name, STR("boundary")))
            continue;
        if (found || !is_boundary(value))
            return err_set(err, ERR_INVALID, EINVAL, "the Content-Type has no valid boundary");
        found = str_copy(value, out, MULTIPART_BOUNDARY_MAX + 1);
    }
    if (got < 0)
        return err_set(err, ERR_INVALID, EINVAL, "the Content-Type is malformed");
    if (!found)
        return err_set(err, ERR_INVALID, EINVAL, "the Content-Type has no boundary");
    return 0;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)(c | 0x20);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* filename*=UTF-8'lang'percent-encoded (RFC 8187), decoded in place. */
static bool decode_extended(char *text, struct str *value)
{
    struct str charset = STR("utf-8'");
    if (value->n < charset.n || !str_eq_nocase((struct str){ value->p, charset.n }, charset))
        return false;
    struct str rest = str_from(*value, charset.n);
    ptrdiff_t quote = str_find(rest, '\'');
    if (quote < 0)
        return false;
    rest = str_from(rest, (size_t)quote + 1);
    size_t n = 0;
    for (size_t i = 0; i < rest.n; i++, n++) {
        if (rest.p[i] != '%') {
            text[n] = rest.p[i];
            continue;
        }
        int high = i + 2 < rest.n ? hex_value(rest.p[i + 1]) : -1;
        int low = high >= 0 ? hex_value(rest.p[i + 2]) : -1;
        if (low < 0 || (high == 0 && low == 0))
            return false;
        text[n] = (char)(high << 4 | low);
        i += 2;
    }
    *value = (struct str){ text, n };
    return true;
}

static int malformed_disposition(struct err *err)
{
    return err_set(err, ERR_INVALID, EPROTO, "a part has a malformed Content-Disposition");
}

static int parse_disposition(char *text, size_t n, struct multipart_part *out, struct err *err)
{
    struct str rest = { text, n };
    size_t type = token_len(rest);
    bool is_form = str_eq_nocase((struct str){ text, type }, STR("form-data"));
    struct str form_name = { 0 };
    struct str plain = { 0 };
    struct str extended = { 0 };
    struct str name;
    struct str value;
    int got;
    rest = str_from(rest, type);
    while ((got = next_param(text, &rest, &name, &value)) > 0) {
        struct str *slot = NULL;
        if (str_eq_nocase(name, STR("name")))
            slot = &form_name;
        else if (str_eq_nocase(name, STR("filename")))
            slot = &plain;
        else if (str_eq_nocase(name, STR("filename*")))
            slot = &extended;
        if (slot && slot->p)
            return malformed_disposition(err);
        if (slot)
            *slot = value;
    }
    if (type == 0 || got < 0)
        return malformed_disposition(err);
    if (extended.p && !decode_extended(text + (extended.p - text), &extended))
        return malformed_disposition(err);
    out->filename = extended.p ? extended : plain;
    if (is_form)
        out->name = form_name;
    return 0;
}

static bool has_control(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if (((unsigned char)s.p[i] < 0x20 && s.p[i] != '\t') || s.p[i] == 0x7f)
            return true;
    return false;
}

int multipart_parse_head(char *text, size_t n, struct multipart_part *out, struct err *err)
{
    bool has_disposition = false;
    *out = (struct multipart_part){ 0 };
    for (size_t at = 0; at < n;) {
        const char *end = memchr(text + at, '\n', n - at);
        size_t len = end ? (size_t)(end - (text + at)) : 0;
        if (!end || len == 0 || end[-1] != '\r')
            return err_set(err, ERR_INVALID, EPROTO, "a part has a header line without CRLF");
        struct str line = { text + at, len - 1 };
        at += len + 1;
        if (line.n == 0)
            break;
        size_t name_len = token_len(line);
        if (name_len == 0 || name_len == line.n || line.p[name_len] != ':' || has_control(line))
            return err_set(err, ERR_INVALID, EPROTO, "a part has a malformed header line");
        struct str name = { line.p, name_len };
        struct str value = str_trim(str_from(line, name_len + 1));
        if (str_eq_nocase(name, STR("content-disposition"))) {
            if (has_disposition)
                return malformed_disposition(err);
            has_disposition = true;
            int rc = parse_disposition(text + (value.p - text), value.n, out, err);
            if (rc < 0)
                return rc;
        } else if (str_eq_nocase(name, STR("content-type")) && !out->content_type.p) {
            out->content_type = value;
        }
    }
    return 0;
}
