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
    SANDBOX_PAUSING,
    SANDBOX_PAUSED,
    SANDBOX_RESUMING,
    SANDBOX_KILLING,
    SANDBOX_ENDED,
    SANDBOX_NR
};

/* Where the time of an operation went; told to clients as Server-Timing. */
enum sandbox_phase {
    SANDBOX_PHASE_QUEUE,   /* for another transition, the database, the template's memory */
    SANDBOX_PHASE_VMM,     /* a VMM process that waits for a snapshot */
    SANDBOX_PHASE_RESTORE, /* memory and device state */
    SANDBOX_PHASE_LINK,    /* from the guest's first instruction to envd's answer */
    SANDBOX_PHASE_INIT,    /* the guest's identity, clock, entropy */
    SANDBOX_PHASE_SAVE,    /* a snapshot written and recorded */
    SANDBOX_PHASE_NR
};

struct sandbox_timings {
    uint32_t us[SANDBOX_PHASE_NR];
};

const char *sandbox_phase_name(enum sandbox_phase phase);

/* The value of a Server-Timing field: "queue;dur=0.4, vmm;dur=31.0"; phases that took no time are
 * left out. Returns its length. */
size_t sandbox_timings_text(const struct sandbox_timings *t, char *out, size_t n);

/* Read by api/ and proxy/; written by sandbox/ only. */
struct sandbox {
    char id[SANDBOX_ID_SIZE];
    char team_id[TEAM_ID_SIZE];
    char template_id[TEMPLATE_ID_SIZE];
    char alias[129]; /* of the template, may be empty */
    char envd_version[32];
    int64_t started_ns, end_ns; /* wall clock; of a paused one end_ns is when it was paused */
    unsigned vcpus, memory_mb;
    uint64_t disk_mb;
    json_t *metadata; /* object of strings; never NULL */
    json_t *config;   /* what the create request said and must be echoed: autoPause, network, ... */
    bool secure;
    char envd_token[65];       /* hex; empty when not secure */
    char traffic_token[65];    /* empty: public traffic allowed */
    unsigned create_timeout_s; /* what the create asked for */
    bool auto_pause, auto_pause_memory, auto_resume;
    bool filesystem_only;       /* paused without its memory: goes on with a cold boot */
    bool unresponsive_at_pause; /* its guest did not answer before it was paused */
    struct sm sm;
    struct guest_link *link; /* NULL while no VM runs */
    struct vmm *vmm;         /* NULL while paused */
    struct sandbox_host *host;
    unsigned refs;
    struct list node;
};

struct store_create_key;

/* Who asks, for records: "key e2b_ab...12", "deadline", "traffic". Borrowed for the call. */
struct sandbox_spec { /* a checked create request; all borrowed for the call */
    const char *team_id;
    const char *template_ref; /* "base", "name:tag", id, of a snapshot too */
    unsigned timeout_s;
    bool secure;
    bool allow_public_traffic;
    bool auto_pause, auto_pause_memory, auto_resume;
    json_t *metadata, *envs; /* objects of strings, or NULL */
    json_t *config;          /* kept and echoed, or NULL */
    const char *actor;
    const struct store_create_key *create_key; /* written with its first record; or NULL */
};

/* ERR_NOT_FOUND unknown template, ERR_EXHAUSTED at the limit, ... done once, never from inside; the
 * sandbox is running and its envd initialised when err is NULL. The operation goes on to its end
 * (and is undone by expiry) when the client left: pass done that ignores it. */
typedef void (*sandbox_created_cb)(void *user, struct sandbox *sb, const struct sandbox_timings *t,
                                   const struct err *err);
void sandbox_create(struct sandbox_host *h, const struct sandbox_spec *spec,
                    sandbox_created_cb done, void *user);

/* Running sandbox of the team (team NULL: of any), or NULL. Borrowed until the next turn of the
 * loop; take a reference to keep it. */
struct sandbox *sandbox_find(struct sandbox_host *h, const char *id, const char *team_id);

/* The same of any that clients may see: running, pausing, paused or resuming. */
struct sandbox *sandbox_lookup(struct sandbox_host *h, const char *id, const char *team_id);
void sandbox_ref(struct sandbox *sb);
void sandbox_unref(struct sandbox *sb);

/* Pause: memory, devices and disk are kept, durable when done tells so. ERR_NOT_FOUND; ERR_ABORTED
 * when it is paused already or in another transition, or (with the reason
 * SANDBOX_REASON_UNRESPONSIVE) when a healthy guest was required and this one does not answer;
 * ERR_UNAVAILABLE when the disk is full: then the sandbox runs on. */
#define SANDBOX_REASON_UNRESPONSIVE "sandbox_snapshot_guest_agent_unresponsive"
struct sandbox_pause_spec {
    bool memory; /* false: the disk only */
    bool sync;   /* the disk is to be worth something without the memory; without it always so */
    bool require_healthy;
    const char *actor;
};
typedef void (*sandbox_paused_cb)(void *user, const struct sandbox_timings *t,
                                  const struct err *err);
