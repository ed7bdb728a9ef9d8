#include "orchestrator/cmd.h"
#include "orchestrator/node_command.h"

static const char help[] =
    "Usage: sandpit inspect ID [--tokens] [--data-dir DIR]\n"
    "\n"
    "Print what is known of a sandbox, as JSON. Fields that are empty or 0 are left out.\n"
    "\n"
    "  --tokens   with the tokens that open it\n"
    "\n"
    "Example:\n"
    "    sandpit inspect i4f0a1b2c3d4e5f6a7b8 | jq -r .sandbox.endAt\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 called wrongly, 3 no daemon runs, 4 not found.\n";

int cmd_inspect(int argc, char **argv)
{
    bool tokens = false;
    struct node_command n = { .who = "sandpit inspect",
                              .help = help,
                              .min_args = 1,
                              .max_args = 1,
                              .missing = "which sandbox? Give its id; sandpit ps lists them" };
    const struct option_spec specs[] = { { "tokens", NULL, &tokens }, { NULL } };
    int rc = node_command_start(&n, argc, argv, specs);
    if (rc >= 0)
        return rc;
    Sandpit__Node__V1__GetSandboxRequest r = SANDPIT__NODE__V1__GET_SANDBOX_REQUEST__INIT;
    const ProtobufCMessage *answer;
    r.id = argv[n.first];
    r.with_tokens = tokens;
    rc = node_command_call(&n, "/sandpit.node.v1.SandboxService/Get", &r.base,
                           &sandpit__node__v1__get_sandbox_response__descriptor, &answer);
    if (rc == CMD_OK)
        rc = node_command_print_json(answer, true);
    return node_command_end(&n, rc);
}
