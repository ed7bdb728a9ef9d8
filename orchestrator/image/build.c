/*
 * image_build(): the steps in order, what of them the cache has, and the publication.
 *
 *     package lists -> kernel -> root file system -> envd baked in -> disk image -> snapshot ->
 * publish
 *          '---- only what the cache has not ----'
 *
 * The new build grows in <data_dir>/templates/.new.<build id> and gets its name when it is
 * complete.
 */
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/fileio.h"
#include "orchestrator/image/apt.h"
#include "orchestrator/image/bake.h"
#include "orchestrator/image/cache.h"
#include "orchestrator/image/command.h"
#include "orchestrator/image/digest.h"
#include "orchestrator/image/image.h"
#include "orchestrator/image/initramfs.h"
#include "orchestrator/image/kernel.h"
#include "orchestrator/image/kernel_micro.h"
#include "orchestrator/image/program.h"
#include "orchestrator/image/publication.h"
#include "orchestrator/image/rootfs.h"
#include "orchestrator/store/templates.h"

#include <errno.h>
#include <sys/stat.h>

/* Crypto self-tests take 0.2 s under emulation and prove nothing about a virtual machine. Security
 * modules that have no policy here are asked at each system call all the same. A sandbox that is
 * idle is to be idle: no watchdog, no compaction twice a second. Watchers of big source trees need
 * more than the kernel gives a machine of 512 MB. */
#define CMDLINE                                                                                    \
    "root=/dev/vda rw quiet cryptomgr.notests lsm=landlock,yama nowatchdog "                       \
    "sysctl.vm.compaction_proactiveness=0 sysctl.fs.inotify.max_user_watches=65536"

/* Raised when the same inputs give another build than before. */
#define BUILD_RECIPE "5"

#define SPACE_CACHE_MB 1500 /* free, when packages must be fetched and unpacked */

struct build {
    const struct image_options *o;
    image_progress_cb progress;
    void *user;
    unsigned step, steps;
    const char *step_name;
    int64_t step_began_ms;

    struct cache cache;
    struct apt apt;
    struct program envd;
    char kernel_key[CACHE_KEY_SIZE], rootfs_key[CACHE_KEY_SIZE], key[CACHE_KEY_SIZE];
    char kernel_dir[PATH_MAX], rootfs_dir[PATH_MAX];
    bool has_kernel, has_rootfs;
    bool may_have_kernel; /* unless there is a newer one */
    char work[PATH_MAX];  /* the tree that is baked; empty: none */
    struct publication publication;
    struct image_manifest manifest;
    struct image_result *out;
};

static void tell(struct build *b, int what, const char *detail)
{
    struct image_progress p = { .what = (__typeof__(p.what))what,
                                .step = b->step,
                                .steps = b->steps,
                                .name = b->step_name,
                                .detail = detail,
                                .elapsed_ms = clock_mono_ms() - b->step_began_ms };
    if (b->progress)
        b->progress(b->user, &p);
}

static void begin(struct build *b, const char *name)
{
    b->step++;
    b->step_name = name;
    b->step_began_ms = clock_mono_ms();
    tell(b, IMAGE_STEP_BEGINS, "");
}

static void on_tick(void *user, const char *line)
{
    struct build *b = user;
    bool marked = strncmp(line, "I: ", 3) == 0; /* mmdebstrap's */
    tell(b, IMAGE_STEP_GOES_ON, marked ? line + 3 : line);
}

static void on_waiting(void *user)
{
    struct build *b = user;
    b->step_name = "waiting for another build to end";
    b->step_began_ms = clock_mono_ms();
    tell(b, IMAGE_STEP_GOES_ON, "");
}

/* Two results of one key may differ, when packages were taken anew: each has a name of its own. */
static int mark_made(const char *dir, struct err *err)
{
    char path[PATH_MAX], id[ID_UUID_SIZE];
    id_uuid(id);
    snprintf(path, sizeof(path), "%s/made", dir);
    return file_replace(path, id, strlen(id), 0444, err);
}

