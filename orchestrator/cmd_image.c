#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "orchestrator/cmd.h"
#include "orchestrator/image/image.h"
#include "orchestrator/options.h"
#include "orchestrator/template/template_snapshot.h"
#include "orchestrator/vmm/vmm.h"
#include "orchestrator/store/templates.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

#define PLAIN_EVERY_MS 20000 /* between lines about one step, where there is no terminal */
#define DETAIL_SHOWN   60

/* Of template_snapshot_host(): the devices are a page of text. */
#define HOST_TEXT_MAX 65536

static const char help[] =
    "Usage: sandpit image build [OPTION...]\n"
    "       sandpit image list [--data-dir DIR]\n"
    "\n"
    "build makes a template: a kernel, an initramfs and a root file system, from Debian packages,\n"
    "booted once and saved. Sandboxes go on from there.\n"
    "What it fetched and unpacked is kept in ~/.cache/sandpit; a changed envd is baked in in\n"
    "seconds, and a run that was interrupted goes on where it was. Needs root.\n"
    "\n"
    "  --name NAME       of the template (base)\n"
    "  --rootfs PATH     a folder or tar archive to use instead of Debian; envd and the user\n"
    "                    'user' are added to a copy of it\n"
    "  --kernel WHICH    debian: Debian's own; or micro: a small one, built here in minutes from\n"
    "                    Debian's source, which starts faster and needs less memory (debian)\n"
    "  --envd PATH       the static envd (SANDPIT_ENVD, or the one beside this program)\n"
    "  --refresh         take the newest packages instead of what the cache has\n"
    "  --disk-mb N       virtual size of the disk (4096)\n"
    "  --memory-mb N     of a sandbox (512)\n"
    "  --vcpus N         of a sandbox (1 under emulation, 2 with KVM)\n"
    "  --accel WHICH     auto, kvm or tcg: what sandboxes will run under (auto)\n"
    "  --data-dir DIR    everything that is kept (/var/lib/sandpit)\n"
    "  --cgroup WHERE    of the VM that is saved, as are --vmm-memory-mb, --vmm-pids and\n"
    "                    --vmm-cpus: as for serve\n"
    "\n"
    "Example:\n"
    "    sandpit image build --name roomy --disk-mb 8192 --memory-mb 1024\n"
    "\n"
    "Exit status: 0 done, 1 failed, 2 called wrongly.\n";

struct screen {
    bool is_terminal;
    int64_t said_ms; /* when the last plain line was printed */
};

static void show_plain(struct screen *s, const struct image_progress *p)
{
    double seconds = (double)p->elapsed_ms / 1000;
    const char *gap = p->detail[0] ? ", " : "";
    switch (p->what) {
    case IMAGE_STEP_BEGINS:
        s->said_ms = clock_mono_ms();
        return;
    case IMAGE_STEP_GOES_ON:
        if (clock_mono_ms() - s->said_ms < PLAIN_EVERY_MS)
            return;
        printf("[%u/%u] %s: %.0f s%s%.*s\n", p->step, p->steps, p->name, seconds, gap, DETAIL_SHOWN,
               p->detail);
        break;
    case IMAGE_STEP_DONE:
        printf("[%u/%u] %s: done in %.1f s%s%s\n", p->step, p->steps, p->name, seconds, gap,
               p->detail);
        break;
    case IMAGE_STEP_CACHED:
        printf("[%u/%u] %s: cached%s%s\n", p->step, p->steps, p->name, gap, p->detail);
        break;
    }
    s->said_ms = clock_mono_ms();
    fflush(stdout);
}

static void show(void *user, const struct image_progress *p)
{
    struct screen *s = user;
    if (p->steps == 0) {
        printf("%s\n", p->name);
        fflush(stdout);
        return;
    }
    if (s->is_terminal && (p->what == IMAGE_STEP_BEGINS || p->what == IMAGE_STEP_GOES_ON)) {
        printf("\r\033[K[%u/%u] %s  %.0f s  %.*s", p->step, p->steps, p->name,
               (double)p->elapsed_ms / 1000, DETAIL_SHOWN, p->detail);
        fflush(stdout);
        return;
    }
    if (s->is_terminal)
        fputs("\r\033[K", stdout);
    show_plain(s, p);
}

static void on_signal(int signum)
{
    (void)signum;
    image_interrupt();
}

