#include "orchestrator/options.h"

#include "common/base/cleanup.h"

#include <getopt.h>
#include <string.h>

#define OPTIONS_MAX 16

static size_t add_options(struct option *out, const struct option_spec *specs,
                          const char *const *settings)
{
    size_t n = 0;
    for (; specs && specs[n].name && n < OPTIONS_MAX; n++)
        out[n] = (struct option){ .name = specs[n].name,
                                  .has_arg = specs[n].text ? required_argument : no_argument,
                                  .val = 256 };
    for (size_t i = 0; settings && settings[i] && n < OPTIONS_MAX; i++)
        out[n++] = (struct option){ .name = settings[i], .has_arg = required_argument, .val = 257 };
    out[n] = (struct option){ .name = "help", .val = 'h' };
    return n;
}

enum options_result options_parse(struct config *config, const char *who, int argc, char **argv,
                                  const struct option_spec *specs, const char *const *settings,
                                  int max_args, int *first)
{
    struct err err;
    struct option options[OPTIONS_MAX + 2] = { 0 };
    add_options(options, specs, settings);
    config_defaults(config);
    if (config_from_env(config, &err)) {
        fprintf(stderr, "%s: %s\n", who, err.msg);
        return OPTIONS_WRONG;
    }
    optind = 0;
    opterr = 0;
    int got, index;
    while ((got = getopt_long(argc, argv, ":h", options, &index)) != -1) {
        if (got == 'h')
            return OPTIONS_HELP;
        if (got == '?' || got == ':') {
            fprintf(stderr, got == '?' ? "%s: unknown option '%s'\n" : "%s: '%s' needs a value\n",
                    who, argv[optind - 1]);
            return OPTIONS_WRONG;
        }
        if (got == 256) {
            if (specs[index].text)
                *specs[index].text = optarg;
            else
                *specs[index].on = true;
        } else if (config_set(config, options[index].name, optarg, &err)) {
            fprintf(stderr, "%s: %s\n", who, err.msg);
            return OPTIONS_WRONG;
        }
    }
    if (argc - optind > max_args) {
        fprintf(stderr, "%s: unexpected argument '%s'\n", who, argv[optind + max_args]);
        return OPTIONS_WRONG;
    }
    *first = optind;
    return OPTIONS_OK;
}
