/*
 * RPC serving: one table of methods, answered over Connect, gRPC and gRPC-Web, in JSON or protobuf,
 * on HTTP/1.1 and HTTP/2. Handlers see messages; envelopes, codecs, compression, deadlines and
 * status codes are this layer's.
 */
#ifndef COMMON_RPC_RPC_H
#define COMMON_RPC_RPC_H

#include "common/base/arena.h"
#include "common/base/buf.h"
#include "common/base/err.h"
#include "common/http/http.h"
#include "common/io/defer.h"

#include <protobuf-c/protobuf-c.h>
#include <uv.h>

struct rpc_call;

enum rpc_kind { RPC_UNARY, RPC_SERVER_STREAM, RPC_CLIENT_STREAM, RPC_BIDI };

struct rpc_method {
    const char *path; /* "/process.Process/Start"; NULL ends a table */
    enum rpc_kind kind;
    const ProtobufCMessageDescriptor *input, *output;
    bool idempotent;   /* may be called by Connect GET too; RPC_UNARY */
    bool trusted_only; /* only on streams with `trusted` (the guest link) */
    bool close_late;   /* on_close waits until the client's stream is gone, also after the end */
    bool own_deadline; /* the deadline is told by on_deadline instead of ending the call */

    /* A message has arrived. It lives in an arena that is freed when the call of on_message
     * returns, except for unary and server-stream calls, where it lives as long as the call. */
    void (*on_message)(struct rpc_call *call, ProtobufCMessage *msg);
    /* Client and bidirectional streams: the client has sent its last message. */
    void (*on_half_close)(struct rpc_call *call);
    void (*on_writable)(struct rpc_call *call);
    void (*on_deadline)(struct rpc_call *call);
    /* The call is over, in whatever way; the last callback. `call` is freed after it. Called for
     * every call of which on_message or on_half_close was called, and for no other. */
    void (*on_close)(struct rpc_call *call);
};

/* One message may have at most this many bytes, encoded. */
#define RPC_MESSAGE_MAX (16U << 20)

/* Smaller messages are not worth compressing. */
#define RPC_GZIP_MIN 4096

struct rpc_server {
    uv_loop_t *loop;
    struct defer_queue *defer;
    const struct rpc_method *const *tables; /* NULL-terminated list of tables */
    size_t message_max;                     /* 0: RPC_MESSAGE_MAX; what is inflated counts */
    size_t gzip_min;                        /* 0: RPC_GZIP_MIN */
    /* What google.protobuf.Any may hold in JSON, ended by NULL; NULL: nothing. */
    const ProtobufCMessageDescriptor *const *types;
    /* Called before a method sees anything; false with err set refuses the call (for example
     * unauthenticated). May be NULL. */
    bool (*authorize)(struct rpc_call *call, struct err *err);
    void *context;
    struct buf scratch; /* private: the message that is being sent */
    struct buf packed;  /* private: one message's other form, compressed or not */
};

/* Free what the server holds; no call may be left. */
void rpc_server_deinit(struct rpc_server *server);

/* Whether the path names a service of the server ("/process.Process/..."), known method or not. */
bool rpc_server_has_service(const struct rpc_server *server, struct str path);

/* Take over a request whose path is a service's. Answers everything, errors included. */
void rpc_server_accept(struct rpc_server *server, struct http_stream *s,
                       const struct http_head *head);

/* For handlers. */
struct rpc_server *rpc_call_server(const struct rpc_call *call);
const struct rpc_method *rpc_call_method(const struct rpc_call *call);
const struct http_head *rpc_call_head(const struct rpc_call *call); /* the request's */
struct arena *rpc_call_arena(struct rpc_call *call);                /* lives as long as the call */
int64_t rpc_call_timeout_ms(const struct rpc_call *call);           /* 0: none was asked for */
void rpc_call_set_user(struct rpc_call *call, void *user);
void *rpc_call_user(const struct rpc_call *call);

/* Add a response header, its name in lower case; only before the first message. Both are copied. */
void rpc_call_add_header(struct rpc_call *call, const char *name, const char *value);

/* Add a trailer, told with the end of the call; before the message of a unary one. */
void rpc_call_add_trailer(struct rpc_call *call, const char *name, const char *value);

/* Add a message to the error that the call will end with: its type ("package.Message") and its
 * binary form, both copied. Not told when the call succeeds. */
void rpc_call_add_detail(struct rpc_call *call, const char *type, const void *value, size_t n);

/* Streams: send the response's headers now, before there is a message. */
void rpc_send_headers(struct rpc_call *call);

/* Send a message (copied by encoding). Unary methods send exactly one, by rpc_reply(). */
void rpc_send(struct rpc_call *call, const ProtobufCMessage *msg);

/* false when the peer is slow: stop producing until on_writable. */
bool rpc_writable(const struct rpc_call *call);

/* Bytes of output so far, and how many of them have reached the client: http_progress(). */
void rpc_call_progress(const struct rpc_call *call, uint64_t *sent, uint64_t *delivered);

/* Client and bidirectional streams: take no more messages for now, so that the client is slowed
 * down (at most a window of input is held). After rpc_resume() they come from the loop. */
void rpc_pause(struct rpc_call *call);
void rpc_resume(struct rpc_call *call);

/* End the call: err NULL or code ERR_OK is success. on_close follows from the loop. */
void rpc_finish(struct rpc_call *call, const struct err *err);

static inline void rpc_reply(struct rpc_call *call, const ProtobufCMessage *msg)
{
    rpc_send(call, msg);
    rpc_finish(call, NULL);
}

void rpc_fail(struct rpc_call *call, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
