/* Connect's GET form of a unary call: the message is in the query.
 * https://connectrpc.com/docs/protocol#unary-get-request */
#include "common/base/encode.h"
#include "common/rpc/call.h"
#include "common/rpc/metadata.h"

#include <errno.h>

/* The first parameter of that name, decoded into the arena; p is NULL when there is none. */
static int get_param(struct rpc_call *call, const char *name, struct str *out, struct err *err)
{
    struct str rest = call->head->target;
    str_split(&rest, '?');
    *out = (struct str){ NULL, 0 };
    while (rest.p) {
        struct str value = str_split(&rest, '&');
        struct str key = str_split(&value, '=');
        if (!str_eq(key, str_of(name)))
            continue;
        struct buf text = { 0 };
        bool well_formed = !value.p || percent_decode(&text, value, true);
        if (well_formed)
            *out = (struct str){ arena_dup(rpc_call_arena(call), buf_str(&text)), buf_len(&text) };
        buf_deinit(&text);
        if (!well_formed)
            return err_set(err, ERR_INVALID, EINVAL, "malformed escape in parameter %s", name);
        return out->p ? 0 : err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    }
    return 0;
}

struct str rpc_connect_get_encoding(struct rpc_call *call)
{
    struct str encoding;
    return get_param(call, "encoding", &encoding, NULL) < 0 ? (struct str){ NULL, 0 } : encoding;
}

static int unwrap_base64(struct rpc_call *call, struct str *message, struct err *err)
{
    uint8_t *bytes = arena_alloc(rpc_call_arena(call), (message->n / 4 + 1) * 3);
    if (!bytes)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    ptrdiff_t n = base64_decode(*message, bytes);
    if (n < 0)
        return err_set(err, ERR_INVALID, EINVAL, "malformed base64 in parameter message");
    *message = (struct str){ (const char *)bytes, (size_t)n };
    return 0;
}

int rpc_connect_get_begin(struct rpc_call *call, struct err *err)
{
    struct str version, message, base64, compression;
    bool compressed = false;
    int rc;
    if ((rc = get_param(call, "connect", &version, err)) < 0 ||
        (rc = get_param(call, "message", &message, err)) < 0 ||
        (rc = get_param(call, "base64", &base64, err)) < 0 ||
        (rc = get_param(call, "compression", &compression, err)) < 0)
        return rc;
    if (version.p && !str_eq(version, STR("v1")))
        return err_set(err, ERR_INVALID, EINVAL, "parameter connect must be v1");
    if (!message.p)
        return err_set(err, ERR_INVALID, EINVAL, "parameter message is missing");
    if (base64.p && !str_eq(base64, STR("1")) && !str_eq(base64, STR("0")))
        return err_set(err, ERR_INVALID, EINVAL, "parameter base64 must be 0 or 1");
    if (compression.p && (rc = metadata_encoding_name(compression, &compressed, err)) < 0)
        return rc;
    if (base64.p && base64.p[0] == '1' && (rc = unwrap_base64(call, &message, err)) < 0)
        return rc;
    call->request = rpc_call_decode(call, message, compressed, rpc_call_arena(call), err);
    rpc_call_add_header(call, "vary", "accept-encoding");
    return call->request ? 0 : -EINVAL;
}
