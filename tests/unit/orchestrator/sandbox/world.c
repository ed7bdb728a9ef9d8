#include "tests/unit/orchestrator/sandbox/world.h"

#include "common/base/clock.h"
#include "orchestrator/image/manifest.h"
#include "orchestrator/snapshot/host_check.h"
#include "orchestrator/snapshot/snapshot.h"
#include "orchestrator/store/statement.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#define MEMORY_MB   1
#define QUIET_TURNS 5

#define OK(call)                                                                                   \
    do {                                                                                           \
        if ((call) < 0)                                                                            \
            fail_msg("%s: %s", #call, err.msg);                                                    \
    } while (0)

/* The snapshot that `image build` would have made. */
static void make_snapshot(const struct world *w)
{
    struct err err;
    struct image_manifest image;
    struct snapshot_manifest m = { .guest_protocol = 1, .vcpus = 1, .memory_mb = MEMORY_MB };
    size_t size = MEMORY_MB << 20;
    int dirfd;
    int state_fd = memfd_create("state", MFD_CLOEXEC), ram = memfd_create("ram", MFD_CLOEXEC);
    assert_int_equal(ftruncate(ram, (off_t)size), 0);
    uint8_t *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, ram, 0);
    assert_ptr_not_equal(memory, MAP_FAILED);
    memory[0] = 'T';
    assert_true(write(state_fd, "state of the devices", 21) == 21);
    image_manifest_load("", &image, &err);
    m.disk_mb = 1;
    id_uuid(m.id);
    memcpy(m.build_id, w->base.id, sizeof(m.build_id));
    memcpy(m.kernel, image.kernel.sha256, sizeof(m.kernel));
    snprintf(m.envd_version, sizeof(m.envd_version), "1.0");
    clock_rfc3339(clock_wall_ns(), m.created);
    snapshot_digest_text(image.cmdline, m.cmdline);
    snapshot_digest_text(vmm_devices_text(NULL, VMM_BOARD_PC), m.devices);
    OK(snapshot_describe_host(&m, vmm_driver_host(NULL), VMM_BOARD_PC, &err));
    const char *dir = tempdir_path(&w->dir, "templates/base/snapshot");
    OK(snapshot_begin(dir, &dirfd, &err));
    OK(snapshot_put_state(dirfd, state_fd, &m, &err));
    struct vmm_memory where = { getpid(), (uintptr_t)memory, size };
    OK(memory_save(&where, dirfd, SNAPSHOT_FILE_MEMORY, true, &m.memory, &err));
    OK(snapshot_commit(dir, dirfd, &m, &err));
    munmap(memory, size);
    close(ram);
    close(state_fd);
}

static void make_template(struct world *w)
{
    struct err err;
    struct store_template t;
    struct store_team team;
    w->base = (struct store_build){ .vcpus = 1, .memory_mb = MEMORY_MB, .disk_mb = 1 };
    snprintf(w->base.dir, sizeof(w->base.dir), "%s", tempdir_path(&w->dir, "templates/base"));
    snprintf(w->base.envd_version, sizeof(w->base.envd_version), "1.0");
    tempdir_write(&w->dir, "templates/base/" IMAGE_FILE_LAYER, "");
    OK(db_template_publish(fakes.db, NULL, "base", &w->base, &t, &err));
    OK(db_team_find(fakes.db, NULL, &team, &err));
    memcpy(w->team, team.id, sizeof(w->team));
    make_snapshot(w);
}

static void make_host(struct world *w)
{
    struct sandbox_host_options options = { .loop = &w->loop,
                                            .defer = &w->defer,
                                            .config = &w->config };
    w->host = sandbox_host_new(&options);
    assert_non_null(w->host);
}

