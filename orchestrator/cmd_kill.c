#include "common/base/cleanup.h"
#include "orchestrator/cmd.h"
#include "orchestrator/node_command.h"

static const char help[] =
    "Usage: sandpit kill ID... [--data-dir DIR]\n"
    "       sandpit kill --all [--data-dir DIR]\n"
    "\n"
    "End sandboxes, whatever their team. Prints the id of each one that is gone; one that cannot "
    "be\n"
    "ended does not keep the others.\n"
    "\n"
    "Examples:\n"
    "    sandpit kill i4f0a1b2c3d4e5f6a7b8\n"
    "    sandpit drain && sandpit kill --all\n"
    "\n"
    "Exit status: 0 all are gone, 2 called wrongly, 3 no daemon runs, 4 one was not found, 1 one\n"
    "could not be ended for another reason.\n";

static int kill_one(struct node_command *n, const char *id)
{
    Sandpit__Node__V1__DeleteSandboxRequest r = SANDPIT__NODE__V1__DELETE_SANDBOX_REQUEST__INIT;
    const ProtobufCMessage *answer;
    r.id = (char *)(uintptr_t)id;
    int rc = node_command_call(n, "/sandpit.node.v1.SandboxService/Delete", &r.base,
                               &sandpit__node__v1__delete_sandbox_response__descriptor, &answer);
    if (rc == CMD_OK)
        puts(id);
    return rc;
}

/* Page by page: what was killed is on no later one. */
static int kill_all(struct node_command *n)
{
    Sandpit__Node__V1__ListSandboxesRequest r = SANDPIT__NODE__V1__LIST_SANDBOXES_REQUEST__INIT;
    int result = CMD_OK;
    do {
        const ProtobufCMessage *answer;
        int rc =
            node_command_call(n, "/sandpit.node.v1.SandboxService/List", &r.base,
                              &sandpit__node__v1__list_sandboxes_response__descriptor, &answer);
        if (rc != CMD_OK)
            return rc;
        const Sandpit__Node__V1__ListSandboxesResponse *page = (const void *)answer;
        for (size_t i = 0; i < page->n_sandboxes; i++) {
            rc = kill_one(n, page->sandboxes[i]->id);
            /* Somebody else's kill is as good. */
            if (rc != CMD_OK && rc != CMD_NOT_FOUND)
                result = rc;
        }
        r.page_token = page->next_page_token;
    } while (r.page_token[0]);
    return result;
}

int cmd_kill(int argc, char **argv)
{
    bool all = false;
    struct node_command n = { .who = "sandpit kill", .help = help, .max_args = argc };
    const struct option_spec specs[] = { { "all", NULL, &all }, { NULL } };
    int rc = node_command_start(&n, argc, argv, specs);
    if (rc >= 0)
        return rc;
    if (all == (argc > n.first)) {
        fputs("sandpit kill: give the ids of sandboxes, or --all; sandpit ps lists them\n", stderr);
        return node_command_end(&n, CMD_USAGE);
    }
    if (all)
        return node_command_end(&n, kill_all(&n));
    int result = CMD_OK;
    for (int i = n.first; i < argc; i++) {
        rc = kill_one(&n, argv[i]);
        if (rc != CMD_OK && result == CMD_OK)
            result = rc;
    }
    return node_command_end(&n, result);
}
