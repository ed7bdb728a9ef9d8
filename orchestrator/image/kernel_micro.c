#include "orchestrator/image/kernel_micro.h"
#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "orchestrator/image/command.h"
#include "orchestrator/image/kernel.h"
#include "orchestrator/image/unpack.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define SOURCE_PACKAGE "linux-source-6.1"
#define SOURCE_ARCHIVE "usr/src/" SOURCE_PACKAGE ".tar.xz"
#define MICRO_RECIPE   "1" /* raised when the same inputs make something else than before */
#define CONFIG_MAX     (1 << 20)

/* The fragment, as the build found it. */
__asm__(".pushsection .rodata\n"
        ".globl kernel_micro_fragment\n"
        ".hidden kernel_micro_fragment\n"
        ".globl kernel_micro_fragment_end\n"
        ".hidden kernel_micro_fragment_end\n"
        "kernel_micro_fragment:\n"
        ".incbin \"" KERNEL_MICRO_CONFIG "\"\n"
        "kernel_micro_fragment_end:\n"
        ".byte 0\n"
        ".popsection\n");
extern const char kernel_micro_fragment[], kernel_micro_fragment_end[];

struct str kernel_micro_config(void)
{
    return (struct str){ kernel_micro_fragment,
                         (size_t)(kernel_micro_fragment_end - kernel_micro_fragment) };
}

struct need {
    const char *package;
    const char *program, *header; /* one of them */
};

/* The compiler is asked for a header: only it knows where it looks. */
static bool is_there(const struct need *need, const char *log)
{
    const char *const argv[] = { "gcc",      "-fsyntax-only", "-x",        "c",
                                 "-include", need->header,    "/dev/null", NULL };
    struct command c = { .argv = argv, .package = "gcc", .log = log };
    struct err ignored;
    return need->header ? command_run(&c, &ignored) == 0
                        : command_check(need->program, need->package, &ignored) == 0;
}

int kernel_micro_check_tools(const char *log, struct err *err)
{
    static const struct need needs[] = {
        { "make", .program = "make" },        { "gcc", .program = "gcc" },
        { "binutils", .program = "ld" },      { "libc6-dev", .header = "stdio.h" },
        { "libelf-dev", .header = "gelf.h" }, { "flex", .program = "flex" },
        { "bison", .program = "bison" },      { "bc", .program = "bc" },
        { "xz-utils", .program = "xz" },
    };
    char missing[128] = "";
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(needs); i++)
        if (!is_there(&needs[i], log))
            n += (size_t)snprintf(missing + n, sizeof(missing) - n, " %s", needs[i].package);
    if (command_interrupted())
        return err_set(err, ERR_CANCELED, EINTR, "interrupted");
    if (n == 0)
        return 0;
    return err_set(err, ERR_PRECONDITION, ENOENT,
                   "building the small kernel needs these packages too:%s", missing);
}

void kernel_micro_key_of(struct str compiler, char out[static CACHE_KEY_SIZE])
{
    struct cache_key key;
    cache_key_init(&key, "micro-kernel");
    cache_key_add(&key, "package", STR(SOURCE_PACKAGE));
    cache_key_add(&key, "suite", STR(APT_SUITE));
    cache_key_add(&key, "recipe", STR(MICRO_RECIPE));
    cache_key_add(&key, "config", kernel_micro_config());
    cache_key_add(&key, "compiler", compiler);
    cache_key_text(&key, out);
}

int kernel_micro_key(const char *log, char out[static CACHE_KEY_SIZE], struct err *err)
{
    static const char *const argv[] = { "gcc", "--version", NULL };
    struct buf text = { 0 };
    struct command c = { .argv = argv, .package = "gcc", .log = log, .output = &text };
    int rc = command_run(&c, err);
    struct str rest = buf_str(&text);
    if (rc == 0)
        kernel_micro_key_of(str_split(&rest, '\n'), out);
    buf_deinit(&text);
    return rc;
}

/* Whether a line stands in a text, alone. */
static bool has_line(struct str text, struct str line)
{
    while (text.p) {
        struct str here = str_split(&text, '\n');
        if (str_eq(here, line))
            return true;
    }
    return false;
}

