#include "orchestrator/store/templates.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "orchestrator/api/parse.h"
#include "orchestrator/api/respond.h"
#include "orchestrator/api/routes.h"

struct listing {
    struct store_job job;
    struct api_call *call;
    json_t *list;
    struct err err;
    int rc;
};

static void set(json_t *obj, const char *name, json_t *value)
{
    json_object_set_new(obj, name, value);
}

static void set_time(json_t *obj, const char *name, int64_t ns)
{
    char text[CLOCK_TEXT_MAX];
    clock_rfc3339(ns, text);
    set(obj, name, ns ? json_string(text) : json_null());
}

/* The operator's templates have a bare name, a team's have the team's slug before it. */
static json_t *names_of(const struct store_template *t)
{
    if (!t->name[0])
        return json_array();
    if (!t->team_id[0])
        return json_pack("[s]", t->name);
    return json_pack("[s++]", t->team_slug, "/", t->name);
}

/* On the store's worker: the list belongs to it until the job is done. */
static void add(void *user, const struct store_template *t, const struct store_build *build)
{
    struct listing *l = user;
    const struct api_options *o = &l->call->api->o;
    if (!build)
        return; /* nothing to create a sandbox from yet */
    json_t *obj = json_pack("{s:s, s:s, s:b, s:o, s:o, s:n, s:I, s:I, s:s, s:s}", "templateID",
                            t->id, "buildID", build->id, "public", t->is_public, "aliases",
                            t->name[0] ? json_pack("[s]", t->name) : json_array(), "names",
                            names_of(t), "createdBy", "spawnCount", (json_int_t)t->spawn_count,
                            "buildCount", (json_int_t)t->build_count, "envdVersion",
                            build->envd_version, "buildStatus", build->status);
    if (!obj)
        return;
    /* A sandbox gets the daemon's shape, whatever its template. */
    set(obj, "cpuCount", json_integer((json_int_t)sandbox_host_vcpus(o->host)));
    set(obj, "memoryMB", json_integer((json_int_t)o->config->memory_mb));
    set(obj, "diskSizeMB", json_integer((json_int_t)o->config->disk_mb));
    set_time(obj, "createdAt", t->created_ns);
    set_time(obj, "updatedAt", t->updated_ns);
    set_time(obj, "lastSpawnedAt", t->last_spawned_ns);
    json_array_append_new(l->list, obj);
}

static void list_templates(struct store_job *job, struct db *db)
{
    struct listing *l = container_of(job, struct listing, job);
    l->rc = db_template_list(db, l->call->key.team_id, add, l, &l->err);
}

static void on_listed(struct store_job *job)
{
    struct listing *l = container_of(job, struct listing, job);
    struct api_call *c = l->call;
    if (l->rc) {
        json_decref(l->list);
        api_fail_err(c, &l->err);
    } else {
        api_respond(c, 200, l->list);
    }
    free(l);
    api_call_unref(c);
}

void api_template_list(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    struct err err;
    const char *team;
    if (parse_query(r, "teamID", &team, &err)) {
        api_fail_err(c, &err);
        return;
    }
    if (team && team[0] && strcmp(team, c->key.team_id) != 0) {
        api_fail(c, 400, "the API key is not of the team '%.64s'", team);
        return;
    }
    struct listing *l = calloc(1, sizeof(*l));
    json_t *list = json_array();
    if (!l || !list) {
        free(l);
        json_decref(list);
        api_fail(c, 500, "out of memory");
        return;
    }
    *l = (struct listing){ .call = c, .list = list };
    l->job.work = list_templates;
    l->job.done = on_listed;
    api_call_ref(c);
    store_run(c->api->o.store, &l->job);
}

struct alias {
    struct store_job job;
    struct api_call *call;
    char ref[TEMPLATE_REF_MAX + 1];
    struct store_template template;
    struct err err;
    int rc;
};

static void find_alias(struct store_job *job, struct db *db)
{
    struct alias *a = container_of(job, struct alias, job);
    a->rc = db_template_find(db, a->call->key.team_id, a->ref, &a->template, &a->err);
}

static void on_alias(struct store_job *job)
{
    struct alias *a = container_of(job, struct alias, job);
    struct api_call *c = a->call;
    if (a->rc)
        api_fail_err(c, &a->err);
    else
        api_respond(
            c, 200,
            json_pack("{s:s, s:b}", "templateID", a->template.id, "public", a->template.is_public));
    free(a);
    api_call_unref(c);
}

void api_template_alias(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    struct alias *a = calloc(1, sizeof(*a));
    if (!a) {
        api_fail(c, 500, "out of memory");
        return;
    }
    if (!str_copy(str_of(r->params[0]), a->ref, sizeof(a->ref))) {
        api_fail(c, 400, "validation error: the alias is too long");
        free(a);
        return;
    }
    a->call = c;
    a->job = (struct store_job){ .work = find_alias, .done = on_alias };
    api_call_ref(c);
    store_run(c->api->o.store, &a->job);
}

static void on_deleted(void *user, const struct err *err)
{
    struct api_call *c = user;
    if (err)
        api_fail_err(c, err);
    else
        api_respond_empty(c, 204, NULL, 0);
    api_call_unref(c);
}

void api_template_delete(struct http_request *r)
{
    struct api_call *c = api_call_of(r);
    struct template_ref ref;
    struct err err;
    if (template_ref_parse(r->params[0], &ref, &err)) {
        api_fail_err(c, &err);
        return;
    }
    api_call_ref(c);
    sandbox_template_delete(c->api->o.host, c->key.team_id, r->params[0], on_deleted, c);
}
