/*
 * API keys, by the running daemon; where none runs, in its database. A daemon of another user's
 * cannot be asked, and its database cannot be written either.
 */
#include "common/base/cleanup.h"
#include "orchestrator/cmd.h"
#include "orchestrator/node_command.h"
#include "orchestrator/store/keys.h"

#include <errno.h>
#include <string.h>

static const char help[] =
    "Usage: sandpit key create [--name NAME] [--team TEAM] [--data-dir DIR]\n"
    "       sandpit key list [--data-dir DIR]\n"
    "       sandpit key revoke ID [--data-dir DIR]\n"
    "\n"
    "API keys, whether a daemon runs or not; in force at once.\n"
    "create prints the key on standard output, and nothing else: it is shown this once and kept\n"
    "only as a hash. A team is made with its first key. ID is as list shows it, or its first 8\n"
    "characters or more.\n"
    "\n"
    "Example:\n"
    "    export E2B_API_KEY=$(sandpit key create --name ci --team ci)\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 called wrongly, 4 there is no such key.\n";

static const char *const settings[] = { "data-dir", NULL };

struct key_command {
    struct node_command n; /* its client is NULL when no daemon runs */
    struct db *db;         /* then this is not */
};

/* Parse, connect or open, or tell what to return instead: -1 is go on. */
static int begin(struct key_command *k, const char *who, int argc, char **argv,
                 const struct option_spec *specs, int max_args)
{
    struct config config;
    struct err err;
    k->n = (struct node_command){ .who = who };
    k->db = NULL;
    int rc = options_parse(&config, who, help, argc, argv, specs, settings, max_args, &k->n.first);
    if (rc >= 0)
        return rc;
    if (argc - k->n.first < max_args) {
        fprintf(stderr, "%s: which key? Give its ID; sandpit key list shows them\n", who);
        return CMD_USAGE;
    }
    rc = node_client_open(&k->n.client, config.data_dir, &err);
    if (rc == -ENOENT || rc == -ECONNREFUSED)
        rc = db_open(&k->db, config.data_dir, &err);
    return rc < 0 ? node_command_fail(who, &err) : -1;
}

static int end(struct key_command *k, int rc)
{
    if (k->db) {
        db_close(k->db);
        return rc == CMD_OK && fflush(stdout) != 0 ? CMD_FAILED : rc;
    }
    return node_command_end(&k->n, rc);
}

/* Of the database's functions: 0, or said. */
static int finish(const struct key_command *k, int rc, const struct err *err)
{
    return rc < 0 ? node_command_fail(k->n.who, err) : CMD_OK;
}

static int create_in_db(struct key_command *k, const char *name, const char *team)
{
    char key[KEY_SIZE];
    struct store_key record;
    struct store_team found;
    struct err err;
    int rc = db_team_ensure(k->db, team, &found, &err);
    if (rc == 0)
        rc = db_key_create(k->db, team, name, key, &record, &err);
    if (rc == 0)
        puts(key);
    explicit_bzero(key, sizeof(key));
    return finish(k, rc, &err);
}

static int create_by_daemon(struct key_command *k, const char *name, const char *team)
{
    Sandpit__Node__V1__CreateKeyRequest r = SANDPIT__NODE__V1__CREATE_KEY_REQUEST__INIT;
    const ProtobufCMessage *answer;
    r.name = (char *)(uintptr_t)name;
    r.team = (char *)(uintptr_t)(team ? team : "");
    int rc = node_command_call(&k->n, "/sandpit.node.v1.KeyService/Create", &r.base,
                               &sandpit__node__v1__create_key_response__descriptor, &answer);
    if (rc == CMD_OK)
        puts(((const Sandpit__Node__V1__CreateKeyResponse *)answer)->value);
    return rc;
}

static int create(int argc, char **argv)
{
    const char *name = "", *team = NULL;
    const struct option_spec specs[] = { { "name", &name, NULL },
                                         { "team", &team, NULL },
                                         { NULL } };
    struct key_command k;
    int rc = begin(&k, "sandpit key create", argc, argv, specs, 0);
    if (rc >= 0)
        return rc;
    return end(&k, k.db ? create_in_db(&k, name, team) : create_by_daemon(&k, name, team));
}

