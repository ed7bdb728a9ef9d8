#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "orchestrator/cmd.h"
#include "orchestrator/options.h"
#include "orchestrator/store/keys.h"

#include <errno.h>
#include <string.h>

static const char help[] =
    "Usage: sandpit key create [--name NAME] [--team TEAM] [--data-dir DIR]\n"
    "       sandpit key list [--data-dir DIR]\n"
    "       sandpit key revoke ID [--data-dir DIR]\n"
    "\n"
    "API keys, in the database; safe beside a running daemon, and in force at once.\n"
    "create prints the key on standard output, and nothing else: it is shown this once and kept\n"
    "only as a hash. A team is made with its first key. ID is as list shows it, or its first 8\n"
    "characters or more.\n";

static const char *const settings[] = { "data-dir", NULL };

/* Parse, open, or tell what to return instead: -1 is go on. */
static int begin(const char *who, int argc, char **argv, const struct option_spec *specs,
                 int max_args, int *first, struct db **db)
{
    struct config config;
    struct err err;
    switch (options_parse(&config, who, argc, argv, specs, settings, max_args, first)) {
    case OPTIONS_HELP:
        fputs(help, stdout);
        return CMD_OK;
    case OPTIONS_WRONG:
        return CMD_USAGE;
    case OPTIONS_OK:
        break;
    }
    if (argc - *first < max_args) {
        fprintf(stderr, "%s: which key? Give its ID; sandpit key list shows them\n", who);
        return CMD_USAGE;
    }
    if (db_open(db, config.data_dir, &err)) {
        fprintf(stderr, "%s: %s\n", who, err.msg);
        return CMD_FAILED;
    }
    return -1;
}

/* A team begins with its first key. */
static int ensure_team(struct db *db, const char *team, struct err *err)
{
    struct store_team found;
    int rc = db_team_find(db, team, &found, err);
    return rc == -ENOENT && team ? db_team_create(db, NULL, team, team, err) : rc;
}

static int create(int argc, char **argv)
{
    const char *name = "", *team = NULL;
    const struct option_spec specs[] = { { "name", &name, NULL },
                                         { "team", &team, NULL },
                                         { NULL, NULL, NULL } };
    int first;
    struct db *db = NULL;
    int rc = begin("sandpit key create", argc, argv, specs, 0, &first, &db);
    if (rc >= 0)
        return rc;
    char key[KEY_SIZE];
    struct store_key record;
    struct err err;
    rc = ensure_team(db, team, &err);
    if (rc == 0)
        rc = db_key_create(db, team, name, key, &record, &err);
    db_close(db);
    if (rc) {
        fprintf(stderr, "sandpit key create: %s\n", err.msg);
        return CMD_FAILED;
    }
    puts(key);
    explicit_bzero(key, sizeof(key));
    return fflush(stdout) == 0 ? CMD_OK : CMD_FAILED;
}

/* Seconds are enough for a person. */
static void print_time(int64_t ns, const char *never)
{
    char text[CLOCK_TEXT_MAX];
    if (ns)
        clock_rfc3339(ns - ns % 1000000000, text);
    printf("%-22s", ns ? text : never);
}

static void print_key(void *user, const struct store_key *key)
{
    (void)user;
    char mask[32];
    snprintf(mask, sizeof(mask), "%s%s...%s", key->mask_prefix, key->mask_first, key->mask_last);
    printf("%-38s%-16s%-12s", key->id, mask, key->team_slug);
    print_time(key->created_ns, "");
    print_time(key->last_used_ns, "never");
    printf("%-9s%s\n", key->revoked_ns ? "revoked" : "valid", key->name);
}

static int list(int argc, char **argv)
{
    int first;
    struct db *db = NULL;
    int rc = begin("sandpit key list", argc, argv, NULL, 0, &first, &db);
    if (rc >= 0)
        return rc;
    printf("%-38s%-16s%-12s%-22s%-22s%-9s%s\n", "ID", "KEY", "TEAM", "CREATED", "LAST USED",
           "STATUS", "NAME");
    struct err err;
    rc = db_key_list(db, print_key, NULL, &err);
    db_close(db);
    if (rc)
        fprintf(stderr, "sandpit key list: %s\n", err.msg);
    return rc ? CMD_FAILED : CMD_OK;
}

static int revoke_key(int argc, char **argv)
{
    int first;
    struct db *db = NULL;
    int rc = begin("sandpit key revoke", argc, argv, NULL, 1, &first, &db);
    if (rc >= 0)
        return rc;
    struct err err;
    struct store_key record;
    rc = db_key_revoke(db, argv[first], &record, &err);
    db_close(db);
    if (rc) {
        fprintf(stderr, "sandpit key revoke: %s\n", err.msg);
        return CMD_FAILED;
    }
    printf("revoked %s\n", record.id);
    return CMD_OK;
}

int cmd_key(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "create") == 0)
        return create(argc - 1, argv + 1);
    if (strcmp(what, "list") == 0)
        return list(argc - 1, argv + 1);
    if (strcmp(what, "revoke") == 0)
        return revoke_key(argc - 1, argv + 1);
    bool asked = strcmp(what, "--help") == 0 || strcmp(what, "-h") == 0;
    fputs(help, asked ? stdout : stderr);
    return asked ? CMD_OK : CMD_USAGE;
}
