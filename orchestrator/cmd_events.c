#include "common/base/cleanup.h"
#include "orchestrator/cmd.h"
#include "orchestrator/node_command.h"

#include <string.h>

static const char help[] =
    "Usage: sandpit events [-f] [--json] [--since POSITION] [--sandbox ID] [--data-dir DIR]\n"
    "\n"
    "Print what happened to sandboxes since the daemon started, oldest first: the newest 4096 "
    "events\n"
    "are kept.\n"
    "\n"
    "  -f, --follow       go on with what happens, until interrupted\n"
    "  --json             a JSON object a line: {\"position\", \"event\"}\n"
    "  --since POSITION   what came after the event of that position\n"
    "  --sandbox ID       of one sandbox\n"
    "\n"
    "Examples:\n"
    "    sandpit events -f --json | jq -r 'select(.event.kind == "
    "\"EVENT_KIND_ENDED\").event.reason'\n"
    "    sandpit events --sandbox i4f0a1b2c3d4e5f6a7b8\n"
    "\n"
    "Exit status: 0 done, 1 failed (also when the position is too old), 2 called wrongly, 3 no "
    "daemon\n"
    "runs, or it stopped meanwhile.\n";

static const char *kind_name(Sandpit__Node__V1__EventKind kind)
{
    static const char *const names[] = { "?",     "created", "running", "updated",
                                         "ended", "paused",  "resumed" };
    return (size_t)kind < ARRAY_LEN(names) ? names[kind] : "?";
}

static void print_line(const Sandpit__Node__V1__Event *e)
{
    char when[NODE_TIME_SIZE];
    node_command_time(e->time, when);
    printf("%-22s%-9s%-23s%s%s%s\n", when, kind_name(e->kind), e->sandbox_id, e->reason,
           e->detail[0] ? ": " : "", e->detail);
}

/* One message; CMD_FAILED when nobody takes the output any more. */
static int print_message(const Sandpit__Node__V1__WatchSandboxesResponse *m, bool json)
{
    if (!m->event)
        return CMD_OK;
    if (json)
        node_command_print_json(&m->base, false);
    else
        print_line(m->event);
    return fflush(stdout) == 0 ? CMD_OK : CMD_FAILED;
}

int cmd_events(int argc, char **argv)
{
    bool follow = false, json = false;
    const char *since = NULL, *id = "";
    struct node_command n = { .who = "sandpit events", .help = help };
    const struct option_spec specs[] = { { "follow", NULL, &follow, 'f' },
                                         { "json", NULL, &json },
                                         { "since", &since, NULL },
                                         { "sandbox", &id, NULL },
                                         { NULL } };
    int rc = node_command_start(&n, argc, argv, specs);
    if (rc >= 0)
        return rc;
    Sandpit__Node__V1__WatchSandboxesRequest r = SANDPIT__NODE__V1__WATCH_SANDBOXES_REQUEST__INIT;
    r.position = (char *)(uintptr_t)(since ? since : "");
    r.from_oldest = since == NULL;
    r.no_follow = !follow;
    r.sandbox_id = (char *)(uintptr_t)id;
    struct node_stream *s =
        node_client_stream(n.client, "/sandpit.node.v1.SandboxService/Watch", &r.base,
                           &sandpit__node__v1__watch_sandboxes_response__descriptor);
    const ProtobufCMessage *m;
    struct err err;
    int got, result = CMD_OK;
    while ((got = node_stream_read(s, &n.arena, &m, &err)) == 1 && result == CMD_OK) {
        result = print_message((const void *)m, json);
        arena_deinit(&n.arena);
        n.arena = (struct arena){ 0 };
    }
    if (got < 0)
        result = node_command_fail(n.who, &err);
    node_stream_close(s);
    return node_command_end(&n, result);
}
