/* The probes, against the installed QEMU and against programs that only pretend. */
#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/io/defer.h"
#include "orchestrator/vmm/qemu/board.h"
#include "orchestrator/vmm/qemu/tsc.h"
#include "orchestrator/vmm/qemu/probe.h"
#include "orchestrator/vmm/vmm.h"
#include "tests/support/tempdir.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static struct tempdir dir;
static struct jail_means means;

/* A program of this name that is this shell script. */
static const char *pretend(const char *name, const char *script)
{
    char text[1024];
    snprintf(text, sizeof(text), "#!/bin/sh\n%s\n", script);
    tempdir_write(&dir, name, text);
    const char *path = tempdir_path(&dir, name);
    assert_int_equal(chmod(path, 0755), 0);
    return path;
}

static void need_qemu(char program[static PATH_MAX])
{
    if (probe_program(program, NULL) < 0)
        skip();
}

static void test_program_is_found_in_path(void **state)
{
    char out[PATH_MAX], *saved = strdup(getenv("PATH"));
    (void)state;
    const char *here = pretend("qemu-system-x86_64", "exit 0");
    assert_int_equal(setenv("PATH", dir.path, 1), 0);
    int rc = probe_program(out, NULL);
    assert_int_equal(setenv("PATH", saved, 1), 0);
    free(saved);
    assert_int_equal(rc, 0);
    assert_string_equal(out, here);
    unlink(here);
}

static void test_version_and_machine(void **state)
{
    char program[PATH_MAX], version[64];
    const char *types[VMM_BOARD_NR] = { 0 };
    (void)state;
    need_qemu(program);
    assert_int_equal(probe_version(program, &means, version, sizeof(version), NULL), 0);
    assert_memory_equal(version, "QEMU ", 5);
    assert_true(version[5] >= '5' && version[5] <= '9');
    assert_int_equal(probe_machines(program, &means, types, NULL), 0);
    assert_string_equal(types[VMM_BOARD_PC], qemu_boards[VMM_BOARD_PC].types[0]);
    assert_string_equal(types[VMM_BOARD_MICRO], "microvm");
}

static void test_programs_that_pretend(void **state)
{
    char version[64];
    const char *types[VMM_BOARD_NR];
    struct err err;
    (void)state;
    const char *wrong = pretend("wrong", "echo hello");
    assert_int_equal(probe_version(wrong, &means, version, sizeof(version), &err), -EPROTO);
    const char *fails = pretend("fails", "echo cannot open shared object >&2; exit 127");
    assert_int_equal(probe_version(fails, &means, version, sizeof(version), &err), -EIO);
    assert_non_null(strstr(err.msg, "exit code 127: cannot open shared object"));
    const char *old = pretend("old", "echo 'pc-i440fx-2.0 Standard PC'; "
                                     "echo 'xpc-i440fx-7.2 x'; echo 'pc-i440fx-7.21 x'");
    assert_int_equal(probe_machines(old, &means, types, &err), -ENOTSUP);
    const char *fits = pretend("fits", "echo 'pc-i440fx-6.2 old'; echo 'pc-i440fx-8.2 new'");
    assert_int_equal(probe_machines(fits, &means, types, &err), 0);
    assert_string_equal(types[VMM_BOARD_PC], "pc-i440fx-8.2");
    assert_null(types[VMM_BOARD_MICRO]);
    assert_int_equal(
        probe_version(tempdir_path(&dir, "none"), &means, version, sizeof(version), &err), -ENOENT);
}

/* The guest itself is right: it runs to its end where a processor does all it asks for. */
static void test_guest_runs_under_emulation(void **state)
{
    char program[PATH_MAX];
    const char *types[VMM_BOARD_NR];
    struct err err;
    (void)state;
    need_qemu(program);
    assert_int_equal(probe_machines(program, &means, types, &err), 0);
    int64_t begun = clock_mono_ms();
    int rc =
        probe_guest_run(program, types[VMM_BOARD_PC], &means, false, PROBE_TCG_DEADLINE_MS, &err);
    if (rc < 0)
        fail_msg("%s", err.msg);
    print_message("probe guest under emulation: %d ms\n", (int)(clock_mono_ms() - begun));
}

static void test_guest_that_hangs_meets_its_deadline(void **state)
{
    struct err err;
    (void)state;
    const char *hangs = pretend("hangs", "exec sleep 1000");
    assert_int_equal(probe_guest_run(hangs, "pc", &means, false, 50, &err), -ETIMEDOUT);
    assert_non_null(strstr(err.msg, "did not finish under emulation"));
}

static void test_guest_that_ends_otherwise_does_not_run(void **state)
{
    struct err err;
    (void)state;
    const char *crashes = pretend("crashes", "echo failed to set MSR 0x10a >&2; kill -ABRT $$");
    assert_int_equal(probe_guest_run(crashes, "pc", &means, false, 10000, &err), -EIO);
    assert_non_null(strstr(err.msg, "signal 6"));
    assert_non_null(strstr(err.msg, "failed to set MSR 0x10a"));
    const char *ends = pretend("ends", "exit 0");
    assert_int_equal(probe_guest_run(ends, "pc", &means, false, 10000, &err), -EIO);
    const char *ran = pretend("ran", "exit 99");
    assert_int_equal(probe_guest_run(ran, "pc", &means, false, 10000, &err), 0);
}

static int new_driver(const char *accel, const char *program, struct vmm_host *host,
                      struct err *err)
{
    uv_loop_t loop;
    struct defer_queue defer;
    struct vmm_driver *d = NULL;
    struct vmm_driver_options o = {
        .loop = &loop, .defer = &defer, .accel = accel, .program = program
    };
    uv_loop_init(&loop);
    defer_queue_init(&defer, &loop);
    int rc = vmm_driver_new(&d, &o, err);
    if (rc == 0) {
        *host = *vmm_driver_host(d);
        vmm_driver_free(d);
    }
    defer_queue_close(&defer);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return rc;
}

