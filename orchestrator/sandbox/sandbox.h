/* A sandbox and the operations on it. The API and the proxy use this and nothing below it. */
#ifndef ORCHESTRATOR_SANDBOX_SANDBOX_H
#define ORCHESTRATOR_SANDBOX_SANDBOX_H

#include "common/base/err.h"
#include "common/base/list.h"
#include "common/base/sm.h"
#include "orchestrator/link/guest_link.h"

#include <jansson.h>
#include <uv.h>

#define SANDBOX_ID_SIZE  22 /* "i" + 20 of [a-z0-9] + NUL */
#define TEAM_ID_SIZE     37 /* UUID as text */
#define TEMPLATE_ID_SIZE 21

struct vmm;
struct sandbox_host; /* all sandboxes of this daemon */

enum sandbox_state {
    SANDBOX_CREATING,
    SANDBOX_RUNNING,
    SANDBOX_KILLING,
    SANDBOX_ENDED,
    SANDBOX_NR
};

/* Read by api/ and proxy/; written by sandbox/ only. */
struct sandbox {
    char id[SANDBOX_ID_SIZE];
    char team_id[TEAM_ID_SIZE];
    char template_id[TEMPLATE_ID_SIZE];
    char alias[129]; /* of the template, may be empty */
    char envd_version[32];
    int64_t started_ns, end_ns; /* wall clock */
    unsigned vcpus, memory_mb;
    uint64_t disk_mb;
    json_t *metadata; /* object of strings; never NULL */
    json_t *config;   /* what the create request said and must be echoed: autoPause, network, ... */
    bool secure;
    char envd_token[65];    /* hex; empty when not secure */
    char traffic_token[65]; /* empty: public traffic allowed */
    struct sm sm;
    struct guest_link *link; /* NULL before the VM runs */
    struct vmm *vmm;
    struct sandbox_host *host;
    unsigned refs;
    struct list node;
};

struct sandbox_spec { /* a checked create request; all borrowed for the call */
    const char *team_id;
    const char *template_ref; /* "base", "name:tag", id */
    unsigned timeout_s;
    bool secure;
    bool allow_public_traffic;
    json_t *metadata, *envs; /* objects of strings, or NULL */
    json_t *config;          /* kept and echoed, or NULL */
};

/* ERR_NOT_FOUND unknown template, ERR_EXHAUSTED at the limit, ... done once, never from inside; the
 * sandbox is running and its envd initialised when err is NULL. The operation goes on to its end
 * (and is undone by expiry) when the client left: pass done that ignores it. */
void sandbox_create(struct sandbox_host *h, const struct sandbox_spec *spec,
                    void (*done)(void *user, struct sandbox *sb, const struct err *err),
                    void *user);

/* Running sandbox of the team (team NULL: of any), or NULL. Borrowed until the next turn of the
 * loop; take a reference to keep it. */
struct sandbox *sandbox_find(struct sandbox_host *h, const char *id, const char *team_id);
void sandbox_ref(struct sandbox *sb);
void sandbox_unref(struct sandbox *sb);

/* Kill. done(user, true) when it was running; joining a kill under way is the same; false when
 * there is none, or it is ending for another reason. Once the kill has begun the sandbox is hidden
 * from find and list. */
void sandbox_kill(struct sandbox_host *h, const char *id, const char *team_id, const char *reason,
                  void (*done)(void *user, bool found), void *user);

/* endAt = now + timeout (0 or less: now). extend_only never shortens. ERR_NOT_FOUND; ERR_INVALID
 * beyond the maximum lifetime. */
int sandbox_set_timeout(struct sandbox *sb, int64_t timeout_s, bool extend_only, struct err *err);

/* Loop over running sandboxes in no particular order: list_for_each over this, node. */
struct list *sandbox_host_list(struct sandbox_host *h);
size_t sandbox_host_count(struct sandbox_host *h, const char *team_id);

#endif
