/* Shared by the files of filesystem.Filesystem. */
#ifndef ENVD_FILESYSTEM_SERVICE_H
#define ENVD_FILESYSTEM_SERVICE_H

#include "envd/core/envd.h"
#include "envd/filesystem/event_queue.h"
#include "envd/filesystem/notifier.h"

#include <limits.h>

#define WATCHERS_MAX 1024 /* of CreateWatcher, at once */

struct watch_registry {
    struct notifier *notifier;
    struct map watchers; /* id -> struct watcher */
    struct event_queues queues;
};

/* The acting user of the call and what `text` means for that user; false when the call was failed
 * instead. */
bool service_path(struct rpc_call *call, const char *text, struct user *user,
                  char path[static PATH_MAX]);

/* Methods with files of their own. */
void service_on_list(struct rpc_call *call, ProtobufCMessage *msg);
void service_on_list_close(struct rpc_call *call);
void service_on_remove(struct rpc_call *call, ProtobufCMessage *msg);
void service_on_remove_close(struct rpc_call *call);
void service_on_watch(struct rpc_call *call, ProtobufCMessage *msg);
void service_on_watch_writable(struct rpc_call *call);
void service_on_watch_close(struct rpc_call *call);
void service_on_create_watcher(struct rpc_call *call, ProtobufCMessage *msg);
void service_on_get_watcher_events(struct rpc_call *call, ProtobufCMessage *msg);
void service_on_remove_watcher(struct rpc_call *call, ProtobufCMessage *msg);

/* Whether the directory may be watched: ERR_NOT_FOUND, ERR_INVALID for no directory and, unless
 * allowed, for one on a network file system, where the kernel does not see what others do. */
int service_check_watch(const char *path, bool allow_network, struct err *err);

/* The registry of this envd, made if need be; NULL with err set. */
struct watch_registry *service_watches(struct envd *e, struct err *err);

/* End all watchers and give the inotify instance back; no WatchDir call may be left. */
void service_stop_watches(struct envd *e);

#endif
