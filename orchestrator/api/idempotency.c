#include "orchestrator/api/idempotency.h"

#include "common/base/clock.h"
#include "common/base/sha256.h"
#include "orchestrator/api/respond.h"
#include "orchestrator/api/sandbox_json.h"

#include <stdio.h>

#define MISMATCH "idempotency_request_mismatch"
#define UNKNOWN  "idempotency_outcome_unknown"

/* A key, and what became of the request that brought it. */
struct idempotent {
    struct list node; /* of idempotency.oldest */
    char name[TEAM_ID_SIZE + 1 + IDEMPOTENCY_KEY_MAX];
    uint8_t request[SHA256_SIZE];
    int64_t began_ns;                 /* of the monotonic clock */
    json_t *answer;                   /* NULL: not yet, or of an earlier daemon */
    char sandbox_id[SANDBOX_ID_SIZE]; /* what an earlier daemon made; empty: this one */
    struct list waiting;
};

struct waiter {
    struct list node;
    struct api_call *call; /* a reference */
};

void idempotency_init(struct idempotency *i)
{
    *i = (struct idempotency){ 0 };
    list_init(&i->oldest);
}

static void forget(struct idempotency *i, struct idempotent *e)
{
    list_remove(&e->node);
    map_remove(&i->by_key, str_of(e->name));
    json_decref(e->answer);
    free(e);
}

void idempotency_deinit(struct idempotency *i)
{
    list_for_each_safe (node, &i->oldest)
        forget(i, container_of(node, struct idempotent, node));
    map_deinit(&i->by_key);
}

static struct idempotent *add(struct idempotency *i, const char *name, const uint8_t *request,
                              int64_t began_ns)
{
    struct idempotent *e = calloc(1, sizeof(*e));
    if (!e || !map_set(&i->by_key, str_of(name), e)) {
        free(e);
        return NULL;
    }
    snprintf(e->name, sizeof(e->name), "%s", name);
    memcpy(e->request, request, SHA256_SIZE);
    e->began_ns = began_ns;
    list_init(&e->waiting);
    list_push_back(&i->oldest, &e->node);
    return e;
}

static void on_known(void *user, const struct store_create_key *key, const char *sandbox_id)
{
    struct idempotency *i = user;
    char name[sizeof(((struct idempotent *)0)->name)];
    snprintf(name, sizeof(name), "%s/%s", key->team_id, key->key);
    struct idempotent *e =
        add(i, name, key->request, clock_mono_ns() - (clock_wall_ns() - key->when_ns));
    if (!e)
        abort(); /* at the start, with a few hundred bytes */
    snprintf(e->sandbox_id, sizeof(e->sandbox_id), "%s", sandbox_id);
}

int idempotency_load(struct idempotency *i, struct store *store, struct err *err)
{
    return store_create_key_load(store, clock_wall_ns() - IDEMPOTENCY_KEPT_NS, on_known, i, err);
}

/* Of those whose operation is over. */
static void forget_old(struct idempotency *i)
{
    int64_t since = clock_mono_ns() - IDEMPOTENCY_KEPT_NS;
    list_for_each_safe (node, &i->oldest) {
        struct idempotent *e = container_of(node, struct idempotent, node);
        if (e->began_ns > since && i->by_key.count < IDEMPOTENCY_KEPT)
            return;
        if (e->answer || e->sandbox_id[0])
            forget(i, e);
    }
}

static bool is_key(struct str key)
{
    for (size_t i = 0; i < key.n; i++)
        if (!strchr("abcdefghijklmnopqrstuvwxyz0123456789-", key.p[i]) || !key.p[i])
            return false;
    return key.n > 0 && key.n <= IDEMPOTENCY_KEY_MAX;
}