static void add_made(struct cache_key *key, const char *what, const char *dir)
{
    char path[PATH_MAX];
    struct buf id = { 0 };
    if (snprintf(path, sizeof(path), "%s/made", dir) < (int)sizeof(path) &&
        file_read(path, ID_UUID_SIZE, &id, NULL) == 0)
        cache_key_add(key, what, buf_str(&id));
    buf_deinit(&id);
}

/* The key of the whole build, once kernel and root file system are in the cache. */
static void compute_key(struct build *b)
{
    struct cache_key key;
    char sizes[64];
    snprintf(sizes, sizeof(sizes), "%llu %u %u", (unsigned long long)b->o->disk_mb, b->o->vcpus,
             b->o->memory_mb);
    cache_key_init(&key, "build");
    cache_key_add(&key, "recipe", STR(BUILD_RECIPE));
    cache_key_add(&key, "cmdline", STR(CMDLINE));
    cache_key_add(&key, "sizes", str_of(sizes));
    cache_key_add(&key, "host", str_of(b->o->host));
    cache_key_add(&key, "envd", buf_str(&b->envd.bytes));
    add_made(&key, "kernel", b->kernel_dir);
    if (b->o->rootfs)
        cache_key_add(&key, "build_id", str_of(b->out->build_id)); /* is never the same */
    else
        add_made(&key, "rootfs", b->rootfs_dir);
    cache_key_text(&key, b->key);
}

/* A step whose result goes to the cache. */
static int make_cached(struct build *b, const char *step, const char *key,
                       int (*make)(struct build *b, const char *work, struct err *err),
                       char result[static PATH_MAX], struct err *err)
{
    char work[PATH_MAX];
    int rc = cache_work_dir(&b->cache, work, err);
    if (rc < 0)
        return rc;
    rc = make(b, work, err);
    if (rc == 0)
        rc = mark_made(work, err);
    if (rc == 0)
        rc = cache_commit(&b->cache, work, step, key, err);
    if (rc < 0)
        cache_discard(work); /* the disk may be full of it */
    cache_has(&b->cache, step, key, result);
    return rc;
}

static bool is_micro(const struct build *b)
{
    return b->o->kernel == IMAGE_KERNEL_MICRO;
}

/* Of the step, in the cache: the result of one kernel stays when another is made. */
static const char *kernel_step(const struct build *b)
{
    return is_micro(b) ? "micro-kernel" : "kernel";
}

static int do_kernel(struct build *b, const char *work, struct err *err)
{
    return is_micro(b) ? kernel_micro_make(&b->apt, work, err) : kernel_make(&b->apt, work, err);
}

/* Minutes of building are spent only for a source that is another. */
static int make_kernel(struct build *b, struct err *err)
{
    int rc = 0;
    if (b->may_have_kernel)
        rc = kernel_micro_is_newest(&b->apt, b->kernel_dir, &b->has_kernel, err);
    if (rc == 0 && !b->has_kernel && is_micro(b))
        rc = publication_check_space(b->cache.dir, KERNEL_MICRO_SPACE_MB, err);
    if (rc < 0 || b->has_kernel)
        return rc;
    return make_cached(b, kernel_step(b), b->kernel_key, do_kernel, b->kernel_dir, err);
}

static int do_rootfs(struct build *b, const char *work, struct err *err)
{
    char tree[PATH_MAX];
    if (snprintf(tree, sizeof(tree), "%s/tree", work) >= (int)sizeof(tree))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", work);
    return rootfs_make_debian(&b->apt, tree, err);
}

static int fetch_lists(struct build *b, struct err *err)
{
    char dir[PATH_MAX];
    int rc = publication_check_space(b->cache.dir, SPACE_CACHE_MB, err);
    if (rc < 0)
        return rc;
    begin(b, "package lists");
    b->apt = (struct apt){ .log = b->cache.log, .tick = on_tick, .user = b };
    snprintf(dir, sizeof(dir), "%s/apt", b->cache.dir);
    rc = apt_update(&b->apt, dir, err);
    if (rc == 0)
        tell(b, IMAGE_STEP_DONE, "");
    return rc;
}

/* What a finished step in the cache is. */
static void tell_kernel(struct build *b, int what)
{
    char version[KERNEL_VERSION_MAX];
    struct err err;
    if (kernel_version(b->kernel_dir, version, &err) == 0)
        snprintf(b->manifest.kernel_version, sizeof(b->manifest.kernel_version), "%s", version);
    tell(b, what, b->manifest.kernel_version);
}

