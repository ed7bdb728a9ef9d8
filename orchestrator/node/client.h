/* A client of the node service for the subcommands: blocking, one call at a time. */
#ifndef ORCHESTRATOR_NODE_CLIENT_H
#define ORCHESTRATOR_NODE_CLIENT_H

#include "common/base/arena.h"
#include "common/base/err.h"

struct node_client;
struct node_stream;

/* Connect to the daemon that serves this data directory. -ENOENT or -ECONNREFUSED (ERR_UNAVAILABLE)
 * when none runs; -EACCES when its socket is another user's. */
int node_client_open(struct node_client **out, const char *data_dir, struct err *err);
void node_client_close(struct node_client *c);

/* Call `path`; the answer, of type `output`, is in the arena. timeout_s 0: no deadline. -EIO with
 * the code and the sentence of the call's status. */
int node_client_call(struct node_client *c, const char *path, const ProtobufCMessage *request,
                     const ProtobufCMessageDescriptor *output, unsigned timeout_s,
                     struct arena *arena, const ProtobufCMessage **answer, struct err *err);

/* Begin a stream. NULL never; what is wrong is told by the first read. */
struct node_stream *node_client_stream(struct node_client *c, const char *path,
                                       const ProtobufCMessage *request,
                                       const ProtobufCMessageDescriptor *output);

/* Wait for the next message: 1 and *message (in the arena), 0 at the stream's good end, -EIO. After
 * that only the close is left. */
int node_stream_read(struct node_stream *s, struct arena *arena, const ProtobufCMessage **message,
                     struct err *err);
void node_stream_close(struct node_stream *s);

#endif
