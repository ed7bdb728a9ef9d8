#include "tests/unit/orchestrator/sandbox/fakes.h"

#include "common/base/cleanup.h"
#include "orchestrator/image/image.h"

#include <stdio.h>

struct fakes fakes;

/* store */

static const uint8_t secret[STORE_SECRET_SIZE] = { 1 };

const uint8_t *store_secret(const struct store *s)
{
    (void)s;
    return secret;
}

void store_template_find(struct store *s, const char *ref, const char *team_id,
                         void (*done)(void *user, const struct store_build *build,
                                      const struct err *err),
                         void *user)
{
    (void)s;
    (void)team_id;
    snprintf(fakes.template_ref, sizeof(fakes.template_ref), "%s", ref);
    fakes.find_done = done;
    fakes.find_user = user;
}

void store_sandbox_put(struct store *s, const struct store_sandbox *sb,
                       void (*done)(void *user, const struct err *err), void *user)
{
    (void)s;
    memcpy(fakes.state, sb->state, sizeof(fakes.state));
    fakes.put_done = done;
    fakes.put_user = user;
}

void store_sandbox_end(struct store *s, const struct store_death *death,
                       void (*done)(void *user, const struct err *err), void *user)
{
    (void)s;
    snprintf(fakes.end_reason, sizeof(fakes.end_reason), "%s", death->reason);
    fakes.end_done = done;
    fakes.end_user = user;
}

void store_sandbox_set_end(struct store *s, const char *id, int64_t end_ns,
                           void (*done)(void *user, const struct err *err), void *user)
{
    (void)s;
    (void)id;
    (void)end_ns;
    (void)done;
    (void)user;
}

void store_run(struct store *s, struct store_job *job)
{
    (void)s;
    fakes.job = job;
}

int db_sandbox_load(struct db *db, void (*each)(void *user, const struct store_sandbox *sb),
                    void *user, struct err *err)
{
    (void)db;
    (void)err;
    if (fakes.row)
        each(user, fakes.row);
    return 0;
}

/* image */

int image_manifest_load(const char *dir, struct image_manifest *out, struct err *err)
{
    (void)dir;
    (void)err;
    *out = (struct image_manifest){ .disk_mb = 1 };
    return 0;
}

void image_boot_files(const char *dir, const struct image_manifest *m, struct vmm_template *out,
                      char rootfs[static PATH_MAX])
{
    rootfs[0] = '\0';
    (void)dir;
    (void)m;
    *out = (struct vmm_template){ .cmdline = "" };
}

/* vmm */

static struct vmm *vmm_fake(const struct vmm_events *events, void *user,
                            void (*done)(struct vmm *v, const struct err *err))
{
    fakes.vmm = calloc(1, sizeof(*fakes.vmm));
    *fakes.vmm = (struct vmm){ .user = user, .events = events, .started = done };
    fakes.vmms++;
    return fakes.vmm;
}

struct vmm *vmm_boot(struct vmm_driver *d, const struct vmm_config *config,
                     const struct vmm_events *events, void *user,
                     void (*done)(struct vmm *v, const struct err *err))
{
    (void)d;
    (void)config;
    return vmm_fake(events, user, done);
}

struct vmm *vmm_adopt(struct vmm_driver *d, const struct vmm_config *config,
                      const struct vmm_record *record, const struct vmm_events *events, void *user,
                      void (*done)(struct vmm *v, const struct err *err))
{
    (void)d;
    (void)config;
    (void)record;
    return vmm_fake(events, user, done);
}

void vmm_resume(struct vmm *v, void (*done)(void *user, const struct err *err), void *user)
{
    v->resumed = done;
    v->resumed_user = user;
}

void vmm_destroy(struct vmm *v, void (*done)(void *user), void *user)
{
    fakes.vmms--;
    fakes.vmm = NULL;
    fakes.destroyed = done;
    fakes.destroyed_user = user;
    free(v);
}

void vmm_release(struct vmm *v)
{
    fakes.vmms--;
    fakes.released++;
    fakes.vmm = NULL;
    free(v);
}

void *vmm_user(const struct vmm *v)
{
    return v->user;
}

const struct vmm_record *vmm_record(const struct vmm *v)
{
    return &v->record;
}

const struct link_address *vmm_link_address(const struct vmm *v)
{
    return &v->address;
}

const struct vmm_host *vmm_driver_host(const struct vmm_driver *d)
{
    static const struct vmm_host host = { .accelerator = "tcg" };
    (void)d;
    return &host;
}

const char *vmm_end_name(enum vmm_end end)
{
    return end == VMM_END_SHUTDOWN ? "shutdown" : "other";
}

void vmm_sweep(const char *run_dir, const struct vmm_record *record)
{
    (void)run_dir;
    (void)record;
}

/* link */

struct guest_link *guest_link_new(uv_loop_t *loop, struct defer_queue *defer,
                                  const struct link_address *address,
                                  const uint8_t link_secret[static LINK_SECRET_SIZE],
                                  const struct guest_link_events *events, void *user)
{
    (void)loop;
    (void)defer;
    (void)address;
    (void)link_secret;
    (void)events;
    struct guest_link *l = calloc(1, sizeof(*l));
    l->user = user;
    fakes.links++;
    return l;
}

void *guest_link_user(const struct guest_link *l)
{
    return l->user;
}

void guest_link_set_secret(struct guest_link *l, const uint8_t link_secret[static LINK_SECRET_SIZE])
{
    (void)l;
    (void)link_secret;
}

void guest_link_set_vm_running(struct guest_link *l, bool running)
{
    (void)l;
    (void)running;
}

struct guest_call *
guest_link_call(struct guest_link *l, const char *method, const ProtobufCMessage *msg,
                const ProtobufCMessageDescriptor *output, unsigned timeout_ms,
                void (*done)(void *user, const ProtobufCMessage *response, const struct err *err),
                void *user)
{
    (void)method;
    (void)msg;
    (void)output;
    (void)timeout_ms;
    fakes.call_done = done;
    fakes.call_user = user;
    return (struct guest_call *)l; /* only ever given back */
}

void guest_link_cancel(struct guest_call *c)
{
    (void)c;
    fakes.call_done = NULL;
}

void guest_link_close(struct guest_link *l)
{
    fakes.links--;
    free(l);
}
