/* Heads of HTTP/1 messages: the byte check, the parser, the writer. No I/O. */
#ifndef COMMON_HTTP_HTTP1_HEAD_H
#define COMMON_HTTP_HTTP1_HEAD_H

#include "common/base/buf.h"
#include "common/http/http.h"

/* A check that runs over the bytes as they come, before any parser sees them: lines end with CR LF
 * and nothing else, no NUL or other control, names are tokens directly followed by a colon, nothing
 * is folded. All zero is the start of a head. */
struct http1_scan {
    size_t off;   /* bytes checked */
    size_t begin; /* where the start line begins: one empty line before it is passed over */
    size_t lines; /* field lines seen */
    int state;
};

enum http1_scan_result { HTTP1_SCAN_MORE, HTTP1_SCAN_DONE, HTTP1_SCAN_BAD };

/* Go on with the bytes after the first scan->off of p[0..n). DONE: the head is p[begin..off). */
enum http1_scan_result http1_scan_head(struct http1_scan *scan, const uint8_t *p, size_t n);

/* Make the next bytes a trailer section: field lines and the empty line, no start line. */
void http1_scan_trailers(struct http1_scan *scan);

/* How the end of a body is known. */
enum http1_framing {
    HTTP1_NONE,
    HTTP1_LENGTH,
    HTTP1_CHUNKED,
    HTTP1_RAW, /* all bytes to the end of the stream */
};

struct http1_message {
    struct http_head head;
    enum http1_framing framing;
    int minor; /* HTTP/1.<minor> */
    bool keep_alive;
};

/* Parse a scanned request head. 0, or the status to refuse it with and *why, a sentence. Everything
 * that m points to is in the arena. */
int http1_parse_request(struct arena *a, const uint8_t *p, size_t n, size_t max_fields,
                        struct http1_message *m, const char **why);

/* Parse a scanned response head; `method` is the request's. 0 or -EPROTO. */
int http1_parse_response(struct arena *a, const uint8_t *p, size_t n, size_t max_fields,
                         struct str method, struct http1_message *m);

/* Parse a scanned trailer section; fields that describe the hop or the framing are dropped. 0 or
 * -ENOMEM or -E2BIG. */
int http1_parse_trailers(struct arena *a, const uint8_t *p, size_t n, size_t max_fields,
                         struct http_field **fields, size_t *nfields);

/* 0 when every field can be written: the name a token and none of those that http_head keeps out,
 * the value without CR, LF and NUL. Else -EINVAL. */
int http1_check_fields(const struct http_field *fields, size_t nfields);

/* Append a head written anew. 0, -EINVAL when it cannot be expressed (then nothing was appended),
 * -ENOMEM. */
int http1_write_request(struct buf *out, const struct http_head *head, enum http1_framing framing);
int http1_write_response(struct buf *out, const struct http_head *head, enum http1_framing framing,
                         bool close);
void http1_write_fields(struct buf *out, const struct http_field *fields, size_t nfields);

/* The usual phrase of a status, "" for an unusual one. */
const char *http_status_phrase(int status);

/* Whether c may be part of a method or a field name. */
bool http1_is_token(uint8_t c);

#endif
