/* The state that envd's services share: what /init set, who may call, the loop. */
#ifndef ENVD_CORE_ENVD_H
#define ENVD_CORE_ENVD_H

#include "common/base/err.h"
#include "common/base/map.h"
#include "common/http/http.h"
#include "common/io/defer.h"
#include "common/rpc/rpc.h"
#include "envd/core/user.h"

#include <uv.h>

#define ENVD_VERSION "0.6.13"
#define ENVD_PORT    49983

/* Limits on what /init may set. */
#define ENVD_TOKEN_MAX 512
#define ENVD_ENVS_MAX  1024

struct envd {
    uv_loop_t *loop;
    struct defer_queue defer;
    bool is_guest; /* false with -isnotfc: an ordinary process on a host */
    bool is_pid1;
    char access_token[ENVD_TOKEN_MAX + 1]; /* empty: everything is open */
    char default_user[64];
    char default_workdir[4096]; /* empty: the user's home */
    char path_env[4096];        /* envd's own PATH, inherited by processes */
    struct map envs;            /* user-set defaults: name -> malloc'ed text */
    struct map internal_envs;   /* E2B_*, which users cannot override */
    int64_t init_timestamp_ns;  /* newest timestamp applied by /init; 0 none */
    int64_t clock_moved_for_ns; /* the went_on_ns of guest.proto that was told last */
    unsigned inits;             /* requests to /init that are open */
    char sandbox_id[64];
    char template_id[64];
    struct process_registry *processes;
    struct watch_registry *watches; /* envd/filesystem; made when first needed */
    struct envd_link *link;         /* NULL on a host */
    struct on_restore *on_restore;  /* envd/guest: executables that run; NULL: none */
    bool no_on_restore;             /* a rehearsal found none, and no Configure came since */
    const struct identity_files *unwritten; /* envd/guest: see identity_settle(); NULL: none */
    /* Directories of the cgroups that processes are put into; -1 where there are none. */
    int cgroup_user, cgroup_ptys;
};

/* Set or (value NULL) remove one variable of the user's defaults or of the internal ones. */
bool envd_set_env(struct map *envs, struct str name, const char *value);
void envd_clear_envs(struct map *envs);

/* The user that acts on a request: from Authorization: Basic, or the default user.
 * ERR_UNAUTHENTICATED with the contract's messages. */
int envd_acting_user(struct envd *e, const struct http_head *head, struct user *out,
                     struct err *err);

/* Access rule 1 of the contract: whether the token in X-Access-Token (p NULL: none) is right.
 * Always true when no token is set. */
bool envd_token_ok(const struct envd *e, struct str token);

/* Tables for the RPC server. */
extern const struct rpc_method process_methods[];    /* envd/process/service.c */
extern const struct rpc_method filesystem_methods[]; /* envd/filesystem/service.c */
extern const struct rpc_method guest_methods[];      /* envd/guest/service.c */

/* The envd of a call (rpc_server.context) or of a request (http_request.context). */
static inline struct envd *envd_of_call(const struct rpc_call *call)
{
    return rpc_call_server(call)->context;
}

#endif
