/* What the files of the RPC server share: one call, and what a protocol does for it. */
#ifndef COMMON_RPC_CALL_H
#define COMMON_RPC_CALL_H

#include "common/base/buf.h"
#include "common/rpc/codec.h"
#include "common/rpc/rpc.h"

struct rpc_deadline;

/* Headers or trailers of a response. */
struct rpc_fields {
    struct http_field *items;
    size_t n, cap;
};

/* A message that is told with an error. */
struct rpc_detail {
    struct rpc_detail *next;
    const char *type; /* "package.Message" */
    struct str value; /* in protobuf's binary form */
};

/* How a call looks on the wire. */
struct rpc_protocol {
    bool enveloped;     /* messages in envelopes; else the body is one message */
    bool over_http2;    /* needs it, for its trailers */
    bool gzip_mirrored; /* compresses for who compresses its own, not for all that accept it */
    const char *accept; /* content types, for Accept-Post */
    /* Headers that name the compression of what is sent, and those that the other side may use. */
    const char *encoding, *accept_encoding;

    /* Read the request's headers: version, timeout. 0 or negative with err. */
    int (*begin)(struct rpc_call *call, struct err *err);
    /* Send a message; false when it cannot be encoded. */
    bool (*send)(struct rpc_call *call, const ProtobufCMessage *msg);
    /* Send the end, err NULL for success. */
    void (*end)(struct rpc_call *call, const struct err *err);
    /* Answer a call that was not authorized, or whose method does not exist. */
    void (*refuse)(struct rpc_call *call, int http_status, const struct err *err);
};

extern const struct rpc_protocol rpc_connect_unary, rpc_connect_stream, rpc_grpc, rpc_grpc_web;

#define RPC_CALL_MAGIC 0x52504321

/* Lives in its stream's arena. */
struct rpc_call {
    uint32_t magic;
    struct rpc_server *server;
    struct http_stream *stream;
    const struct http_head *head;
    const struct rpc_method *method; /* NULL when there is none of that name */
    const struct rpc_protocol *protocol;
    const struct rpc_codec *codec;
    const char *content_type; /* of the response */
    void *user;

    struct rpc_deadline *deadline;
    int64_t timeout_ms;
    struct deferred work; /* on_close after the end, or input after a pause */

    struct buf in;     /* input that is no whole message yet, or waits for the end of a pause */
    size_t unconsumed; /* bytes of it that were not given back to the stream's window */
    struct arena message_arena;
    ProtobufCMessage *request; /* of a call with one, until the client has sent all */

    struct rpc_fields headers, trailers;
    struct rpc_detail *details;
    bool by_get;      /* Connect's GET: there is no body */
    bool gzip_in;     /* the client's messages may be compressed */
    bool gzip_out;    /* ours may */
    bool started;     /* the handler knows the call */
    bool paused;      /* by the handler */
    bool in_ended;    /* the client has sent all */
    bool half_closed; /* and the handler knows */
    bool head_sent;
    bool replied;  /* a unary call's message was sent */
    bool finished; /* nothing more is sent or delivered */
    bool over;     /* on_close was called, or is not due */
};

/* call.c */

/* Bytes that one message of the client may have. */
size_t rpc_message_max(const struct rpc_call *call);

/* The call is over: tell the handler, if it knows the call and was not told. */
void rpc_call_tell_close(struct rpc_call *call);

/* Begin the call's deadline, if it has one. */
void rpc_call_set_deadline(struct rpc_call *call);

/* The response's head, once: status, content type, the compression of envelopes, the call's
 * headers, then `more` (n of them). */
void rpc_call_send_head(struct rpc_call *call, int status, const struct http_field *more, size_t n,
                        bool end);

/* The end of the response is these bytes, of rpc_call_scratch(); empties them. */
void rpc_call_send_last(struct rpc_call *call, struct buf *scratch);

/* An empty buffer for one message; give it back before anything else uses it. */
struct buf *rpc_call_scratch(struct rpc_call *call);

bool rpc_fields_add(struct rpc_fields *fields, struct arena *arena, const char *prefix,
                    struct str name, struct str value);

/* call_input.c */
extern const struct http_stream_events rpc_call_events;

/* Go on, after a pause, with what is held and with the end of input. */
void rpc_call_take_input(struct rpc_call *call);

/* Give the credit of held input back to the stream. */
void rpc_call_release_input(struct rpc_call *call);

/* connect.c */

/* {"code":"not_found","message":"...","details":[...]} */
void rpc_connect_put_error(struct buf *out, const struct rpc_call *call, const struct err *err);

/* Version and timeout, the same for both of Connect's forms. */
int rpc_connect_begin(struct rpc_call *call, struct err *err);

/* Answer with this HTTP status and the error as JSON. */
void rpc_connect_respond_error(struct rpc_call *call, int status, const struct http_field *fields,
                               size_t nfields, const struct err *err);

/* connect_get.c */

/* The parameter "encoding"; p is NULL when there is none. */
struct str rpc_connect_get_encoding(struct rpc_call *call);

/* Read the message from the query into call->request. */
int rpc_connect_get_begin(struct rpc_call *call, struct err *err);

/* grpc.c */

int rpc_grpc_begin(struct rpc_call *call, struct err *err);

/* Add how the call went to its trailers; false when memory is out. */
bool rpc_grpc_add_status(struct rpc_call *call, const struct err *err);

/* details.c */

/* ,"details":[{"type":...,"value":...},...] */
void rpc_details_put_json(struct buf *out, const struct rpc_detail *details);

/* google.rpc.Status */
void rpc_details_put_status(struct buf *out, const struct err *err,
                            const struct rpc_detail *details);

/* compression.c */

/* Read from the request's headers what may be compressed. */
int rpc_call_agree_compression(struct rpc_call *call, struct err *err);

/* Bytes that one message of the client may have as it is sent. */
size_t rpc_wire_max(const struct rpc_call *call);

/* Append a message, compressed where that was agreed on and is worth it. false when it cannot be
 * encoded. */
bool rpc_call_encode(struct rpc_call *call, const ProtobufCMessage *msg, struct buf *out,
                     bool *compressed);

/* Read one message of the client; NULL with err. */
ProtobufCMessage *rpc_call_decode(struct rpc_call *call, struct str data, bool compressed,
                                  struct arena *arena, struct err *err);

/* Send a message in an envelope; false when it cannot be encoded. */
bool rpc_call_send_enveloped(struct rpc_call *call, const ProtobufCMessage *msg);

#endif
