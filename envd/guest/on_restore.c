#include "envd/guest/on_restore.h"

#include "common/base/cleanup.h"
#include "common/base/log.h"
#include "envd/process/environ.h"
#include "envd/process/spawn.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

struct on_restore {
    struct envd *envd;
    uv_timer_t timer; /* the deadline of all */
    struct arena arena;
    char *paths[ON_RESTORE_FILES_MAX];
    size_t n, next;
    pid_t pid; /* of the one that runs */
    void (*done)(void *user);
    void *user;
};

static void on_timer_closed(uv_handle_t *handle)
{
    struct on_restore *r = container_of((uv_timer_t *)handle, struct on_restore, timer);
    arena_deinit(&r->arena);
    free(r);
}

static void finish(struct on_restore *r)
{
    r->envd->on_restore = NULL;
    uv_close((uv_handle_t *)&r->timer, on_timer_closed);
    if (r->done)
        r->done(r->user);
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The paths of what is to run, by name. A directory that is not there has none. */
static void find_files(struct on_restore *r, const char *dir)
{
    struct dirent *entry;
    struct stat st;
    DIR *d = opendir(dir);
    if (!d)
        return;
    while ((entry = readdir(d))) {
        if (entry->d_name[0] == '.' || fstatat(dirfd(d), entry->d_name, &st, 0) < 0 ||
            !S_ISREG(st.st_mode) || !(st.st_mode & 0111))
            continue;
        char *path = r->n < ON_RESTORE_FILES_MAX
                         ? arena_printf(&r->arena, "%s/%s", dir, entry->d_name)
                         : NULL;
        if (path)
            r->paths[r->n++] = path;
        else
            log_error("on-restore: not run, there are too many", LOG_STR("file", entry->d_name));
    }
    closedir(d);
    qsort(r->paths, r->n, sizeof(r->paths[0]), by_name);
}

static int run_one(struct on_restore *r, const char *path, struct err *err)
{
    struct user self = { .name = "root", .uid = geteuid(), .gid = getegid(), .home = "/root" };
    Process__ProcessConfig nothing = PROCESS__PROCESS_CONFIG__INIT;
    char **env;
    int rc = process_environ(r->envd, &self, &nothing, &r->arena, &env, err);
    if (rc < 0)
        return rc;
    AUTO_CLOSE int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    if (null < 0)
        return err_set(err, ERR_INTERNAL, errno, "open /dev/null: %s", strerror(errno));
    struct spawn s = {
        .cmd = path,
        .env = env,
        .cwd = "/",
        .user = &self,
        .in = null,
        .out = STDERR_FILENO,
        .err = STDERR_FILENO,
        .cgroup = r->envd->cgroup_user,
    };
    return spawn(&s, &r->arena, &r->pid, err);
}

/* Start the next one that can be started; false when all have had their turn. */
static bool run_next(struct on_restore *r)
{
    struct err err;
    while (r->next < r->n) {
        const char *path = r->paths[r->next++];
        if (run_one(r, path, &err) == 0)
            return true;
        log_warn("on-restore: cannot start", LOG_STR("file", path), LOG_STR("reason", err.msg));
    }
    return false;
}

/* SIGKILL to the one that runs and to what it started; nobody waits for its end. */
static void cut(struct on_restore *r, const char *why)
{
    log_warn("on-restore: killed", LOG_STR("file", r->paths[r->next - 1]), LOG_STR("reason", why),
             LOG_INT("skipped", r->n - r->next));
    kill(-r->pid, SIGKILL);
    finish(r);
}

static void on_deadline(uv_timer_t *timer)
{
    cut(container_of(timer, struct on_restore, timer), "the time is up");
}

bool on_restore_wanted(struct envd *e, const char *dir, bool rehearsal)
{
    bool known_none = e->no_on_restore && !rehearsal;
    bool there = !known_none && access(dir, F_OK) == 0;
    e->no_on_restore = rehearsal && !there;
    return e->on_restore || there;
}

bool on_restore_start(struct envd *e, const char *dir, unsigned deadline_ms,
                      void (*done)(void *user), void *user)
{
    if (e->on_restore)
        cut(e->on_restore, "the guest gets another identity");
    struct on_restore *r = calloc(1, sizeof(*r));
    if (!r)
        return false;
    r->envd = e;
    uv_timer_init(e->loop, &r->timer);
    find_files(r, dir);
    if (!run_next(r)) {
        uv_close((uv_handle_t *)&r->timer, on_timer_closed);
        return false;
    }
    r->done = done;
    r->user = user;
    e->on_restore = r;
    uv_update_time(e->loop);
    uv_timer_start(&r->timer, on_deadline, deadline_ms, 0);
    return true;
}

bool on_restore_reaped(struct envd *e, pid_t pid, int status)
{
    struct on_restore *r = e->on_restore;
    if (!r || r->pid != pid)
        return false;
    if (status != 0)
        log_warn("on-restore: failed", LOG_STR("file", r->paths[r->next - 1]),
                 LOG_INT("exit_code", WIFEXITED(status) ? WEXITSTATUS(status) : -1),
                 LOG_INT("signal", WIFSIGNALED(status) ? WTERMSIG(status) : 0));
    if (!run_next(r))
        finish(r);
    return true;
}
