#include "common/base/log.h"
#include "orchestrator/cmd.h"
#include "orchestrator/daemon.h"

#include <stdio.h>

int cmd_serve(int argc, char **argv)
{
    struct config config;
    struct err err;
    bool help = false;
    enum log_level level;
    config_defaults(&config);
    if (config_from_env(&config, &err) < 0 ||
        config_from_args(&config, argc, argv, &help, &err) < 0 ||
        (!help && config_check(&config, &err) < 0)) {
        fprintf(stderr, "sandpit serve: %s\n", err.msg);
        return CMD_USAGE;
    }
    if (help) {
        puts("Usage: sandpit serve [OPTION...]\n\nRun the daemon until SIGTERM. Sandboxes go on "
             "without it, unless they are\nephemeral, and are taken over when it starts "
             "again.\n");
        config_usage(stdout);
        puts("\nExample:\n    sandpit serve --data-dir /srv/sandpit --max-sandboxes 20\n\n"
             "Exit status: 0 it was told to end, 1 it failed, 2 called wrongly.");
        return CMD_OK;
    }
    if (log_level_parse(config.log_level, &level))
        log_setup(level, "sandpit");
    return daemon_run(&config);
}
