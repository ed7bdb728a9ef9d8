#include "envd/options.h"
#include "envd/core/envd.h"
#include "envd/process/ring.h"

#include "tests/support/test.h"

#include <getopt.h>
#include <string.h>

/* Parse words that are separated by blanks. */
static enum options_todo parse(const char *line, struct options *o)
{
    static char name[] = "envd", text[256];
    char *argv[16] = { name }, *save = NULL;
    int argc = 1;
    snprintf(text, sizeof(text), "%s", line);
    for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save))
        argv[argc++] = word;
    optind = 0; /* getopt begins anew */
    return options_parse(argc, argv, o);
}

static void test_parse_defaults(void **state)
{
    (void)state;
    struct options o;
    assert_int_equal(parse("", &o), OPTIONS_SERVE);
    assert_int_equal(o.port, ENVD_PORT);
    assert_string_equal(o.host, "0.0.0.0");
    assert_string_equal(o.cgroup_root, "/sys/fs/cgroup");
    assert_int_equal(o.ring_bytes, 1 << 20);
    assert_int_equal(o.ring_budget, 32 << 20);
    assert_false(o.not_guest || o.no_cgroups || o.verbose);
}

static void test_parse_everything(void **state)
{
    (void)state;
    struct options o;
    assert_int_equal(parse("-isnotfc -port 0 -host ::1 -cgroup-root /c -no-cgroups -ring-kib 16 "
                           "--ring-total-kib=1048576 -verbose",
                           &o),
                     OPTIONS_SERVE);
    assert_int_equal(o.port, 0);
    assert_string_equal(o.host, "::1");
    assert_string_equal(o.cgroup_root, "/c");
    assert_int_equal(o.ring_bytes, 16384);
    assert_int_equal(o.ring_budget, 1 << 30);
    assert_true(o.not_guest && o.no_cgroups && o.verbose);
    assert_int_equal(parse("-help", &o), OPTIONS_HELP);
    assert_int_equal(parse("-version", &o), OPTIONS_VERSION);
    assert_int_equal(parse("-commit", &o), OPTIONS_COMMIT);
}

static void test_parse_refuses(void **state)
{
    (void)state;
    static const char *const lines[] = {
        "word",
        "-unknown",
        "-port",
        "-port 65536",
        "-port x",
        "-ring-kib 15",
        "-ring-kib 1048577",
        "-ring-kib -1",
        "-ring-kib 1k",
        "-ring-total-kib 15",
        "-ring-total-kib 99999999999999999999",
        "-ring-total-kib 1023",
        "-ring-kib 32769",
    };
    struct options o;
    for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
        assert_int_equal(parse(lines[i], &o), OPTIONS_WRONG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse_defaults),
        cmocka_unit_test(test_parse_everything),
        cmocka_unit_test(test_parse_refuses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
