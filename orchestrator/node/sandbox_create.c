/* SandboxService.Create: check the request, look the team up, hand it to the sandbox layer. */
#include "common/base/cleanup.h"
#include "orchestrator/node/service.h"

#include <errno.h>
#include <string.h>

#define METADATA_MAX 262144  /* bytes of names and values */
#define ENVS_MAX     1048576 /* a process's environment takes no more */

typedef Sandpit__Node__V1__CreateSandboxRequest request;

struct create_job {
    struct store_job job;
    struct node_call *call;
    struct store_team team;
    struct sandbox_spec spec;
    struct err err;
    int rc;
};

/* In the request, both kinds of entries have the same form. */
static int add_text(json_t *object, const char *what, const char *key, const char *value,
                    size_t max, size_t *bytes, struct err *err)
{
    *bytes += strlen(key) + strlen(value);
    if (*bytes > max)
        return err_set(err, ERR_INVALID, E2BIG, "%s must have at most %zu bytes", what, max);
    if (json_object_set_new(object, key, json_string(value)) < 0)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    return 0;
}

static int read_metadata(const request *r, struct sandbox_spec *spec, struct err *err)
{
    size_t bytes = 0;
    int rc = 0;
    spec->metadata = json_object();
    for (size_t i = 0; rc == 0 && i < r->n_metadata; i++)
        rc = add_text(spec->metadata, "metadata", r->metadata[i]->key, r->metadata[i]->value,
                      METADATA_MAX, &bytes, err);
    return rc;
}

static int read_envs(const request *r, struct sandbox_spec *spec, struct err *err)
{
    size_t bytes = 0;
    int rc = 0;
    spec->envs = json_object();
    for (size_t i = 0; rc == 0 && i < r->n_envs; i++) {
        const char *name = r->envs[i]->key;
        if (!name[0] || strchr(name, '='))
            return err_set(err, ERR_INVALID, EINVAL,
                           "'%.64s' is no name for an environment variable", name);
        rc = add_text(spec->envs, "envs", name, r->envs[i]->value, ENVS_MAX, &bytes, err);
    }
    return rc;
}

/* What answers of the REST API echo; the sandbox layer adds its lifecycle. */
static int make_config(struct sandbox_spec *spec, struct err *err)
{
    spec->config = json_object();
    if (spec->config && !spec->allow_public_traffic)
        json_object_set_new(spec->config, "network", json_pack("{s:b}", "allowPublicTraffic", 0));
    return spec->config ? 0 : err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
}

static int read_lifecycle(const request *r, struct sandbox_spec *spec, struct err *err)
{
    spec->auto_pause = r->auto_pause;
    spec->auto_pause_memory = r->_auto_pause_memory_case ? r->auto_pause_memory : true;
    spec->auto_resume = r->auto_resume;
    if (!spec->auto_pause_memory && (!spec->auto_pause || spec->auto_resume))
        return err_set(err, ERR_INVALID, EINVAL,
                       "auto_pause_memory: false needs auto_pause and no auto_resume");
    return 0;
}

static int read_spec(const request *r, const struct config *config, struct sandbox_spec *spec,
                     struct err *err)
{
    struct template_ref ref;
    int rc = template_ref_parse(r->template_, &ref, err);
    if (rc)
        return rc;
    spec->template_ref = r->template_;
    spec->actor = NODE_ACTOR;
    spec->timeout_s = r->_timeout_s_case ? r->timeout_s : config->default_timeout_s;
    spec->secure = r->_secure_case ? r->secure : true;
    spec->allow_public_traffic = r->_public_traffic_case ? r->public_traffic : true;
    if (spec->timeout_s < 1 || spec->timeout_s > config->max_lifetime_s)
        return err_set(err, ERR_INVALID, EINVAL, "timeout_s must be from 1 to %u",
                       config->max_lifetime_s);
    if (!spec->allow_public_traffic && !spec->secure)
        return err_set(err, ERR_INVALID, EINVAL, "public_traffic: false needs a secure sandbox");
    rc = read_lifecycle(r, spec, err);
    if (rc == 0)
        rc = read_metadata(r, spec, err);
    if (rc == 0)
        rc = read_envs(r, spec, err);
    return rc ? rc : make_config(spec, err);
}

static void release(struct sandbox_spec *spec)
{
    json_decref(spec->metadata);
    json_decref(spec->envs);
    json_decref(spec->config);
}

static void on_created(void *user, struct sandbox *sb, const struct sandbox_timings *timings,
                       const struct err *err)
{
    (void)timings;
    struct node_call *c = user;
    Sandpit__Node__V1__CreateSandboxResponse answer =
        SANDPIT__NODE__V1__CREATE_SANDBOX_RESPONSE__INIT;
    if (err) {
        node_call_fail(c, err);
        return;
    }
    answer.sandbox = message_sandbox(&c->arena, sb);
    answer.tokens = message_tokens(&c->arena, sb);
    node_call_reply(c, &answer.base);
}

static void find_team(struct store_job *job, struct db *db)
{
    struct create_job *j = container_of(job, struct create_job, job);
    const request *r = (const void *)j->call->request;
    j->rc = db_team_find(db, text_or_null(r->team), &j->team, &j->err);
}

static void on_team(struct store_job *job)
{
    struct create_job *j = container_of(job, struct create_job, job);
    j->spec.team_id = j->team.id;
    if (j->rc)
        node_call_fail(j->call, &j->err);
    else
        sandbox_create(node_of(j->call)->o.host, &j->spec, on_created, j->call);
    release(&j->spec);
    free(j);
}

void sandbox_service_create(struct node_call *c)
{
    struct create_job *j = calloc(1, sizeof(*j));
    struct err err;
    int rc = j ? read_spec((const void *)c->request, node_of(c)->o.config, &j->spec, &err)
               : err_set(&err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    if (rc) {
        node_call_fail(c, &err);
        if (j)
            release(&j->spec);
        free(j);
        return;
    }
    j->call = c;
    j->job = (struct store_job){ .work = find_team, .done = on_team };
    store_run(node_of(c)->o.store, &j->job);
}
