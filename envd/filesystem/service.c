#include "envd/filesystem/service.h"

#include "envd/core/path.h"
#include "envd/filesystem/operations.h"

bool service_path(struct rpc_call *call, const char *text, struct user *user,
                  char path[static PATH_MAX])
{
    struct envd *e = envd_of_call(call);
    struct err err = { 0 };
    int rc = envd_acting_user(e, rpc_call_head(call), user, &err);
    if (rc == 0)
        rc = path_resolve(user, str_of(text), e->default_workdir, path, &err);
    if (rc < 0)
        rpc_finish(call, &err);
    return rc == 0;
}

static void on_stat(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Filesystem__StatRequest *q = (const void *)msg;
    struct user user;
    char path[PATH_MAX];
    struct err err = { 0 };
    if (!service_path(call, q->path, &user, path))
        return;
    Filesystem__StatResponse answer = FILESYSTEM__STAT_RESPONSE__INIT;
    if (operation_stat(rpc_call_arena(call), path, &answer.entry, &err) < 0)
        rpc_finish(call, &err);
    else
        rpc_reply(call, &answer.base);
}

static void on_make_dir(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Filesystem__MakeDirRequest *q = (const void *)msg;
    struct user user;
    char path[PATH_MAX];
    struct err err = { 0 };
    if (!service_path(call, q->path, &user, path))
        return;
    Filesystem__MakeDirResponse answer = FILESYSTEM__MAKE_DIR_RESPONSE__INIT;
    if (operation_make_dir(path, &user, &err) < 0 ||
        operation_stat(rpc_call_arena(call), path, &answer.entry, &err) < 0)
        rpc_finish(call, &err);
    else
        rpc_reply(call, &answer.base);
}

static void on_move(struct rpc_call *call, ProtobufCMessage *msg)
{
    const Filesystem__MoveRequest *q = (const void *)msg;
    struct user user;
    char from[PATH_MAX];
    char to[PATH_MAX];
    struct err err = { 0 };
    if (!service_path(call, q->source, &user, from) ||
        !service_path(call, q->destination, &user, to))
        return;
    Filesystem__MoveResponse answer = FILESYSTEM__MOVE_RESPONSE__INIT;
    if (operation_move(from, to, &user, &err) < 0 ||
        operation_stat(rpc_call_arena(call), to, &answer.entry, &err) < 0)
        rpc_finish(call, &err);
    else
        rpc_reply(call, &answer.base);
}

const struct rpc_method filesystem_methods[] = {
    { .path = "/filesystem.Filesystem/Stat",
      .input = &filesystem__stat_request__descriptor,
      .output = &filesystem__stat_response__descriptor,
      .on_message = on_stat },
    { .path = "/filesystem.Filesystem/MakeDir",
      .input = &filesystem__make_dir_request__descriptor,
      .output = &filesystem__make_dir_response__descriptor,
      .on_message = on_make_dir },
    { .path = "/filesystem.Filesystem/Move",
      .input = &filesystem__move_request__descriptor,
      .output = &filesystem__move_response__descriptor,
      .on_message = on_move },
    { .path = "/filesystem.Filesystem/ListDir",
      .input = &filesystem__list_dir_request__descriptor,
      .output = &filesystem__list_dir_response__descriptor,
      .on_message = service_on_list,
      .on_close = service_on_list_close },
    { .path = "/filesystem.Filesystem/Remove",
      .input = &filesystem__remove_request__descriptor,
      .output = &filesystem__remove_response__descriptor,
      .on_message = service_on_remove,
      .on_close = service_on_remove_close },
    { .path = "/filesystem.Filesystem/WatchDir",
      .kind = RPC_SERVER_STREAM,
      .input = &filesystem__watch_dir_request__descriptor,
      .output = &filesystem__watch_dir_response__descriptor,
      .on_message = service_on_watch,
      .on_writable = service_on_watch_writable,
      .on_close = service_on_watch_close },
    { .path = "/filesystem.Filesystem/CreateWatcher",
      .input = &filesystem__create_watcher_request__descriptor,
      .output = &filesystem__create_watcher_response__descriptor,
      .on_message = service_on_create_watcher },
    { .path = "/filesystem.Filesystem/GetWatcherEvents",
      .input = &filesystem__get_watcher_events_request__descriptor,
      .output = &filesystem__get_watcher_events_response__descriptor,
      .on_message = service_on_get_watcher_events },
    { .path = "/filesystem.Filesystem/RemoveWatcher",
      .input = &filesystem__remove_watcher_request__descriptor,
      .output = &filesystem__remove_watcher_response__descriptor,
      .on_message = service_on_remove_watcher },
    { 0 },
};
