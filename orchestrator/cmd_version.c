#include "orchestrator/cmd.h"

#include <stdio.h>
#include <string.h>

int cmd_version(int argc, char **argv)
{
    if (argc > 1 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
        puts("Usage: sandpit version\n\nPrint the version.");
        return CMD_OK;
    }
    if (argc > 1 && strcmp(argv[0], "version") == 0) {
        fprintf(stderr, "sandpit version: unexpected argument '%s'\n", argv[1]);
        return CMD_USAGE;
    }
    puts("sandpit " SANDPIT_VERSION);
    return CMD_OK;
}
