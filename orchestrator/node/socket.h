/* The unix socket: its connections are taken here, not by gRPC, which would not ask who is at the
 * other end. For this folder only. */
#ifndef ORCHESTRATOR_NODE_SOCKET_H
#define ORCHESTRATOR_NODE_SOCKET_H

#include "common/base/err.h"

#include <uv.h>

struct node_socket;

/* Listen at `path`, which may be left over from a daemon that died, mode 0600. connected(user, fd)
 * gets each non-blocking connection of root's or of our own user's processes. */
int node_socket_new(struct node_socket **out, uv_loop_t *loop, const char *path,
                    void (*connected)(void *user, int fd), void *user, struct err *err);

/* Remove the path, close; memory goes in the loop's next turns. */
void node_socket_close(struct node_socket *s);

#endif
