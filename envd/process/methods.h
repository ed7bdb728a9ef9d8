/* The handlers of process.Process, for the table in service.c. */
#ifndef ENVD_PROCESS_METHODS_H
#define ENVD_PROCESS_METHODS_H

#include "envd/process/registry_internal.h"

/* start.c */
void start_on_message(struct rpc_call *call, ProtobufCMessage *msg);
void start_on_deadline(struct rpc_call *call);
void connect_on_message(struct rpc_call *call, ProtobufCMessage *msg);

/* Check the size of a terminal; an absent one is the default. */
int pty_size_of(const Process__PTY *pty, uint16_t *cols, uint16_t *rows, struct err *err);

/* send_input.c */
void send_input_on_message(struct rpc_call *call, ProtobufCMessage *msg);
void send_input_on_close(struct rpc_call *call);

/* The bytes of an input, or an error: the process takes no input of that kind, or none any more. */
int input_bytes_of(const struct process *p, const Process__ProcessInput *input, struct str *out,
                   struct err *err);

/* stream_input.c */
void stream_input_on_message(struct rpc_call *call, ProtobufCMessage *msg);
void stream_input_on_half_close(struct rpc_call *call);
void stream_input_on_close(struct rpc_call *call);

#endif
