/*
 * The link into a real VM: QEMU, a kernel, envd. Needs SANDPIT_LINK_TEMPLATE, the directory of a
 * built template (kernel, initramfs, rootfs.ext4, as `sandpit image build` makes it); skips
 * without. Prints what it measures.
 */
#include "tests/unit/orchestrator/link/fake_vm.h"

#include "common/base/cleanup.h"
#include "tests/support/test.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>

/* Most are a matter of milliseconds; a port that QEMU left throttled costs one try more. */
#define RECOVERY_US 3000000

#define BOOT_MS      120000
#define FILE_SIZE    (64U << 20)
#define PATH_OF_FILE "/files?path=/tmp/big&username=root"
#define MANY         100

static struct test_loop t;
static struct fake_host host;
static struct tempdir dir;
static struct link_address address = { .opener = LINK_VIRTIO_SERIAL };
static pid_t qemu;
static int qmp = -1;
static struct h2_request many[MANY];

static void spawn(const char *template)
{
    char chardev[200], monitor[200], kernel[300], initrd[300], drive[400];
    snprintf(chardev, sizeof(chardev), "socket,id=link,path=%s,server=on,wait=off", address.path);
    snprintf(monitor, sizeof(monitor), "unix:%s,server=on,wait=off", tempdir_path(&dir, "qmp"));
    snprintf(kernel, sizeof(kernel), "%s/kernel", template);
    snprintf(initrd, sizeof(initrd), "%s/initramfs", template);
    snprintf(drive, sizeof(drive), "file=%s/rootfs.ext4,format=raw,if=none,id=disk,snapshot=on",
             template);
    const char *const args[] = {
        "qemu-system-x86_64",
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-accel",
        "tcg,thread=multi",
        "-cpu",
        "max",
        "-m",
        "512",
        "-M",
        "pc-i440fx-7.2",
        "-chardev",
        chardev,
        "-device",
        "virtio-serial-pci,id=serial0,max_ports=2,addr=0x04,disable-legacy=on",
        "-device",
        "virtserialport,bus=serial0.0,nr=1,chardev=link,name=" LINK_PORT_NAME,
        "-drive",
        drive,
        "-device",
        "virtio-blk-pci,drive=disk,addr=0x03,disable-legacy=on",
        "-object",
        "rng-builtin,id=rng",
        "-device",
        "virtio-rng-pci,rng=rng,addr=0x06,disable-legacy=on",
        "-qmp",
        monitor,
        "-no-reboot",
        "-kernel",
        kernel,
        "-initrd",
        initrd,
        "-append",
        "console=ttyS0 panic=1 no_timer_check random.trust_cpu=on root=/dev/vda rw quiet "
        "cryptomgr.notests acpi=noirq",
        NULL,
    };
    qemu = fork();
    if (qemu == 0) {
        execvp(args[0], (char *const *)(uintptr_t)args);
        _exit(127);
    }
    assert_true(qemu > 0);
}

/* Say one command and wait for its answer; the link rests meanwhile. */
static void qmp_say(const char *command)
{
    char line[4096];
    size_t n = 0;
    assert_int_equal(send(qmp, command, strlen(command), 0), (ssize_t)strlen(command));
    for (;;) {
        ssize_t got = recv(qmp, line + n, 1, 0);
        assert_int_equal(got, 1);
        if (line[n] == '\n') {
            line[n] = '\0';
            if (strstr(line, "\"return\""))
                return;
            assert_null(strstr(line, "\"error\""));
            n = 0;
        } else if (n < sizeof(line) - 2) {
            n++;
        }
    }
}

static void qmp_open(void)
{
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    str_copy(str_of(tempdir_path(&dir, "qmp")), at.sun_path, sizeof(at.sun_path));
    qmp = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    LOOP_UNTIL(&t, connect(qmp, (struct sockaddr *)&at, sizeof(at)) == 0);
    qmp_say("{\"execute\":\"qmp_capabilities\"}\n");
}

static int begin(void **state)
{
    (void)state;
    test_loop_init(&t);
    fake_host_start_at(&host, &t, address);
    return 0;
}

static void release(struct h2_request *r)
{
    h2_request_deinit(r);
    memset(r, 0, sizeof(*r));
}

static int end(void **state)
{
    (void)state;
    guest_link_close(host.l);
    test_loop_settle(&t);
    test_loop_deinit(&t);
    for (size_t i = 0; i < MANY; i++)
        release(&many[i]);
    return 0;
}

