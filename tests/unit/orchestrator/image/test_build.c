/* Whole builds with apt and mmdebstrap replaced by scripts; cp, mke2fs and fallocate are real. */
#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "orchestrator/image/image.h"
#include "orchestrator/store/templates.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <elf.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const char *const modules[] = { "virtio_pci", "virtio_blk", "virtio_console",
                                       "virtio_net", "virtio-rng", "vmw_vsock_virtio_transport",
                                       "overlay",    "fuse",       "pvpanic-pci" };

struct fixture {
    struct tempdir dir;
    struct image_options o;
    struct image_result result;
    struct err err;
};

/* The smallest ELF file with a .modinfo that tells of no dependency. */
static void write_module(const struct tempdir *d, const char *name)
{
    static const char names[] = "\0.shstrtab\0.modinfo", info[] = "depends=";
    char path[PATH_MAX];
    struct {
        Elf64_Ehdr head;
        Elf64_Shdr sections[3];
        char names[sizeof(names)], info[sizeof(info)];
    } __attribute__((packed)) file = {
        .head = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB },
                  .e_shoff = sizeof(Elf64_Ehdr),
                  .e_shentsize = sizeof(Elf64_Shdr),
                  .e_shnum = 3,
                  .e_shstrndx = 1 },
    };
    file.sections[1] = (Elf64_Shdr){ .sh_name = 1,
                                     .sh_offset = sizeof(Elf64_Ehdr) + 3 * sizeof(Elf64_Shdr),
                                     .sh_size = sizeof(names) };
    file.sections[2] = (Elf64_Shdr){ .sh_name = 11,
                                     .sh_offset = file.sections[1].sh_offset + sizeof(names),
                                     .sh_size = sizeof(info) };
    memcpy(file.names, names, sizeof(names));
    memcpy(file.info, info, sizeof(info));
    snprintf(path, sizeof(path), "fake/package/lib/modules/1.0/kernel/drivers/%s.ko", name);
    tempdir_write(d, path, "");
    assert_int_equal(file_replace(tempdir_path(d, path), &file, sizeof(file), 0644, NULL), 0);
}

/* In the place of a VM that is booted and saved. */
static int save(const struct image_save *what, unsigned *vcpus, struct err *err)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/" IMAGE_FILE_LAYER, what->dir);
    *vcpus = 3;
    return file_replace(path, "layer", 5, 0444, err);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));
    if (!f)
        return -1;
    tempdir_init(&f->dir);
    for (size_t i = 0; i < ARRAY_LEN(modules); i++)
        write_module(&f->dir, modules[i]);
    tempdir_write(&f->dir, "fake/package/boot/vmlinuz-1.0", "packed in some way of its own");
    setenv("XDG_CACHE_HOME", tempdir_path(&f->dir, "cache"), 1);
    setenv("FAKE_DIR", tempdir_path(&f->dir, "fake"), 1);
    f->o = (struct image_options){ .data_dir = tempdir_path(&f->dir, "data"),
                                   .name = "base",
                                   .envd = STATIC_PROGRAM,
                                   .disk_mb = 16,
                                   .memory_mb = 512,
                                   .accel = "tcg",
                                   .host = "a host",
                                   .save = save };
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    tempdir_deinit(&f->dir);
    free(f);
    return 0;
}

static int build(struct fixture *f)
{
    f->err = (struct err){ 0 };
    return image_build(&f->o, NULL, NULL, &f->result, &f->err);
}

static void build_well(struct fixture *f)
{
    if (build(f) < 0)
        fail_msg("%s", f->err.msg);
}

/* How often a program was called since the last question. */
static unsigned calls(struct fixture *f, const char *program)
{
    AUTO_FREE char *text = tempdir_read(&f->dir, "fake/calls");
    unsigned n = 0;
    for (const char *at = text; at && (at = strstr(at, program)); at++)
        n++;
    return n;
}

static void forget_calls(struct fixture *f)
{
    unlink(tempdir_path(&f->dir, "fake/calls"));
}

/* Folders in templates/, finished or not; and what the cache works on. */
static size_t builds(struct fixture *f)
{
    return tempdir_exists(&f->dir, "data/templates") ? tempdir_count(&f->dir, "data/templates") : 0;
}

