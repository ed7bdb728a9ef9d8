/* What the files of an HTTP/2 session share; nobody else includes this. */
#ifndef COMMON_HTTP_HTTP2_INTERNAL_H
#define COMMON_HTTP_HTTP2_INTERNAL_H

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/list.h"
#include "common/http/http2.h"

#include <nghttp2/nghttp2.h>

/* See http2_strict.c. */
struct http2_strict {
    uint32_t skip;     /* bytes until the next frame's head */
    uint8_t head[14];  /* of the frame that is arriving, and a priority behind it */
    uint8_t at;        /* bytes of it */
    int32_t highest;   /* newest stream of the client */
    int32_t forgotten; /* resets of streams up to this one may be forgotten */
    int32_t *resets;   /* a ring; NULL before the first */
    size_t nresets;
};

struct http2_session {
    uv_loop_t *loop;
    struct io *io; /* borrowed */
    struct defer_queue *defer;
    const struct http_limits *limits;
    struct http_acceptor *acceptor; /* NULL: client */
    const struct http2_events *events;
    void *user;
    bool trusted;

    nghttp2_session *ng;  /* NULL once the session is over or aborted */
    struct list streams;  /* every http2_stream that is not freed */
    struct list waiting;  /* those that hold bytes; longest without progress first */
    size_t live;          /* streams whose on_close has not been delivered */
    size_t open;          /* streams that nghttp2 knows */
    size_t held;          /* bytes held by all streams, both directions */
    struct deferred work; /* writes, and the end of the session */
    struct http2_strict strict;
    struct list late; /* streams answered before their request had ended, oldest first */
    uv_timer_t idle, late_timer;
    int handles; /* of the timers; they are a server's */
    bool timers_open, idle_on;
    bool in_input, in_output;
    bool aborted;  /* the owner is gone; freed when the last stream is */
    bool muted;    /* but not yet: the owner has kept the pointer */
    bool enforced; /* streams were reset because too much was held */
    bool draining; /* no new streams */
    bool untold;   /* client: ends without GOAWAY */
    bool goaway_asked, goaway_sent, goaway_received;
    bool ping_asked, ping_acked; /* client: the one that ends a drain */
    int error;                   /* a positive errno: the session failed */
};

/* A piece of a file that is to be sent, and the data written behind it. */
struct http2_file {
    struct list node;
    int fd;
    int64_t offset;
    size_t left;
    struct buf behind;
};

/* Collects the fields of a head or of trailers as they arrive. */
struct http2_fields {
    struct http_field *items;
    size_t n, cap;
    size_t bytes;
    bool too_large;
};

struct http2_stream {
    struct http_stream s;
    struct http2_session *h; /* lives as long as the stream */
    struct list node;
    struct list waiting;
    struct list late;
    uint64_t late_ms;
    struct deferred wake; /* on_writable and on_close */
    int32_t id;           /* -1: the request was not sent */

    /* The peer's head, then its trailers. */
    struct http2_fields in;
    struct http_head head;
    struct str host;
    unsigned informational;

    /* Towards the peer. */
    struct buf out;
    struct list files;
    uv_fs_t read;
    uint8_t *read_buf;
    size_t behind; /* bytes in the files' behind */
    struct http_field *trailers;
    size_t ntrailers;
    size_t burst; /* bytes queued since burst_ms, which tell bulk from small */
    uint64_t burst_ms;

    size_t unconsumed;
    int close_errnum;
    uint64_t sent;    /* bytes of our body given to send_data */
    uint64_t wired;   /* bytes of it handed to the io */
    uint64_t arrived; /* bytes of it that the peer has delivered, if it told */

    bool exposed;    /* the user knows it */
    bool in_ng;      /* nghttp2 holds a pointer to it */
    bool gone;       /* no event but on_close from now on */
    bool closing;    /* on_close is under way or was delivered */
    bool delivered;  /* on_close was */
    bool head_in;    /* the peer's head is complete */
    bool head_out;   /* ours was submitted */
    bool head_wired; /* ours was handed to the io */
    bool is_connect;
    bool tunnel;  /* CONNECT, and answered with 2xx */
    bool end_in;  /* the peer ended its side */
    bool end_out; /* the user ended ours */
    bool end_wired;
    bool deferred; /* nghttp2 waits for nghttp2_session_resume_data() */
    bool was_full; /* on_writable is owed */
    bool writable_due;
    bool peer_reset;
    bool told;    /* `arrived` is known */
    bool reading; /* a file read is under way */
    bool bulk;
    bool grown;   /* its window was raised to limits.window */
    bool no_body; /* the head ended our side */
};

/* Most bytes that all streams of a session may hold; over it the stream that has made no progress
 * for the longest time is reset, so that the others live on. */
#define HTTP2_HELD_MAX          (16U << 20)
#define HTTP2_CONNECTION_WINDOW (16 << 20)

/* A stream opens with this window, so that many stalled readers hold little; it gets
 * limits.window with the first byte that its reader takes. */
#define HTTP2_WINDOW_INITIAL 65536

/* Output that one stream takes before http_writable() says no. */
#define HTTP2_OUT_HIGH  65536
#define HTTP2_FILE_READ 65536

/* Writes per turn of the loop: 4 of 32 KiB; also the most that is queued in the io. */
#define HTTP2_WRITE_SIZE 32768
#define HTTP2_TURN_BYTES (4 * HTTP2_WRITE_SIZE)

