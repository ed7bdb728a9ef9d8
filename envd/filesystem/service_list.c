/* ListDir: a large tree is walked a piece per turn of the loop, so that others are served. */
#include "common/base/cleanup.h"
#include "envd/filesystem/list.h"
#include "envd/filesystem/service.h"

#define LIST_ENTRIES_PER_TURN 1000

struct list_call {
    struct rpc_call *call;
    struct deferred turn;
    struct list_walk walk;
};

static void next_turn(struct list_call *l);

static void on_turn(struct deferred *d)
{
    next_turn(container_of(d, struct list_call, turn));
}

static void next_turn(struct list_call *l)
{
    struct err err = { 0 };
    int rc = list_walk_step(&l->walk, LIST_ENTRIES_PER_TURN, &err);
    if (rc > 0) {
        defer(&envd_of_call(l->call)->defer, &l->turn, on_turn);
        return;
    }
    if (rc < 0) {
        rpc_finish(l->call, &err);
        return;
    }
    Filesystem__ListDirResponse answer = FILESYSTEM__LIST_DIR_RESPONSE__INIT;
    answer.entries = l->walk.entries;
    answer.n_entries = l->walk.n_entries;
    rpc_reply(l->call, &answer.base);
}

void service_on_list(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Filesystem__ListDirRequest *q = (const void *)msg;
    struct user user;
    char path[PATH_MAX];
    struct err err = { 0 };
    if (!service_path(call, q->path, &user, path))
        return;
    struct list_call *l = arena_zalloc(rpc_call_arena(call), sizeof(*l));
    if (!l) {
        rpc_fail(call, ERR_EXHAUSTED, "out of memory");
        return;
    }
    l->call = call;
    rpc_call_set_user(call, l);
    if (list_walk_init(&l->walk, rpc_call_arena(call), path, q->depth, LIST_ENTRIES_MAX, &err) < 0)
        rpc_finish(call, &err);
    else
        next_turn(l);
}

void service_on_list_close(struct rpc_call *call)
{
    struct list_call *l = rpc_call_user(call);
    if (!l)
        return;
    defer_cancel(&l->turn);
    list_walk_deinit(&l->walk);
}
