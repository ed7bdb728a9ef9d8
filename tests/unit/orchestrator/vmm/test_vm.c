/* Real VMs: a Debian kernel and a small guest of this test's, under emulation. */
#include "vm_fixture.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "orchestrator/vmm/console.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct vm_fixture fixture; /* the default ping */
static struct vm_fixture hasty;   /* a ping that a stopped VMM fails soon */

static bool own_mounts;

static size_t open_fds(void)
{
    DIR *d = opendir("/proc/self/fd");
    size_t n = 0;
    while (readdir(d))
        n++;
    closedir(d);
    return n;
}

static void test_boot_runs_the_guest(void **state)
{
    static struct vm_run r;
    unsigned long kb;
    (void)state;
    vm_boot_up(&fixture, &r);
    assert_string_equal(vm_ask(&r, "echo hello"), "echo hello");
    assert_string_equal(vm_ask(&r, "cpus"), "cpus 1");
    /* 256 MiB of disk in sectors, the template's first bytes. */
    assert_string_equal(vm_ask(&r, "disk"), "disk 524288 ROOTFS OF A TEST");
    assert_string_equal(vm_ask(&r, "write"), "wrote WRITTEN BY GUEST");
    /* The card is there and its link is down. */
    assert_string_equal(vm_ask(&r, "card"), "card 02:53:50:00:00:01 0");
    assert_int_equal(sscanf(vm_ask(&r, "memory"), "memory %lu", &kb), 1);
    assert_true(kb > 80 * 1024 && kb < 128 * 1024);
    vm_destroy(&r);
    /* The template is as it was. */
    char first[16] = { 0 };
    FILE *f = fopen(fixture.rootfs, "r");
    assert_int_equal(fread(first, 1, sizeof(first), f), sizeof(first));
    fclose(f);
    assert_memory_equal(first, "ROOTFS OF A TEST", sizeof(first));
}