/* The path counts too: the versions of the API have other defaults. false: out of memory. */
static bool digest_request(const struct api_call *c, uint8_t out[static SHA256_SIZE])
{
    AUTO_FREE char *body = json_dumps(c->body, JSON_COMPACT | JSON_SORT_KEYS);
    struct sha256 s;
    if (!body)
        return false;
    sha256_init(&s);
    sha256_update(&s, c->r.path.p, c->r.path.n);
    sha256_update(&s, "\n", 1);
    sha256_update(&s, body, strlen(body));
    sha256_final(&s, out);
    return true;
}

static void wait_for(struct idempotent *e, struct api_call *c)
{
    struct waiter *w = malloc(sizeof(*w));
    if (!w) {
        api_fail(c, 500, "out of memory");
        return;
    }
    api_call_ref(c);
    w->call = c;
    list_push_back(&e->waiting, &w->node);
}

/* An earlier daemon made the sandbox. What it answered is told again; only what has ended meanwhile
 * is not known well enough for that. */
static void answer_of_sandbox(const struct idempotent *e, struct api_call *c)
{
    const struct api_options *o = &c->api->o;
    struct sandbox *sb = sandbox_lookup(o->host, e->sandbox_id, c->key.team_id);
    char text[128];
    if (sb) {
        api_respond(c, 201, sandbox_json(sb, o->config));
        return;
    }
    snprintf(text, sizeof(text), "the sandbox %s, which this Idempotency-Key made, has ended",
             e->sandbox_id);
    api_fail_code(c, 409, UNKNOWN, text);
}

static void have_answer(struct idempotent *e, struct api_call *c, const uint8_t *request)
{
    if (memcmp(e->request, request, SHA256_SIZE) != 0)
        api_fail_code(c, 422, MISMATCH, "this Idempotency-Key came with another request before");
    else if (e->answer)
        api_respond(c, 201, json_incref(e->answer));
    else if (e->sandbox_id[0])
        answer_of_sandbox(e, c);
    else
        wait_for(e, c);
}

bool idempotency_begin(struct api_call *c)
{
    struct idempotency *all = &c->api->idempotency;
    struct str key = http_field_get(c->r.head, "idempotency-key");
    uint8_t request[SHA256_SIZE];
    char name[sizeof(((struct idempotent *)0)->name)];
    if (!key.p)
        return true;
    key = str_trim(key);
    if (!is_key(key)) {
        api_fail(c, 400, "an Idempotency-Key is 1 to %d letters a-z, digits and hyphens",
                 IDEMPOTENCY_KEY_MAX);
        return false;
    }
    forget_old(all);
    snprintf(name, sizeof(name), "%s/%.*s", c->key.team_id, (int)key.n, key.p);
    struct idempotent *known = map_get(&all->by_key, str_of(name));
    bool digested = digest_request(c, request);
    if (known && digested) {
        have_answer(known, c, request);
        return false;
    }
    c->idempotent = digested ? add(all, name, request, clock_mono_ns()) : NULL;
    if (!c->idempotent)
        api_fail(c, 500, "out of memory");
    return c->idempotent != NULL;
}

void idempotency_record(const struct api_call *c, struct store_create_key *out)
{
    const struct idempotent *e = c->idempotent;
    *out = (struct store_create_key){ .when_ns = clock_wall_ns() };
    snprintf(out->team_id, sizeof(out->team_id), "%s", c->key.team_id);
    snprintf(out->key, sizeof(out->key), "%s", e->name + strlen(c->key.team_id) + 1);
    memcpy(out->request, e->request, sizeof(out->request));
}

void idempotency_end(struct api_call *c, json_t *body, const struct sandbox_timings *t,
                     const struct err *err)
{
    struct idempotent *e = TAKE(c->idempotent);
    if (!e)
        return;
    list_for_each_safe (node, &e->waiting) {
        struct waiter *w = container_of(node, struct waiter, node);
        if (err)
            api_fail_err(w->call, err);
        else
            api_respond_timed(w->call, 201, json_incref(body), t);
        api_call_unref(w->call);
        free(w);
    }
    list_init(&e->waiting);
    if (body)
        e->answer = json_incref(body);
    else
        forget(&c->api->idempotency, e);
}
