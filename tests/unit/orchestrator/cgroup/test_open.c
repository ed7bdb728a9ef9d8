#include "fake_host.h"

#include <errno.h>
#include <string.h>

static struct cgroups c;

static int setup(void **state)
{
    (void)state;
    fake_init();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_deinit();
    return 0;
}

static const char *text(void)
{
    static char out[128];
    cgroups_text(&c, out, sizeof(out));
    return out;
}

/* The one by which an owner keeps the group above. */
#define THE_HOLD 1

static const struct cgroups_options others = { .where = CGROUP_AUTO, .owner = "/srv/sandpit" };

static void open_others(struct cgroups *other)
{
    struct cgroups_options o = others;
    o.root = fake.dir.path;
    cgroups_open(other, &o);
    assert_string_equal(other->missing, "");
}

static void test_version_2_gives_all_limits(void **state)
{
    (void)state;
    fake_add_v2("cpuset cpu io memory hugetlb pids rdma");
    fake_open(&c, CGROUP_AUTO);
    assert_string_equal(c.missing, "");
    assert_int_equal(c.version, CGROUP_V2);
    assert_string_equal(text(), "version 2, below /sandpit: memory, pids, cpu");
    assert_string_equal(fake_value(FAKE_V2 "/sandpit/cgroup.subtree_control"), "+memory+pids+cpu");
    assert_int_equal(fake_count_groups(FAKE_V2 "/sandpit"), THE_HOLD);
}

static void test_version_1_gives_all_limits(void **state)
{
    (void)state;
    fake_add_v1("cpu,cpuacct");
    fake_add_v1("memory");
    fake_add_v1("pids");
    fake_open(&c, CGROUP_AUTO);
    assert_string_equal(c.missing, "");
    assert_string_equal(text(), "version 1, below /sandpit: memory, pids, cpu");
    assert_int_equal(fake_count_groups(FAKE_V1("memory/sandpit")), THE_HOLD);
    assert_int_equal(fake_count_groups(FAKE_V1("cpu,cpuacct/sandpit")), THE_HOLD);
}

static void test_version_1_is_used_where_version_2_has_no_controllers(void **state)
{
    (void)state;
    fake_add_v2("");
    fake_add_v1("cpu");
    fake_add_v1("memory");
    fake_open(&c, CGROUP_AUTO);
    assert_string_equal(text(), "version 1, below /sandpit: memory, cpu");
    assert_string_equal(c.missing, "no pids: no such hierarchy is mounted");
    assert_int_equal(fake_count_groups(FAKE_V2), 0);
}

static void test_a_host_without_any_is_said_so(void **state)
{
    (void)state;
    fake_open(&c, CGROUP_AUTO);
    assert_int_equal(c.version, CGROUP_NONE);
    assert_string_equal(text(), "none");
    assert_non_null(strstr(c.missing, "no memory: no such hierarchy is mounted"));
}

static void test_none_touches_nothing(void **state)
{
    (void)state;
    fake_add_v2("cpu memory pids");
    fake_open(&c, CGROUP_OFF);
    assert_int_equal(c.version, CGROUP_NONE);
    assert_string_equal(c.missing, "control groups were not asked for");
    assert_string_equal(fake_value(FAKE_V2 "/cgroup.subtree_control"), "");
}

static void test_a_read_only_hierarchy_is_none(void **state)
{
    (void)state;
    fake_add_v2("cpu memory pids");
    fake.refused = FAKE_V2;
    fake.refused_errno = EROFS;
    fake_open(&c, CGROUP_AUTO);
    assert_int_equal(c.version, CGROUP_NONE);
    assert_non_null(strstr(c.missing, "Read-only file system"));
    assert_null(strstr(c.missing, "no such hierarchy"));
}

static void test_a_group_that_was_named_is_used(void **state)
{
    (void)state;
    fake_add_v2("cpu memory pids");
    fake_add_group(FAKE_V2 "/a.slice", "cpu memory pids");
    fake_add_group(FAKE_V2 "/a.slice/vms.service", "cpu memory pids");
    fake_open(&c, "/a.slice/vms.service");
    assert_string_equal(c.missing, "");
    assert_string_equal(text(), "version 2, below /a.slice/vms.service: memory, pids, cpu");
    /* Whoever made it decides on what is above it. */
    assert_string_equal(fake_value(FAKE_V2 "/cgroup.subtree_control"), "");
    assert_string_equal(fake_value(FAKE_V2 "/a.slice/cgroup.subtree_control"), "");
}

static void test_a_named_group_is_not_made(void **state)
{
    (void)state;
    fake_add_v2("cpu memory pids");
    fake_open(&c, "/vms");
    assert_int_equal(c.version, CGROUP_NONE);
    assert_int_equal(fake_count_groups(FAKE_V2), 0);
}

static void test_what_is_not_delegated_is_left_out(void **state)
{
    (void)state;
    fake_add_v2("cpu memory pids");
    fake_add_group(FAKE_V2 "/vms", "pids memory");
    fake_open(&c, "/vms");
    assert_string_equal(text(), "version 2, below /vms: memory, pids");
    assert_non_null(strstr(c.missing, "no cpu: "));
    assert_non_null(strstr(c.missing, "is not given it"));
}

static void test_a_group_with_processes_of_its_own_cannot_pass_controllers_on(void **state)
{
    (void)state;
    fake_add_v2("cpu memory pids");
    fake_add_group(FAKE_V2 "/vms", "cpu memory pids");
    fake.refused = "/vms/cgroup.subtree_control";
    fake.refused_errno = EBUSY;
    fake_open(&c, "/vms");
    assert_int_equal(c.version, CGROUP_NONE);
    assert_non_null(strstr(c.missing, "no memory: "));
    assert_non_null(strstr(c.missing, "cannot pass it on: Device or resource busy"));
}