/* Frames that wait for a peer that does not read. More than this is an attack. */
#define HTTP2_FRAMES_MAX        32768
#define HTTP2_ACKS_MAX          512
#define HTTP2_INFORMATIONAL_MAX 8
#define HTTP2_RESETS_RAISED     100000

/* How long a client whose request was answered early may take to end it before it is reset: most
 * are about to. */
#define HTTP2_LATE_MS 100

/* An error code of ours in RST_STREAM: with this bit set the other 31 are those of the number of
 * body bytes that were delivered. Only understood from a trusted peer. */
#define HTTP2_CODE_DELIVERED 0x80000000U

/* RFC 9218 urgency by what a stream sent within the last second. */
#define HTTP2_URGENCY_SMALL 1
#define HTTP2_URGENCY_BULK  5
#define HTTP2_BULK_BYTES    65536
#define HTTP2_BURST_MS      1000

static inline struct http2_stream *http2_stream_of(struct http_stream *s)
{
    return container_of(s, struct http2_stream, s);
}

/* http2.c */
extern const uint8_t HTTP2_LAST_PING[8];

/* See to it that output is written and the end noticed, from the loop. */
void http2_kick(struct http2_session *h);

/* The session cannot go on: close all streams, then tell the owner. */
void http2_fail(struct http2_session *h, int errnum);

/* Reset streams until the session holds no more than it may. */
void http2_enforce_held(struct http2_session *h);

/* The response has ended and the request has not. */
void http2_late_add(struct http2_stream *st);

/* http2_strict.c */
void http2_strict_init(struct http2_session *h);
void http2_strict_deinit(struct http2_session *h);

/* Look at bytes that nghttp2 will get, from *seen on, up to the head of a frame that is to be
 * checked, which *seen is then behind: nghttp2 takes what is before the head, then
 * http2_strict_check() follows. false: nothing is to be checked in the rest. */
#define HTTP2_FRAME_HEAD 9
bool http2_strict_walk(struct http2_session *h, const uint8_t *data, size_t n, size_t *seen);
void http2_strict_check(struct http2_session *h);

/* A stream is reset by this side: the client may not know yet. */
void http2_strict_note_reset(struct http2_session *h, int32_t id);

/* http2_callbacks.c */
nghttp2_session_callbacks *http2_callbacks_new(void);

/* http2_stream.c */
extern const struct http_stream_ops http2_stream_ops;
struct http2_stream *http2_stream_new(struct http2_session *h);

/* End the user's view of a stream: on_close(errnum) follows from the loop. */
void http2_stream_close(struct http2_stream *st, int errnum);

/* The same when the session is lost: a request that never left had no effect, ECONNREFUSED. */
void http2_stream_lose(struct http2_stream *st, int errnum);

/* Give it up towards the peer too. */
void http2_stream_reset(struct http2_stream *st, uint32_t code, int errnum);

/* The peer has reset the stream with this code, which may tell how much has arrived. */
void http2_stream_note_arrived(struct http2_stream *st, uint32_t code);

/* nghttp2 knows it no more. May free st. */
void http2_stream_left_ng(struct http2_stream *st);

/* Bytes that wait to be sent. */
size_t http2_stream_pending(const struct http2_stream *st);

/* Account for bytes that a stream took in or let go. */
void http2_stream_hold(struct http2_stream *st, size_t n);
void http2_stream_release(struct http2_stream *st, size_t n);

/* From a user's call or a finished file read: n bytes were queued. */
void http2_stream_filled(struct http2_stream *st, size_t n);

/* n bytes more are going to be sent: bulk or not? Not from nghttp2's callbacks. */
void http2_stream_note_output(struct http2_stream *st, size_t n);
void http2_stream_resume(struct http2_stream *st);

/* Tell the user that there is room again, where it is owed or everything was sent. */
void http2_stream_sent(struct http2_stream *st);
void http2_stream_maybe_free(struct http2_stream *st);
nghttp2_data_provider http2_stream_provider(struct http2_stream *st);

/* http2_file.c: files as bodies. */
void http2_file_add(struct http2_stream *st, int fd, int64_t offset, size_t n);
void http2_file_drop_all(struct http2_stream *st);

/* With st->out empty: up to n bytes of the first file. 0 when there is none, when it must be waited
 * for (the stream is resumed then), when what was written behind it is in st->out now, or when it
 * failed (the stream is gone then). */
size_t http2_file_read(struct http2_stream *st, uint8_t *dst, size_t n);

/* http2_head.c */

/* Take one field of the head or the trailers that are arriving. 0, or -ENOMEM. Limits are marked
 * in st->in.too_large. */
int http2_head_take(struct http2_stream *st, struct str name, struct str value);

/* All fields of the head have arrived. 0, or -EPROTO when it makes no sense, -ENOMEM. */
int http2_head_finish(struct http2_stream *st);

/* A malloc'ed list of nghttp2's kind for `head`; its strings are the head's, or in st's arena. NULL
 * with *rc -EINVAL or -ENOMEM when it cannot be expressed. */
nghttp2_nv *http2_head_write(struct http2_stream *st, const struct http_head *head, size_t *n,
                             int *rc);
nghttp2_nv http2_nv(struct str name, struct str value); /* borrows both */
nghttp2_nv *http2_trailers_write(const struct http_field *fields, size_t nfields);

/* Copy trailers into the arena, for later. false when one is no valid field or memory is out. */
bool http2_trailers_keep(struct http2_stream *st, const struct http_field *fields, size_t n);

#endif
