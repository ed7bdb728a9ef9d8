/*
 * Heads between HTTP/2's fields and struct http_head. nghttp2 has already refused upper case names,
 * bad characters, fields of one connection (Connection, Transfer-Encoding, Upgrade, ...), and
 * pseudo-header fields that are missing, twice, late or unknown.
 */
#include "common/http/http2_internal.h"

#include <errno.h>
#include <stdint.h>

/* What a field counts for beside its text, as SETTINGS_MAX_HEADER_LIST_SIZE has it. */
#define FIELD_OVERHEAD 32
#define FIELDS_FIRST   16

/* Pseudo-header fields and content-length that we add ourselves. */
#define OWN_FIELDS_MAX 5

static bool arena_copy(struct http2_stream *st, struct str from, struct str *to)
{
    char *text = arena_dup(&st->s.arena, from);
    *to = (struct str){ text, from.n };
    return text != NULL;
}

/* Append a field; the caller has checked the limits. */
static int fields_add(struct http2_stream *st, struct str name, struct str value)
{
    struct http2_fields *f = &st->in;
    if (f->n == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : FIELDS_FIRST;
        struct http_field *items = arena_alloc(&st->s.arena, cap * sizeof(*items));
        if (!items)
            return -ENOMEM;
        if (f->n > 0)
            memcpy(items, f->items, f->n * sizeof(*items));
        f->items = items;
        f->cap = cap;
    }
    struct http_field *item = &f->items[f->n];
    if (!arena_copy(st, name, &item->name) || !arena_copy(st, value, &item->value))
        return -ENOMEM;
    f->n++;
    return 0;
}

static int take_pseudo(struct http2_stream *st, struct str name, struct str value)
{
    struct http_head *head = &st->head;
    uint64_t status;
    if (str_eq(name, STR(":method")))
        return arena_copy(st, value, &head->method) ? 0 : -ENOMEM;
    if (str_eq(name, STR(":path")))
        return arena_copy(st, value, &head->target) ? 0 : -ENOMEM;
    if (str_eq(name, STR(":authority")))
        return arena_copy(st, value, &head->authority) ? 0 : -ENOMEM;
    if (str_eq(name, STR(":status"))) {
        if (!str_to_u64(value, 999, &status) || status < 100)
            return -EPROTO;
        head->status = (int)status;
    }
    return 0; /* :scheme says nothing here */
}

/* true when the field is one of those that have a place of their own in struct http_head. */
static bool take_special(struct http2_stream *st, struct str name, struct str value, int *rc)
{
    uint64_t length;
    *rc = 0;
    if (str_eq(name, STR("content-length"))) {
        if (!str_to_u64(value, INT64_MAX, &length))
            *rc = -EPROTO;
        else
            st->head.content_length = (int64_t)length;
        return true;
    }
    if (str_eq(name, STR("host"))) {
        if (st->host.p)
            *rc = -EPROTO;
        else if (!arena_copy(st, value, &st->host))
            *rc = -ENOMEM;
        return true;
    }
    if (str_eq(name, STR("expect"))) {
        st->head.expect_continue = str_eq_nocase(value, STR("100-continue"));
        return true;
    }
    return str_eq(name, STR("te"));
}

int http2_head_take(struct http2_stream *st, struct str name, struct str value)
{
    const struct http_limits *limits = st->h->limits;
    struct http2_fields *f = &st->in;
    int rc;
    if (f->too_large)
        return 0;
    f->bytes += name.n + value.n + FIELD_OVERHEAD;
    if (f->n >= limits->fields ||
        f->bytes > (st->head_in ? limits->trailer_bytes : limits->head_bytes)) {
        f->too_large = true;
        return 0;
    }
    if (!st->head_in) {
        if (name.n > 0 && name.p[0] == ':')
            return take_pseudo(st, name, value);
        if (take_special(st, name, value, &rc))
            return rc;
    }
    return fields_add(st, name, value);
}

/* HTTP/2 may cut a cookie field into crumbs (RFC 9113 8.2.3); others know only one. */
static int join_cookies(struct http2_stream *st)
{
    struct http2_fields *f = &st->in;
    size_t total = 0, crumbs = 0, first = 0, kept = 0;
    for (size_t i = 0; i < f->n; i++) {
        if (!str_eq(f->items[i].name, STR("cookie")))
            continue;
        if (crumbs++ == 0)
            first = i;
        total += f->items[i].value.n + 2;
    }
    if (crumbs < 2)
        return 0;
    char *joined = arena_alloc(&st->s.arena, total + 1);
    if (!joined)
        return -ENOMEM;
    size_t n = 0;
    for (size_t i = 0; i < f->n; i++) {
        struct http_field item = f->items[i];
        bool is_cookie = str_eq(item.name, STR("cookie"));
        if (is_cookie) {
            if (n > 0) {
                memcpy(joined + n, "; ", 2);
                n += 2;
            }
            if (item.value.n > 0)
                memcpy(joined + n, item.value.p, item.value.n);
            n += item.value.n;
        }
        if (!is_cookie || i == first)
            f->items[kept++] = item;
    }
    joined[n] = '\0';
    f->items[first].value = (struct str){ joined, n };
    f->n = kept;
    return 0;
}

