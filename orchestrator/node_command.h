/* What the subcommands that ask the running daemon have in common. */
#ifndef ORCHESTRATOR_NODE_COMMAND_H
#define ORCHESTRATOR_NODE_COMMAND_H

#include "orchestrator/node/client.h"
#include "orchestrator/options.h"
#include "orchestrator.pb-c.h"

struct node_command {
    const char *who;        /* "sandpit ps", opens error messages */
    const char *help;       /* of --help */
    const char *missing;    /* said when there are fewer than min_args */
    int min_args, max_args; /* arguments that are no flags */
    int first;              /* the index of the first one; set by the start */
    struct node_client *client;
    struct arena arena; /* of answers */
};

/* Read the flags (`specs` and --data-dir) and connect. -1: go on, and end with
 * node_command_end(); else the exit status. */
int node_command_start(struct node_command *n, int argc, char **argv,
                       const struct option_spec *specs);

/* Flush the output, close; `rc` or, when it was CMD_OK and the output was not taken, CMD_FAILED. */
int node_command_end(struct node_command *n, int rc);

/* Call; the answer is in n->arena. CMD_OK, or said on stderr. */
int node_command_call(struct node_command *n, const char *path, const ProtobufCMessage *request,
                      const ProtobufCMessageDescriptor *output, const ProtobufCMessage **answer);

/* Pause a sandbox: CMD_OK, or said. Of cmd_pause.c. */
int node_command_pause(struct node_command *n, const char *id);

/* Say the error; the exit status for it. */
int node_command_fail(const char *who, const struct err *err);

/* The message as JSON and a line end: in one line, or laid out for people. */
int node_command_print_json(const ProtobufCMessage *msg, bool pretty);

/* "2026-01-02T03:04:05Z", to the second; "" for none. */
#define NODE_TIME_SIZE 40
void node_command_time(const Google__Protobuf__Timestamp *t, char out[static NODE_TIME_SIZE]);

#endif
