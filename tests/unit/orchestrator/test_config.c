#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "orchestrator/config.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int parse(struct config *c, bool *help, struct err *err, ...)
{
    char *argv[16] = { (char *)(uintptr_t) "serve" };
    int argc = 1;
    va_list ap;
    va_start(ap, err);
    for (char *arg; (arg = va_arg(ap, char *)) != NULL;)
        argv[argc++] = arg;
    va_end(ap);
    config_defaults(c);
    return config_from_args(c, argc, argv, help, err);
}

static void test_defaults_are_as_documented_and_pass_the_check(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    config_defaults(&c);
    assert_string_equal(c.data_dir, "/var/lib/sandpit");
    assert_string_equal(c.host, "127.0.0.1");
    assert_int_equal(c.api_port, 3000);
    assert_int_equal(c.proxy_port, 3002);
    assert_int_equal(c.node_port, 5008);
    assert_int_equal(c.metrics_port, CONFIG_NO_PORT);
    assert_false(config_has_node_tls(&c));
    assert_string_equal(c.domain, "localhost:3002");
    assert_int_equal(c.default_timeout_s, 300);
    assert_int_equal(c.max_lifetime_s, 86400);
    assert_int_equal(c.memory_mb, 512);
    assert_int_equal(c.disk_mb, 4096);
    assert_false(c.ephemeral);
    assert_string_equal(c.cgroup, "auto");
    assert_int_equal(c.vmm_memory_mb, 512);
    assert_int_equal(c.max_paused_per_team, CONFIG_FROM_DISK);
    assert_int_equal(c.vmm_pids, 256);
    assert_int_equal(c.vmm_cpus, 1);
    assert_int_equal(c.jail, geteuid() == 0);
    assert_true(config_is_loopback(&c));
    assert_int_equal(config_check(&c, &err), 0);
}

static void test_flags_win_over_environment(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    bool help;
    setenv("SANDPIT_API_PORT", "4000", 1);
    setenv("SANDPIT_MAX_LIFETIME", "7200", 1);
    setenv("SANDPIT_EPHEMERAL", "true", 1);
    config_defaults(&c);
    int rc = config_from_env(&c, &err);
    unsetenv("SANDPIT_API_PORT");
    unsetenv("SANDPIT_MAX_LIFETIME");
    unsetenv("SANDPIT_EPHEMERAL");
    assert_int_equal(rc, 0);
    assert_int_equal(c.api_port, 4000);
    assert_true(c.ephemeral);
    char serve[] = "serve", flag[] = "--api-port=5000";
    char *argv[] = { serve, flag, NULL };
    assert_int_equal(config_from_args(&c, 2, argv, &help, &err), 0);
    assert_int_equal(c.api_port, 5000);
    assert_int_equal(c.max_lifetime_s, 7200);
}

static void test_what_a_template_has_is_refused(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    bool help;
    assert_int_equal(parse(&c, &help, &err, "--memory-mb", "1024", NULL), -EINVAL);
    assert_non_null(strstr(err.msg, "sandpit image build"));
}

static void test_domain_follows_the_proxy_port_until_it_is_set(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    bool help;
    assert_int_equal(parse(&c, &help, &err, "--proxy-port", "9000", NULL), 0);
    assert_string_equal(c.domain, "localhost:9000");
    config_set_proxy_port(&c, 9001);
    assert_string_equal(c.domain, "localhost:9001");
    assert_int_equal(
        parse(&c, &help, &err, "--domain", "box.example", "--proxy-port", "9000", NULL), 0);
    assert_string_equal(c.domain, "box.example");
    assert_int_equal(parse(&c, &help, &err, "--domain", "none", NULL), 0);
    assert_string_equal(c.domain, "none");
}

static void test_every_setting_refuses_what_it_cannot_be(void **state)
{
    (void)state;
    char long_path[200];
    memset(long_path, '/', sizeof(long_path) - 1);
    long_path[sizeof(long_path) - 1] = '\0';
    const char *const bad[][2] = {
        { "data-dir", "relative" },
        { "data-dir", "" },
        { "host", "localhost" },
        { "host", "127.0.0.1.1" },
        { "api-port", "65536" },
        { "api-port", "-1" },
        { "api-port", "3000 " },
        { "api-port", "" },
        { "proxy-port", "0x10" },
        { "node-port", "65536" },
        { "metrics-port", "" },
        { "metrics-port", "65536" },
        { "node-tls-cert", "" },
        { "domain", "" },
        { "domain", "a b" },
        { "domain", "a:0" },
        { "domain", "a:70000" },
        { "domain", ".a" },
        { "domain", "http://a" },
        { "accel", "hvf" },
        { "accel", "" },
        { "vcpus", "65" },
        { "memory-mb", "64" },
        { "disk-mb", "1" },
        { "max-sandboxes", "1025" },
        { "max-per-team", "1025" },
        { "max-paused-per-team", "1000001" },
        { "max-paused-per-team", "none" },
        { "pool-hot", "65" },
        { "pool-waiting", "-1" },
        { "default-timeout", "0" },
        { "max-lifetime", "1e9" },
        { "cgroup", "" },
        { "cgroup", "sandpit.slice" },
        { "cgroup", "/" },
        { "cgroup", "/a/../b" },
        { "cgroup", long_path },
        { "vmm-memory-mb", "127" },
        { "vmm-memory-mb", "none" },
        { "vmm-pids", "95" },
        { "vmm-cpus", "-1" },
        { "uid-base", "0" },
        { "uid-base", "4294967294" },
        { "jail", "maybe" },
        { "log-level", "loud" },
    };
    struct config c;
    struct err err;
    config_defaults(&c);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct config before = c;
        int rc = config_set(&c, bad[i][0], bad[i][1], &err);
        if (rc != -EINVAL)
            fail_msg("--%s accepted '%s'", bad[i][0], bad[i][1]);
        char expected[80];
        snprintf(expected, sizeof(expected), "--%s must be ", bad[i][0]);
        assert_memory_equal(err.msg, expected, strlen(expected));
        assert_memory_equal(&before, &c, sizeof(c));
    }
    assert_int_equal(config_set(&c, "colour", "red", &err), -ENOENT);
}

