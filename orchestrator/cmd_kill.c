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
    return node_command_call(n, "/sandpit.node.v1.SandboxService/Delete", &r.base,
                             &sandpit__node__v1__delete_sandbox_response__descriptor, &answer);
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
    rc = all ? node_command_all(&n, 0, kill_one) : node_command_each(&n, argc, argv, kill_one);
    return node_command_end(&n, rc);
}