static int build(int argc, char **argv)
{
    static const char *const settings[] = { "data-dir", "disk-mb", "memory-mb",     "vcpus",
                                            "accel",    "cgroup",  "vmm-memory-mb", "vmm-pids",
                                            "vmm-cpus", NULL };
    const char *name = "base", *rootfs = NULL, *envd = NULL, *kernel_name = "debian";
    enum image_kernel kernel;
    bool refresh = false;
    const struct option_spec specs[] = {
        { "name", &name, NULL }, { "rootfs", &rootfs, NULL },   { "kernel", &kernel_name, NULL },
        { "envd", &envd, NULL }, { "refresh", NULL, &refresh }, { NULL, NULL, NULL }
    };
    struct config config;
    int first;
    int rc =
        options_parse(&config, "sandpit image build", help, argc, argv, specs, settings, 0, &first);
    if (rc >= 0)
        return rc;
    if (!image_kernel_parse(str_of(kernel_name), &kernel)) {
        fprintf(stderr, "sandpit image build: --kernel must be debian or micro\n");
        return CMD_USAGE;
    }
    struct sigaction action = { .sa_handler = on_signal };
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGHUP, &action, NULL);

    struct err err;
    AUTO_FREE char *host = malloc(HOST_TEXT_MAX);
    if (!host || template_snapshot_host(config.accel, kernel, host, HOST_TEXT_MAX, &err) < 0) {
        fprintf(stderr, "sandpit image build: %s\n", host ? err.msg : "out of memory");
        return CMD_FAILED;
    }
    const struct vmm_allowance allowance = { config.vmm_memory_mb, config.vmm_pids,
                                             config.vmm_cpus };
    struct image_options o = { .data_dir = config.data_dir,
                               .name = name,
                               .rootfs = rootfs,
                               .kernel = kernel,
                               .envd = envd,
                               .disk_mb = config.disk_mb,
                               .accel = config.accel,
                               .vcpus = config.vcpus,
                               .memory_mb = config.memory_mb,
                               .cgroup = config.cgroup,
                               .allowance = &allowance,
                               .save = template_snapshot_make,
                               .host = host,
                               .refresh = refresh };
    struct screen screen = { .is_terminal = isatty(STDOUT_FILENO) };
    struct image_result result;
    int64_t began = clock_mono_ms();
    if (image_build(&o, show, &screen, &result, &err) < 0) {
        if (screen.is_terminal)
            fputs("\r\033[K", stdout);
        fflush(stdout);
        fprintf(stderr, "sandpit image build: %s\n", err.msg);
        return CMD_FAILED;
    }
    printf("template %s (%s), build %s: %s in %.1f s\n", name, result.template_id, result.build_id,
           result.unchanged ? "nothing has changed, checked" : "built",
           (double)(clock_mono_ms() - began) / 1000);
    return CMD_OK;
}

static void print_template(void *user, const struct store_template *t, const struct store_build *b)
{
    struct image_manifest m;
    struct err err;
    char path[PATH_MAX + 32];
    struct stat st;
    (void)user;
    if (!b) {
        printf("%-20s %-20s no build\n", t->name, t->id);
        return;
    }
    if (image_manifest_load(b->dir, &m, &err) < 0) {
        printf("%-20s %-20s unusable: %s\n", t->name, t->id, err.msg);
        return;
    }
    snprintf(path, sizeof(path), "%s/" IMAGE_FILE_ROOTFS, b->dir);
    long long used_mb = stat(path, &st) == 0 ? (long long)st.st_blocks / 2048 : 0;
    printf("%-20s %-20s %-36s %.19s  %5lld of %llu MB  %s, envd %s\n", t->name, t->id, b->id,
           m.created, used_mb, (unsigned long long)m.disk_mb, m.source, m.envd_version);
}

static int list(int argc, char **argv)
{
    static const char *const settings[] = { "data-dir", NULL };
    static const struct option_spec specs[] = { { NULL, NULL, NULL } };
    struct config config;
    struct db *db = NULL;
    struct err err;
    int first;
    int rc =
        options_parse(&config, "sandpit image list", help, argc, argv, specs, settings, 0, &first);
    if (rc >= 0)
        return rc;
    rc = db_open(&db, config.data_dir, &err);
    if (rc == 0)
        rc = db_template_list(db, NULL, print_template, NULL, &err);
    db_close(db);
    if (rc < 0) {
        fprintf(stderr, "sandpit image list: %s\n", err.msg);
        return CMD_FAILED;
    }
    return CMD_OK;
}

int cmd_image(int argc, char **argv)
{
    const char *what = argc > 1 ? argv[1] : "";
    if (strcmp(what, "build") == 0)
        return build(argc - 1, argv + 1);
    if (strcmp(what, "list") == 0)
        return list(argc - 1, argv + 1);
    if (strcmp(what, "--help") == 0 || strcmp(what, "-h") == 0) {
        fputs(help, stdout);
        return CMD_OK;
    }
    fputs(help, stderr);
    return CMD_USAGE;
}