static void wait_up(int64_t ms)
{
    int64_t until = clock_mono_ms() + ms;
    while (!guest_link_is_up(host.l)) {
        if (clock_mono_ms() > until)
            fail_msg("the link is not up after %lld ms", (long long)ms);
        test_loop_turn(&t);
    }
}

/* GET /health; its time in microseconds. */
static int64_t health(void)
{
    struct h2_request r = { 0 };
    wait_up(20000);
    int64_t from = clock_mono_ns();
    assert_true(h2_request_begin(guest_link_session(host.l), &r, "GET", "/health", 0));
    LOOP_UNTIL(&t, r.closed);
    assert_int_equal(r.errnum, 0);
    assert_int_equal(r.status, 204);
    h2_request_deinit(&r);
    return (clock_mono_ns() - from) / 1000;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void measure(const char *what, size_t n)
{
    int64_t us[200];
    assert_true(n <= ARRAY_LEN(us));
    for (size_t i = 0; i < n; i++)
        us[i] = health();
    qsort(us, n, sizeof(us[0]), by_value);
    print_message("/health %s: p50 %.2f ms, p90 %.2f, max %.2f\n", what, (double)us[n / 2] / 1e3,
                  (double)us[n * 9 / 10] / 1e3, (double)us[n - 1] / 1e3);
}

static void test_boot(void **state)
{
    (void)state;
    int64_t from = clock_mono_ms();
    wait_up(BOOT_MS);
    print_message("up after %lld ms\n", (long long)(clock_mono_ms() - from));
    health();
    measure("idle", 200);
}

static void get_file(struct h2_request *r)
{
    assert_true(h2_request_begin(guest_link_session(host.l), r, "GET", PATH_OF_FILE, 0));
}

static void test_throughput(void **state)
{
    (void)state;
    struct http_field type = { STR("content-type"), STR("application/octet-stream") };
    many[0].fields = &type;
    many[0].nfields = 1;
    wait_up(20000);
    int64_t from = clock_mono_ms();
    assert_true(
        h2_request_begin(guest_link_session(host.l), &many[0], "POST", PATH_OF_FILE, FILE_SIZE));
    LOOP_UNTIL(&t, many[0].closed);
    assert_int_equal(many[0].status, 200);
    int64_t up = clock_mono_ms() - from;
    many[1].discard = true;
    from = clock_mono_ms();
    get_file(&many[1]);
    LOOP_UNTIL(&t, many[1].closed);
    assert_int_equal(many[1].errnum, 0);
    assert_int_equal(many[1].received, FILE_SIZE);
    int64_t down = clock_mono_ms() - from;
    print_message("64 MiB to a file in the guest: %lld MB/s; from it: %lld MB/s\n",
                  (long long)(FILE_SIZE / 1000 / (up + 1)),
                  (long long)(FILE_SIZE / 1000 / (down + 1)));
}

static void test_round_trips_under_downloads(void **state)
{
    (void)state;
    wait_up(20000);
    for (size_t i = 0; i < 32; i++) {
        many[i].discard = true;
        get_file(&many[i]);
    }
    for (size_t i = 0; i < 32; i++)
        LOOP_UNTIL(&t, many[i].received > 0);
    measure("beside 32 downloads", 50);
}

static void stall(size_t n)
{
    wait_up(20000);
    for (size_t i = 0; i < n; i++) {
        many[i].stall = true;
        get_file(&many[i]);
    }
    for (size_t i = 0; i < n; i++)
        LOOP_UNTIL(&t, many[i].received == 65536);
    measure(n == 8 ? "beside 8 stalled readers" : "beside 100 stalled readers", 50);
    assert_int_equal(host.downs, 0);
}

static void test_eight_stalled_readers(void **state)
{
    (void)state;
    stall(8);
}

static void test_hundred_stalled_readers(void **state)
{
    (void)state;
    stall(100);
}

static void test_five_thousand_aborted_requests(void **state)
{
    (void)state;
    wait_up(20000);
    int64_t from = clock_mono_ms();
    for (size_t round = 0; round < 100; round++) {
        for (size_t i = 0; i < 50; i++) {
            many[i].discard = true;
            get_file(&many[i]);
        }
        LOOP_UNTIL(&t, many[49].status == 200);
        for (size_t i = 0; i < 50; i++)
            if (many[i].s)
                http_reset(many[i].s);
        for (size_t i = 0; i < 50; i++) {
            LOOP_UNTIL(&t, many[i].closed);
            release(&many[i]);
        }
    }
    print_message("5,000 requests begun and aborted in %lld ms\n",
                  (long long)(clock_mono_ms() - from));
    health();
    assert_int_equal(host.downs, 0);
}

/* Traffic in both directions. */
static void load(void)
{
    for (size_t i = 0; i < 16; i++) {
        static struct http_field type = { STR("content-type"), STR("application/octet-stream") };
        release(&many[i]);
        many[i].discard = true;
        many[i].fields = &type;
        many[i].nfields = 1;
        if (i % 2)
            get_file(&many[i]);
        else
            assert_true(h2_request_begin(guest_link_session(host.l), &many[i], "POST",
                                         "/files?path=/tmp/other&username=root", FILE_SIZE));
    }
    for (size_t i = 1; i < 16; i += 2)
        LOOP_UNTIL(&t, many[i].received > 0);
}

static void kill_host(void)
{
    guest_link_close(host.l);
    for (size_t i = 0; i < 16; i++)
        LOOP_UNTIL(&t, many[i].closed);
}

static void test_hosts_killed_under_traffic(void **state)
{
    (void)state;
    int64_t us[100];
    wait_up(20000);
    for (size_t i = 0; i < ARRAY_LEN(us); i++) {
        load();
        for (size_t turns = 0; turns < i; turns++)
            test_loop_turn(&t);
        kill_host();
        int64_t from = clock_mono_ns();
        fake_host_start_at(&host, &t, address);
        wait_up(20000);
        us[i] = (clock_mono_ns() - from) / 1000;
        health();
    }
    qsort(us, ARRAY_LEN(us), sizeof(us[0]), by_value);
    print_message("a new host after 100 kills: p50 %.1f ms, p90 %.1f, max %.1f\n",
                  (double)us[50] / 1e3, (double)us[90] / 1e3, (double)us[99] / 1e3);
    assert_true(us[99] < RECOVERY_US);
}

static void test_hosts_killed_while_the_vm_is_stopped(void **state)
{
    (void)state;
    int64_t worst = 0;
    for (size_t i = 0; i < 20; i++) {
        wait_up(20000);
        load();
        for (size_t turns = 0; turns < i; turns++)
            test_loop_turn(&t);
        qmp_say("{\"execute\":\"stop\"}\n");
        kill_host(); /* half-sent frames in both directions */
        fake_host_start_at(&host, &t, address);
        guest_link_set_vm_running(host.l, false);
        if (i == 0) { /* no deadline runs while the VM rests */
            int64_t until = clock_mono_ms() + 1500;
            LOOP_UNTIL(&t, clock_mono_ms() > until);
        }
        test_loop_settle(&t);
        assert_int_equal(host.ups, 0);
        int64_t from = clock_mono_ns();
        qmp_say("{\"execute\":\"cont\"}\n");
        guest_link_set_vm_running(host.l, true);
        wait_up(20000);
        int64_t us = (clock_mono_ns() - from) / 1000;
        worst = us > worst ? us : worst;
        health();
    }
    print_message("cont to session, 20 times: worst %.1f ms\n", (double)worst / 1e3);
    assert_true(worst < RECOVERY_US);
}

static bool quiesced;

static void on_quiesced(void *user, int rc)
{
    (void)user;
    assert_int_equal(rc, 0);
    quiesced = true;
}

static void test_quiesce(void **state)
{
    (void)state;
    for (size_t i = 0; i < 10; i++) {
        wait_up(20000);
        quiesced = false;
        guest_link_quiesce(host.l, 5000, i % 2 ? GUEST_LINK_END_TOLD : GUEST_LINK_END_UNTOLD,
                           on_quiesced, NULL);
        LOOP_UNTIL(&t, quiesced);
        guest_link_resume(host.l);
        health();
    }
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, begin, end)

int main(void)
{
    const char *template = getenv("SANDPIT_LINK_TEMPLATE");
    if (!template) {
        printf("skipped: SANDPIT_LINK_TEMPLATE names no template\n");
        return 77;
    }
    const struct CMUnitTest tests[] = {
        CASE(test_boot),
        CASE(test_throughput),
        CASE(test_round_trips_under_downloads),
        CASE(test_eight_stalled_readers),
        CASE(test_hundred_stalled_readers),
        CASE(test_five_thousand_aborted_requests),
        CASE(test_hosts_killed_under_traffic),
        CASE(test_hosts_killed_while_the_vm_is_stopped),
        CASE(test_quiesce),
    };
    test_loop_init(&t);
    tempdir_init(&dir);
    str_copy(str_of(tempdir_path(&dir, "link")), address.path, sizeof(address.path));
    spawn(template);
    qmp_open();
    test_loop_deinit(&t);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    kill(qemu, SIGKILL);
    waitpid(qemu, NULL, 0);
    close(qmp);
    tempdir_deinit(&dir);
    return failed;
}
