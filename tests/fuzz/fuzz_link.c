/*
 * What comes through the guest link. The first byte says how the rest is taken:
 *   0: the scanner, against a search in one piece (the 32 bytes that follow are the pattern)
 *   1: input of a server session, after the client's preface: what envd reads
 *   2: input of a client session that has three requests open: what the host reads of a guest
 *   3: first calls and their answers, in one piece and in pieces of the next byte's size
 */
#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "common/http/http2.h"
#include "common/link/link_frame.h"
#include "common/link/link_limits.h"
#include "common/link/link_marker.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define TURNS 6

static uv_loop_t loop;
static struct defer_queue queue;

/* An io that swallows everything. */

static void ignore(struct io *io)
{
    (void)io;
}

static void swallow(struct io *io, const struct iovec *iov, int n)
{
    (void)io;
    (void)iov;
    (void)n;
}

static size_t nothing(const struct io *io)
{
    (void)io;
    return 0;
}

static void ignore_close(struct io *io, bool abort)
{
    (void)io;
    (void)abort;
}

static const struct io_ops null_ops = {
    .read_start = ignore,
    .read_stop = ignore,
    .writev = swallow,
    .shutdown = ignore,
    .pending = nothing,
    .close = ignore_close,
};

/* Streams of both roles. */

static size_t open_streams;

static void on_head(struct http_stream *s, const struct http_head *head)
{
    (void)s;
    assert(head->status >= 200 && head->status < 1000);
    for (size_t i = 0; i < head->nfields; i++)
        assert(head->fields[i].name.n > 0 && head->fields[i].name.p[0] != ':');
}

static void on_data(struct http_stream *s, const uint8_t *data, size_t n)
{
    if (data[0] == 'r')
        http_reset(s);
    else if (data[0] != 's')
        http_consume(s, n);
}

static void on_end(struct http_stream *s, const struct http_field *trailers, size_t n)
{
    (void)trailers;
    (void)n;
    http_send_end(s);
}

static void on_close(struct http_stream *s, int errnum)
{
    (void)s;
    assert(errnum >= 0);
    open_streams--;
}

static const struct http_stream_events stream_events = {
    .on_head = on_head,
    .on_data = on_data,
    .on_end = on_end,
    .on_close = on_close,
};

static void on_request(struct http_acceptor *a, struct http_stream *s, const struct http_head *head)
{
    (void)a;
    open_streams++;
    s->events = &stream_events;
    assert(head->method.n > 0 && head->target.n > 0);
    for (size_t i = 0; i < head->nfields; i++)
        assert(head->fields[i].name.n > 0 && head->fields[i].name.p[0] != ':');
    if (str_eq(head->target, STR("/reset")))
        http_reset(s);
    else if (str_eq(head->target, STR("/big"))) {
        static const uint8_t zeros[65536];
        struct http_head ok = { .status = 200, .content_length = -1 };
        http_send_head(s, &ok, false);
        http_send_data(s, zeros, sizeof(zeros));
    } else if (!str_eq(head->target, STR("/none"))) {
        http_respond(s, 200, "text/plain", "hello", 5);
    }
}

static struct http_acceptor acceptor = { .on_request = on_request };

static void on_over(struct http2_session *h, int errnum)
{
    (void)errnum;
    *(struct http2_session **)http2_session_user(h) = NULL;
}

static const struct http2_events session_events = { .on_over = on_over };

static void turns(void)
{
    for (int i = 0; i < TURNS; i++)
        uv_run(&loop, UV_RUN_NOWAIT);
}

static void open_requests(struct http2_session *h)
{
    const struct http_head heads[] = {
        { .method = STR("GET"), .target = STR("/"), .authority = STR("a"), .content_length = -1 },
        { .method = STR("POST"), .target = STR("/x"), .authority = STR("a"), .content_length = -1 },
        { .method = STR("CONNECT"), .target = STR("localhost:80"), .content_length = -1 },
    };
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        struct http_stream *s = http2_session_stream(h, &stream_events, NULL);
        assert(s);
        open_streams++;
        int rc = http_send_head(s, &heads[i], i == 0);
        assert(rc == 0);
    }
}

