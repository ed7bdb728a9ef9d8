#include "fake_host.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>

#define TO_ANY                                                                                     \
    (SM_TO(SANDBOX_RUNNING) | SM_TO(SANDBOX_PAUSING) | SM_TO(SANDBOX_PAUSED) |                     \
     SM_TO(SANDBOX_RESUMING) | SM_TO(SANDBOX_KILLING))

static const struct sm_rule rules[SANDBOX_NR] = {
    [SANDBOX_CREATING] = { "creating", SM_TO(SANDBOX_RUNNING) },
    [SANDBOX_RUNNING] = { "running", TO_ANY },
    [SANDBOX_PAUSING] = { "pausing", TO_ANY },
    [SANDBOX_PAUSED] = { "paused", TO_ANY },
    [SANDBOX_RESUMING] = { "resuming", TO_ANY },
    [SANDBOX_KILLING] = { "killing", SM_TO(SANDBOX_ENDED) },
    [SANDBOX_ENDED] = { "ended", 0 },
};

void fake_host_init(struct sandbox_host *h, const struct config *config, struct store *store,
                    struct defer_queue *defer)
{
    *h = (struct sandbox_host){ .config = config, .store = store, .defer = defer };
    list_init(&h->running);
    list_init(&h->paused);
}

static void forget_asked(struct sandbox_host *h)
{
    json_decref(h->asked.envs);
    json_decref(h->asked.metadata);
    json_decref(h->asked.config);
    h->asked.envs = h->asked.metadata = h->asked.config = NULL;
}

static void remove_one(struct sandbox *sb)
{
    sb->host->count -= sm_state(&sb->sm) == SANDBOX_RUNNING;
    list_remove(&sb->node);
    sandbox_unref(sb);
}

void fake_host_clear(struct sandbox_host *h)
{
    list_for_each_safe (node, &h->running)
        remove_one(container_of(node, struct sandbox, node));
    list_for_each_safe (node, &h->paused)
        remove_one(container_of(node, struct sandbox, node));
}

void fake_host_move(struct sandbox *sb, enum sandbox_state state)
{
    struct sandbox_host *h = sb->host;
    h->count -= sm_state(&sb->sm) == SANDBOX_RUNNING;
    list_remove(&sb->node);
    sm_move(&sb->sm, (int)state);
    list_push_back(state == SANDBOX_RUNNING ? &h->running : &h->paused, &sb->node);
    h->count += state == SANDBOX_RUNNING;
}

struct err fake_host_take_failure(struct sandbox_host *h)
{
    struct err err = h->fail;
    h->fail = (struct err){ 0 };
    return err;
}

void fake_host_deinit(struct sandbox_host *h)
{
    assert(!h->held);
    fake_host_clear(h);
    forget_asked(h);
}

struct sandbox *fake_host_add(struct sandbox_host *h, const char *id, const char *team_id,
                              int64_t started_ns, json_t *metadata)
{
    struct sandbox *sb = calloc(1, sizeof(*sb));
    assert(sb);
    snprintf(sb->id, sizeof(sb->id), "%s", id);
    snprintf(sb->team_id, sizeof(sb->team_id), "%s", team_id);
    snprintf(sb->template_id, sizeof(sb->template_id), "tttttttttttttttttttt");
    snprintf(sb->alias, sizeof(sb->alias), "base");
    snprintf(sb->envd_version, sizeof(sb->envd_version), "0.6.13");
    sb->started_ns = started_ns;
    sb->end_ns = started_ns + INT64_C(300000000000);
    sb->vcpus = 1;
    sb->memory_mb = 512;
    sb->disk_mb = 4096;
    sb->secure = true;
    sb->metadata = metadata ? metadata : json_object();
    sb->config = json_object();
    snprintf(sb->envd_token, sizeof(sb->envd_token), "token-of-%s", id);
    sb->host = h;
    sb->refs = 1;
    sm_init(&sb->sm, "sandbox", id, rules, SANDBOX_CREATING);
    sm_move(&sb->sm, SANDBOX_RUNNING);
    list_push_back(&h->running, &sb->node);
    h->count++;
    return sb;
}

