/* Real VMs: a Debian kernel and a small guest of this test's, under emulation. */
#include "vm_fixture.h"

#include "common/base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static struct vm_fixture fixture;

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
    struct vm_run r;
    (void)state;
    size_t fds = open_fds();
    int64_t t0 = clock_mono_ms();
    vm_boot(&fixture, &r);
    assert_false(r.failed);
    int64_t t1 = clock_mono_ms();
    vm_destroy(&r);
    assert_int_equal(open_fds(), fds);

    int64_t t2 = clock_mono_ms();
    vm_boot_up(&fixture, &r);
    int64_t t3 = clock_mono_ms();
    print_message("boot call to cont %d ms; to guest up %d ms\n", (int)(t1 - t0), (int)(t3 - t2));
    assert_string_equal(vm_ask(&r, "echo hello"), "echo hello");
    assert_string_equal(vm_ask(&r, "cpus"), "cpus 1");
    vm_destroy(&r);
    assert_int_equal(open_fds(), fds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_boot_runs_the_guest),
    };
    vm_fixture_init(&fixture, 0, 0);
    int rc = cmocka_run_group_tests(tests, NULL, NULL);
    vm_fixture_deinit(&fixture);
    return rc;
}
