/* Which messages of a call are compressed: agreed on by its headers, in every protocol's own
 * names. */
#include "common/rpc/call.h"
#include "common/rpc/envelope.h"
#include "common/rpc/gzip.h"
#include "common/rpc/metadata.h"

int rpc_call_agree_compression(struct rpc_call *call, struct err *err)
{
    const struct rpc_protocol *protocol = call->protocol;
    int rc = metadata_encoding(call->head, protocol->encoding, &call->gzip_in, err);
    if (rc < 0) {
        rpc_call_add_header(call, protocol->accept_encoding, "gzip");
        return rc;
    }
    /* gRPC's libraries say that they accept gzip whether their user wants that or not, and expect
     * answers to be like their requests. */
    call->gzip_out = (call->gzip_in || !protocol->gzip_mirrored) &&
                     metadata_accepts_gzip(call->head, protocol->accept_encoding);
    return 0;
}

static bool compress(struct rpc_call *call, struct buf *out, size_t begun)
{
    struct buf *packed = &call->server->packed;
    struct str plain = str_from(buf_str(out), begun);
    bool ok = gzip_deflate(plain, packed);
    if (ok) {
        out->len -= plain.n;
        ok = buf_append_str(out, buf_str(packed));
    }
    buf_consume(packed, buf_len(packed));
    return ok;
}

bool rpc_call_encode(struct rpc_call *call, const ProtobufCMessage *msg, struct buf *out,
                     bool *compressed)
{
    const struct rpc_server *server = call->server;
    size_t begun = buf_len(out), min = server->gzip_min ? server->gzip_min : RPC_GZIP_MIN;
    *compressed = false;
    if (!call->codec->encode(msg, server->types, out))
        return false;
    if (!call->gzip_out || buf_len(out) - begun < min)
        return true;
    *compressed = true;
    return compress(call, out, begun);
}

ProtobufCMessage *rpc_call_decode(struct rpc_call *call, struct str data, bool compressed,
                                  struct arena *arena, struct err *err)
{
    const struct rpc_server *server = call->server;
    struct buf *plain = &call->server->packed;
    size_t max = rpc_message_max(call);
    ProtobufCMessage *msg = NULL;
    /* No bytes at all are the empty message, compressed or not. */
    if (compressed && data.n) {
        if (gzip_inflate(data, max, plain, err) < 0)
            goto out;
        data = buf_str(plain);
    }
    if (data.n > max)
        err_fill(err, ERR_EXHAUSTED, "message is larger than the limit of %zu bytes", max);
    else
        msg = call->codec->decode(call->method->input, server->types, data, arena, err);
out:
    buf_consume(plain, buf_len(plain));
    return msg;
}

size_t rpc_wire_max(const struct rpc_call *call)
{
    size_t max = rpc_message_max(call);
    return call->gzip_in ? gzip_bound(max) : max;
}

bool rpc_call_send_enveloped(struct rpc_call *call, const ProtobufCMessage *msg)
{
    struct buf *out = rpc_call_scratch(call);
    size_t begun = envelope_begin(out);
    bool compressed = false;
    struct str tail = { NULL, 0 };
    bool ok = call->codec->encode_front && !call->gzip_out
                  ? call->codec->encode_front(msg, out, &tail)
                  : rpc_call_encode(call, msg, out, &compressed);
    envelope_end_before(out, begun, compressed ? ENVELOPE_COMPRESSED : 0, tail.n);
    ok = ok && !out->failed;
    if (ok) {
        struct iovec pieces[] = { { buf_head(out), buf_len(out) },
                                  { (void *)(uintptr_t)tail.p, tail.n } };
        rpc_call_send_head(call, 200, NULL, 0, false);
        http_send_pieces(call->stream, pieces, tail.n ? 2 : 1);
    }
    buf_clear(out);
    return ok;
}