void sandbox_ref(struct sandbox *sb)
{
    sb->refs++;
}

void sandbox_unref(struct sandbox *sb)
{
    if (--sb->refs)
        return;
    json_decref(sb->metadata);
    json_decref(sb->config);
    free(sb);
}

struct fake_create {
    struct sandbox_host *host;
    struct deferred step;
    struct err err;
    struct store_build build;
    json_t *metadata, *config;
    char team_id[TEAM_ID_SIZE];
    unsigned timeout_s;
    bool secure, public_traffic, auto_pause, auto_pause_memory, auto_resume;
    sandbox_created_cb done;
    void *user;
};

static void finish(struct deferred *d)
{
    struct fake_create *op = container_of(d, struct fake_create, step);
    struct sandbox_host *h = op->host;
    if (op->err.code) {
        op->done(op->user, NULL, &h->timings, &op->err);
    } else {
        char id[SANDBOX_ID_SIZE];
        snprintf(id, sizeof(id), "i%020u", h->next_id++);
        struct sandbox *sb =
            fake_host_add(h, id, op->team_id, clock_wall_ns(), json_incref(op->metadata));
        json_decref(sb->config);
        sb->config = json_incref(op->config);
        sb->end_ns = sb->started_ns + (int64_t)op->timeout_s * 1000000000;
        memcpy(sb->template_id, op->build.template_id, sizeof(sb->template_id));
        sb->auto_pause = op->auto_pause;
        sb->auto_pause_memory = op->auto_pause_memory;
        sb->auto_resume = op->auto_resume;
        if (!op->secure)
            sb->envd_token[0] = '\0';
        if (!op->public_traffic)
            snprintf(sb->traffic_token, sizeof(sb->traffic_token), "traffic-of-%s", id);
        op->done(op->user, sb, &h->timings, NULL);
    }
    json_decref(op->metadata);
    json_decref(op->config);
    free(op);
}

static void on_template(void *user, const struct store_build *build, const struct err *err)
{
    struct fake_create *op = user;
    if (build)
        op->build = *build;
    if (err && !op->err.code)
        op->err = *err;
    if (op->host->hold && !op->host->held)
        op->host->held = op;
    else
        finish(&op->step);
}

void fake_host_release(struct sandbox_host *h)
{
    h->hold = false;
    if (h->held)
        defer(h->defer, &TAKE(h->held)->step, finish);
}

void sandbox_create(struct sandbox_host *h, const struct sandbox_spec *spec,
                    sandbox_created_cb done, void *user)
{
    struct fake_create *op = calloc(1, sizeof(*op));
    assert(op);
    forget_asked(h);
    h->asked.timeout_s = spec->timeout_s;
    h->asked.secure = spec->secure;
    h->asked.public_traffic = spec->allow_public_traffic;
    h->asked.auto_pause = spec->auto_pause;
    h->asked.auto_pause_memory = spec->auto_pause_memory;
    h->asked.auto_resume = spec->auto_resume;
    snprintf(h->asked.actor, sizeof(h->asked.actor), "%s", spec->actor);
    snprintf(h->asked.team_id, sizeof(h->asked.team_id), "%s", spec->team_id);
    snprintf(h->asked.template_ref, sizeof(h->asked.template_ref), "%s", spec->template_ref);
    h->asked.create_key = spec->create_key ? *spec->create_key : (struct store_create_key){ 0 };
    h->asked.envs = json_incref(spec->envs);
    h->asked.metadata = json_incref(spec->metadata);
    h->asked.config = json_incref(spec->config);

    op->host = h;
    op->metadata = spec->metadata ? json_incref(spec->metadata) : json_object();
    op->config = spec->config ? json_incref(spec->config) : json_object();
    memcpy(op->team_id, spec->team_id, sizeof(op->team_id));
    op->timeout_s = spec->timeout_s;
    op->secure = spec->secure;
    op->auto_pause = spec->auto_pause;
    op->auto_pause_memory = spec->auto_pause_memory;
    op->auto_resume = spec->auto_resume;
    op->public_traffic = spec->allow_public_traffic;
    op->done = done;
    op->user = user;
    op->err = fake_host_take_failure(h);
    if (h->count >= FAKE_MAX && !op->err.code)
        err_fill(&op->err, ERR_EXHAUSTED,
                 "you have reached the maximum number of concurrent E2B sandboxes (%d)", FAKE_MAX);
    store_template_find(h->store, spec->template_ref, spec->team_id, on_template, op);
}

