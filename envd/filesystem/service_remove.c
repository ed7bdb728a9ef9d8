/* Remove: a file at once, a directory on the thread pool, since it may hold any number of files. */
#include "common/base/cleanup.h"
#include "envd/filesystem/remove.h"
#include "envd/filesystem/service.h"
#include "filesystem.pb-c.h"

struct remove_work {
    uv_work_t work;
    struct rpc_call *call; /* NULL once the client has gone: what is left is not removed */
    atomic_bool stop;
    int rc;
    struct err err;
    char path[PATH_MAX];
};

static void finish(struct rpc_call *call, int rc, const struct err *err)
{
    static const Filesystem__RemoveResponse answer = FILESYSTEM__REMOVE_RESPONSE__INIT;
    if (rc < 0)
        rpc_finish(call, err);
    else
        rpc_reply(call, &answer.base);
}

static void run(uv_work_t *work)
{
    struct remove_work *w = container_of(work, struct remove_work, work);
    w->rc = remove_tree(w->path, &w->stop, &w->err);
}

static void on_done(uv_work_t *work, int status)
{
    struct remove_work *w = container_of(work, struct remove_work, work);
    (void)status; /* the work is never cancelled */
    if (w->call) {
        rpc_call_set_user(w->call, NULL);
        finish(w->call, w->rc, &w->err);
    }
    free(w);
}

void service_on_remove(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Filesystem__RemoveRequest *q = (const void *)msg;
    struct user user;
    char path[PATH_MAX];
    struct err err = { 0 };
    if (!service_path(call, q->path, &user, path))
        return;
    int rc = remove_file(path, &err);
    if (rc <= 0) {
        finish(call, rc, &err);
        return;
    }
    struct remove_work *w = calloc(1, sizeof(*w));
    if (!w) {
        rpc_fail(call, ERR_EXHAUSTED, "out of memory");
        return;
    }
    w->call = call;
    str_copy(str_of(path), w->path, sizeof(w->path));
    rpc_call_set_user(call, w);
    uv_queue_work(envd_of_call(call)->loop, &w->work, run, on_done);
}

void service_on_remove_close(struct rpc_call *call)
{
    struct remove_work *w = rpc_call_user(call);
    if (!w)
        return;
    w->call = NULL;
    w->stop = true;
}