static void test_limits_of_a_vmm_can_be_left_out(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    bool help;
    assert_int_equal(parse(&c, &help, &err, "--cgroup=none", "--vmm-memory-mb=0", "--vmm-pids=0",
                           "--vmm-cpus=0", NULL),
                     0);
    assert_string_equal(c.cgroup, "none");
    assert_int_equal(c.vmm_memory_mb + c.vmm_pids + c.vmm_cpus, 0);
    assert_int_equal(parse(&c, &help, &err, "--cgroup", "/a.slice/b", NULL), 0);
    assert_string_equal(c.cgroup, "/a.slice/b");
}

static void test_environment_names_the_variable(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    config_defaults(&c);
    setenv("SANDPIT_API_PORT", "many", 1);
    int rc = config_from_env(&c, &err);
    unsetenv("SANDPIT_API_PORT");
    assert_int_equal(rc, -EINVAL);
    assert_string_equal(
        err.msg, "SANDPIT_API_PORT must be a port from 0 (any free one) to 65535, not 'many'");
}

static void test_arguments_are_strict(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    bool help;
    assert_int_equal(parse(&c, &help, &err, "--nope", NULL), -EINVAL);
    assert_string_equal(err.msg, "unknown option '--nope'");
    assert_int_equal(parse(&c, &help, &err, "--host", NULL), -EINVAL);
    assert_string_equal(err.msg, "option '--host' needs a value");
    assert_int_equal(parse(&c, &help, &err, "extra", NULL), -EINVAL);
    assert_string_equal(err.msg, "unexpected argument 'extra'");
    assert_int_equal(parse(&c, &help, &err, "--ephemeral", "--help", NULL), 0);
    assert_true(help);
    assert_true(c.ephemeral);
    assert_int_equal(parse(&c, &help, &err, "--data-dir", "/srv/x//", NULL), 0);
    assert_string_equal(c.data_dir, "/srv/x");
}

static void test_check_finds_contradictions(void **state)
{
    (void)state;
    struct config c;
    struct err err;
    config_defaults(&c);
    c.default_timeout_s = c.max_lifetime_s + 1;
    assert_int_equal(config_check(&c, &err), -EINVAL);
    config_defaults(&c);
    c.api_port = c.proxy_port;
    assert_int_equal(config_check(&c, &err), -EINVAL);
    c.api_port = c.proxy_port = 0;
    assert_int_equal(config_check(&c, &err), 0);
    c.metrics_port = 0; /* any free one is never that of another */
    assert_int_equal(config_check(&c, &err), 0);
    c.metrics_port = c.proxy_port = 4000;
    assert_int_equal(config_check(&c, &err), -EINVAL);
    assert_string_equal(err.msg, "--metrics-port and --proxy-port are both 4000");
    c.proxy_port = 0;
    memset(c.data_dir + 1, 'x', 68);
    c.data_dir[68] = '\0';
    assert_int_equal(config_check(&c, &err), 0);
    c.data_dir[68] = 'x';
    c.data_dir[69] = '\0';
    assert_int_equal(config_check(&c, &err), -ENAMETOOLONG);
}

static void test_tls_of_the_node_needs_all_its_files(void **state)
{
    (void)state;
    static const char *const files[] = { "node-tls-cert", "node-tls-key", "node-tls-ca" };
    struct config c;
    struct err err;
    config_defaults(&c);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(config_check(&c, &err), i == 0 ? 0 : -EINVAL);
        assert_int_equal(config_set(&c, files[i], "a.pem", &err), 0);
    }
    assert_true(config_has_node_tls(&c));
    assert_int_equal(config_check(&c, &err), 0);
    c.node_port = c.api_port;
    assert_int_equal(config_check(&c, &err), -EINVAL);
    assert_string_equal(err.msg, "--node-port and --api-port are both 3000");
}

static void test_loopback_is_told_from_other_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        bool loopback;
    } cases[] = { { "127.0.0.1", true }, { "127.9.9.9", true }, { "::1", true },
                  { "0.0.0.0", false },  { "::", false },       { "10.0.0.1", false } };
    struct config c;
    struct err err;
    config_defaults(&c);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_int_equal(config_set(&c, "host", cases[i].host, &err), 0);
        assert_int_equal(config_is_loopback(&c), cases[i].loopback);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults_are_as_documented_and_pass_the_check),
        cmocka_unit_test(test_flags_win_over_environment),
        cmocka_unit_test(test_what_a_template_has_is_refused),
        cmocka_unit_test(test_domain_follows_the_proxy_port_until_it_is_set),
        cmocka_unit_test(test_every_setting_refuses_what_it_cannot_be),
        cmocka_unit_test(test_limits_of_a_vmm_can_be_left_out),
        cmocka_unit_test(test_environment_names_the_variable),
        cmocka_unit_test(test_arguments_are_strict),
        cmocka_unit_test(test_check_finds_contradictions),
        cmocka_unit_test(test_tls_of_the_node_needs_all_its_files),
        cmocka_unit_test(test_loopback_is_told_from_other_addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
