/*
 * How it finds the end of a part: the input is searched for "\r\n", 16 bytes at a time, and what
 * follows is compared with the delimiter "\r\n--boundary". Since '\r' occurs in the delimiter only
 * at its front, a partial match that fails needs no bytes again: what was matched is data, and the
 * search begins anew at the byte that did not match.
 *
 *   SCAN -> AFTER        the delimiter is complete; the next byte tells whether it is one
 *   AFTER -> DASH -> EPILOGUE          "--": the closing delimiter
 *   AFTER -> PADDING -> LINE_END -> HEAD -> SCAN     blanks, CRLF, headers, body
 */
#include "common/http/multipart.h"

#include "common/http/multipart_head.h"

#include <assert.h>
#include <errno.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum { SCAN, AFTER, DASH, PADDING, LINE_END, HEAD, EPILOGUE, FAILED };

/* A delimiter is recognised at the start of a line; the start of the body and of a part's body are
 * such starts without a CRLF of their own. */
static void begin_scan(struct multipart *m)
{
    m->state = SCAN;
    m->matched = 2;
    m->virtual_crlf = true;
}

int multipart_init(struct multipart *m, struct str content_type,
                   const struct multipart_events *events, struct err *err)
{
    char boundary[MULTIPART_BOUNDARY_MAX + 1];
    *m = (struct multipart){ .events = events };
    int rc = multipart_boundary(content_type, boundary, err);
    if (rc < 0)
        return rc;
    size_t n = strlen(boundary);
    memcpy(m->delimiter, "\r\n--", 4);
    memcpy(m->delimiter + 4, boundary, n);
    m->delimiter_len = n + 4;
    begin_scan(m);
    return 0;
}

void multipart_deinit(struct multipart *m)
{
    buf_deinit(&m->head);
}

static int emit(struct multipart *m, const void *data, size_t n)
{
    return n && m->in_part ? m->events->on_data(m, data, n) : 0;
}

/* What was matched turns out to be data; `extra` are bytes that came behind the delimiter. */
static int emit_matched(struct multipart *m, const char *extra, size_t extra_len)
{
    size_t from = m->virtual_crlf ? 2 : 0;
    size_t n = m->matched;
    m->state = SCAN;
    m->matched = 0;
    m->virtual_crlf = false;
    int rc = emit(m, m->delimiter + from, n - from);
    return rc ? rc : emit(m, extra, extra_len);
}

/* The offset of the first "\r\n", or of a '\r' that is the last byte; n when there is none. */
static size_t find_crlf(const uint8_t *p, size_t n)
{
    size_t i = 0;
#ifdef __SSE2__
    const __m128i cr = _mm_set1_epi8('\r');
    const __m128i lf = _mm_set1_epi8('\n');
    for (; i + 17 <= n; i += 16) {
        __m128i here = _mm_loadu_si128((const void *)(p + i));
        __m128i next = _mm_loadu_si128((const void *)(p + i + 1));
        __m128i both = _mm_and_si128(_mm_cmpeq_epi8(here, cr), _mm_cmpeq_epi8(next, lf));
        unsigned found = (unsigned)_mm_movemask_epi8(both);
        if (found)
            return i + (size_t)__builtin_ctz(found);
    }
#endif
    while (i < n) {
        const uint8_t *at = memchr(p + i, '\r', n - i);
        if (!at)
            return n;
        i = (size_t)(at - p);
        if (i + 1 == n || p[i + 1] == '\n')
            return i;
        i++;
    }
    return n;
}

/* The offset of the first byte that begins a delimiter or, at the end of the input, the front part
 * of one; n when there is none. */
static size_t find_delimiter(const struct multipart *m, const uint8_t *p, size_t n)
{
    size_t i = find_crlf(p, n);
    while (i < n) {
        size_t len = n - i < m->delimiter_len ? n - i : m->delimiter_len;
        if (memcmp(p + i, m->delimiter, len) == 0)
            return i;
        i++;
        i += find_crlf(p + i, n - i);
    }
    return n;
}

/* Each step takes bytes off the front of *p and returns 0, or what ends the parsing. */
static int step_scan(struct multipart *m, const uint8_t **p, size_t *n)
{
    if (m->matched == 0) {
        size_t k = find_delimiter(m, *p, *n);
        size_t rest = *n - k;
        int rc = emit(m, *p, k);
        m->matched = rest < m->delimiter_len ? rest : m->delimiter_len;
        *p += k + m->matched;
        *n -= k + m->matched;
        if (m->matched == m->delimiter_len)
            m->state = AFTER;
        return rc;
    }
    if (**p != (uint8_t)m->delimiter[m->matched])
        return emit_matched(m, NULL, 0);
    (*p)++;
    (*n)--;
    if (++m->matched == m->delimiter_len)
        m->state = AFTER;
    return 0;
}

