/* KeyService: each call is one job of the store's worker. */
#include "common/base/cleanup.h"
#include "orchestrator/node/service.h"

#include <string.h>

struct key_job {
    struct store_job job;
    struct node_call *call;
    struct store_key key;
    char value[KEY_SIZE]; /* of a new one */
    size_t nkeys;
    Sandpit__Node__V1__Key **keys; /* of a list; in the call's arena, as all of it is */
    struct err err;
    int rc;
};

/* The arena is the worker's as long as the job is. */
static void start(struct node_call *c, void (*work)(struct store_job *job, struct db *db),
                  void (*done)(struct store_job *job))
{
    struct key_job *k = arena_zalloc(&c->arena, sizeof(*k));
    if (!k) {
        struct err err;
        err_fill(&err, ERR_EXHAUSTED, "out of memory");
        node_call_fail(c, &err);
        return;
    }
    k->call = c;
    k->job = (struct store_job){ .work = work, .done = done };
    store_run(node_of(c)->o.store, &k->job);
}

static Sandpit__Node__V1__Key *message_key(struct arena *a, const struct store_key *key)
{
    Sandpit__Node__V1__Key *m = arena_alloc(a, sizeof(*m));
    if (!m)
        return NULL;
    sandpit__node__v1__key__init(m);
    m->id = arena_dup(a, str_of(key->id));
    m->mask = arena_printf(a, "%s%s...%s", key->mask_prefix, key->mask_first, key->mask_last);
    m->team = arena_dup(a, str_of(key->team_slug));
    m->name = arena_dup(a, str_of(key->name));
    m->created_at = message_time(a, key->created_ns);
    if (key->last_used_ns)
        m->last_used_at = message_time(a, key->last_used_ns);
    if (key->revoked_ns)
        m->revoked_at = message_time(a, key->revoked_ns);
    return m;
}

static void work_create(struct store_job *job, struct db *db)
{
    struct key_job *k = container_of(job, struct key_job, job);
    const Sandpit__Node__V1__CreateKeyRequest *r = (const void *)k->call->request;
    const char *team = text_or_null(r->team);
    struct store_team found;
    k->rc = db_team_ensure(db, team, &found, &k->err);
    if (k->rc == 0)
        k->rc = db_key_create(db, team, r->name, k->value, &k->key, &k->err);
}

static void on_created(struct store_job *job)
{
    struct key_job *k = container_of(job, struct key_job, job);
    Sandpit__Node__V1__CreateKeyResponse answer = SANDPIT__NODE__V1__CREATE_KEY_RESPONSE__INIT;
    if (k->rc) {
        node_call_fail(k->call, &k->err);
        return;
    }
    answer.key = message_key(&k->call->arena, &k->key);
    answer.value = k->value;
    node_call_reply(k->call, &answer.base);
    explicit_bzero(k->value, sizeof(k->value));
}

void key_create(struct node_call *c)
{
    start(c, work_create, on_created);
}

static void count(void *user, const struct store_key *key)
{
    struct key_job *k = user;
    (void)key;
    k->nkeys++;
}

static void collect(void *user, const struct store_key *key)
{
    struct key_job *k = user;
    Sandpit__Node__V1__Key *m = message_key(&k->call->arena, key);
    if (m)
        k->keys[k->nkeys++] = m;
}

static void work_list(struct store_job *job, struct db *db)
{
    struct key_job *k = container_of(job, struct key_job, job);
    k->rc = db_key_list(db, count, k, &k->err);
    if (k->rc)
        return;
    k->keys =
        arena_alloc(&k->call->arena, (k->nkeys + 1) * sizeof(struct Sandpit__Node__V1__Key *));
    k->nkeys = 0;
    if (k->keys)
        k->rc = db_key_list(db, collect, k, &k->err);
    else
        k->rc = err_set(&k->err, ERR_EXHAUSTED, ENOMEM, "out of memory");
}

static void on_listed(struct store_job *job)
{
    struct key_job *k = container_of(job, struct key_job, job);
    Sandpit__Node__V1__ListKeysResponse answer = SANDPIT__NODE__V1__LIST_KEYS_RESPONSE__INIT;
    answer.n_keys = k->nkeys;
    answer.keys = k->keys;
    if (k->rc)
        node_call_fail(k->call, &k->err);
    else
        node_call_reply(k->call, &answer.base);
}

void key_list(struct node_call *c)
{
    start(c, work_list, on_listed);
}

static void work_revoke(struct store_job *job, struct db *db)
{
    struct key_job *k = container_of(job, struct key_job, job);
    const Sandpit__Node__V1__RevokeKeyRequest *r = (const void *)k->call->request;
    k->rc = db_key_revoke(db, r->id, &k->key, &k->err);
}

static void on_revoked(struct store_job *job)
{
    struct key_job *k = container_of(job, struct key_job, job);
    Sandpit__Node__V1__RevokeKeyResponse answer = SANDPIT__NODE__V1__REVOKE_KEY_RESPONSE__INIT;
    if (k->rc) {
        node_call_fail(k->call, &k->err);
        return;
    }
    answer.key = message_key(&k->call->arena, &k->key);
    node_call_reply(k->call, &answer.base);
}

void key_revoke(struct node_call *c)
{
    start(c, work_revoke, on_revoked);
}
