/* The event stream of Start and Connect: an RPC call that follows a process. */
#ifndef ENVD_PROCESS_STREAM_H
#define ENVD_PROCESS_STREAM_H

#include "envd/process/process.h"

/* Seconds between signs of life on a silent stream, unless the client asks for another number in
 * Keepalive-Ping-Interval. */
#define STREAM_KEEPALIVE_S     90
#define STREAM_KEEPALIVE_S_MAX 86400

/* What a response says beyond the public API. Offset: of the first byte in the stream. Gap: bytes
 * missing, as a header between the offset asked for and the one given, as a trailer in between. */
#define STREAM_OFFSET_HEADER "sandpit-offset"
#define STREAM_GAP_HEADER    "sandpit-gap"

/* Make `call` follow p from `pos`: sends the start event, what the ring holds, what comes, the end.
 * A call of Start has owns_deadline set: it ends by itself when the process's deadline is reached.
 */
void stream_begin(struct rpc_call *call, struct process *p, struct ring_pos pos,
                  bool owns_deadline);

/* The callbacks of the two methods. */
void stream_on_writable(struct rpc_call *call);
void stream_on_close(struct rpc_call *call);

#endif
