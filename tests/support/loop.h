/* A loop for a test, and a raw peer at the other end of a socket. */
#ifndef TESTS_SUPPORT_LOOP_H
#define TESTS_SUPPORT_LOOP_H

#include "common/base/buf.h"
#include "common/base/clock.h"
#include "common/io/defer.h"

struct test_loop {
    uv_loop_t loop;
    struct defer_queue defer;
    uv_timer_t pulse; /* so that no turn sleeps for long */
};

#define TEST_LOOP_MS 20000

void test_loop_init(struct test_loop *t);

/* Also proves that every handle was closed. */
void test_loop_deinit(struct test_loop *t);

/* One turn; waits at most some milliseconds. */
void test_loop_turn(struct test_loop *t);

/* Enough turns for everything that needs no time to have happened. */
void test_loop_settle(struct test_loop *t);

#define LOOP_UNTIL(t, condition)                                                                   \
    do {                                                                                           \
        int64_t deadline_ = clock_mono_ms() + TEST_LOOP_MS;                                        \
        while (!(condition)) {                                                                     \
            if (clock_mono_ms() > deadline_)                                                       \
                fail_msg("waited in vain for: %s", #condition);                                    \
            test_loop_turn(t);                                                                     \
        }                                                                                          \
    } while (0)

struct test_peer {
    int fd;
    struct buf got;
    bool eof;
    int error; /* of a read, such as ECONNRESET */
};

/* A pair of connected unix stream sockets: *theirs is for the code under test. */
void test_peer_pair(struct test_peer *peer, int *theirs);

/* The same over TCP on the loopback. */
void test_peer_tcp(struct test_peer *peer, int *theirs);
void test_peer_close(struct test_peer *peer);

/* Write all of it; false when the socket takes no more now. */
bool test_peer_send(struct test_peer *peer, const void *data, size_t n);

/* Read what is there. */
void test_peer_pull(struct test_peer *peer);

/* Pull; whether `text` is in what was received. */
bool test_peer_has(struct test_peer *peer, const char *text);

/* Pull; whether the other side has ended. */
bool test_peer_ended(struct test_peer *peer);

#endif