int world_setup(void **state)
{
    struct world *w = calloc(1, sizeof(*w));
    struct db *db;
    struct err err;
    assert_non_null(w);
    tempdir_init_in_memory(&w->dir);
    tempdir_mkdir(&w->dir, "layers");
    tempdir_mkdir(&w->dir, "snapshots");
    OK(db_open(&db, w->dir.path, &err));
    fakes_init(db);
    uv_loop_init(&w->loop);
    defer_queue_init(&w->defer, &w->loop);
    w->config = (struct config){
        .memory_mb = MEMORY_MB, .disk_mb = 1, .max_sandboxes = 8, .max_lifetime_s = 3600
    };
    snprintf(w->config.data_dir, sizeof(w->config.data_dir), "%s", w->dir.path);
    make_template(w);
    make_host(w);
    *state = w;
    return 0;
}

static void end_host(struct world *w)
{
    if (!w->stopped)
        world_stop(w, false);
    assert_int_equal(w->stopped, 1);
    sandbox_host_free(w->host);
}

int world_teardown(void **state)
{
    struct world *w = *state;
    unsetenv("SANDPIT_FAULTS");
    end_host(w);
    defer_queue_close(&w->defer);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
    assert_true(list_empty(&fakes.vmms) && list_empty(&fakes.asks) && list_empty(&fakes.jobs));
    assert_int_equal(fakes.links, 0);
    fakes_end_orphans();
    db_close(fakes.db);
    tempdir_deinit(&w->dir);
    free(w);
    return 0;
}

void world_restart(struct world *w)
{
    end_host(w);
    world_run(w);
    w->stopped = 0;
    make_host(w);
}

void world_run(struct world *w)
{
    int quiet = 0;
    while (quiet < QUIET_TURNS) {
        bool working = w->loop.active_reqs.count > 0;
        uv_run(&w->loop, working ? UV_RUN_ONCE : UV_RUN_NOWAIT);
        bool busy = working || !list_empty(&w->defer.items);
        quiet = fakes_step() || busy ? 0 : quiet + 1;
    }
}

void world_hold(struct world *w, const char *name)
{
    fakes.hold = name;
    world_run(w);
    if (!fakes_waits(name))
        fail_msg("nothing asked for %s", name);
}

void world_go(struct world *w)
{
    fakes.hold = NULL;
    world_run(w);
}

static void note(struct world *w, const struct err *err)
{
    w->err = err ? *err : (struct err){ 0 };
}

static void on_created(void *user, struct sandbox *sb, const struct sandbox_timings *t,
                       const struct err *err)
{
    struct world *w = user;
    (void)t;
    w->created++;
    w->made = sb;
    if (sb)
        memcpy(w->id, sb->id, sizeof(w->id));
    note(w, err);
}

void world_create(struct world *w, const char *ref)
{
    struct sandbox_spec spec = { .team_id = w->team,
                                 .template_ref = ref,
                                 .timeout_s = 60,
                                 .allow_public_traffic = true,
                                 .actor = "test" };
    sandbox_create(w->host, &spec, on_created, w);
    world_run(w);
}

static void on_killed(void *user, const struct err *err)
{
    struct world *w = user;
    if (!err)
        w->killed++;
    else
        w->not_killed++;
    note(w, err);
}

void world_kill(struct world *w)
{
    sandbox_kill(w->host, w->id, w->team, "test", on_killed, w);
    world_run(w);
}

static void on_paused(void *user, const struct sandbox_timings *t, const struct err *err)
{
    struct world *w = user;
    (void)t;
    w->paused++;
    note(w, err);
}

static void pause_it(struct world *w, bool memory)
{
    struct sandbox_pause_spec spec = { .memory = memory, .actor = "test" };
    sandbox_pause(w->host, w->id, w->team, &spec, on_paused, w);
    world_run(w);
}

void world_pause(struct world *w)
{
    pause_it(w, true);
}

void world_pause_disk(struct world *w)
{
    pause_it(w, false);
}

static void on_connected(void *user, struct sandbox *sb, bool resumed,
                         const struct sandbox_timings *t, const struct err *err)
{
    struct world *w = user;
    (void)t;
    assert_int_equal(sb == NULL, err != NULL);
    w->connected++;
    w->resumed += resumed && sb;
    note(w, err);
}

