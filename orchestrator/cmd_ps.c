#include "common/base/cleanup.h"
#include "common/rpc/pbjson.h"
#include "orchestrator/cmd.h"
#include "orchestrator/node_command.h"

#include <string.h>
#include <strings.h>

#define PAGE 1000

static const char help[] =
    "Usage: sandpit ps [-q | --json | --watch] [--team TEAM] [--state STATE] [--data-dir DIR]\n"
    "\n"
    "List the sandboxes of the running daemon, newest first.\n"
    "\n"
    "  -q, --quiet   ids alone, one a line\n"
    "  --json        a JSON array\n"
    "  --watch       the list again after each change, until interrupted\n"
    "  --team TEAM   of one team, by its id or name\n"
    "  --state STATE running, paused, pausing or resuming\n"
    "\n"
    "Examples:\n"
    "    sandpit ps --json | jq -r '.[].metadata.user'\n"
    "    sandpit kill $(sandpit ps -q --team ci)\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 called wrongly, 3 no daemon runs, 4 there is no such team.\n";

struct ps {
    struct node_command n;
    const char *team;
    const char *state_text;
    Sandpit__Node__V1__SandboxState state; /* 0: any */
    bool quiet, json, watch;
    size_t printed;
    const char *position; /* of the list */
};

static const char *state_name(Sandpit__Node__V1__SandboxState state)
{
    static const char prefix[] = "SANDBOX_STATE_";
    const ProtobufCEnumValue *v = protobuf_c_enum_descriptor_get_value(
        &sandpit__node__v1__sandbox_state__descriptor, (int)state);
    return v ? v->name + strlen(prefix) : "?";
}

/* "SANDBOX_STATE_RUNNING" is running for people. */
static void print_lower(const char *text, int width)
{
    int n = 0;
    for (; text[n]; n++)
        putchar(text[n] >= 'A' && text[n] <= 'Z' ? text[n] - 'A' + 'a' : text[n]);
    printf("%*s", n < width ? width - n : 1, "");
}

static void print_row(const Sandpit__Node__V1__Sandbox *sb)
{
    char started[NODE_TIME_SIZE], ends[NODE_TIME_SIZE];
    node_command_time(sb->started_at, started);
    node_command_time(sb->end_at, ends);
    printf("%-23s%-22s", sb->id, sb->alias[0] ? sb->alias : sb->template_id);
    print_lower(state_name(sb->state), 10);
    printf("%-22s%-22s%5u%8u\n", started, ends, sb->vcpus, sb->memory_mb);
}

static void print_one(struct ps *p, const Sandpit__Node__V1__Sandbox *sb)
{
    if (p->json) {
        struct buf text = { 0 };
        pbjson_encode(&sb->base, &text);
        printf("%s\n  %.*s", p->printed ? "," : "", STR_ARG(buf_str(&text)));
        buf_deinit(&text);
    } else if (p->quiet) {
        puts(sb->id);
    } else {
        print_row(sb);
    }
    p->printed++;
}

static int list(struct ps *p)
{
    Sandpit__Node__V1__ListSandboxesRequest r = SANDPIT__NODE__V1__LIST_SANDBOXES_REQUEST__INIT;
    r.team = (char *)(uintptr_t)p->team;
    r.page_size = PAGE;
    r.states = &p->state;
    r.n_states = p->state != 0;
    p->printed = 0;
    p->position = NULL;
    do {
        const ProtobufCMessage *answer;
        int rc =
            node_command_call(&p->n, "/sandpit.node.v1.SandboxService/List", &r.base,
                              &sandpit__node__v1__list_sandboxes_response__descriptor, &answer);
        if (rc != CMD_OK)
            return rc;
        const Sandpit__Node__V1__ListSandboxesResponse *page = (const void *)answer;
        /* What happens between two pages is told again by a watch from the first one's. */
        if (!p->position)
            p->position = page->position;
        if (p->json && !p->printed)
            putchar('[');
        else if (!p->quiet && !p->printed)
            printf("%-23s%-22s%-10s%-22s%-22s%5s%8s\n", "ID", "TEMPLATE", "STATE", "STARTED",
                   "ENDS", "VCPUS", "MIB");
        for (size_t i = 0; i < page->n_sandboxes; i++)
            print_one(p, page->sandboxes[i]);
        r.page_token = page->next_page_token;
    } while (r.page_token[0]);
    if (p->json)
        puts(p->printed ? "\n]" : "]");
    return CMD_OK;
}

