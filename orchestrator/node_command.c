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
    int rc = options_parse(&config, n->who, n->help, argc, argv, specs, settings, n->max_args,
                           &n->first);
    if (rc >= 0)
        return rc;
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

static int do_one(struct node_command *n, const char *id, node_command_one *one)
{
    int rc = one(n, id);
    if (rc == CMD_OK)
        puts(id);
    return rc;
}

int node_command_each(struct node_command *n, int argc, char **argv, node_command_one *one)
{
    int result = CMD_OK;
    for (int i = n->first; i < argc; i++) {
        int rc = do_one(n, argv[i], one);
        if (result == CMD_OK)
            result = rc;
    }
    return result;
}

int node_command_all(struct node_command *n, Sandpit__Node__V1__SandboxState state,
                     node_command_one *one)
{
    Sandpit__Node__V1__ListSandboxesRequest r = SANDPIT__NODE__V1__LIST_SANDBOXES_REQUEST__INIT;
    int result = CMD_OK;
    r.states = &state;
    r.n_states = state != 0;
    do {
        const ProtobufCMessage *answer;
        int rc =
            node_command_call(n, "/sandpit.node.v1.SandboxService/List", &r.base,
                              &sandpit__node__v1__list_sandboxes_response__descriptor, &answer);
        if (rc != CMD_OK)
            return rc;
        const Sandpit__Node__V1__ListSandboxesResponse *page = (const void *)answer;
        for (size_t i = 0; i < page->n_sandboxes; i++) {
            rc = do_one(n, page->sandboxes[i]->id, one);
            if (result == CMD_OK && rc != CMD_NOT_FOUND)
                result = rc;
        }
        r.page_token = page->next_page_token;
    } while (r.page_token[0]);
    return result;
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
