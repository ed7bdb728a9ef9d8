/* The head's fields come from llhttp; what they mean for the connection is decided here. */
#include "common/http/http1_head.h"

#include <errno.h>
#include <llhttp.h>

/* What llhttp found, as pieces of the head's bytes. */
struct found {
    struct str url;
    struct http_field *fields;
    size_t count, max;
    bool in_value, overflow, complete;
};

/* Spans of one element follow one another without a gap, since nothing is folded. */
static int extend(struct str *piece, const char *at, size_t n)
{
    if (!piece->p)
        piece->p = at;
    else if (piece->p + piece->n != at)
        return -1;
    piece->n += n;
    return 0;
}

static int on_url(llhttp_t *parser, const char *at, size_t n)
{
    struct found *f = parser->data;
    return extend(&f->url, at, n);
}

static int on_field(llhttp_t *parser, const char *at, size_t n)
{
    struct found *f = parser->data;
    if (f->count == 0 || f->in_value) {
        if (f->count == f->max) {
            f->overflow = true;
            return -1;
        }
        f->fields[f->count++] = (struct http_field){ 0 };
        f->in_value = false;
    }
    return extend(&f->fields[f->count - 1].name, at, n);
}

static int on_value(llhttp_t *parser, const char *at, size_t n)
{
    struct found *f = parser->data;
    if (f->count == 0)
        return -1;
    f->in_value = true;
    return extend(&f->fields[f->count - 1].value, at, n);
}

static int on_value_complete(llhttp_t *parser)
{
    struct found *f = parser->data;
    f->in_value = true;
    return 0;
}

static int on_headers_complete(llhttp_t *parser)
{
    struct found *f = parser->data;
    f->complete = true;
    return HPE_PAUSED;
}

static const llhttp_settings_t head_settings = {
    .on_url = on_url,
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_header_value_complete = on_value_complete,
    .on_headers_complete = on_headers_complete,
};

/* Run llhttp over a whole head, whose bytes are in the arena already. */
static llhttp_errno_t run_llhttp(llhttp_t *parser, llhttp_type_t type, struct found *f,
                                 struct str head)
{
    llhttp_init(parser, type, &head_settings);
    parser->data = f;
    llhttp_errno_t rc = llhttp_execute(parser, head.p, head.n);
    if (f->complete && (rc == HPE_PAUSED || rc == HPE_OK))
        return HPE_OK;
    return rc == HPE_OK ? HPE_INVALID_EOF_STATE : rc;
}

/* What the fields say about this hop. */
struct hop {
    struct str host, upgrade;
    unsigned hosts, lengths, encodings;
    bool close, keep_alive, upgrade_asked, chunked, bad_length, continues, bad_expect;
    int64_t length;
};

static void read_connection(struct hop *hop, struct str value)
{
    while (value.p) {
        struct str token = str_trim(str_split(&value, ','));
        if (str_eq_nocase(token, STR("close")))
            hop->close = true;
        else if (str_eq_nocase(token, STR("keep-alive")))
            hop->keep_alive = true;
        else if (str_eq_nocase(token, STR("upgrade")))
            hop->upgrade_asked = true;
    }
}

static void read_length(struct hop *hop, struct str value)
{
    uint64_t length = 0;
    if (!str_to_u64(value, INT64_MAX, &length) ||
        (hop->lengths > 0 && hop->length != (int64_t)length))
        hop->bad_length = true;
    hop->length = (int64_t)length;
    hop->lengths++;
}