static void fuzz_session(const uint8_t *data, size_t n, bool server)
{
    struct io io = { .ops = &null_ops };
    struct http2_session *h = NULL;
    const struct http2_options options = {
        .defer = &queue,
        .limits = server ? &LINK_LIMITS_GUEST : &LINK_LIMITS_HOST,
        .acceptor = server ? &acceptor : NULL,
        .trusted = server,
        .events = &session_events,
        .user = &h,
    };
    h = http2_session_new(&loop, &io, &options);
    assert(h);
    if (server)
        http2_session_input(h, (const uint8_t *)"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
    else
        open_requests(h);
    turns();
    while (n > 0 && h) {
        size_t piece = 1 + data[0] * 4;
        piece = piece < n ? piece : n;
        http2_session_input(h, data, piece);
        turns();
        data += piece;
        n -= piece;
    }
    if (h)
        http2_session_abort(TAKE(h), ECONNRESET);
    while (open_streams > 0)
        uv_run(&loop, UV_RUN_NOWAIT);
    turns();
}

struct kept {
    const uint8_t *expected;
    size_t n;
};

static void keep(void *user, const uint8_t *p, size_t n)
{
    struct kept *k = user;
    assert(n > 0 && memcmp(k->expected + k->n, p, n) == 0);
    k->n += n;
}

static void fuzz_scanner(const uint8_t *data, size_t n)
{
    struct link_scanner s;
    uint8_t nonce[LINK_NONCE_SIZE];
    if (n < LINK_SECRET_SIZE + 1)
        return;
    link_scanner_init(&s, data);
    const uint8_t *pattern = data;
    size_t cut = 1 + data[LINK_SECRET_SIZE];
    data += LINK_SECRET_SIZE + 1;
    n -= LINK_SECRET_SIZE + 1;
    const uint8_t *at = memmem(data, n, pattern, LINK_SECRET_SIZE);
    size_t before = at ? (size_t)(at - data) : n;
    bool whole = at && before + LINK_SECRET_SIZE + LINK_NONCE_SIZE <= n;
    struct kept k = { .expected = data };
    bool found = false;
    size_t done = 0;
    while (done < n && !found) {
        size_t used;
        size_t piece = n - done < cut ? n - done : cut;
        found = link_scanner_feed(&s, data + done, piece, keep, &k, nonce, &used);
        assert(found || used == piece);
        done += used;
    }
    assert(found == whole);
    assert(k.n <= before);
    assert(!whole || (k.n == before && done == before + LINK_SECRET_SIZE + LINK_NONCE_SIZE));
    assert(found || k.n + s.nheld == n);
}

/* All frames up to the first bytes that are none, each with its type. Returns how it ended: 0 when
 * more is wanted. */
static int read_frames(const uint8_t *data, size_t n, size_t piece, struct buf *out)
{
    struct link_frame f = { 0 };
    int rc = 0;
    for (size_t at = 0; at < n && rc >= 0;) {
        size_t used, give = n - at < piece ? n - at : piece;
        rc = link_frame_feed(&f, data + at, give, &used);
        assert(used <= give && (rc != 0 || used == give) && (rc != -EPROTO || used == 0));
        if (rc == 1) {
            assert(f.message.n <= LINK_FRAME_MAX);
            link_frame_put(out, (enum link_frame_type)f.type, f.message);
        }
        at += used;
    }
    assert(buf_len(&f.held) <= LINK_FRAME_HEAD + LINK_FRAME_MAX);
    link_frame_deinit(&f);
    return rc < 0 ? rc : 0;
}

static void fuzz_frames(const uint8_t *data, size_t n)
{
    struct buf whole = { 0 }, pieces = { 0 };
    size_t piece = 1 + (size_t)data[0];
    int rc = read_frames(data + 1, n - 1, n, &whole);
    assert(read_frames(data + 1, n - 1, piece, &pieces) == rc);
    assert(str_eq(buf_str(&whole), buf_str(&pieces)));
    assert(buf_len(&whole) < n && memcmp(buf_str(&whole).p, data + 1, buf_len(&whole)) == 0);
    buf_deinit(&whole);
    buf_deinit(&pieces);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    static bool ready;
    if (!ready) {
        uv_loop_init(&loop);
        defer_queue_init(&queue, &loop);
        log_setup(LOG_LEVEL_ERROR, "fuzz");
        ready = true;
    }
    if (n < 2)
        return 0;
    if (data[0] % 4 == 0)
        fuzz_scanner(data + 1, n - 1);
    else if (data[0] % 4 == 3)
        fuzz_frames(data + 1, n - 1);
    else
        fuzz_session(data + 1, n - 1, data[0] % 4 == 1);
    return 0;
}