static int gather_cached(struct build *b, struct err *err)
{
    bool need_rootfs = !b->has_rootfs && !b->o->rootfs;
    int rc = 0;
    if (!b->has_kernel || need_rootfs)
        rc = fetch_lists(b, err);
    if (rc < 0)
        return rc;
    begin(b, "kernel");
    if (!b->has_kernel)
        rc = make_kernel(b, err);
    if (rc < 0)
        return rc;
    tell_kernel(b, b->has_kernel ? IMAGE_STEP_CACHED : IMAGE_STEP_DONE);
    if (b->o->rootfs)
        return 0;
    begin(b, "root file system");
    if (need_rootfs)
        rc = make_cached(b, "rootfs", b->rootfs_key, do_rootfs, b->rootfs_dir, err);
    if (rc == 0)
        tell(b, need_rootfs ? IMAGE_STEP_DONE : IMAGE_STEP_CACHED, "Debian " APT_SUITE);
    return rc;
}

/* The tree to bake: a copy, since neither the cache's nor the operator's may change. */
static int take_tree(struct build *b, const struct rootfs_run *run, const char *tree,
                     struct err *err)
{
    char from[PATH_MAX];
    struct stat st;
    if (!b->o->rootfs) {
        snprintf(b->manifest.source, sizeof(b->manifest.source), "Debian " APT_SUITE);
        if (snprintf(from, sizeof(from), "%s/tree", b->rootfs_dir) >= (int)sizeof(from))
            return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", b->rootfs_dir);
        return rootfs_copy(run, from, tree, err);
    }
    if (stat(b->o->rootfs, &st) < 0)
        return err_set(err, ERR_NOT_FOUND, errno, "cannot read %s: %s", b->o->rootfs,
                       strerror(errno));
    const char *name = strrchr(b->o->rootfs, '/');
    name = name && name[1] ? name + 1 : b->o->rootfs;
    snprintf(b->manifest.source, sizeof(b->manifest.source), "%.*s", 127, name);
    return S_ISDIR(st.st_mode) ? rootfs_copy(run, b->o->rootfs, tree, err)
                               : rootfs_unpack(run, b->o->rootfs, tree, err);
}

/* Copy a file of the cache into the build. */
static int copy_in(const struct build *b, const char *from_dir, const char *name, struct err *err)
{
    char from[PATH_MAX], to[PATH_MAX];
    struct buf data = { 0 };
    if (snprintf(from, sizeof(from), "%s/%s", from_dir, name) >= (int)sizeof(from) ||
        snprintf(to, sizeof(to), "%s/%s", b->publication.new_dir, name) >= (int)sizeof(to))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s",
                       b->publication.new_dir);
    int rc = file_read(from, SIZE_MAX / 2, &data, err);
    if (rc == 0) {
        struct str bytes = buf_str(&data);
        rc = file_replace(to, bytes.p, bytes.n, 0444, err);
    }
    buf_deinit(&data);
    return rc;
}

static int add_initramfs(const struct build *b, struct err *err)
{
    char path[PATH_MAX], modules[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/" IMAGE_FILE_INITRAMFS, b->publication.new_dir) >=
            (int)sizeof(path) ||
        snprintf(modules, sizeof(modules), "%s/modules", b->kernel_dir) >= (int)sizeof(modules))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s",
                       b->publication.new_dir);
    return initramfs_write(path, buf_str(&b->envd.bytes), modules, err);
}

static int bake(struct build *b, const char *tree, const struct rootfs_run *run, struct err *err)
{
    begin(b, "envd");
    int rc = take_tree(b, run, tree, err);
    struct bake what = { .tree = tree,
                         .name = b->o->name,
                         .build_id = b->out->build_id,
                         .envd = buf_str(&b->envd.bytes),
                         .own = !b->o->rootfs };
    if (rc == 0)
        rc = bake_tree(&what, err);
    if (rc == 0)
        rc = copy_in(b, b->kernel_dir, IMAGE_FILE_KERNEL, err);
    if (rc == 0)
        rc = add_initramfs(b, err);
    if (rc == 0)
        tell(b, IMAGE_STEP_DONE, b->envd.version);
    return rc;
}

