#include "orchestrator/cmd.h"
#include "orchestrator/node_command.h"

static const char pause_help[] = "Usage: sandpit pause ID... [--data-dir DIR]\n"
                                 "\n"
                                 "Pause sandboxes: memory, devices and disk are kept, and nothing "
                                 "runs. Prints the id of each one\n"
                                 "that is paused; one that cannot be does not keep the others.\n"
                                 "\n"
                                 "Example:\n"
                                 "    sandpit pause $(sandpit ps -q --state running)\n"
                                 "\n"
                                 "Exit status: 0 all are paused, 2 called wrongly, 3 no daemon "
                                 "runs, 4 one was not found, 1 one\n"
                                 "could not be paused for another reason.\n";

static const char resume_help[] = "Usage: sandpit resume ID... [--data-dir DIR]\n"
                                  "\n"
                                  "Let paused sandboxes go on, for the daemon's default time. "
                                  "Prints the id of each one that runs\n"
                                  "again.\n"
                                  "\n"
                                  "Example:\n"
                                  "    sandpit resume $(sandpit ps -q --state paused)\n"
                                  "\n"
                                  "Exit status: 0 all run, 2 called wrongly, 3 no daemon runs, 4 "
                                  "one was not found, 1 one could not\n"
                                  "be resumed for another reason (it may run already).\n";

int node_command_pause(struct node_command *n, const char *id)
{
    Sandpit__Node__V1__PauseSandboxRequest r = SANDPIT__NODE__V1__PAUSE_SANDBOX_REQUEST__INIT;
    const ProtobufCMessage *answer;
    r.id = (char *)(uintptr_t)id;
    return node_command_call(n, "/sandpit.node.v1.SandboxService/Pause", &r.base,
                             &sandpit__node__v1__pause_sandbox_response__descriptor, &answer);
}

static int resume(struct node_command *n, const char *id)
{
    Sandpit__Node__V1__ResumeSandboxRequest r = SANDPIT__NODE__V1__RESUME_SANDBOX_REQUEST__INIT;
    const ProtobufCMessage *answer;
    r.id = (char *)(uintptr_t)id;
    return node_command_call(n, "/sandpit.node.v1.SandboxService/Resume", &r.base,
                             &sandpit__node__v1__resume_sandbox_response__descriptor, &answer);
}

static int each(struct node_command *n, int argc, char **argv, node_command_one *one)
{
    n->min_args = 1;
    n->max_args = argc;
    n->missing = "which sandboxes? Give their ids; sandpit ps lists them";
    int rc = node_command_start(n, argc, argv, NULL);
    if (rc >= 0)
        return rc;
    return node_command_end(n, node_command_each(n, argc, argv, one));
}

int cmd_pause(int argc, char **argv)
{
    struct node_command n = { .who = "sandpit pause", .help = pause_help };
    return each(&n, argc, argv, node_command_pause);
}

int cmd_resume(int argc, char **argv)
{
    struct node_command n = { .who = "sandpit resume", .help = resume_help };
    return each(&n, argc, argv, resume);
}
