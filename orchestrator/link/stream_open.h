/* Opening the byte stream into a guest, by the three kinds of guest_link.h. */
#ifndef ORCHESTRATOR_LINK_STREAM_OPEN_H
#define ORCHESTRATOR_LINK_STREAM_OPEN_H

#include "orchestrator/link/guest_link.h"

/* Bytes that wait in the kernel towards the guest make small requests wait behind them. */
#define STREAM_SEND_BUFFER 65536

/* A descriptor (close-on-exec, non-blocking), or -errno. With *connecting the connection is made
 * when it becomes writable and SO_ERROR is 0. Never blocks. */
int stream_open(const struct link_address *address, bool *connecting);

/* The answer of a hybrid vsock to "CONNECT <port>\n": "OK <number>\n". All zero to begin. */
#define HYBRID_LINE_MAX 32
struct hybrid_greeting {
    char line[HYBRID_LINE_MAX];
    size_t n;
};

/* Take bytes up to the end of the line; *used says how many. 1: it is there and right, 0: more is
 * needed, -EPROTO: it is anything else, or too long. */
int hybrid_greeting_feed(struct hybrid_greeting *g, const uint8_t *data, size_t n, size_t *used);

#endif
