#include "orchestrator/cmd.h"
#include "orchestrator/node_command.h"

#include <inttypes.h>

static const char info_help[] =
    "Usage: sandpit info [--json] [--data-dir DIR]\n"
    "\n"
    "Show this node: who it is, whether it takes new sandboxes, what it has and what of it is "
    "used.\n"
    "\n"
    "Example:\n"
    "    sandpit info --json | jq .used.sandboxes\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 called wrongly, 3 no daemon runs.\n";

static const char drain_help[] =
    "Usage: sandpit drain [--pause] [--data-dir DIR]\n"
    "       sandpit undrain [--data-dir DIR]\n"
    "\n"
    "Take no new sandboxes, or take them again. What runs goes on. Draining lasts until undrain,\n"
    "or until the daemon ends.\n"
    "\n"
    "  --pause   also pause what runs, one after another; prints their ids\n"
    "\n"
    "Example:\n"
    "    sandpit drain --pause && systemctl stop sandpit\n"
    "\n"
    "Exit status: 0 done (also when nothing changed), 1 failed (also when a sandbox could not be\n"
    "paused), 2 called wrongly, 3 no daemon runs.\n";

static void print_info(const Sandpit__Node__V1__Info *i)
{
    static const Sandpit__Node__V1__Resources nothing = SANDPIT__NODE__V1__RESOURCES__INIT;
    const Sandpit__Node__V1__Resources *capacity = i->capacity ? i->capacity : &nothing;
    const Sandpit__Node__V1__Resources *used = i->used ? i->used : &nothing;
    char started[NODE_TIME_SIZE];
    node_command_time(i->started_at, started);
    printf("node         %s\n", i->node_id);
    printf("hostname     %s\n", i->hostname);
    printf("version      %s\n", i->version);
    printf("state        %s\n",
           i->state == SANDPIT__NODE__V1__NODE_STATE__NODE_STATE_DRAINING ? "draining" : "ready");
    printf("started      %s (%" PRIu64 " s ago)\n", started, i->uptime_s);
    printf("accelerator  %s\n", i->accelerator);
    printf("vmm          %s\n", i->vmm);
    printf("cgroups      %s\n", i->cgroups);
    printf("sandboxes    %" PRIu32 " of %" PRIu32 "\n", used->sandboxes, capacity->sandboxes);
    printf("vcpus        %" PRIu32 " in guests, %" PRIu32 " on the host\n", used->vcpus,
           capacity->vcpus);
    printf("memory       %" PRIu64 " MiB in guests, %" PRIu64 " MiB on the host\n", used->memory_mb,
           capacity->memory_mb);
}

int cmd_info(int argc, char **argv)
{
    bool json = false;
    struct node_command n = { .who = "sandpit info", .help = info_help };
    const struct option_spec specs[] = { { "json", NULL, &json }, { NULL } };
    int rc = node_command_start(&n, argc, argv, specs);
    if (rc >= 0)
        return rc;
    Sandpit__Node__V1__GetInfoRequest r = SANDPIT__NODE__V1__GET_INFO_REQUEST__INIT;
    const ProtobufCMessage *answer;
    rc = node_command_call(&n, "/sandpit.node.v1.InfoService/Get", &r.base,
                           &sandpit__node__v1__info__descriptor, &answer);
    if (rc == CMD_OK && json)
        rc = node_command_print_json(answer, true);
    else if (rc == CMD_OK)
        print_info((const void *)answer);
    return node_command_end(&n, rc);
}

/* CMD_OK, or said. */
static int set_state(struct node_command *n, Sandpit__Node__V1__NodeState state, const char *now)
{
    Sandpit__Node__V1__SetStateRequest r = SANDPIT__NODE__V1__SET_STATE_REQUEST__INIT;
    const ProtobufCMessage *answer;
    r.state = state;
    int rc = node_command_call(n, "/sandpit.node.v1.InfoService/SetState", &r.base,
                               &sandpit__node__v1__set_state_response__descriptor, &answer);
    if (rc == CMD_OK) {
        bool was = ((const Sandpit__Node__V1__SetStateResponse *)answer)->previous == state;
        printf("%s%s\n", was ? "already " : "", now);
    }
    return rc;
}

int cmd_drain(int argc, char **argv)
{
    bool pause = false;
    struct node_command n = { .who = "sandpit drain", .help = drain_help };
    const struct option_spec specs[] = { { "pause", NULL, &pause }, { NULL } };
    int rc = node_command_start(&n, argc, argv, specs);
    if (rc >= 0)
        return rc;
    rc = set_state(&n, SANDPIT__NODE__V1__NODE_STATE__NODE_STATE_DRAINING, "draining");
    if (rc == CMD_OK && pause)
        rc = node_command_all(&n, SANDPIT__NODE__V1__SANDBOX_STATE__SANDBOX_STATE_RUNNING,
                              node_command_pause);
    return node_command_end(&n, rc);
}

int cmd_undrain(int argc, char **argv)
{
    struct node_command n = { .who = "sandpit undrain", .help = drain_help };
    int rc = node_command_start(&n, argc, argv, NULL);
    if (rc >= 0)
        return rc;
    rc = set_state(&n, SANDPIT__NODE__V1__NODE_STATE__NODE_STATE_READY, "ready");
    return node_command_end(&n, rc);
}
