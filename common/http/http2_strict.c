/*
 * What the standard forbids a client and nghttp2 lets pass: frames of a request on a stream that
 * was closed or skipped (RFC 9113, 5.1), priorities that make no sense (RFC 7540, 5.3.1 and 6.3;
 * nghttp2 drops all of them where RFC 9218's are used). Each ends the connection.
 *
 * Frames may still come for streams that this side reset: their numbers are kept for a while.
 */
#include "common/http/http2_internal.h"

#include <errno.h>
#include <stdlib.h>

#define PRIORITY_SIZE 5
#define PREFACE_SIZE  24

/* Streams reset by this side whose numbers are remembered. */
#define RESETS_KEPT 256

static bool is_checked(const struct http2_session *h)
{
    return h->ng && h->acceptor && !h->limits->raise_resets && !h->draining && !h->goaway_asked;
}

void http2_strict_init(struct http2_session *h)
{
    h->strict.skip = PREFACE_SIZE;
}

void http2_strict_deinit(struct http2_session *h)
{
    free(h->strict.resets);
    h->strict.resets = NULL;
}

static void end_session(struct http2_session *h, uint32_t code)
{
    if (nghttp2_session_terminate_session(h->ng, code) != 0)
        http2_fail(h, ENOMEM);
}

static uint32_t number_at(const uint8_t *p)
{
    return ((uint32_t)p[0] & 0x7F) << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

bool http2_strict_walk(struct http2_session *h, const uint8_t *data, size_t n, size_t *seen)
{
    struct http2_strict *s = &h->strict;
    if (!is_checked(h))
        *seen = n;
    while (*seen < n) {
        if (s->skip > 0) {
            size_t take = s->skip < n - *seen ? s->skip : n - *seen;
            s->skip -= (uint32_t)take;
            *seen += take;
            continue;
        }
        s->head[s->at++] = data[(*seen)++];
        if (s->at < HTTP2_FRAME_HEAD)
            continue;
        uint8_t type = s->head[3];
        uint32_t size = (uint32_t)s->head[0] << 16 | (uint32_t)s->head[1] << 8 | s->head[2];
        bool priority = type == NGHTTP2_PRIORITY && size == PRIORITY_SIZE;
        if (priority && s->at < HTTP2_FRAME_HEAD + PRIORITY_SIZE)
            continue;
        s->at = 0;
        s->skip = priority ? 0 : size;
        if (priority || type == NGHTTP2_DATA || type == NGHTTP2_HEADERS)
            return true;
    }
    return false;
}

void http2_strict_note_reset(struct http2_session *h, int32_t id)
{
    struct http2_strict *s = &h->strict;
    if (!is_checked(h) || id <= 0)
        return;
    if (!s->resets)
        s->resets = calloc(RESETS_KEPT, sizeof(*s->resets));
    if (!s->resets) {
        s->forgotten = INT32_MAX;
        return;
    }
    int32_t *slot = &s->resets[s->nresets++ % RESETS_KEPT];
    if (*slot > s->forgotten)
        s->forgotten = *slot;
    *slot = id;
}

static bool was_reset(const struct http2_strict *s, int32_t id)
{
    if (id <= s->forgotten)
        return true;
    for (size_t i = 0; s->resets && i < RESETS_KEPT; i++)
        if (s->resets[i] == id)
            return true;
    return false;
}

void http2_strict_check(struct http2_session *h)
{
    struct http2_strict *s = &h->strict;
    uint8_t type = s->head[3];
    int32_t id = (int32_t)number_at(s->head + 5);
    if (!is_checked(h)) {
        return;
    } else if (type == NGHTTP2_PRIORITY) {
        if (id == 0 || id == (int32_t)number_at(s->head + HTTP2_FRAME_HEAD))
            end_session(h, NGHTTP2_PROTOCOL_ERROR);
    } else if (id > s->highest) {
        if (type == NGHTTP2_HEADERS)
            s->highest = id;
    } else if (id % 2 == 1 && nghttp2_session_get_stream_remote_close(h->ng, id) < 0 &&
               !was_reset(s, id)) {
        end_session(h, NGHTTP2_STREAM_CLOSED);
    }
}