void sandbox_pause(struct sandbox_host *h, const char *id, const char *team_id,
                   const struct sandbox_pause_spec *spec, sandbox_paused_cb done, void *user);

/* Told of each sandbox that is about to stand still for a pause, before its link is taken down:
 * whoever has responses under way through it can end those that would last, so that the pause needs
 * not wait for them. */
struct sandbox_watcher {
    struct list node; /* removed by its owner */
    void (*on_leaving)(struct sandbox_watcher *w, const struct sandbox *sb);
};
void sandbox_host_watch(struct sandbox_host *h, struct sandbox_watcher *w);

/* Make sure that it runs. A running one's time is extended, a paused one is resumed with a new
 * time; a resume under way is joined, a pause under way is waited for. ERR_NOT_FOUND; ERR_ABORTED
 * while it is being killed, or when it runs although it must not. `resumed` tells a joiner the
 * same. */
struct sandbox_connect_spec {
    int64_t timeout_s;
    bool reboot;         /* cold boot from the disk, with all that the memory had for it */
    bool must_be_paused; /* the first version's resume */
    bool only_wait;      /* for what others do: ERR_ABORTED when it is paused and stays so */
    const char *actor;
};
typedef void (*sandbox_connected_cb)(void *user, struct sandbox *sb, bool resumed,
                                     const struct sandbox_timings *t, const struct err *err);
void sandbox_connect(struct sandbox_host *h, const char *id, const char *team_id,
                     const struct sandbox_connect_spec *spec, sandbox_connected_cb done,
                     void *user);

/* A snapshot of a running sandbox, which goes on. `name` is "name", "name:tag" or NULL. done tells
 * its id, and its name with the team's, or NULL when it has none. Errors as for a pause,
 * and ERR_EXHAUSTED (with the reason SANDBOX_REASON_TEAM_KEEPS, as a create and a fork have it)
 * when the team has as many paused sandboxes and snapshots as it may. */
#define SANDBOX_REASON_TEAM_KEEPS "sandbox_team_keeps_too_much"
struct sandbox_snapshot_spec {
    const char *name;
    bool memory;
    bool require_healthy;
    const char *actor;
};
typedef void (*sandbox_snapshotted_cb)(void *user, const char *snapshot_id, const char *name,
                                       const struct sandbox_timings *t, const struct err *err);
void sandbox_snapshot(struct sandbox_host *h, const char *id, const char *team_id,
                      const struct sandbox_snapshot_spec *spec, sandbox_snapshotted_cb done,
                      void *user);

/* `count` new sandboxes that go on from where the running one is; each with its own result. */
#define SANDBOX_FORK_MAX 100
struct sandbox_fork_result {
    struct sandbox *sb; /* NULL: err tells why */
    struct err err;
};
typedef void (*sandbox_forked_cb)(void *user, const struct sandbox_fork_result *results, size_t n,
                                  const struct sandbox_timings *t, const struct err *err);
void sandbox_fork(struct sandbox_host *h, const char *id, const char *team_id, unsigned timeout_s,
                  unsigned count, const char *actor, sandbox_forked_cb done, void *user);

/* Kill, running or paused; joining a kill under way is the same. ERR_NOT_FOUND when there is none,
 * or it is ending for another reason; ERR_UNAVAILABLE when its end cannot be written down, which is
 * tried again until it can: until then a later daemon may find it. Once the kill has begun the
 * sandbox is hidden from find, lookup and list. A transition under way is waited for. */
void sandbox_kill(struct sandbox_host *h, const char *id, const char *team_id, const char *actor,
                  void (*done)(void *user, const struct err *err), void *user);

/* Why a sandbox of the team (team NULL: of any) ended: its record, borrowed for the call, or NULL
 * when there is none (any more). done once, never from inside. */
struct store_death;
void sandbox_death(struct sandbox_host *h, const char *id, const char *team_id,
                   void (*done)(void *user, const struct store_death *death), void *user);

/* Delete a template of the team, or one tag of it, as db_template_delete() has it, and the files
 * that nothing needs any more. Errors as there; done once, never from inside. */
void sandbox_template_delete(struct sandbox_host *h, const char *team_id, const char *ref,
                             void (*done)(void *user, const struct err *err), void *user);

/* endAt = now + timeout (0 or less: now). extend_only never shortens, and goes no further than the
 * maximum lifetime, which each run has anew. ERR_INVALID beyond it otherwise, and of a timeout that
 * is longer. */
int sandbox_set_timeout(struct sandbox *sb, int64_t timeout_s, bool extend_only, struct err *err);

/* Loop over running sandboxes in no particular order: list_for_each over this, node. */
struct list *sandbox_host_list(struct sandbox_host *h);
/* The same over those that are pausing, paused or resuming. */
struct list *sandbox_host_list_paused(struct sandbox_host *h);
size_t sandbox_host_count(struct sandbox_host *h, const char *team_id);

#endif