/* Whether an option is set in any way. */
static bool has_option(struct str text, struct str name)
{
    while (text.p) {
        struct str line = str_split(&text, '\n');
        if (str_starts(line, name) && line.n > name.n && line.p[name.n] == '=')
            return true;
    }
    return false;
}

int kernel_micro_check_config(struct str fragment, struct str finished, struct err *err)
{
    static const char off[] = " is not set";
    while (fragment.p) {
        struct str line = str_trim(str_split(&fragment, '\n'));
        bool wrong = false;
        if (str_starts(line, STR("CONFIG_"))) {
            wrong = !has_line(finished, line);
        } else if (str_starts(line, STR("# CONFIG_")) && line.n > sizeof(off) + 1) {
            /* An option that nothing offers is off as well. */
            struct str name = { line.p + 2, line.n - 2 - (sizeof(off) - 1) };
            wrong = has_option(finished, name);
        }
        if (wrong)
            return err_set(err, ERR_INVALID, EINVAL,
                           "the kernel's source does not take this option: %.*s", STR_ARG(line));
    }
    return 0;
}

/* What one build needs to find its way. */
struct micro {
    const struct apt *apt;
    char deb[PATH_MAX], package[PATH_MAX], archive[PATH_MAX], source[PATH_MAX], out[PATH_MAX];
    char out_option[PATH_MAX + 2]; /* "O=..." */
};

static int run(const struct micro *m, const char *const *argv, const char *package, struct err *err)
{
    struct command c = { .argv = argv,
                         .package = package,
                         .log = m->apt->log,
                         .tick = m->apt->tick,
                         .user = m->apt->user };
    return command_run(&c, err);
}

/* The kernel is the same whenever and by whomever it is built. */
static int run_make(const struct micro *m, const char *jobs, const char *target, struct err *err)
{
    const char *const argv[] = { "make",
                                 "-C",
                                 m->source,
                                 m->out_option,
                                 "ARCH=x86",
                                 "KBUILD_BUILD_TIMESTAMP=@0",
                                 "KBUILD_BUILD_USER=sandpit",
                                 "KBUILD_BUILD_HOST=sandpit",
                                 jobs,
                                 target,
                                 NULL };
    return run(m, argv, "make", err);
}

/* Most of the source are drivers that this configuration has no use for; what is left out of it is
 * half of its bytes. Makefiles and Kconfig files must all be there. */
static int unpack(const struct micro *m, struct err *err)
{
    const char *const deb[] = { "dpkg-deb", "-x", m->deb, m->package, NULL };
    const char *const tar[] = { "tar",
                                "-x",
                                "--strip-components=1",
                                "--exclude=*/drivers/gpu/*.[ch]",
                                "--exclude=*/drivers/media/*.[ch]",
                                "--exclude=*/drivers/net/ethernet/*.[ch]",
                                "--exclude=*/drivers/net/wireless/*.[ch]",
                                "--exclude=*/Documentation/*.rst",
                                "-C",
                                m->source,
                                "-f",
                                m->archive,
                                NULL };
    int rc = run(m, deb, "dpkg", err);
    if (rc == 0)
        rc = file_make_dirs(m->source, 0755, err);
    return rc == 0 ? run(m, tar, "tar", err) : rc;
}

/* tinyconfig with the fragment behind it; the later of two values counts. */
static int configure(const struct micro *m, struct err *err)
{
    char path[PATH_MAX + 16];
    struct buf text = { 0 };
    struct str fragment = kernel_micro_config();
    snprintf(path, sizeof(path), "%s/.config", m->out);
    int rc = file_make_dirs(m->out, 0755, err);
    if (rc == 0)
        rc = run_make(m, "-j1", "tinyconfig", err);
    if (rc == 0)
        rc = file_read(path, CONFIG_MAX, &text, err);
    if (rc == 0 && !buf_append(&text, fragment.p, fragment.n))
        rc = err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    if (rc == 0)
        rc = file_replace_unsynced(path, buf_head(&text), buf_len(&text), 0644, err);
    if (rc == 0)
        rc = run_make(m, "-j1", "olddefconfig", err);
    buf_deinit(&text);
    if (rc == 0)
        rc = file_read(path, CONFIG_MAX, &text, err);
    if (rc == 0)
        rc = kernel_micro_check_config(fragment, buf_str(&text), err);
    buf_deinit(&text);
    return rc;
}