/* A digest and mode 0444 for a file of the build. */
static int seal(const struct build *b, const char *name,
                int (*digest)(const char *path, struct image_file *out, struct err *err),
                struct image_file *out, struct err *err)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/%s", b->publication.new_dir, name) >= (int)sizeof(path))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s",
                       b->publication.new_dir);
    if (chmod(path, 0444) < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot change %s: %s", path, strerror(errno));
    return digest(path, out, err);
}

static int make_disk(struct build *b, const char *tree, const struct rootfs_run *run,
                     struct err *err)
{
    char image[PATH_MAX];
    struct image_manifest *m = &b->manifest;
    begin(b, "disk image");
    if (snprintf(image, sizeof(image), "%s/" IMAGE_FILE_ROOTFS, b->publication.new_dir) >=
        (int)sizeof(image))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s",
                       b->publication.new_dir);
    int rc = rootfs_make_ext4(run, tree, image, b->o->disk_mb, err);
    if (rc == 0)
        rc = seal(b, IMAGE_FILE_ROOTFS, digest_sparse_file, &m->rootfs, err);
    if (rc == 0)
        rc = seal(b, IMAGE_FILE_KERNEL, digest_file, &m->kernel, err);
    if (rc == 0)
        rc = seal(b, IMAGE_FILE_INITRAMFS, digest_file, &m->initramfs, err);
    if (rc == 0)
        tell(b, IMAGE_STEP_DONE, "");
    return rc;
}

static void fill_manifest(struct build *b)
{
    struct image_manifest *m = &b->manifest;
    memcpy(m->build_id, b->out->build_id, sizeof(b->out->build_id));
    snprintf(m->name, sizeof(m->name), "%s", b->o->name);
    snprintf(m->key, sizeof(m->key), "%s", b->key);
    snprintf(m->cmdline, sizeof(m->cmdline), CMDLINE);
    memcpy(m->envd_version, b->envd.version, sizeof(m->envd_version));
    clock_rfc3339(clock_wall_ns(), m->created);
    m->kernel_kind = b->o->kernel;
    m->disk_mb = b->o->disk_mb;
    m->memory_mb = b->o->memory_mb;
}

static void on_saving(void *user, const char *what)
{
    tell(user, IMAGE_STEP_GOES_ON, what);
}

static int save(struct build *b, struct err *err)
{
    unsigned vcpus = b->o->vcpus;
    const struct image_save what = { .data_dir = b->o->data_dir,
                                     .dir = b->publication.new_dir,
                                     .manifest = &b->manifest,
                                     .accel = b->o->accel,
                                     .vcpus = b->o->vcpus,
                                     .memory_mb = b->o->memory_mb,
                                     .cgroup = b->o->cgroup,
                                     .allowance = b->o->allowance,
                                     .tell = on_saving,
                                     .user = b };
    begin(b, "snapshot");
    fill_manifest(b);
    int rc = b->o->save(&what, &vcpus, err);
    b->manifest.vcpus = vcpus;
    if (rc == 0)
        tell(b, IMAGE_STEP_DONE, "");
    return rc;
}

static int publish(struct build *b, struct err *err)
{
    begin(b, "publish");
    int rc = publication_finish(&b->publication, &b->manifest, b->out, err);
    if (rc == 0)
        tell(b, IMAGE_STEP_DONE, b->o->name);
    return rc;
}

static int run_steps(struct build *b, struct err *err)
{
    char tree[PATH_MAX];
    struct rootfs_run run = { .log = b->cache.log, .tick = on_tick, .user = b };
    int rc = gather_cached(b, err);
    if (rc < 0)
        return rc;
    compute_key(b);
    if (publication_is_current(b->o->data_dir, b->o->name, b->key, b->out))
        return 0;
    rc = publication_begin(&b->publication, b->o->data_dir, b->o->name, b->out, err);
    if (rc == 0)
        rc = cache_work_dir(&b->cache, b->work, err);
    if (rc < 0)
        return rc;
    if (snprintf(tree, sizeof(tree), "%s/tree", b->work) >= (int)sizeof(tree))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", b->work);
    rc = bake(b, tree, &run, err);
    if (rc == 0)
        rc = make_disk(b, tree, &run, err);
    if (rc == 0 && !command_interrupted())
        rc = save(b, err);
    if (rc == 0 && command_interrupted())
        rc = err_set(err, ERR_CANCELED, EINTR, "interrupted");
    return rc == 0 ? publish(b, err) : rc;
}