/* true when the field describes the hop and is not passed on. */
static bool read_hop_field(struct hop *hop, const struct http_field *f)
{
    if (str_eq(f->name, STR("host"))) {
        hop->host = f->value;
        hop->hosts++;
    } else if (str_eq(f->name, STR("connection"))) {
        read_connection(hop, f->value);
    } else if (str_eq(f->name, STR("content-length"))) {
        read_length(hop, f->value);
    } else if (str_eq(f->name, STR("transfer-encoding"))) {
        hop->encodings++;
        hop->chunked = str_eq_nocase(f->value, STR("chunked"));
    } else if (str_eq(f->name, STR("upgrade"))) {
        hop->upgrade = f->value;
    } else if (str_eq(f->name, STR("expect"))) {
        if (str_eq_nocase(f->value, STR("100-continue")))
            hop->continues = true;
        else
            hop->bad_expect = true;
    } else {
        return str_eq(f->name, STR("keep-alive")) || str_eq(f->name, STR("te")) ||
               str_eq(f->name, STR("proxy-connection"));
    }
    return true;
}

/* Whether a Connection field names this one as belonging to the hop. */
static bool is_nominated(const struct str *connections, size_t n, struct str name)
{
    for (size_t i = 0; i < n; i++) {
        struct str rest = connections[i];
        while (rest.p)
            if (str_eq_nocase(str_trim(str_split(&rest, ',')), name))
                return true;
    }
    return false;
}

/* More Connection lines than this come from no honest peer. */
#define CONNECTION_LINES_MAX 4

/* Lower-case the names, move hop fields into *hop, keep the rest. false: too many Connection
 * lines. */
static bool sort_fields(struct found *f, struct hop *hop, struct http_head *head)
{
    struct str connections[CONNECTION_LINES_MAX];
    size_t nconnections = 0;
    for (size_t i = 0; i < f->count; i++) {
        struct http_field *field = &f->fields[i];
        char *name = (char *)(uintptr_t)field->name.p; /* our copy in the arena */
        for (size_t j = 0; j < field->name.n; j++)
            if (name[j] >= 'A' && name[j] <= 'Z')
                name[j] = (char)(name[j] - 'A' + 'a');
        field->value = field->value.p ? str_trim(field->value) : STR("");
        if (!str_eq(field->name, STR("connection")))
            continue;
        if (nconnections == CONNECTION_LINES_MAX)
            return false;
        connections[nconnections++] = field->value;
    }

    size_t kept = 0;
    for (size_t i = 0; i < f->count; i++)
        if (!read_hop_field(hop, &f->fields[i]) &&
            !is_nominated(connections, nconnections, f->fields[i].name))
            f->fields[kept++] = f->fields[i];
    head->fields = f->fields;
    head->nfields = kept;
    return true;
}

static bool is_host(struct str s)
{
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
              (c && strchr("-._~%!$&'()*+,;=:[]", c))))
            return false;
    }
    return true;
}

static bool is_target(struct str s)
{
    for (size_t i = 0; i < s.n; i++)
        if ((uint8_t)s.p[i] <= 0x20 || (uint8_t)s.p[i] >= 0x7f || s.p[i] == '#')
            return false;
    return s.n > 0;
}

/* Cut scheme and authority off an absolute-form target. */
static bool split_absolute(struct http_head *head)
{
    struct str target = head->target;
    size_t skip = 0;
    if (target.n > 7 && str_eq_nocase((struct str){ target.p, 7 }, STR("http://")))
        skip = 7;
    else if (target.n > 8 && str_eq_nocase((struct str){ target.p, 8 }, STR("https://")))
        skip = 8;
    else
        return false;

    struct str rest = str_from(target, skip);
    size_t n = 0;
    while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
        n++;
    head->authority = (struct str){ rest.p, n };
    head->target = str_from(rest, n);
    return n > 0 && is_host(head->authority);
}

/* Origin form, absolute form or "*"; -1 for anything else. */
static int read_target(struct arena *a, struct http_head *head)
{
    if (!is_target(head->target))
        return -1;
    if (head->target.p[0] == '/')
        return 0;
    bool options = str_eq(head->method, STR("OPTIONS"));
    if (str_eq(head->target, STR("*")))
        return options ? 0 : -1;
    if (!split_absolute(head))
        return -1;
    if (head->target.n == 0) {
        head->target = options ? STR("*") : STR("/");
    } else if (head->target.p[0] == '?') {
        char *text = arena_printf(a, "/%.*s", STR_ARG(head->target));
        if (!text)
            return -1;
        head->target = str_of(text);
    }
    return 0;
}

