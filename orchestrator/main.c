#include "common/base/cleanup.h"
#include "orchestrator/cmd.h"

#include <stdio.h>
#include <string.h>

struct command {
    const char *name;
    const char *what;
    int (*run)(int argc, char **argv);
};

static const struct command commands[] = {
    { "serve", "run the daemon", cmd_serve },
    { "ps", "list sandboxes", cmd_ps },
    { "kill", "end sandboxes", cmd_kill },
    { "pause", "keep sandboxes, and let nothing of them run", cmd_pause },
    { "resume", "let paused sandboxes go on", cmd_resume },
    { "inspect", "show a sandbox", cmd_inspect },
    { "events", "show what happens to sandboxes", cmd_events },
    { "info", "show this node: what it has, and what of it is used", cmd_info },
    { "drain", "take no new sandboxes", cmd_drain },
    { "undrain", "take new sandboxes again", cmd_undrain },
    { "image", "build and list templates' images", cmd_image },
    { "key", "create, list and revoke API keys", cmd_key },
    { "env", "print the exports a client needs", cmd_env },
    { "doctor", "tell what this host can do, and what is missing", cmd_doctor },
    { "bench", "measure what sandboxes take on this host", cmd_bench },
    { "version", "print the version", cmd_version },
};

static void usage(FILE *out)
{
    fputs("Usage: sandpit COMMAND [OPTION...]\n\nSandboxes for AI agents on this machine.\n\n",
          out);
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(out, "  %-9s %s\n", commands[i].name, commands[i].what);
    fputs("\nsandpit COMMAND --help tells more.\n", out);
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    if (!name) {
        usage(stderr);
        return CMD_USAGE;
    }
    if (strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0 || strcmp(name, "help") == 0) {
        usage(stdout);
        return CMD_OK;
    }
    if (strcmp(name, "--version") == 0)
        name = "version";
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(name, commands[i].name) == 0)
            return commands[i].run(argc - 1, argv + 1);
    fprintf(stderr, "sandpit: there is no command '%s'; see sandpit --help\n", name);
    return CMD_USAGE;
}