/* Wait until something happens after the list. */
static int wait_for_change(struct ps *p)
{
    Sandpit__Node__V1__WatchSandboxesRequest r = SANDPIT__NODE__V1__WATCH_SANDBOXES_REQUEST__INIT;
    r.position = (char *)(uintptr_t)p->position;
    struct node_stream *s =
        node_client_stream(p->n.client, "/sandpit.node.v1.SandboxService/Watch", &r.base,
                           &sandpit__node__v1__watch_sandboxes_response__descriptor);
    const ProtobufCMessage *m;
    struct err err;
    int rc;
    do
        rc = node_stream_read(s, &p->n.arena, &m, &err);
    while (rc == 1 && !((const Sandpit__Node__V1__WatchSandboxesResponse *)m)->event);
    node_stream_close(s);
    /* A list that is too old is made anew. */
    return rc >= 0 || err.code == ERR_RANGE ? CMD_OK : node_command_fail(p->n.who, &err);
}

/* The state of a name such as "running"; 0 when there is none of that name. */
static Sandpit__Node__V1__SandboxState parse_state(const char *text)
{
    const ProtobufCEnumDescriptor *d = &sandpit__node__v1__sandbox_state__descriptor;
    for (unsigned i = 0; i < d->n_values; i++)
        if (strcasecmp(text, state_name((Sandpit__Node__V1__SandboxState)d->values[i].value)) == 0)
            return (Sandpit__Node__V1__SandboxState)d->values[i].value;
    return SANDPIT__NODE__V1__SANDBOX_STATE__SANDBOX_STATE_UNSPECIFIED;
}

static int watch(struct ps *p)
{
    bool screen = isatty(STDOUT_FILENO);
    for (bool first = true;; first = false) {
        if (screen)
            fputs("\033[H\033[J", stdout); /* to the top; clear what is below */
        else if (!first)
            putchar('\n');
        int rc = list(p);
        if (rc == CMD_OK && fflush(stdout) != 0)
            rc = CMD_FAILED;
        if (rc == CMD_OK)
            rc = wait_for_change(p);
        if (rc != CMD_OK)
            return rc;
        arena_deinit(&p->n.arena);
        p->n.arena = (struct arena){ 0 };
    }
}

int cmd_ps(int argc, char **argv)
{
    struct ps p = { .n = { .who = "sandpit ps", .help = help }, .team = "" };
    const struct option_spec specs[] = {
        { "quiet", NULL, &p.quiet, 'q' }, { "json", NULL, &p.json },
        { "watch", NULL, &p.watch },      { "team", &p.team, NULL },
        { "state", &p.state_text, NULL }, { NULL }
    };
    int rc = node_command_start(&p.n, argc, argv, specs);
    if (rc >= 0)
        return rc;
    p.state = p.state_text ? parse_state(p.state_text) : 0;
    if (p.state_text && !p.state) {
        fprintf(stderr, "sandpit ps: there is no state '%s'\n", p.state_text);
        return node_command_end(&p.n, CMD_USAGE);
    }
    if (p.quiet + p.json + p.watch > 1) {
        fputs("sandpit ps: give only one of -q, --json and --watch\n", stderr);
        return node_command_end(&p.n, CMD_USAGE);
    }
    return node_command_end(&p.n, p.watch ? watch(&p) : list(&p));
}