/* Twenty VMs that come and go leave nothing; the guest is not waited for. */
static void test_boot_and_destroy_leave_nothing(void **state)
{
    static struct vm_run r;
    (void)state;
    size_t fds = open_fds();
    int64_t slowest = 0, all = 0;
    for (int i = 0; i < 20; i++) {
        int64_t begun = clock_mono_ns();
        vm_boot(&fixture, &r);
        int64_t took = (clock_mono_ns() - begun) / 1000;
        assert_false(r.failed);
        all += took;
        slowest = took > slowest ? took : slowest;
        vm_destroy(&r);
        assert_int_equal(open_fds(), fds);
    }
    print_message("boot call to running CPU: %d us on average, %d us at most\n", (int)(all / 20),
                  (int)slowest);
    assert_int_equal(tempdir_count(&fixture.dir, "."), 0);
    assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

static void status_field(pid_t pid, const char *key, char out[static 64])
{
    char path[64], line[256];
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    out[0] = 0;
    while (fgets(line, sizeof(line), f))
        if (strncmp(line, key, strlen(key)) == 0)
            sscanf(line + strlen(key), " %63[^\n]", out);
    fclose(f);
}

static void test_vmm_is_jailed(void **state)
{
    static struct vm_run r;
    char value[64], path[64], here[64] = { 0 }, there[64] = { 0 };
    struct stat st;
    (void)state;
    if (geteuid() != 0)
        skip();
    vm_boot(&fixture, &r);
    assert_false(r.failed);
    pid_t pid = vmm_record(r.v)->pid;
    static const char *const caps[] = { "CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:" };
    for (size_t i = 0; i < ARRAY_LEN(caps); i++) {
        status_field(pid, caps[i], value);
        assert_string_equal(value, "0000000000000000");
    }
    status_field(pid, "Uid:", value);
    assert_string_equal(value, "201000\t201000\t201000\t201000");
    status_field(pid, "Gid:", value);
    assert_string_equal(value, "201000\t201000\t201000\t201000");
    status_field(pid, "NoNewPrivs:", value);
    assert_string_equal(value, "1");
    status_field(pid, "Seccomp:", value);
    assert_string_equal(value, "2");
    snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
    assert_true(readlink(path, there, sizeof(there) - 1) > 0);
    assert_true(readlink("/proc/self/ns/net", here, sizeof(here) - 1) > 0);
    assert_string_not_equal(here, there);
    assert_int_equal(getsid(pid), pid);
    /* What it is given it owns; the directory and the sockets are the daemon's. */
    assert_int_equal(stat(tempdir_path(&fixture.dir, "run.qcow2"), &st), 0);
    assert_int_equal(st.st_uid, TEST_UID);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(stat(r.run_dir, &st), 0);
    assert_int_equal(st.st_uid, 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    vm_destroy(&r);
}

static bool told;

static void on_told(void *user, const struct err *err)
{
    assert_false(told);
    if (user)
        *(struct err *)user = err ? *err : (struct err){ 0 };
    else
        assert_null(err);
    told = true;
}

static void test_pause_stops_the_guest_and_resume_continues(void **state)
{
    static struct vm_run r;
    char c;
    (void)state;
    vm_boot_up(&fixture, &r);
    assert_false(vmm_is_paused(r.v));
    told = false;
    vmm_pause(r.v, on_told, NULL);
    assert_false(told);
    run_until(&fixture, &told);
    assert_true(vmm_is_paused(r.v));
    vm_send(&r, "echo after");
    usleep(
        300000); /* not to wait for something, but to give a guest that runs the time to answer */
    assert_int_equal(recv(r.link, &c, 1, MSG_DONTWAIT), -1);
    told = false;
    vmm_resume(r.v, on_told, NULL);
    run_until(&fixture, &told);
    assert_false(vmm_is_paused(r.v));
    vm_read(&r);
    assert_string_equal(r.line, "echo after");
    vm_destroy(&r);
}

static void expect_end(struct vm_run *r, enum vmm_end end, const char *words)
{
    pid_t pid = vmm_record(r->v)->pid;
    run_until(&fixture, &r->ended);
    print_message("%s: %s\n", vmm_end_name(r->end), r->detail);
    assert_int_equal(r->end, end);
    if (!strstr(r->detail, words))
        fail_msg("\"%s\" does not say \"%s\"", r->detail, words);
    assert_false(process_lives(pid));
    /* The VM is dead but there: no pause any more, the console can be read. */
    struct err err;
    char tail[4096];
    told = false;
    vmm_pause(r->v, on_told, &err);
    run_until(&fixture, &told);
    assert_int_equal(err.code, ERR_PRECONDITION);
    size_t n = vmm_console_tail(r->v, tail, sizeof(tail));
    assert_non_null(memmem(tail, n, "GUEST UP", 8));
    vm_destroy(r);
}

static void test_power_off_is_told(void **state)
{
    static struct vm_run r;
    (void)state;
    vm_boot_up(&fixture, &r);
    vm_send(&r, "off");
    expect_end(&r, VMM_END_SHUTDOWN, "powered off");
}

static void test_reboot_is_an_end(void **state)
{
    static struct vm_run r;
    (void)state;
    vm_boot_up(&fixture, &r);
    vm_send(&r, "reboot");
    expect_end(&r, VMM_END_SHUTDOWN, "rebooted");
}

static void test_panic_is_told(void **state)
{
    static struct vm_run r;
    (void)state;
    vm_boot_up(&fixture, &r);
    vm_send(&r, "panic");
    expect_end(&r, VMM_END_PANIC, "Kernel panic - not syncing: sysrq triggered crash");
}

/* A guest without the driver of the panic device reboots; its console tells. */
static void test_panic_without_its_device_is_told(void **state)
{
    static struct vm_run r;
    (void)state;
    vm_boot_up(&fixture, &r);
    assert_string_equal(vm_ask(&r, "no-pvpanic"), "removed");
    vm_send(&r, "panic");
    expect_end(&r, VMM_END_PANIC, "Kernel panic - not syncing");
}

/* What a hostile guest says of its end must not upset who reads it. */
static void test_odd_last_words_are_made_plain(void **state)
{
    static struct vm_run r;
    (void)state;
    vm_boot_up(&fixture, &r);
    vm_send(&r, "odd-panic");
    expect_end(&r, VMM_END_PANIC, "Kernel panic - not syncing: ?");
    for (const char *p = r.detail; *p; p++)
        assert_true(*p >= ' ' && *p <= '~');
}

static void test_killed_vmm_is_told(void **state)
{
    static struct vm_run r;
    (void)state;
    vm_boot_up(&fixture, &r);
    assert_int_equal(kill(vmm_record(r.v)->pid, SIGKILL), 0);
    expect_end(&r, VMM_END_EXIT, "QEMU was ended by signal 9 (Killed)");
    assert_null(strstr(r.detail, "warning"));
}

static void test_stopped_vmm_is_noticed(void **state)
{
    static struct vm_run r;
    (void)state;
    vm_boot_up(&hasty, &r);
    assert_int_equal(kill(vmm_record(r.v)->pid, SIGSTOP), 0);
    pid_t pid = vmm_record(r.v)->pid;
    run_until(&hasty, &r.ended);
    assert_int_equal(r.end, VMM_END_HUNG);
    assert_non_null(strstr(r.detail, "did not answer within"));
    assert_false(process_lives(pid));
    vm_destroy(&r);
}

static void test_pause_of_a_stopped_vmm_fails(void **state)
{
    static struct vm_run r;
    struct err err;
    (void)state;
    vm_boot(&hasty, &r);
    assert_int_equal(kill(vmm_record(r.v)->pid, SIGSTOP), 0);
    told = false;
    vmm_pause(r.v, on_told, &err);
    run_until(&hasty, &told);
    assert_true(err.code == ERR_DEADLINE || err.code == ERR_UNAVAILABLE);
    run_until(&hasty, &r.ended);
    assert_int_equal(r.end, VMM_END_HUNG);
    vm_destroy(&r);
}

static void test_flooded_console_is_bounded(void **state)
{
    static struct vm_run r;
    static char tail[CONSOLE_KEEP];
    static const char *const files[] = { "run/console.log", "run/console.log.1" };
    struct stat st;
    off_t size = 0;
    (void)state;
    vm_boot_up(&fixture, &r);
    assert_string_equal(vm_ask(&r, "flood"), "flooded");
    /* The last of it may still be on its way. */
    int64_t due = clock_mono_ms() + TEST_DEADLINE_MS;
    do {
        assert_true(clock_mono_ms() < due);
        uv_run(&fixture.loop, UV_RUN_ONCE);
        assert_int_equal(vmm_console_tail(r.v, tail, sizeof(tail)), sizeof(tail));
    } while (!memmem(tail + sizeof(tail) - 64, 64, "FLOOD END", 9));
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        size += stat(tempdir_path(&fixture.dir, files[i]), &st) == 0 ? st.st_size : 0;
    assert_true(size >= CONSOLE_KEEP && size <= 2 * CONSOLE_KEEP);
    vm_destroy(&r);
}

/* A host whose disk is full: the guest stands still, and goes on once there is room. */
static void test_full_disk_is_waited_for(void **state)
{
    static struct vm_run r;
    (void)state;
    if (!own_mounts)
        skip();
    AUTO_FREE char *small = strdup(tempdir_path(&hasty.dir, "small"));
    assert_int_equal(mkdir(small, 0700), 0);
    assert_int_equal(mount("tmpfs", small, "tmpfs", 0, "size=1m,mode=700"), 0);
    vm_run_init(&hasty, &r, "run");
    snprintf(r.top, sizeof(r.top), "%s/disk.qcow2", small);
    vm_boot_run(&r);
    vm_wait_up(&r);
    vm_send(&r, "fill");
    run_until(&hasty, &r.full);
    assert_true(vmm_disk_is_full(r.v));
    /* It is tried again and stays full. */
    for (int i = 0; i < 4; i++) {
        bool paused = false;
        while (!paused) {
            uv_run(&hasty.loop, UV_RUN_ONCE);
            paused = vmm_is_paused(r.v);
        }
        while (paused) {
            uv_run(&hasty.loop, UV_RUN_ONCE);
            paused = vmm_is_paused(r.v);
        }
        assert_true(r.full);
    }
    assert_int_equal(mount("tmpfs", small, "tmpfs", MS_REMOUNT, "size=100m,mode=700"), 0);
    vm_read(&r);
    assert_string_equal(r.line, "filled");
    while (r.full)
        uv_run(&hasty.loop, UV_RUN_ONCE);
    assert_false(r.ended);
    vm_destroy(&r);
    assert_int_equal(umount2(small, MNT_DETACH), 0);
    assert_int_equal(rmdir(small), 0);
}

static const char *const fault_points[] = { "vmm.run_dir",  "vmm.memory",   "vmm.socket",
                                            "vmm.template", "vmm.overlay",  "vmm.spawn",
                                            "vmm.record",   "vmm.cgroup",   "vmm.qmp",
                                            "vmm.console",  "vmm.set_link", "vmm.cont" };

static void test_each_failing_step_is_undone(void **state)
{
    static struct vm_run r;
    (void)state;
    NEED_FAULT_POINTS();
    size_t fds = open_fds();
    for (size_t i = 0; i < ARRAY_LEN(fault_points); i++) {
        assert_int_equal(setenv("SANDPIT_FAULTS", fault_points[i], 1), 0);
        vm_boot(&fixture, &r);
        assert_int_equal(unsetenv("SANDPIT_FAULTS"), 0);
        if (!r.failed)
            fail_msg("%s did not make it fail", fault_points[i]);
        assert_int_equal(r.err.code, ERR_INTERNAL);
        assert_false(r.ended);
        assert_int_equal(open_fds(), fds);
        assert_int_equal(tempdir_count(&fixture.dir, "."), 0);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    }
}

static void test_refused_configs_are_undone(void **state)
{
    static struct vm_run r;
    struct vmm_template saved = fixture.template;
    (void)state;
    snprintf(fixture.template.kernel, sizeof(fixture.template.kernel), "/nonexistent/vmlinuz");
    vm_boot(&fixture, &r);
    fixture.template = saved;
    assert_true(r.failed);
    assert_non_null(strstr(r.err.msg, "cannot open the kernel /nonexistent/vmlinuz"));
    assert_int_equal(tempdir_count(&fixture.dir, "."), 0);
    /* A kernel that is none: QEMU's own words reach the user. */
    tempdir_write(&fixture.dir, "kernel", "not a kernel");
    snprintf(fixture.template.kernel, sizeof(fixture.template.kernel), "%s",
             tempdir_path(&fixture.dir, "kernel"));
    assert_int_equal(chmod(fixture.template.kernel, 0644), 0);
    vm_boot(&fixture, &r);
    unlink(fixture.template.kernel);
    fixture.template = saved;
    assert_true(r.failed);
    print_message("%s\n", r.err.msg);
    assert_non_null(strstr(r.err.msg, "QEMU ended with exit code 1"));
    assert_int_equal(tempdir_count(&fixture.dir, "."), 0);
}

/* A caller that changes its mind, n turns of the loop into the start. */
static void test_destroy_during_the_start(void **state)
{
    (void)state;
    size_t fds = open_fds();
    for (int turns = 0; turns < 12; turns++) {
        static struct vm_run r;
        vm_boot_begin(&fixture, &r);
        for (int i = 0; i < turns && !r.done; i++)
            uv_run(&fixture.loop, UV_RUN_ONCE);
        bool was_done = r.done;
        vm_destroy_begun(&r);
        assert_int_equal(r.done, was_done);
        assert_false(r.ended);
        assert_int_equal(open_fds(), fds);
        assert_int_equal(tempdir_count(&fixture.dir, "."), 0);
        assert_int_equal(waitpid(-1, NULL, WNOHANG), -1);
    }
}

static void test_released_vm_is_adopted(void **state)
{
    static struct vm_run r, again;
    (void)state;
    vm_boot_up(&fixture, &r);
    struct vmm_record record = *vmm_record(r.v);
    assert_true(record.pid > 0 && record.start_ticks > 0);
    told = false;
    vmm_pause(r.v, on_told, NULL);
    run_until(&fixture, &told);
    vm_release(&r);
    /* Another process at that pid, another start: not ours, and not touched. */
    struct vmm_record wrong = { record.pid, record.start_ticks + 1 };
    vm_adopt(&fixture, &again, &wrong);
    assert_true(again.failed);
    assert_int_equal(again.err.code, ERR_NOT_FOUND);
    assert_true(process_lives(record.pid));

    vm_adopt(&fixture, &again, &record);
    assert_false(again.failed);
    assert_true(vmm_is_paused(again.v));
    told = false;
    vmm_resume(again.v, on_told, NULL);
    run_until(&fixture, &told);
    vm_connect(&again);
    assert_string_equal(vm_ask(&again, "echo still here"), "echo still here");
    char tail[65536];
    size_t n = vmm_console_tail(again.v, tail, sizeof(tail));
    assert_non_null(memmem(tail, n, "GUEST UP", 8));
    vm_send(&again, "off");
    expect_end(&again, VMM_END_SHUTDOWN, "powered off");
}

static void test_adopted_vm_that_does_not_answer_is_left_alone(void **state)
{
    static struct vm_run r, again;
    (void)state;
    NEED_FAULT_POINTS();
    vm_boot(&fixture, &r);
    struct vmm_record record = *vmm_record(r.v);
    vm_release(&r);
    assert_int_equal(setenv("SANDPIT_FAULTS", "vmm.adopt", 1), 0);
    vm_adopt(&fixture, &again, &record);
    assert_int_equal(unsetenv("SANDPIT_FAULTS"), 0);
    assert_true(again.failed);
    assert_true(process_lives(record.pid));
    assert_true(tempdir_exists(&fixture.dir, "run/qmp.sock"));
    vmm_sweep(r.run_dir, &record);
    assert_false(process_lives(record.pid));
    assert_int_equal(unlink(r.top), 0);
    assert_int_equal(tempdir_count(&fixture.dir, "."), 0);
    vm_adopt(&fixture, &again, &record);
    assert_true(again.failed);
    assert_int_equal(again.err.code, ERR_NOT_FOUND);
}

/* A daemon that died before it stored the record: the one in run_dir serves. */
static void test_sweep_without_a_record(void **state)
{
    static struct vm_run r;
    (void)state;
    vm_boot(&fixture, &r);
    pid_t pid = vmm_record(r.v)->pid;
    vm_release(&r);
    run_until(&fixture, &(bool){ true });
    vmm_sweep(r.run_dir, &(struct vmm_record){ 0 });
    assert_false(process_lives(pid));
    assert_int_equal(unlink(r.top), 0);
    assert_int_equal(tempdir_count(&fixture.dir, "."), 0);
    /* Nothing there, or nonsense: no harm. */
    vmm_sweep(r.run_dir, NULL);
    tempdir_write(&fixture.dir, "run/pid", "1 2 3\n");
    vmm_sweep(r.run_dir, NULL);
    tempdir_write(&fixture.dir, "run/pid", "99999999999999 1\n");
    vmm_sweep(r.run_dir, NULL);
    assert_int_equal(tempdir_count(&fixture.dir, "."), 0);
}

static void let_go(void *user, const struct err *err)
{
    struct vm_run *r = user;
    assert_non_null(err);
    vmm_release(TAKE(r->v)); /* it was killed and has not ended yet */
    vmm_driver_free(TAKE(hasty.driver));
}

/* The last one of the hasty driver. */
static void test_vm_let_go_while_it_dies_outlives_its_driver(void **state)
{
    static struct vm_run r;
    (void)state;
    vm_boot(&hasty, &r);
    pid_t pid = vmm_record(r.v)->pid;
    assert_int_equal(kill(pid, SIGSTOP), 0);
    vmm_pause(r.v, let_go, &r);
    int64_t due = clock_mono_ms() + TEST_DEADLINE_MS;
    while (r.v || tempdir_count(&hasty.dir, ".") > 1) {
        assert_true(clock_mono_ms() < due);
        uv_run(&hasty.loop, UV_RUN_ONCE);
    }
    assert_false(process_lives(pid));
}

static int tidy(void **state)
{
    (void)state;
    vm_fixture_tidy(&fixture);
    vm_fixture_tidy(&hasty);
    return 0;
}

#define TEST(name) cmocka_unit_test_teardown(name, tidy)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(test_boot_runs_the_guest),
        TEST(test_boot_and_destroy_leave_nothing),
        TEST(test_vmm_is_jailed),
        TEST(test_pause_stops_the_guest_and_resume_continues),
        TEST(test_power_off_is_told),
        TEST(test_reboot_is_an_end),
        TEST(test_panic_is_told),
        TEST(test_panic_without_its_device_is_told),
        TEST(test_odd_last_words_are_made_plain),
        TEST(test_killed_vmm_is_told),
        TEST(test_stopped_vmm_is_noticed),
        TEST(test_pause_of_a_stopped_vmm_fails),
        TEST(test_flooded_console_is_bounded),
        TEST(test_full_disk_is_waited_for),
        TEST(test_each_failing_step_is_undone),
        TEST(test_refused_configs_are_undone),
        TEST(test_destroy_during_the_start),
        TEST(test_released_vm_is_adopted),
        TEST(test_adopted_vm_that_does_not_answer_is_left_alone),
        TEST(test_sweep_without_a_record),
        TEST(test_vm_let_go_while_it_dies_outlives_its_driver),
    };
    /* Before there are threads: they would stay in the old namespace. */
    own_mounts = geteuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
                 mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    vm_fixture_init(&fixture, 0, 0);
    vm_fixture_init(&hasty, 100, 2000);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    vm_fixture_deinit(&hasty);
    vm_fixture_deinit(&fixture);
    return rc;
}
