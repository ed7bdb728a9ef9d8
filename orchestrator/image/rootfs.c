#include "orchestrator/image/rootfs.h"
#include "common/base/cleanup.h"
#include "orchestrator/image/command.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#define ROOTFS_RECIPE "1" /* raised when rootfs_make_debian() makes something else */
#define PROXY_MAX     1024
#define WORDS_MAX     (32 + APT_SOURCES_MAX)

/* What clients expect of a sandbox (bash and coreutils are in the base already). */
#define PACKAGES                                                                                   \
    "ca-certificates,curl,git,iproute2,iputils-ping,jq,less,netbase,procps,python3,sudo,xz-utils"

#define INCLUDE "--include=" PACKAGES

/* Nobody reads manuals in a sandbox: a quarter less to install and to keep. */
static const char *const excludes[] = {
    "path-exclude=/usr/share/doc/*",     "path-include=/usr/share/doc/*/copyright",
    "path-exclude=/usr/share/man/*",     "path-exclude=/usr/share/info/*",
    "path-exclude=/usr/share/lintian/*", "path-exclude=/usr/share/locale/*",
};

void rootfs_key(char out[static CACHE_KEY_SIZE])
{
    struct cache_key key;
    cache_key_init(&key, "rootfs");
    cache_key_add(&key, "suite", STR(APT_SUITE));
    cache_key_add(&key, "packages", STR(PACKAGES));
    cache_key_add(&key, "recipe", STR(ROOTFS_RECIPE));
    for (size_t i = 0; i < ARRAY_LEN(excludes); i++)
        cache_key_add(&key, "dpkg", str_of(excludes[i]));
    cache_key_text(&key, out);
}

/* mmdebstrap's apt knows nothing of the machine's apt.conf: a proxy set there is passed on by the
 * environment. */
static int pass_proxy_on(const struct apt *a, struct err *err)
{
    static const char *const argv[] = { "apt-config",           "dump", "--format", "%v",
                                        "Acquire::http::Proxy", NULL };
    char proxy[PROXY_MAX];
    struct buf text = { 0 };
    struct command c = { .argv = argv, .package = "apt", .log = a->log, .output = &text };
    int rc = getenv("http_proxy") ? 0 : command_run(&c, err);
    if (rc == 0 && str_copy(str_trim(buf_str(&text)), proxy, sizeof(proxy)) && proxy[0] &&
        setenv("http_proxy", proxy, 1) < 0)
        rc = err_set(err, ERR_EXHAUSTED, errno, "out of memory");
    buf_deinit(&text);
    return rc;
}

int rootfs_make_debian(const struct apt *a, const char *tree, struct err *err)
{
    char options[ARRAY_LEN(excludes)][96];
    const char *argv[WORDS_MAX] = { "mmdebstrap",
                                    "--variant=minbase",
                                    "--architectures=amd64",
                                    "--format=directory",
                                    INCLUDE,
                                    "--aptopt=Acquire::Languages \"none\"" };
    size_t n = 6;
    for (size_t i = 0; i < ARRAY_LEN(excludes); i++) {
        snprintf(options[i], sizeof(options[i]), "--dpkgopt=%s", excludes[i]);
        argv[n++] = options[i];
    }
    argv[n++] = APT_SUITE;
    argv[n++] = tree;
    for (size_t i = 0; i < a->nsources && n < WORDS_MAX - 1; i++)
        argv[n++] = a->sources[i];
    int rc = pass_proxy_on(a, err);
    if (rc < 0)
        return rc;
    struct command c = {
        .argv = argv, .package = "mmdebstrap", .log = a->log, .tick = a->tick, .user = a->user
    };
    return command_run(&c, err);
}

static int run_words(const struct rootfs_run *run, const char *const *argv, const char *package,
                     struct err *err)
{
    struct command c = {
        .argv = argv, .package = package, .log = run->log, .tick = run->tick, .user = run->user
    };
    return command_run(&c, err);
}

int rootfs_copy(const struct rootfs_run *run, const char *from, const char *tree, struct err *err)
{
    const char *const argv[] = { "cp", "-a", "--reflink=auto", "-T", "--", from, tree, NULL };
    return run_words(run, argv, "coreutils", err);
}

int rootfs_unpack(const struct rootfs_run *run, const char *archive, const char *tree,
                  struct err *err)
{
    /* GNU tar refuses ".." and strips a leading "/" by itself. */
    const char *const argv[] = { "tar",
                                 "--extract",
                                 "--numeric-owner",
                                 "--preserve-permissions",
                                 "--same-owner",
                                 "--xattrs",
                                 "--xattrs-include=*",
                                 "--file",
                                 archive,
                                 "--directory",
                                 tree,
                                 NULL };
    if (mkdir(tree, 0755) < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot create %s: %s", tree, strerror(errno));
    return run_words(run, argv, "tar", err);
}

int rootfs_make_ext4(const struct rootfs_run *run, const char *tree, const char *image,
                     uint64_t disk_mb, struct err *err)
{
    char size[32];
    snprintf(size, sizeof(size), "%llum", (unsigned long long)disk_mb);
    /* The inode tables are written now: else the guest's kernel does it, into each sandbox's own
     * layer. The journal of a new file is zero anyway. */
    const char *const argv[] = { "mke2fs",
                                 "-q",
                                 "-F",
                                 "-t",
                                 "ext4",
                                 "-L",
                                 "sandpit",
                                 "-m",
                                 "1",
                                 "-E",
                                 "root_owner=0:0,lazy_itable_init=0,lazy_journal_init=1",
                                 "-d",
                                 tree,
                                 image,
                                 size,
                                 NULL };
    struct err why;
    int rc = run_words(run, argv, "e2fsprogs", &why);
    if (rc == -EIO && strstr(why.msg, "Could not allocate"))
        return err_set(err, ERR_EXHAUSTED, ENOSPC,
                       "the root file system does not fit into %llu MB: give more by --disk-mb",
                       (unsigned long long)disk_mb);
    if (rc < 0) {
        if (err)
            *err = why;
        return rc;
    }
    /* Written zeroes cost as much disk as data. */
    const char *const dig[] = { "fallocate", "--dig-holes", image, NULL };
    return run_words(run, dig, "util-linux", err);
}
