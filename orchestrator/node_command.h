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

/* What is done to one sandbox: CMD_OK, or said on stderr. */
typedef int node_command_one(struct node_command *n, const char *id);

/* Do it to each sandbox that the arguments name, and print the ids of those that it was done to.
 * CMD_OK, or the first failure's status. */
int node_command_each(struct node_command *n, int argc, char **argv, node_command_one *one);

/* The same for all of that state (0: of any), page by page: `one` must take it off the list. One
 * that has ended meanwhile is no failure. */
int node_command_all(struct node_command *n, Sandpit__Node__V1__SandboxState state,
                     node_command_one *one);

/* Of cmd_pause.c. */
node_command_one node_command_pause;

/* Say the error; the exit status for it. */
int node_command_fail(const char *who, const struct err *err);

/* The message as JSON and a line end: in one line, or laid out for people. */
int node_command_print_json(const ProtobufCMessage *msg, bool pretty);

/* "2026-01-02T03:04:05Z", to the second; "" for none. */
#define NODE_TIME_SIZE 40
void node_command_time(const Google__Protobuf__Timestamp *t, char out[static NODE_TIME_SIZE]);

#endif
