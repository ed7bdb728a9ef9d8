#include "envd/process/environ.h"

#include "common/base/cleanup.h"

#include <errno.h>

static void deinit_map(struct map *m)
{
    map_deinit(m);
}

/* map's values are char *, which here are only read. */
static bool set(struct map *m, const char *name, const char *value)
{
    return map_set(m, str_of(name), (void *)(uintptr_t)value);
}

static bool set_all(struct map *m, const struct map *from)
{
    for (struct map_entry *e = map_next(from, NULL); e; e = map_next(from, e)) {
        if (!set(m, e->key, e->value))
            return false;
    }
    return true;
}

static int set_requested(struct map *m, const Process__ProcessConfig *config, struct err *err)
{
    if (config->n_envs > PROCESS_ENVS_MAX)
        return err_set(err, ERR_INVALID, E2BIG, "more than %d environment variables",
                       PROCESS_ENVS_MAX);
    for (size_t i = 0; i < config->n_envs; i++) {
        const char *name = config->envs[i]->key;
        if (name[0] == '\0' || strchr(name, '='))
            return err_set(err, ERR_INVALID, EINVAL, "'%s' is no name of an environment variable",
                           name);
        if (!set(m, name, config->envs[i]->value))
            return err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
    }
    return 0;
}

static char **list(const struct map *m, struct arena *arena)
{
    char **env = arena_alloc(arena, (m->count + 1) * sizeof(char *));
    size_t n = 0;
    for (struct map_entry *e = map_next(m, NULL); env && e; e = map_next(m, e)) {
        env[n] = arena_printf(arena, "%s=%s", e->key, (const char *)e->value);
        if (!env[n++])
            return NULL;
    }
    if (env)
        env[n] = NULL;
    return env;
}

int process_environ(const struct envd *e, const struct user *user,
                    const Process__ProcessConfig *config, struct arena *arena, char ***out,
                    struct err *err)
{
    __attribute__((cleanup(deinit_map))) struct map m = { 0 };
    if (!set(&m, "PATH", e->path_env) || !set(&m, "HOME", user->home) ||
        !set(&m, "USER", user->name) || !set(&m, "LOGNAME", user->name) || !set_all(&m, &e->envs) ||
        !set_all(&m, &e->internal_envs))
        return err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
    int rc = set_requested(&m, config, err);
    if (rc < 0)
        return rc;
    *out = list(&m, arena);
    return *out ? 0 : err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
}

const char *process_environ_get(char *const *env, const char *name)
{
    size_t n = strlen(name);
    for (; *env; env++) {
        if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
            return *env + n + 1;
    }
    return NULL;
}
