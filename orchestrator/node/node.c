#include "orchestrator/node/node.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/encode.h"
#include "common/base/sha256.h"
#include "orchestrator/node/server.h"
#include "orchestrator/node/service.h"

#include <errno.h>
#include <string.h>
#include <sys/sysinfo.h>

#define METHOD(service, name, type, function, ...)                                                 \
    {                                                                                              \
        .path = "/sandpit.node.v1." service "/" name,                                              \
        .input = &sandpit__node__v1__##type##__descriptor, .start = (function), __VA_ARGS__        \
    }

static const struct node_method methods[] = {
    METHOD("InfoService", "Get", get_info_request, info_get, .quick = true),
    METHOD("InfoService", "SetState", set_state_request, info_set_state),
    METHOD("KeyService", "Create", create_key_request, key_create),
    METHOD("KeyService", "List", list_keys_request, key_list),
    METHOD("KeyService", "Revoke", revoke_key_request, key_revoke),
    METHOD("SandboxService", "Create", create_sandbox_request, sandbox_service_create),
    METHOD("SandboxService", "Get", get_sandbox_request, sandbox_service_get, .quick = true),
    METHOD("SandboxService", "List", list_sandboxes_request, sandbox_service_list),
    METHOD("SandboxService", "Update", update_sandbox_request, sandbox_service_update),
    METHOD("SandboxService", "Pause", pause_sandbox_request, sandbox_service_pause),
    METHOD("SandboxService", "Resume", resume_sandbox_request, sandbox_service_resume),
    METHOD("SandboxService", "Checkpoint", checkpoint_sandbox_request, sandbox_service_checkpoint),
    METHOD("SandboxService", "Delete", delete_sandbox_request, sandbox_service_delete),
    METHOD("SandboxService", "Watch", watch_sandboxes_request, sandbox_service_watch,
           .stream = true, .quick = true),
    { NULL },
};

/* The host's secret makes the data directory what it is; its id must not tell it. */
static void make_id(struct node *n)
{
    static const char what[] = "sandpit-node-id";
    uint8_t mac[SHA256_SIZE];
    hmac_sha256(store_secret(n->o.store), STORE_SECRET_SIZE, what, sizeof(what) - 1, mac);
    hex_encode(mac, (sizeof(n->id) - 1) / 2, n->id);
}

/* What does not change while the daemon runs. */
static void look_at_host(struct node *n)
{
    struct sysinfo si;
    if (gethostname(n->hostname, sizeof(n->hostname) - 1) < 0)
        n->hostname[0] = '\0';
    n->cpus = (unsigned)sysconf(_SC_NPROCESSORS_ONLN);
    n->capacity = sandbox_host_capacity(n->o.host);
    if (sysinfo(&si) == 0)
        n->memory_mb = (uint64_t)si.totalram * si.mem_unit >> 20;
}

int node_new(struct node **out, const struct node_options *options, struct err *err)
{
    const struct config *config = options->config;
    char path[sizeof(config->data_dir) + sizeof(NODE_SOCKET_NAME) + 1];
    AUTO_FREE struct node *n = calloc(1, sizeof(*n));
    *out = NULL;
    if (!n)
        return err_set(err, ERR_INTERNAL, ENOMEM, "out of memory");
    n->o = *options;
    list_init(&n->due_watches);
    n->started_ns = clock_wall_ns();
    n->started_mono_ns = clock_mono_ns();
    look_at_host(n);
    make_id(n);
    snprintf(path, sizeof(path), "%s/%s", config->data_dir, NODE_SOCKET_NAME);
    struct node_server_options server = {
        .turn = options->turn, .methods = methods, .user = n, .socket_path = path
    };
    if (config_has_node_tls(config)) {
        server.host = config->host;
        server.port = config->node_port;
        server.tls = (struct node_tls){ .cert = config->node_tls_cert,
                                        .key = config->node_tls_key,
                                        .ca = config->node_tls_ca };
    }
    int rc = node_server_new(&n->server, &server, err);
    if (n->server)
        *out = TAKE(n);
    return rc;
}

uint16_t node_port(const struct node *n)
{
    return node_server_port(n->server);
}

void node_stop(struct node *n, unsigned grace_ms, void (*stopped)(void *user), void *user)
{
    node_server_stop(n->server, grace_ms, stopped, user);
}

static void on_server_freed(void *user)
{
    struct node *n = user;
    void (*freed)(void *user) = n->freed;
    void *freed_user = n->freed_user;
    defer_cancel(&n->tell);
    free(n);
    freed(freed_user);
}

void node_free(struct node *n, void (*freed)(void *user), void *user)
{
    n->freed = freed;
    n->freed_user = user;
    node_server_free(n->server, on_server_freed, n);
}