/* The delimiter is certain now: the part before it is over. */
static int end_part(struct multipart *m)
{
    bool was = m->in_part;
    m->in_part = false;
    m->matched = 0;
    m->virtual_crlf = false;
    return was ? m->events->on_part_end(m) : 0;
}

/* A boundary may be the front of a longer line, which is data. */
static int step_after(struct multipart *m, const uint8_t **p, size_t *n)
{
    uint8_t c = **p;
    if (c == '-') {
        m->state = DASH;
        (*p)++;
        (*n)--;
        return 0;
    }
    if (c != ' ' && c != '\t' && c != '\r')
        return emit_matched(m, NULL, 0);
    m->state = PADDING;
    m->padding = 0;
    return end_part(m);
}

static int step_dash(struct multipart *m, const uint8_t **p, size_t *n)
{
    if (**p != '-')
        return emit_matched(m, "-", 1);
    (*p)++;
    (*n)--;
    m->state = EPILOGUE;
    int rc = end_part(m);
    return rc ? rc : m->events->on_end(m);
}

static int step_line_end(struct multipart *m, const uint8_t **p, size_t *n, struct err *err)
{
    uint8_t c = *(*p)++;
    (*n)--;
    if (m->state == PADDING && c == '\r') {
        m->state = LINE_END;
    } else if (m->state == PADDING && (c == ' ' || c == '\t') &&
               m->padding < MULTIPART_PADDING_MAX) {
        m->padding++;
    } else if (m->state == LINE_END && c == '\n') {
        m->state = HEAD;
        m->line = 0;
        buf_clear(&m->head);
    } else {
        return err_set(err, ERR_INVALID, EPROTO, "a multipart boundary line is malformed");
    }
    return 0;
}

static int begin_part(struct multipart *m, struct err *err)
{
    struct multipart_part part;
    int rc = multipart_parse_head((char *)buf_head(&m->head), buf_len(&m->head), &part, err);
    if (rc < 0)
        return rc;
    begin_scan(m);
    m->in_part = true;
    return m->events->on_part(m, &part);
}

/* Collect whole lines up to the blank one. */
static int step_head(struct multipart *m, const uint8_t **p, size_t *n, struct err *err)
{
    const uint8_t *end = memchr(*p, '\n', *n);
    size_t take = end ? (size_t)(end - *p) + 1 : *n;
    if (buf_len(&m->head) + take > MULTIPART_HEAD_MAX)
        return err_set(err, ERR_INVALID, EPROTO, "the headers of a part exceed %d bytes",
                       MULTIPART_HEAD_MAX);
    if (!buf_append(&m->head, *p, take))
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    *p += take;
    *n -= take;
    if (!end)
        return 0;
    size_t line_len = buf_len(&m->head) - m->line;
    m->line = buf_len(&m->head);
    bool is_blank = line_len == 2 && buf_head(&m->head)[m->line - 2] == '\r';
    return is_blank ? begin_part(m, err) : 0;
}

static int step(struct multipart *m, const uint8_t **p, size_t *n, struct err *err)
{
    switch (m->state) {
    case SCAN:
        return step_scan(m, p, n);
    case AFTER:
        return step_after(m, p, n);
    case DASH:
        return step_dash(m, p, n);
    case PADDING:
    case LINE_END:
        return step_line_end(m, p, n, err);
    case HEAD:
        return step_head(m, p, n, err);
    case EPILOGUE: /* what follows the closing delimiter has no meaning */
        *n = 0;
        return 0;
    default:
        assert(false); /* multipart_feed() after a failure */
        return -EPROTO;
    }
}

int multipart_feed(struct multipart *m, const uint8_t *data, size_t n, struct err *err)
{
    while (n) {
        int rc = step(m, &data, &n, err);
        if (rc) {
            m->state = FAILED;
            return rc;
        }
    }
    return 0;
}

int multipart_finish(struct multipart *m, struct err *err)
{
    if (m->state == EPILOGUE)
        return 0;
    return err_set(err, ERR_INVALID, EPROTO, "the multipart body ends before its closing boundary");
}