static int write_file(const char *dir, const char *name, struct str data, struct err *err)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", dir);
    return file_replace(path, data.p, data.n, 0444, err);
}

/* Copy a file that the build left; of a text the first line. */
static int keep(const struct micro *m, const char *from, const char *dir, const char *name,
                bool is_text, struct err *err)
{
    char path[PATH_MAX + 64];
    struct buf data = { 0 };
    snprintf(path, sizeof(path), "%s/%s", m->out, from);
    int rc = file_read(path, UNPACK_KERNEL_MAX, &data, err);
    struct str all = buf_str(&data);
    if (rc == 0)
        rc = write_file(dir, name, is_text ? str_split(&all, '\n') : all, err);
    buf_deinit(&data);
    return rc;
}

static int keep_all(const struct micro *m, const char *dir, struct err *err)
{
    char modules[PATH_MAX];
    if (snprintf(modules, sizeof(modules), "%s/modules", dir) >= (int)sizeof(modules))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", dir);
    int rc = keep(m, "vmlinux", dir, "kernel", false, err);
    if (rc == 0)
        rc = keep(m, "include/config/kernel.release", dir, "version", true, err);
    if (rc == 0)
        rc = file_make_dirs(modules, 0755, err);
    return rc == 0 ? write_file(modules, "modules.list", STR(""), err) : rc;
}

static int build(struct micro *m, const char *dir, struct err *err)
{
    char jobs[16];
    snprintf(jobs, sizeof(jobs), "-j%ld", sysconf(_SC_NPROCESSORS_ONLN));
    int rc = unpack(m, err);
    if (rc == 0)
        rc = configure(m, err);
    if (rc == 0)
        rc = run_make(m, jobs, "vmlinux", err);
    return rc == 0 ? keep_all(m, dir, err) : rc;
}

int kernel_micro_make(const struct apt *a, const char *dir, struct err *err)
{
    char version[APT_PACKAGE_MAX];
    AUTO_FREE struct micro *m = calloc(1, sizeof(*m));
    if (!m)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    m->apt = a;
    if (snprintf(m->package, sizeof(m->package), "%s/package", dir) >= PATH_MAX ||
        snprintf(m->archive, sizeof(m->archive), "%s/package/" SOURCE_ARCHIVE, dir) >= PATH_MAX ||
        snprintf(m->source, sizeof(m->source), "%s/linux", dir) >= PATH_MAX ||
        snprintf(m->out, sizeof(m->out), "%s/out", dir) >= PATH_MAX)
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", dir);
    snprintf(m->out_option, sizeof(m->out_option), "O=%s", m->out);
    int rc = apt_version(a, SOURCE_PACKAGE, version, err);
    if (rc == 0)
        rc = apt_download(a, SOURCE_PACKAGE, dir, m->deb, err);
    if (rc == 0)
        rc = build(m, dir, err);
    if (rc == 0)
        rc = write_file(dir, "source", str_of(version), err);
    const char *const left[] = { m->package, m->source, m->out, m->deb };
    for (size_t i = 0; i < ARRAY_LEN(left) && rc == 0; i++)
        rc = file_remove_tree(left[i], err);
    return rc;
}

int kernel_micro_is_newest(const struct apt *a, const char *dir, bool *out, struct err *err)
{
    char path[PATH_MAX], version[APT_PACKAGE_MAX];
    struct buf had = { 0 };
    *out = false;
    if (snprintf(path, sizeof(path), "%s/source", dir) >= (int)sizeof(path))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", dir);
    int rc = apt_version(a, SOURCE_PACKAGE, version, err);
    if (rc == 0 && file_read(path, APT_PACKAGE_MAX, &had, NULL) == 0)
        *out = str_eq(buf_str(&had), str_of(version));
    buf_deinit(&had);
    return rc;
}