static void test_a_limit_that_is_refused_leaves_the_others(void **state)
{
    (void)state;
    fake_add_v1("cpu");
    fake_add_v1("memory");
    fake_add_v1("pids");
    fake.refused = "cpu.cfs_quota_us";
    fake.refused_errno = EINVAL;
    fake_open(&c, CGROUP_AUTO);
    assert_string_equal(text(), "version 1, below /sandpit: memory, pids");
    assert_non_null(strstr(c.missing, "no cpu: "));
    assert_int_equal(fake_count_groups(FAKE_V1("cpu/sandpit")), THE_HOLD);
}

static void test_groups_that_take_no_process_are_none(void **state)
{
    (void)state;
    fake_add_v2("cpu memory pids");
    fake.refused = "/cgroup.procs";
    fake.refused_errno = EACCES;
    fake_open(&c, CGROUP_AUTO);
    assert_int_equal(c.version, CGROUP_NONE);
    assert_false(c.can[CGROUP_MEMORY]);
    assert_non_null(strstr(c.missing, "no process can be put into a group: Permission denied"));
    assert_int_equal(fake_count_groups(FAKE_V2 "/sandpit"), THE_HOLD);
}

static void test_owners_have_names_of_their_own(void **state)
{
    (void)state;
    struct cgroups other;
    fake_add_v2("cpu memory pids");
    fake_open(&c, CGROUP_AUTO);
    open_others(&other);
    assert_string_not_equal(c.tag, other.tag);
}

static void test_the_group_of_our_own_goes_with_its_last_owner(void **state)
{
    (void)state;
    struct cgroups other;
    fake_add_v1("cpu");
    fake_add_v1("memory");
    fake_add_v1("pids");
    fake_open(&c, CGROUP_AUTO);
    open_others(&other);
    cgroups_close(&c);
    assert_int_equal(fake_count_groups(FAKE_V1("cpu/sandpit")), THE_HOLD);
    assert_int_equal(cgroup_create(&other, "vm", &(struct cgroup_limits){ 0 }, &(struct err){ 0 }),
                     0);
    assert_int_equal(cgroup_remove(&other, "vm"), 0);
    cgroups_close(&other);
    assert_int_equal(fake_count_groups(FAKE_V1("cpu")), 0);
    assert_int_equal(fake_count_groups(FAKE_V1("memory")), 0);
    assert_int_equal(fake_count_groups(FAKE_V1("pids")), 0);
}

static void test_a_vm_keeps_the_group_of_our_own(void **state)
{
    (void)state;
    fake_add_v2("cpu memory pids");
    fake_open(&c, CGROUP_AUTO);
    assert_int_equal(cgroup_create(&c, "vm", &(struct cgroup_limits){ 0 }, &(struct err){ 0 }), 0);
    cgroups_close(&c);
    assert_int_equal(fake_count_groups(FAKE_V2 "/sandpit"), 1);
    fake_open(&c, CGROUP_AUTO);
    assert_int_equal(cgroups_sweep(&c), 1);
    assert_int_equal(fake_count_groups(FAKE_V2 "/sandpit"), THE_HOLD);
}

static void test_a_named_group_stays(void **state)
{
    (void)state;
    fake_add_v2("cpu memory pids");
    fake_add_group(FAKE_V2 "/vms", "cpu memory pids");
    fake_open(&c, "/vms");
    assert_int_equal(fake_count_groups(FAKE_V2 "/vms"), 0);
    cgroups_close(&c);
    assert_int_equal(fake_count_groups(FAKE_V2), 1);
}

/* Another owner removes it just when we have found it there. */
static void test_a_group_that_goes_while_it_is_opened_is_made_again(void **state)
{
    (void)state;
    fake_add_v2("cpu memory pids");
    fake_add_group(FAKE_V2 "/sandpit", "cpu memory pids");
    fake.goes = "/sandpit/hold-";
    fake_open(&c, CGROUP_AUTO);
    assert_null(fake.goes);
    assert_string_equal(c.missing, "");
    assert_string_equal(text(), "version 2, below /sandpit: memory, pids, cpu");
    assert_string_equal(fake_value(FAKE_V2 "/sandpit/cgroup.subtree_control"), "+memory+pids+cpu");
}

static void test_close_of_what_was_never_opened_does_nothing(void **state)
{
    (void)state;
    struct cgroups none = { 0 };
    cgroups_close(&none);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_version_2_gives_all_limits),
        TEST(test_version_1_gives_all_limits),
        TEST(test_version_1_is_used_where_version_2_has_no_controllers),
        TEST(test_a_host_without_any_is_said_so),
        TEST(test_none_touches_nothing),
        TEST(test_a_read_only_hierarchy_is_none),
        TEST(test_a_group_that_was_named_is_used),
        TEST(test_a_named_group_is_not_made),
        TEST(test_what_is_not_delegated_is_left_out),
        TEST(test_a_group_with_processes_of_its_own_cannot_pass_controllers_on),
        TEST(test_a_limit_that_is_refused_leaves_the_others),
        TEST(test_groups_that_take_no_process_are_none),
        TEST(test_owners_have_names_of_their_own),
        TEST(test_the_group_of_our_own_goes_with_its_last_owner),
        TEST(test_a_vm_keeps_the_group_of_our_own),
        TEST(test_a_named_group_stays),
        TEST(test_a_group_that_goes_while_it_is_opened_is_made_again),
        TEST(test_close_of_what_was_never_opened_does_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