static void resolve(struct fixture *f, struct store_build *out)
{
    struct store_template t;
    struct db *db = NULL;
    assert_int_equal(db_open(&db, f->o.data_dir, NULL), 0);
    assert_int_equal(db_template_resolve(db, NULL, f->o.name, &t, out, NULL), 0);
    db_close(db);
}

static void test_build_is_published(void **state)
{
    struct fixture *f = *state;
    struct image_manifest m;
    struct store_build record;
    struct stat st;
    char path[PATH_MAX + 32];
    build_well(f);
    assert_false(f->result.unchanged);
    assert_int_equal(image_manifest_load(f->result.dir, &m, &f->err), 0);
    assert_string_equal(m.kernel_version, "1.0");
    assert_string_equal(m.envd_version, "9.9.9");
    assert_int_equal(m.rootfs.size, 16 << 20);
    snprintf(path, sizeof(path), "%s/initramfs", f->result.dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0444);
    assert_int_equal(stat(f->result.dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);

    resolve(f, &record);
    assert_string_equal(record.dir, f->result.dir);
    assert_string_equal(record.id, f->result.build_id);
    assert_string_equal(record.status, "ready");
    assert_int_equal(record.disk_mb, 16);
}

static void test_second_build_does_only_what_changed(void **state)
{
    struct fixture *f = *state;
    struct image_result first;
    build_well(f);
    first = f->result;
    assert_int_equal(calls(f, "mmdebstrap "), 1);
    forget_calls(f);

    build_well(f);
    assert_true(f->result.unchanged);
    assert_string_equal(f->result.build_id, first.build_id);
    assert_string_equal(f->result.template_id, first.template_id);
    assert_false(tempdir_exists(&f->dir, "fake/calls"));
    assert_int_equal(builds(f), 1);

    f->o.disk_mb = 24;
    build_well(f);
    assert_false(f->result.unchanged);
    assert_string_not_equal(f->result.build_id, first.build_id);
    assert_string_equal(f->result.template_id, first.template_id);
    assert_false(tempdir_exists(&f->dir, "fake/calls"));
    assert_int_equal(access(first.dir, F_OK), 0); /* sandboxes may run from it */

    f->o.refresh = true;
    build_well(f);
    assert_int_equal(calls(f, "mmdebstrap "), 1);
    assert_int_equal(calls(f, "download"), 1);
    assert_false(f->result.unchanged);
}

static void test_failed_step_leaves_nothing_and_the_next_run_goes_on(void **state)
{
    struct fixture *f = *state;
    tempdir_write(&f->dir, "fake/disk-full", "");
    assert_int_equal(build(f), -ENOSPC);
    assert_non_null(strstr(f->err.msg, "the disk is full"));
    assert_int_equal(builds(f), 0);
    assert_int_equal(calls(f, "download"), 1);
    forget_calls(f);

    unlink(tempdir_path(&f->dir, "fake/disk-full"));
    build_well(f);
    assert_int_equal(calls(f, "download"), 0); /* the kernel was finished */
    assert_int_equal(calls(f, "mmdebstrap "), 1);
}

static void test_no_network_is_told(void **state)
{
    struct fixture *f = *state;
    tempdir_write(&f->dir, "fake/no-network", "");
    tempdir_write(&f->dir, "fake/no-archive", "");
    assert_int_equal(build(f), -EIO);
    assert_non_null(strstr(f->err.msg, "cannot fetch Debian's package lists"));
    assert_non_null(strstr(f->err.msg, "Could not resolve"));
    unlink(tempdir_path(&f->dir, "fake/no-network"));
    assert_int_equal(build(f), -ENOENT);
    assert_non_null(strstr(f->err.msg, "knows no Debian archive"));
}

static void on_progress(void *user, const struct image_progress *p)
{
    if (p->what == IMAGE_STEP_GOES_ON && strcmp(p->detail, "hanging") == 0)
        kill(*(pid_t *)user, SIGKILL);
}

/* Killed in the middle of mmdebstrap: what is left does not disturb the next run, which goes on
 * after the kernel. */
static void test_killed_build_is_resumed(void **state)
{
    struct fixture *f = *state;
    int status;
    tempdir_write(&f->dir, "fake/hang", "");
    pid_t pid = fork();
    if (pid == 0) {
        pid_t self = getpid();
        image_build(&f->o, on_progress, &self, &f->result, &f->err);
        _exit(1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    AUTO_FREE char *orphan = tempdir_read(&f->dir, "fake/hanging");
    assert_non_null(orphan);
    kill((pid_t)strtol(orphan, NULL, 10), SIGKILL);
    forget_calls(f);
    unlink(tempdir_path(&f->dir, "fake/hang"));
    build_well(f);
    assert_int_equal(calls(f, "download"), 0);
    assert_int_equal(calls(f, "mmdebstrap "), 1);
    assert_int_equal(builds(f), 1);
    /* apt, kernel, lock, log, rootfs: no work folder. */
    assert_int_equal(tempdir_count(&f->dir, "cache/sandpit/image"), 5);
}

static void test_failed_publication_leaves_the_old_build(void **state)
{
    struct fixture *f = *state;
    struct store_build record;
    char first[ID_UUID_SIZE];
    NEED_FAULT_POINTS();
    build_well(f);
    memcpy(first, f->result.build_id, sizeof(first));
    f->o.disk_mb = 24;
    setenv("SANDPIT_FAULTS", "image.publish", 1);
    int rc = build(f);
    unsetenv("SANDPIT_FAULTS");
    assert_int_equal(rc, -EIO);
    resolve(f, &record);
    assert_string_equal(record.id, first);
    assert_int_equal(builds(f), 1);
}

static void test_operators_tree_and_archive(void **state)
{
    struct fixture *f = *state;
    struct image_manifest m;
    char command[3 * PATH_MAX];
    tempdir_write(&f->dir, "mine/bin/sh", "a shell");
    f->o.name = "mine";
    f->o.rootfs = tempdir_path(&f->dir, "mine");
    build_well(f);
    assert_int_equal(calls(f, "mmdebstrap "), 0);
    assert_int_equal(image_manifest_load(f->result.dir, &m, &f->err), 0);
    assert_string_equal(m.source, "mine");
    assert_false(tempdir_exists(&f->dir, "mine/usr")); /* it was copied */

    snprintf(command, sizeof(command), "tar -C %s -czf %s .", f->o.rootfs,
             tempdir_path(&f->dir, "mine.tar.gz"));
    assert_int_equal(system(command), 0);
    f->o.rootfs = tempdir_path(&f->dir, "mine.tar.gz");
    build_well(f);
    assert_false(f->result.unchanged);
    f->o.rootfs = tempdir_path(&f->dir, "nowhere");
    assert_int_equal(build(f), -ENOENT);
    assert_int_equal(builds(f), 2);
}

static void test_tree_that_does_not_fit(void **state)
{
    struct fixture *f = *state;
    char path[] = "mine/big0";
    static char text[4 << 20];
    memset(text, 'x', sizeof(text) - 1);
    tempdir_write(&f->dir, "mine/bin/sh", "a shell");
    for (; path[8] < '5'; path[8]++)
        tempdir_write(&f->dir, path, text);
    f->o.rootfs = tempdir_path(&f->dir, "mine");
    assert_int_equal(build(f), -ENOSPC);
    assert_non_null(strstr(f->err.msg, "--disk-mb"));
}

/* The archive of the source as Debian's package has it, with nothing in it. */
static void write_source(struct fixture *f)
{
    char command[3 * PATH_MAX];
    tempdir_write(&f->dir, "fake/package/usr/src/README", "");
    tempdir_write(&f->dir, "linux-source-6.1/Makefile", "");
    snprintf(command, sizeof(command), "tar -C %s -cJf %s/fake/package/usr/src/%s.tar.xz %s",
             f->dir.path, f->dir.path, "linux-source-6.1", "linux-source-6.1");
    assert_int_equal(system(command), 0);
    f->o.kernel = IMAGE_KERNEL_MICRO;
}

static void test_small_kernel_is_built_once(void **state)
{
    struct fixture *f = *state;
    struct image_manifest m;
    char path[PATH_MAX + 32];
    build_well(f);
    forget_calls(f);
    write_source(f);
    build_well(f);
    assert_false(f->result.unchanged);
    assert_int_equal(calls(f, "make -C"), 3);
    assert_int_equal(calls(f, " vmlinux"), 1);
    assert_int_equal(image_manifest_load(f->result.dir, &m, &f->err), 0);
    assert_int_equal(m.kernel_kind, IMAGE_KERNEL_MICRO);
    assert_string_equal(m.kernel_version, "6.1.0-micro");
    snprintf(path, sizeof(path), "%s/kernel", f->result.dir);
    AUTO_FREE char *kernel = tempdir_read(&f->dir, path + strlen(f->dir.path) + 1);
    assert_string_equal(kernel, "a small kernel\n");
    forget_calls(f);

    /* Both kernels stay in the cache. */
    build_well(f);
    assert_true(f->result.unchanged);
    f->o.kernel = IMAGE_KERNEL_DEBIAN;
    build_well(f);
    assert_false(f->result.unchanged);
    assert_false(tempdir_exists(&f->dir, "fake/calls"));
    assert_int_equal(tempdir_count(&f->dir, "cache/sandpit/image"), 6);
}

static void test_small_kernel_is_built_anew_for_a_newer_source(void **state)
{
    struct fixture *f = *state;
    write_source(f);
    build_well(f);
    forget_calls(f);
    f->o.refresh = true;
    build_well(f);
    assert_int_equal(calls(f, "make -C"), 0);
    assert_int_equal(calls(f, "mmdebstrap "), 1);
    tempdir_write(&f->dir, "fake/version", "2");
    build_well(f);
    assert_int_equal(calls(f, " vmlinux"), 1);
}

static void test_small_kernel_that_cannot_be_built(void **state)
{
    struct fixture *f = *state;
    write_source(f);
    tempdir_write(&f->dir, "fake/no-libelf", "");
    assert_int_equal(build(f), -ENOENT);
    assert_non_null(strstr(f->err.msg, "needs these packages too: libelf-dev"));
    assert_int_equal(calls(f, "apt-get"), 0); /* before anything is fetched */
    unlink(tempdir_path(&f->dir, "fake/no-libelf"));

    tempdir_write(&f->dir, "fake/old-source", "");
    assert_int_equal(build(f), -EINVAL);
    assert_non_null(strstr(f->err.msg, "CONFIG_PVH=y"));
    unlink(tempdir_path(&f->dir, "fake/old-source"));

    tempdir_write(&f->dir, "fake/no-compile", "");
    assert_int_equal(build(f), -EIO);
    assert_non_null(strstr(f->err.msg, "error: wrong"));
    assert_int_equal(builds(f), 0);
    /* apt, lock, log: no work folder. */
    assert_int_equal(tempdir_count(&f->dir, "cache/sandpit/image"), 3);
    unlink(tempdir_path(&f->dir, "fake/no-compile"));
    build_well(f);
}

static void test_bad_options_are_refused(void **state)
{
    struct fixture *f = *state;
    f->o.envd = "/bin/sh";
    assert_int_equal(build(f), -ENOEXEC);
    assert_non_null(strstr(f->err.msg, "no static program"));
    f->o.envd = tempdir_path(&f->dir, "none");
    assert_int_equal(build(f), -ENOENT);
    f->o.envd = STATIC_PROGRAM;
    static const char *const names[] = { "", "a/b", "a:b", "Base", "a b", ".." };
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        f->o.name = names[i];
        assert_int_equal(build(f), -EINVAL);
    }
    assert_false(tempdir_exists(&f->dir, "data"));
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_build_is_published),
        CASE(test_second_build_does_only_what_changed),
        CASE(test_failed_step_leaves_nothing_and_the_next_run_goes_on),
        CASE(test_no_network_is_told),
        CASE(test_killed_build_is_resumed),
        CASE(test_failed_publication_leaves_the_old_build),
        CASE(test_operators_tree_and_archive),
        CASE(test_tree_that_does_not_fit),
        CASE(test_small_kernel_is_built_once),
        CASE(test_small_kernel_is_built_anew_for_a_newer_source),
        CASE(test_small_kernel_that_cannot_be_built),
        CASE(test_bad_options_are_refused),
    };
    if (geteuid() != 0) {
        print_message("needs root: an image's files belong to root\n");
        return 77;
    }
    setenv("PATH", FAKE_PROGRAMS ":/usr/sbin:/usr/bin:/sbin:/bin", 1);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