static int check_options(const struct image_options *o, struct err *err)
{
    struct template_ref ref;
    int rc = template_ref_parse(o->name, &ref, err);
    if (rc < 0)
        return rc;
    if (ref.space[0] || ref.tag[0] || strcmp(ref.name, o->name) != 0)
        return err_set(err, ERR_INVALID, EINVAL,
                       "'%s' is no name of a template: use small letters, digits, '-' and '_'",
                       o->name);
    if (geteuid() != 0)
        return err_set(err, ERR_DENIED, EPERM,
                       "building an image needs root: its files belong to root in the guest");
    return 0;
}

/* What is there already, and so how many steps there will be. */
static int plan(struct build *b, struct err *err)
{
    int rc = 0;
    if (is_micro(b))
        rc = kernel_micro_key(b->cache.log, b->kernel_key, err);
    else
        kernel_key(b->kernel_key);
    if (rc < 0)
        return rc;
    rootfs_key(b->rootfs_key);
    bool kernel = cache_has(&b->cache, kernel_step(b), b->kernel_key, b->kernel_dir);
    bool rootfs = cache_has(&b->cache, "rootfs", b->rootfs_key, b->rootfs_dir);
    b->has_kernel = kernel && !b->o->refresh;
    b->may_have_kernel = kernel && is_micro(b);
    b->has_rootfs = rootfs && !b->o->refresh;
    bool lists = !b->has_kernel || (!b->has_rootfs && !b->o->rootfs);
    b->steps = (lists ? 1U : 0U) + 1 + (b->o->rootfs ? 0U : 1U) + 4;
    return is_micro(b) && !b->has_kernel ? kernel_micro_check_tools(b->cache.log, err) : 0;
}

/* Before minutes are spent: everything that a step will run. */
static int check_tools(struct err *err)
{
    static const struct {
        const char *program, *package;
    } tools[] = {
        { "apt-get", "apt" },          { "dpkg-deb", "dpkg" },    { "mmdebstrap", "mmdebstrap" },
        { "cp", "coreutils" },         { "mke2fs", "e2fsprogs" }, { "tar", "tar" },
        { "fallocate", "util-linux" },
    };
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(tools) && rc == 0; i++)
        rc = command_check(tools[i].program, tools[i].package, err);
    return rc;
}

static int build_in_cache(struct build *b, struct err *err)
{
    char path[PATH_MAX];
    int rc = check_tools(err);
    if (rc < 0)
        return rc;
    if (b->o->envd)
        snprintf(path, sizeof(path), "%s", b->o->envd);
    else
        rc = image_find_envd(path, err);
    if (rc == 0)
        rc = program_load(&b->envd, path, b->cache.log, err);
    if (rc < 0)
        return rc;
    rc = plan(b, err);
    if (rc == 0)
        rc = run_steps(b, err);
    if (b->work[0])
        cache_discard(b->work);
    publication_end(&b->publication);
    program_deinit(&b->envd);
    return rc;
}

int image_build(const struct image_options *o, image_progress_cb progress, void *user,
                struct image_result *out, struct err *err)
{
    int rc = check_options(o, err);
    AUTO_FREE struct build *b = calloc(1, sizeof(*b));
    if (rc < 0)
        return rc;
    if (!b)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    *out = (struct image_result){ 0 };
    id_uuid(out->build_id);
    b->o = o;
    b->progress = progress;
    b->user = user;
    b->out = out;
    b->publication.lock = -1;
    rc = cache_open(&b->cache, on_waiting, b, err);
    if (rc < 0)
        return rc;
    rc = build_in_cache(b, err);
    cache_close(&b->cache);
    return rc;
}

void image_interrupt(void)
{
    command_interrupt();
}