static struct sandbox *find_on(struct list *list, const char *id, const char *team_id)
{
    list_for_each (node, list) {
        struct sandbox *sb = container_of(node, struct sandbox, node);
        if (strcmp(sb->id, id) == 0 && (!team_id || strcmp(sb->team_id, team_id) == 0))
            return sb;
    }
    return NULL;
}

struct sandbox *sandbox_find(struct sandbox_host *h, const char *id, const char *team_id)
{
    return find_on(&h->running, id, team_id);
}

struct sandbox *sandbox_lookup(struct sandbox_host *h, const char *id, const char *team_id)
{
    struct sandbox *sb = sandbox_find(h, id, team_id);
    return sb ? sb : find_on(&h->paused, id, team_id);
}

struct fake_kill {
    struct deferred step;
    bool found;
    void (*done)(void *user, const struct err *err);
    void *user;
};

static void on_kill(struct deferred *d)
{
    struct fake_kill *k = container_of(d, struct fake_kill, step);
    const struct err gone = { .code = ERR_NOT_FOUND };
    k->done(k->user, k->found ? NULL : &gone);
    free(k);
}

void sandbox_kill(struct sandbox_host *h, const char *id, const char *team_id, const char *actor,
                  void (*done)(void *user, const struct err *err), void *user)
{
    struct sandbox *sb = sandbox_lookup(h, id, team_id);
    struct fake_kill *k = calloc(1, sizeof(*k));
    assert(k && actor);
    snprintf(h->asked.actor, sizeof(h->asked.actor), "%s", actor);
    *k = (struct fake_kill){ .found = sb != NULL, .done = done, .user = user };
    if (sb)
        remove_one(sb);
    defer(h->defer, &k->step, on_kill);
}

int sandbox_set_timeout(struct sandbox *sb, int64_t timeout_s, bool extend_only, struct err *err)
{
    int64_t now = clock_wall_ns();
    int64_t end = now + (timeout_s > 0 ? timeout_s : 0) * 1000000000;
    int64_t began = sb->host->run_began_ns ? sb->host->run_began_ns : sb->started_ns;
    int64_t longest = began + (int64_t)sb->host->config->max_lifetime_s * 1000000000;
    if (extend_only && end > longest)
        end = longest;
    if (end > longest || timeout_s > (int64_t)sb->host->config->max_lifetime_s)
        return err_set(err, ERR_INVALID, EINVAL, "Max instance length exceeded");
    if (!extend_only || end > sb->end_ns)
        sb->end_ns = end;
    return 0;
}

void sandbox_host_watch(struct sandbox_host *h, struct sandbox_watcher *w)
{
    list_init(&w->node); /* which the owner removes */
    h->watcher = w;
}

struct list *sandbox_host_list(struct sandbox_host *h)
{
    return &h->running;
}

struct list *sandbox_host_list_paused(struct sandbox_host *h)
{
    return &h->paused;
}

size_t sandbox_host_count(struct sandbox_host *h, const char *team_id)
{
    size_t n = 0;
    list_for_each (node, &h->running) {
        const struct sandbox *sb = container_of(node, struct sandbox, node);
        n += !team_id || strcmp(sb->team_id, team_id) == 0;
    }
    return n;
}

unsigned sandbox_host_vcpus(const struct sandbox_host *h)
{
    return h->config->vcpus ? h->config->vcpus : 1;
}