/* Whatever this host has: auto finds an accelerator in time, and says why it is not KVM. */
/* Two measurements are one frequency, and a plausible one. */
static void test_the_tsc_is_measured(void **state)
{
    char first[40], second[40];
    (void)state;
    unsigned khz = tsc_measure();
    assert_true(khz > 100000 && khz < 10000000);
    snprintf(first, sizeof(first), "microvm" TSC_MARK "%u", khz);
    snprintf(second, sizeof(second), "microvm" TSC_MARK "%u", tsc_measure());
    if (!vmm_machine_fits(first, second))
        fail_msg("%s and %s", first, second);
}

static void test_machines_fit(void **state)
{
    (void)state;
    assert_true(vmm_machine_fits("pc-i440fx-7.2", "pc-i440fx-7.2"));
    assert_false(vmm_machine_fits("pc-i440fx-7.2", "pc-i440fx-8.2"));
    assert_false(vmm_machine_fits("pc-i440fx-7.2", "microvm tsc=2000000"));
    assert_true(vmm_machine_fits("microvm tsc=2000000", "microvm tsc=2000999"));
    assert_false(vmm_machine_fits("microvm tsc=2000000", "microvm tsc=2001500"));
    assert_false(vmm_machine_fits("microvm tsc=2000000", "microvm"));
    assert_false(vmm_machine_fits("microvm tsc=2000000", "microvm tsc=0"));
    assert_false(vmm_machine_fits("microvm tsc=", "microvm tsc="));
    assert_false(vmm_machine_fits("microvm tsc=x", "microvm tsc=x"));
    assert_false(vmm_machine_fits("microvm", "pc-i440fx-7.2 tsc=2000000"));
    /* One that does not say so does not depend on it. */
    assert_true(vmm_machine_fits("microvm", "microvm"));
    assert_true(vmm_machine_fits("microvm", "microvm tsc=2000000"));
}

static void test_a_slow_host_has_more_time(void **state)
{
    (void)state;
    assert_int_equal(probe_kvm_deadline_ms(0), 5000);
    assert_int_equal(probe_kvm_deadline_ms(100 * 1000000LL), 6000);
    assert_int_equal(probe_kvm_deadline_ms(PROBE_QUERY_DEADLINE_MS * 1000000LL), 605000);
}

static void test_auto_finds_an_accelerator(void **state)
{
    char program[PATH_MAX];
    struct vmm_host host;
    struct err err;
    (void)state;
    need_qemu(program);
    int64_t begun = clock_mono_ms();
    assert_int_equal(new_driver("auto", NULL, &host, &err), 0);
    int64_t took = clock_mono_ms() - begun;
    print_message("auto: %s in %d ms; %s\n", host.accelerator, (int)took, host.kvm_reason);
    assert_string_equal(host.accelerator, host.kvm ? "kvm" : "tcg");
    assert_int_equal(host.kvm, host.kvm_reason[0] == 0);
    assert_memory_equal(host.machine[VMM_BOARD_PC], qemu_boards[VMM_BOARD_PC].types[0],
                        strlen(qemu_boards[VMM_BOARD_PC].types[0]));
    assert_int_equal(host.tsc_khz == 0, host.kvm);
    assert_int_equal(strstr(host.machine[VMM_BOARD_PC], TSC_MARK) == NULL, host.kvm);
    assert_true(host.kvm || strncmp(host.machine[VMM_BOARD_MICRO], "microvm tsc=", 12) == 0);
    assert_true(vmm_machine_fits(host.machine[VMM_BOARD_MICRO], host.machine[VMM_BOARD_MICRO]));
    assert_true(took < probe_kvm_deadline_ms(took * 1000000) + 2 * PROBE_QUERY_DEADLINE_MS);
    /* What auto found is what asking for KVM finds. */
    int rc = new_driver("kvm", NULL, &host, &err);
    assert_int_equal(rc == 0, host.kvm);
    if (rc < 0)
        assert_int_equal(err.code, ERR_PRECONDITION);
}

static void test_driver_refuses(void **state)
{
    char program[PATH_MAX];
    struct vmm_host host;
    struct err err;
    (void)state;
    assert_int_equal(new_driver("auto", "/nonexistent/qemu", &host, &err), -ENOENT);
    need_qemu(program);
    assert_int_equal(new_driver("xen", NULL, &host, &err), -EINVAL);
    assert_non_null(strstr(err.msg, "\"xen\""));
    assert_int_equal(new_driver("tcg", NULL, &host, &err), 0);
    assert_false(host.kvm);
    assert_string_equal(host.kvm_reason, "emulation was asked for");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_program_is_found_in_path),
        cmocka_unit_test(test_version_and_machine),
        cmocka_unit_test(test_programs_that_pretend),
        cmocka_unit_test(test_guest_runs_under_emulation),
        cmocka_unit_test(test_guest_that_hangs_meets_its_deadline),
        cmocka_unit_test(test_guest_that_ends_otherwise_does_not_run),
        cmocka_unit_test(test_the_tsc_is_measured),
        cmocka_unit_test(test_machines_fit),
        cmocka_unit_test(test_a_slow_host_has_more_time),
        cmocka_unit_test(test_auto_finds_an_accelerator),
        cmocka_unit_test(test_driver_refuses),
    };
    tempdir_init(&dir);
    assert_int_equal(chmod(dir.path, 0755), 0); /* the jailed uid must get in */
    jail_probe(&means);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    tempdir_deinit(&dir);
    return rc;
}
