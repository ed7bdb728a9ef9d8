/* A server with one method of each kind, called over streams in memory. */
#ifndef TESTS_UNIT_COMMON_RPC_RPC_FIXTURE_H
#define TESTS_UNIT_COMMON_RPC_RPC_FIXTURE_H

#include "common/base/buf.h"
#include "common/rpc/rpc.h"
#include "tests/support/fake_stream.h"

/*
 * The service test.Service. What its handlers do is told by the string of each message:
 *   "fail"  end with not_found "no such thing"
 *   "details"  end with not_found and two details
 *   "none"  end without an answer
 *   "hold"  keep the call in fixture.held
 *   "pause" stop taking messages
 *   else    Unary echoes; ServerStream sends an_int32 messages; Bidi echoes each;
 *           ClientStream answers the half-close with the number of messages
 */
struct rpc_fixture {
    uv_loop_t loop;
    struct defer_queue defer;
    struct rpc_server server;
    struct fake_stream stream;
    struct buf log; /* "message x;half_close;close;" */
    struct rpc_call *held;
    int messages;
    bool deny;
};

int rpc_fixture_setup(void **state);
int rpc_fixture_teardown(void **state);

/* Begin a request; add headers to f->stream, then call rpc_fixture_accept(). */
void rpc_fixture_request(struct rpc_fixture *f, const char *target, const char *content_type);
void rpc_fixture_accept(struct rpc_fixture *f);

/* Let deferred work run. */
void rpc_fixture_turn(struct rpc_fixture *f);

/* A whole unary or single-message call: request, body, end, a turn. */
void rpc_fixture_call(struct rpc_fixture *f, const char *target, const char *content_type,
                      struct str body);

/* Deliver an envelope of the request. */
void rpc_fixture_envelope(struct rpc_fixture *f, uint8_t flags, struct str payload);

/* Assert and take the next envelope of the response. */
void rpc_fixture_expect_envelope(struct rpc_fixture *f, uint8_t flags, const char *payload);

/* Assert what the handlers saw, and forget it. */
void rpc_fixture_expect_log(struct rpc_fixture *f, const char *want);

/* Assert the response's whole body. */
void rpc_fixture_expect_body(struct rpc_fixture *f, const char *want);

#endif
