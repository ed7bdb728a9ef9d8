#include "common/base/cleanup.h"
#include "orchestrator/cmd.h"
#include "orchestrator/options.h"
#include "orchestrator/store/keys.h"

#include <string.h>

static const char help[] =
    "Usage: sandpit env [--key KEY | --create] [--host ADDRESS] [--api-port PORT]\n"
    "                   [--proxy-port PORT] [--domain NAME] [--data-dir DIR]\n"
    "\n"
    "Print the exports that a client on this machine needs, for the shell.\n"
    "--create makes a new API key; without it and --key no E2B_API_KEY is printed.\n"
    "\n"
    "Example:\n"
    "    eval \"$(sandpit env --create)\"\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 called wrongly.\n";

/* One line for the shell; the value in single quotes, those inside it as '\''. */
static void print_export(const char *name, const char *value)
{
    printf("export %s='", name);
    for (const char *p = value; *p; p++) {
        if (*p == '\'')
            fputs("'\\''", stdout);
        else
            putchar(*p);
    }
    puts("'");
}

/* Where a client on this machine reaches a listener. */
static void print_url(const char *name, const struct config *c, unsigned port)
{
    const char *host = c->host;
    if (strcmp(host, "0.0.0.0") == 0)
        host = "127.0.0.1";
    else if (strcmp(host, "::") == 0)
        host = "::1";
    bool v6 = strchr(host, ':') != NULL;
    char url[128];
    snprintf(url, sizeof(url), "http://%s%s%s:%u", v6 ? "[" : "", host, v6 ? "]" : "", port);
    print_export(name, url);
}

static int create_key(const struct config *c, char key[static KEY_SIZE], struct err *err)
{
    struct db *db;
    struct store_key record;
    int rc = db_open(&db, c->data_dir, err);
    if (rc)
        return rc;
    rc = db_key_create(db, NULL, "sandpit env", key, &record, err);
    db_close(db);
    return rc;
}

int cmd_env(int argc, char **argv)
{
    const char *key = NULL;
    bool create = false;
    const struct option_spec specs[] = { { "key", &key, NULL },
                                         { "create", NULL, &create },
                                         { NULL, NULL, NULL } };
    static const char *const settings[] = { "data-dir",   "host",   "api-port",
                                            "proxy-port", "domain", NULL };
    struct config config;
    struct err err;
    int first;
    int rc = options_parse(&config, "sandpit env", help, argc, argv, specs, settings, 0, &first);
    if (rc >= 0)
        return rc;
    if (key && create) {
        fputs("sandpit env: give --key or --create, not both\n", stderr);
        return CMD_USAGE;
    }
    char made[KEY_SIZE];
    if (create) {
        if (create_key(&config, made, &err)) {
            fprintf(stderr, "sandpit env: %s\n", err.msg);
            return CMD_FAILED;
        }
        key = made;
    }
    if (key)
        print_export("E2B_API_KEY", key);
    print_url("E2B_API_URL", &config, config.api_port);
    print_url("E2B_SANDBOX_URL", &config, config.proxy_port);
    if (strcmp(config.domain, "none") != 0)
        print_export("E2B_DOMAIN", config.domain);
    return fflush(stdout) == 0 ? CMD_OK : CMD_FAILED;
}