static void connect_it(struct world *w, bool reboot)
{
    struct sandbox_connect_spec spec = { .timeout_s = 60, .reboot = reboot, .actor = "test" };
    sandbox_connect(w->host, w->id, w->team, &spec, on_connected, w);
    world_run(w);
}

void world_connect(struct world *w)
{
    connect_it(w, false);
}

void world_reboot(struct world *w)
{
    connect_it(w, true);
}

static void on_snapshotted(void *user, const char *snapshot_id, const char *name,
                           const struct sandbox_timings *t, const struct err *err)
{
    struct world *w = user;
    (void)name;
    (void)t;
    w->snapshotted++;
    snprintf(w->snapshot_id, sizeof(w->snapshot_id), "%s", snapshot_id ? snapshot_id : "");
    note(w, err);
}

void world_snapshot(struct world *w, const char *name)
{
    struct sandbox_snapshot_spec spec = { .name = name, .memory = true, .actor = "test" };
    sandbox_snapshot(w->host, w->id, w->team, &spec, on_snapshotted, w);
    world_run(w);
}

static void on_forked(void *user, const struct sandbox_fork_result *results, size_t n,
                      const struct sandbox_timings *t, const struct err *err)
{
    struct world *w = user;
    (void)t;
    w->forked++;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(results[i].sb == NULL, results[i].err.code != ERR_OK);
        w->children += results[i].sb != NULL;
    }
    note(w, err);
}

void world_fork(struct world *w, unsigned count)
{
    sandbox_fork(w->host, w->id, w->team, 60, count, "test", on_forked, w);
    world_run(w);
}

static void on_stopped(void *user)
{
    struct world *w = user;
    w->stopped++;
}

void world_stop(struct world *w, bool kill_all)
{
    sandbox_host_stop(w->host, kill_all, on_stopped, w);
    world_run(w);
}

static void on_recovered(void *user, const struct err *err)
{
    struct world *w = user;
    assert_null(err);
    w->recovered++;
}

void world_recover(struct world *w)
{
    sandbox_host_recover(w->host, on_recovered, w);
    world_run(w);
}

void world_have_sandbox(struct world *w)
{
    world_create(w, "base");
    if (w->err.code)
        fail_msg("the sandbox was not made: %s", w->err.msg);
}

void world_have_paused(struct world *w)
{
    world_have_sandbox(w);
    world_pause(w);
    if (w->err.code)
        fail_msg("the sandbox was not paused: %s", w->err.msg);
}

int64_t world_number(const struct world *w, const char *sql)
{
    struct err err;
    int64_t n = -1;
    (void)w;
    OK(db_number(fakes.db, &n, &err, sql, ""));
    return n;
}

void world_assert_empty(struct world *w)
{
    assert_null(fakes_vmm());
    assert_int_equal(fakes.links, 0);
    assert_int_equal(tempdir_count(&w->dir, "snapshots"), 0);
    assert_int_equal(tempdir_count(&w->dir, "layers"), 0);
    assert_int_equal(tempdir_exists(&w->dir, "run") ? tempdir_count(&w->dir, "run") : 0, 0);
    assert_int_equal(world_number(w, "SELECT count(*) FROM sandboxes"), 0);
    assert_int_equal(world_number(w, "SELECT count(*) FROM layers"), 0);
}

void world_assert_state(struct world *w, enum sandbox_state state, const char *recorded)
{
    char sql[128];
    const struct sandbox *sb = sandbox_lookup(w->host, w->id, w->team);
    assert_non_null(sb);
    assert_int_equal(sm_state(&sb->sm), state);
    snprintf(sql, sizeof(sql), "SELECT count(*) FROM sandboxes WHERE id = '%s' AND state = '%s'",
             w->id, recorded);
    assert_int_equal(world_number(w, sql), 1);
    assert_int_equal(fakes.links, state == SANDBOX_RUNNING);
    assert_int_equal(fakes_vmm() != NULL, state == SANDBOX_RUNNING);
    if (state == SANDBOX_RUNNING)
        assert_true(fakes_vmm()->running);
}
