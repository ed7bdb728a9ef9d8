#include "orchestrator/options.h"

#include "common/base/cleanup.h"
#include "orchestrator/cmd.h"

#include <getopt.h>
#include <string.h>

#define OPTIONS_MAX 16

/* What getopt gives for a flag of our own, and for a setting. */
#define OWN     256
#define SETTING 257

static void add_options(struct option *out, char *letters, const struct option_spec *specs,
                        const char *const *settings)
{
    size_t n = 0, l = 0;
    letters[l++] = ':'; /* a missing value is told from an unknown flag */
    letters[l++] = 'h';
    for (; specs && specs[n].name && n < OPTIONS_MAX; n++) {
        out[n] = (struct option){ .name = specs[n].name,
                                  .has_arg = specs[n].text ? required_argument : no_argument,
                                  .val = OWN };
        if (specs[n].letter)
            letters[l++] = specs[n].letter; /* switches only have one */
    }
    for (size_t i = 0; settings && settings[i] && n < OPTIONS_MAX; i++)
        out[n++] =
            (struct option){ .name = settings[i], .has_arg = required_argument, .val = SETTING };
    out[n] = (struct option){ .name = "help", .val = 'h' };
    letters[l] = '\0';
}

/* The flag with this short form; NULL when there is none. */
static const struct option_spec *by_letter(const struct option_spec *specs, int letter)
{
    for (; specs && specs->name; specs++)
        if (specs->letter && specs->letter == letter)
            return specs;
    return NULL;
}

int options_parse(struct config *config, const char *who, const char *help, int argc, char **argv,
                  const struct option_spec *specs, const char *const *settings, int max_args,
                  int *first)
{
    struct err err;
    struct option options[OPTIONS_MAX + 2] = { 0 };
    char letters[OPTIONS_MAX + 3];
    add_options(options, letters, specs, settings);
    config_defaults(config);
    if (config_from_env(config, &err)) {
        fprintf(stderr, "%s: %s\n", who, err.msg);
        return CMD_USAGE;
    }
    optind = 0;
    opterr = 0;
    int got, index;
    while ((got = getopt_long(argc, argv, letters, options, &index)) != -1) {
        if (got == 'h') {
            fputs(help, stdout);
            return CMD_OK;
        }
        if (got == '?' || got == ':') {
            fprintf(stderr, got == '?' ? "%s: unknown option '%s'\n" : "%s: '%s' needs a value\n",
                    who, argv[optind - 1]);
            return CMD_USAGE;
        }
        const struct option_spec *short_form = by_letter(specs, got);
        if (short_form) {
            *short_form->on = true;
        } else if (got == OWN) {
            if (specs[index].text)
                *specs[index].text = optarg;
            else
                *specs[index].on = true;
        } else if (config_set(config, options[index].name, optarg, &err)) {
            fprintf(stderr, "%s: %s\n", who, err.msg);
            return CMD_USAGE;
        }
    }
    if (argc - optind > max_args) {
        fprintf(stderr, "%s: unexpected argument '%s'\n", who, argv[optind + max_args]);
        return CMD_USAGE;
    }
    *first = optind;
    return -1;
}