int http2_head_finish(struct http2_stream *st)
{
    struct http_head *head = &st->head;
    if (join_cookies(st) != 0)
        return -ENOMEM;
    head->fields = st->in.items;
    head->nfields = st->in.n;
    if (!st->h->acceptor)
        return 0;
    if (!head->authority.n)
        head->authority = st->host;
    else if (st->host.p && !str_eq_nocase(st->host, head->authority))
        return -EPROTO;
    st->is_connect = str_eq(head->method, STR("CONNECT"));
    if (st->is_connect)
        head->target = head->authority;
    return head->target.n > 0 ? 0 : -EPROTO;
}

nghttp2_nv http2_nv(struct str name, struct str value)
{
    return (nghttp2_nv){ .name = (uint8_t *)(uintptr_t)name.p,
                         .value = (uint8_t *)(uintptr_t)value.p,
                         .namelen = name.n,
                         .valuelen = value.n,
                         .flags = NGHTTP2_NV_FLAG_NONE };
}

static bool is_token(struct str s)
{
    return s.n > 0 && s.p[0] != ':' && nghttp2_check_header_name((const uint8_t *)s.p, s.n);
}

static bool is_value(struct str s)
{
    return s.n == 0 || nghttp2_check_header_value_rfc9113((const uint8_t *)s.p, s.n);
}

/* Fields that describe one hop, and those that are written from struct http_head. */
static bool may_send(const struct http_field *f)
{
    static const char *const refused[] = { "connection",        "keep-alive", "proxy-connection",
                                           "transfer-encoding", "upgrade",    "host",
                                           "content-length",    "expect" };
    for (size_t i = 0; i < ARRAY_LEN(refused); i++)
        if (str_eq(f->name, str_of(refused[i])))
            return false;
    if (str_eq(f->name, STR("te")) && !str_eq(f->value, STR("trailers")))
        return false;
    return is_token(f->name) && is_value(f->value);
}

static int request_fields(struct http2_stream *st, const struct http_head *head, nghttp2_nv *nv,
                          size_t *n)
{
    if (!nghttp2_check_method((const uint8_t *)head->method.p, head->method.n))
        return -EINVAL;
    st->is_connect = str_eq(head->method, STR("CONNECT"));
    struct str authority = st->is_connect ? head->target : head->authority;
    if (authority.n > 0 && !nghttp2_check_authority((const uint8_t *)authority.p, authority.n))
        return -EINVAL;
    nv[(*n)++] = http2_nv(STR(":method"), head->method);
    if (st->is_connect && authority.n == 0)
        return -EINVAL;
    if (authority.n > 0)
        nv[(*n)++] = http2_nv(STR(":authority"), authority);
    if (st->is_connect)
        return 0;
    if (head->target.n == 0 || !nghttp2_check_path((const uint8_t *)head->target.p, head->target.n))
        return -EINVAL;
    nv[(*n)++] = http2_nv(STR(":scheme"), STR("http"));
    nv[(*n)++] = http2_nv(STR(":path"), head->target);
    return 0;
}

static int response_fields(struct http2_stream *st, const struct http_head *head, nghttp2_nv *nv,
                           size_t *n)
{
    if (head->status < 200 || head->status > 999) /* 101 does not exist in HTTP/2 */
        return -EINVAL;
    char *status = arena_printf(&st->s.arena, "%d", head->status);
    if (!status)
        return -ENOMEM;
    nv[(*n)++] = http2_nv(STR(":status"), str_of(status));
    return 0;
}

nghttp2_nv *http2_head_write(struct http2_stream *st, const struct http_head *head, size_t *n,
                             int *rc)
{
    AUTO_FREE nghttp2_nv *nv = calloc(head->nfields + OWN_FIELDS_MAX, sizeof(*nv));
    *n = 0;
    *rc = -ENOMEM;
    if (!nv)
        return NULL;
    bool server = st->h->acceptor != NULL;
    *rc = server ? response_fields(st, head, nv, n) : request_fields(st, head, nv, n);
    if (*rc < 0)
        return NULL;
    bool bodyless = st->is_connect || (server && head->status == 204);
    if (head->content_length >= 0 && !bodyless) {
        char *length = arena_printf(&st->s.arena, "%lld", (long long)head->content_length);
        *rc = -ENOMEM;
        if (!length)
            return NULL;
        nv[(*n)++] = http2_nv(STR("content-length"), str_of(length));
    }
    *rc = -EINVAL;
    for (size_t i = 0; i < head->nfields; i++) {
        if (!may_send(&head->fields[i]))
            return NULL;
        nv[(*n)++] = http2_nv(head->fields[i].name, head->fields[i].value);
    }
    *rc = 0;
    return TAKE(nv);
}

nghttp2_nv *http2_trailers_write(const struct http_field *fields, size_t nfields)
{
    nghttp2_nv *nv = calloc(nfields, sizeof(*nv));
    for (size_t i = 0; nv && i < nfields; i++)
        nv[i] = http2_nv(fields[i].name, fields[i].value);
    return nv;
}

bool http2_trailers_keep(struct http2_stream *st, const struct http_field *fields, size_t n)
{
    if (n == 0)
        return true;
    st->trailers = arena_alloc(&st->s.arena, n * sizeof(*st->trailers));
    if (!st->trailers)
        return false;
    for (size_t i = 0; i < n; i++) {
        if (!may_send(&fields[i]) || !arena_copy(st, fields[i].name, &st->trailers[i].name) ||
            !arena_copy(st, fields[i].value, &st->trailers[i].value))
            return false;
    }
    st->ntrailers = n;
    return true;
}