/* "METHOD SP target SP HTTP/1.x": the pieces, or the status to refuse with. */
static int read_request_line(struct str line, struct http1_message *m, const char **why)
{
    struct str rest = line;
    m->head.method = str_split(&rest, ' ');
    m->head.target = rest.p ? str_split(&rest, ' ') : rest;
    bool is_method = m->head.method.n > 0;
    for (size_t i = 0; i < m->head.method.n; i++)
        is_method = is_method && http1_is_token((uint8_t)m->head.method.p[i]);
    *why = "malformed request line";
    if (!is_method || !rest.p || rest.n != 8 || !str_starts(rest, STR("HTTP/")) ||
        rest.p[6] != '.' || rest.p[5] < '0' || rest.p[5] > '9' || rest.p[7] < '0' ||
        rest.p[7] > '9')
        return 400;
    *why = "this version of HTTP is not spoken here";
    if (rest.p[5] != '1' || rest.p[7] > '1')
        return 505;
    m->minor = rest.p[7] - '0';
    return 0;
}

static int check_hop(const struct hop *hop, const struct http1_message *m, const char **why)
{
    if (hop->encodings > 0 && (hop->lengths > 0 || m->minor == 0)) {
        *why = "the request's body has two lengths";
        return 400;
    }
    if (hop->encodings > 1 || (hop->encodings == 1 && !hop->chunked)) {
        *why = "only the transfer encoding chunked is understood";
        return 400;
    }
    if (hop->bad_length) {
        *why = "malformed Content-Length";
        return 400;
    }
    if (hop->hosts > 1 || (hop->hosts == 0 && m->minor == 1) || !is_host(hop->host)) {
        *why = "a request needs exactly one valid Host";
        return 400;
    }
    if (hop->bad_expect && m->minor == 1) {
        *why = "only the expectation 100-continue is understood";
        return 417;
    }
    return 0;
}

static struct str first_line(struct str head)
{
    ptrdiff_t n = str_find(head, '\r');
    return (struct str){ head.p, n < 0 ? head.n : (size_t)n };
}

static bool prepare(struct arena *a, struct str *bytes, size_t max_fields, struct found *f)
{
    bytes->p = arena_dup(a, *bytes);
    f->max = max_fields;
    f->fields = arena_alloc(a, max_fields * sizeof(*f->fields));
    return bytes->p && f->fields;
}

/* The number of field lines bounds what is set aside for them. */
static size_t count_lines(const uint8_t *p, size_t n)
{
    size_t lines = 0;
    for (size_t i = 0; i < n; i++)
        lines += p[i] == '\n';
    return lines;
}

int http1_parse_request(struct arena *a, const uint8_t *p, size_t n, size_t max_fields,
                        struct http1_message *m, const char **why)
{
    *m = (struct http1_message){ .head.content_length = 0 };
    *why = "the request's head has too many fields";
    size_t lines = count_lines(p, n);
    if (lines > max_fields + 2)
        return 431;

    struct str bytes = { (const char *)p, n };
    struct found f = { 0 };
    *why = "out of memory";
    if (!prepare(a, &bytes, lines, &f))
        return 500;
    int status = read_request_line(first_line(bytes), m, why);
    if (status)
        return status;

    llhttp_t parser;
    llhttp_errno_t rc = run_llhttp(&parser, HTTP_REQUEST, &f, bytes);
    if (rc != HPE_OK) {
        *why = rc == HPE_INVALID_METHOD ? "unknown method" : "malformed request head";
        return rc == HPE_INVALID_METHOD ? 501 : 400;
    }
    struct hop hop = { 0 };
    *why = "malformed request head";
    if (!str_eq(f.url, m->head.target) || !sort_fields(&f, &hop, &m->head))
        return 400;
    status = check_hop(&hop, m, why);
    if (status)
        return status;
    *why = "CONNECT is not served here";
    if (str_eq(m->head.method, STR("CONNECT")))
        return 501;
    m->head.authority = hop.host;
    *why = "malformed request target";
    if (read_target(a, &m->head) < 0)
        return 400;

