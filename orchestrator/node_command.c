#include "orchestrator/node_command.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/rpc/pbjson.h"
#include "orchestrator/cmd.h"

#include <jansson.h>
#include <string.h>

/* A create is the longest call, and no subcommand makes one; an end may wait for another operation.
 */
#define CALL_TIMEOUT_S 120

int node_command_start(struct node_command *n, int argc, char **argv,
                       const struct option_spec *specs)
{
    static const char *const settings[] = { "data-dir", NULL };
    struct config config;
    struct err err;
    switch (options_parse(&config, n->who, argc, argv, specs, settings, n->max_args, &n->first)) {
    case OPTIONS_HELP:
        fputs(n->help, stdout);
        return CMD_OK;
    case OPTIONS_WRONG:
        return CMD_USAGE;
    case OPTIONS_OK:
        break;
    }
    if (argc - n->first < n->min_args) {
        fprintf(stderr, "%s: %s\n", n->who, n->missing);
        return CMD_USAGE;
    }
    if (node_client_open(&n->client, config.data_dir, &err) < 0)
        return node_command_fail(n->who, &err);
    return -1;
}

int node_command_end(struct node_command *n, int rc)
{
    arena_deinit(&n->arena);
    node_client_close(n->client);
    if (rc == CMD_OK && (fflush(stdout) != 0 || ferror(stdout)))
        return CMD_FAILED;
    return rc;
}

int node_command_fail(const char *who, const struct err *err)
{
    fprintf(stderr, "%s: %s\n", who, err->msg);
    if (err->code == ERR_UNAVAILABLE)
        return CMD_NO_DAEMON;
    return err->code == ERR_NOT_FOUND ? CMD_NOT_FOUND : CMD_FAILED;
}

int node_command_call(struct node_command *n, const char *path, const ProtobufCMessage *request,
                      const ProtobufCMessageDescriptor *output, const ProtobufCMessage **answer)
{
    struct err err;
    int rc =
        node_client_call(n->client, path, request, output, CALL_TIMEOUT_S, &n->arena, answer, &err);
    return rc < 0 ? node_command_fail(n->who, &err) : CMD_OK;
}

int node_command_print_json(const ProtobufCMessage *msg, bool pretty)
{
    struct buf text = { 0 };
    int rc = pbjson_encode(msg, &text) && buf_putc(&text, '\0') ? CMD_OK : CMD_FAILED;
    if (rc == CMD_OK && pretty) {
        json_t *tree = json_loads((const char *)buf_head(&text), 0, NULL);
        rc = json_dumpf(tree, stdout, JSON_INDENT(2)) == 0 ? CMD_OK : CMD_FAILED;
        json_decref(tree);
    } else if (rc == CMD_OK) {
        fputs((const char *)buf_head(&text), stdout);
    }
    buf_deinit(&text);
    putchar('\n');
    return rc;
}

void node_command_time(const Google__Protobuf__Timestamp *t, char out[static NODE_TIME_SIZE])
{
    out[0] = '\0';
    if (t)
        clock_rfc3339_parts(t->seconds, 0, out);
}
