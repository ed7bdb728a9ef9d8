/* The RPC server of rpc_fixture.h and a client session, joined by HTTP/2 over a socket pair. */
#ifndef TESTS_UNIT_COMMON_RPC_RPC_PAIR_H
#define TESTS_UNIT_COMMON_RPC_RPC_PAIR_H

#include "common/http/http2.h"
#include "common/io/io_fd.h"
#include "tests/support/loop.h"
#include "tests/unit/common/rpc/rpc_fixture.h"

struct rpc_side {
    struct io_fd fd;
    struct http2_session *h; /* NULL once it is over */
    bool closed;
};

struct rpc_pair {
    struct test_loop loop;
    struct rpc_side client, server;
    struct http_acceptor acceptor;
    struct rpc_fixture *fixture;

    /* What is answered instead of by the RPC server, when raw is set. */
    const char *raw; /* "<content type>\n<body>" */
    int status;      /* 0: no answer ever */
    const char *grpc_status, *grpc_message;
};

int rpc_pair_setup(void **state);
int rpc_pair_teardown(void **state);

/* End the client's session as a lost connection does. */
void rpc_pair_lose_client(struct rpc_pair *p);

#endif