static void print_header(void)
{
    printf("%-38s%-16s%-12s%-22s%-22s%-9s%s\n", "ID", "KEY", "TEAM", "CREATED", "LAST USED",
           "STATUS", "NAME");
}

static void print_key(const Sandpit__Node__V1__Key *key)
{
    char created[NODE_TIME_SIZE], used[NODE_TIME_SIZE];
    node_command_time(key->created_at, created);
    node_command_time(key->last_used_at, used);
    printf("%-38s%-16s%-12s%-22s%-22s%-9s%s\n", key->id, key->mask, key->team, created,
           used[0] ? used : "never", key->revoked_at ? "revoked" : "valid", key->name);
}

/* The record as the daemon would tell it. */
static void print_record(void *user, const struct store_key *record)
{
    (void)user;
    Sandpit__Node__V1__Key key = SANDPIT__NODE__V1__KEY__INIT;
    Google__Protobuf__Timestamp created = GOOGLE__PROTOBUF__TIMESTAMP__INIT, used = created;
    char mask[32];
    snprintf(mask, sizeof(mask), "%s%s...%s", record->mask_prefix, record->mask_first,
             record->mask_last);
    created.seconds = record->created_ns / 1000000000;
    used.seconds = record->last_used_ns / 1000000000;
    key.id = (char *)(uintptr_t)record->id;
    key.mask = mask;
    key.team = (char *)(uintptr_t)record->team_slug;
    key.name = (char *)(uintptr_t)record->name;
    key.created_at = &created;
    key.last_used_at = record->last_used_ns ? &used : NULL;
    key.revoked_at = record->revoked_ns ? &used : NULL;
    print_key(&key);
}

static int list_by_daemon(struct key_command *k)
{
    Sandpit__Node__V1__ListKeysRequest r = SANDPIT__NODE__V1__LIST_KEYS_REQUEST__INIT;
    const ProtobufCMessage *answer;
    int rc = node_command_call(&k->n, "/sandpit.node.v1.KeyService/List", &r.base,
                               &sandpit__node__v1__list_keys_response__descriptor, &answer);
    if (rc != CMD_OK)
        return rc;
    const Sandpit__Node__V1__ListKeysResponse *all = (const void *)answer;
    print_header();
    for (size_t i = 0; i < all->n_keys; i++)
        print_key(all->keys[i]);
    return CMD_OK;
}

static int list(int argc, char **argv)
{
    struct key_command k;
    struct err err;
    int rc = begin(&k, "sandpit key list", argc, argv, NULL, 0);
    if (rc >= 0)
        return rc;
    if (!k.db)
        return end(&k, list_by_daemon(&k));
    print_header();
    rc = db_key_list(k.db, print_record, NULL, &err);
    return end(&k, finish(&k, rc, &err));
}

static int revoke_by_daemon(struct key_command *k, const char *id)
{
    Sandpit__Node__V1__RevokeKeyRequest r = SANDPIT__NODE__V1__REVOKE_KEY_REQUEST__INIT;
    const ProtobufCMessage *answer;
    r.id = (char *)(uintptr_t)id;
    int rc = node_command_call(&k->n, "/sandpit.node.v1.KeyService/Revoke", &r.base,
                               &sandpit__node__v1__revoke_key_response__descriptor, &answer);
    if (rc == CMD_OK)
        printf("revoked %s\n", ((const Sandpit__Node__V1__RevokeKeyResponse *)answer)->key->id);
    return rc;
}

static int revoke_key(int argc, char **argv)
{
    struct key_command k;
    struct store_key record;
    struct err err;
    int rc = begin(&k, "sandpit key revoke", argc, argv, NULL, 1);
    if (rc >= 0)
        return rc;
    if (!k.db)
        return end(&k, revoke_by_daemon(&k, argv[k.n.first]));
    rc = db_key_revoke(k.db, argv[k.n.first], &record, &err);
    if (rc == 0)
        printf("revoked %s\n", record.id);
    return end(&k, finish(&k, rc, &err));
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