    m->keep_alive = m->minor == 1 ? !hop.close : hop.keep_alive && !hop.close;
    if (hop.chunked) {
        m->framing = HTTP1_CHUNKED;
        m->head.content_length = -1;
    } else if (hop.lengths && hop.length > 0) {
        m->framing = HTTP1_LENGTH;
        m->head.content_length = hop.length;
    }
    m->head.expect_continue = hop.continues && m->minor == 1 && m->framing != HTTP1_NONE;
    /* HTTP/2 is not entered by upgrade, and a request with a body is answered without one. */
    if (hop.upgrade_asked && m->minor == 1 && m->framing == HTTP1_NONE &&
        !str_eq_nocase(hop.upgrade, STR("h2c")))
        m->head.upgrade = hop.upgrade;
    return 0;
}

int http1_parse_response(struct arena *a, const uint8_t *p, size_t n, size_t max_fields,
                         struct str method, struct http1_message *m)
{
    *m = (struct http1_message){ .head.content_length = -1 };
    size_t lines = count_lines(p, n);
    struct str bytes = { (const char *)p, n };
    struct found f = { 0 };
    if (lines > max_fields + 2 || !prepare(a, &bytes, lines, &f))
        return -EPROTO;

    llhttp_t parser;
    struct hop hop = { 0 };
    if (run_llhttp(&parser, HTTP_RESPONSE, &f, bytes) != HPE_OK || parser.http_major != 1 ||
        parser.http_minor > 1 || !sort_fields(&f, &hop, &m->head))
        return -EPROTO;
    m->minor = parser.http_minor;
    m->head.status = parser.status_code;
    if (m->head.status < 100 || m->head.status > 999 || hop.bad_length || hop.encodings > 1 ||
        (hop.encodings && (hop.lengths || !hop.chunked || m->minor == 0)))
        return -EPROTO;

    m->keep_alive = m->minor == 1 ? !hop.close : hop.keep_alive && !hop.close;
    bool bodiless = m->head.status < 200 || m->head.status == 204 || m->head.status == 304 ||
                    str_eq(method, STR("HEAD"));
    if (hop.lengths)
        m->head.content_length = hop.length;
    if (bodiless || (hop.lengths && hop.length == 0))
        m->framing = HTTP1_NONE;
    else if (hop.chunked)
        m->framing = HTTP1_CHUNKED;
    else
        m->framing = hop.lengths ? HTTP1_LENGTH : HTTP1_RAW;
    if (m->framing == HTTP1_RAW)
        m->keep_alive = false;
    if (m->head.status == 204 || m->head.status < 200)
        m->head.content_length = 0;
    if (hop.upgrade_asked && m->head.status == 101)
        m->head.upgrade = hop.upgrade;
    return 0;
}

int http1_parse_trailers(struct arena *a, const uint8_t *p, size_t n, size_t max_fields,
                         struct http_field **fields, size_t *nfields)
{
    struct str rest = { arena_dup(a, (struct str){ (const char *)p, n }), n };
    size_t lines = count_lines(p, n);
    struct found f = { .fields = arena_alloc(a, (lines + 1) * sizeof(*f.fields)) };
    if (!rest.p || !f.fields)
        return -ENOMEM;
    if (lines > max_fields + 1)
        return -E2BIG;
    while (rest.p) {
        struct str line = str_split(&rest, '\n');
        ptrdiff_t colon = str_find(line, ':');
        if (colon > 0)
            f.fields[f.count++] =
                (struct http_field){ { line.p, (size_t)colon },
                                     { line.p + colon + 1, line.n - (size_t)colon - 2 } };
    }
    struct hop hop = { 0 };
    struct http_head head;
    if (!sort_fields(&f, &hop, &head))
        return -E2BIG;
    *fields = head.fields;
    *nfields = head.nfields;
    return 0;
}
