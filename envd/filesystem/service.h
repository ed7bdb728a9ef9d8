/* Shared by the files of filesystem.Filesystem. */
#ifndef ENVD_FILESYSTEM_SERVICE_H
#define ENVD_FILESYSTEM_SERVICE_H

#include "envd/core/envd.h"

#include <limits.h>

/* The acting user of the call and what `text` means for that user; false when the call was failed
 * instead. */
bool service_path(struct rpc_call *call, const char *text, struct user *user,
                  char path[static PATH_MAX]);

/* Methods with files of their own. */
void service_on_list(struct rpc_call *call, ProtobufCMessage *msg);
void service_on_list_close(struct rpc_call *call);
void service_on_remove(struct rpc_call *call, ProtobufCMessage *msg);
void service_on_remove_close(struct rpc_call *call);

#endif
