#include "tests/support/test.h"

#include "common/base/cleanup.h"
#include "orchestrator/snapshot/host_check.h"
#include "sample.h"

#include <string.h>

static void print(const struct snapshot_manifest *m, struct buf *out)
{
    struct err err = { 0 };
    if (snapshot_manifest_print(m, out, &err) < 0)
        fail_msg("%s", err.msg);
}

static void test_what_is_printed_is_parsed(void **state)
{
    struct snapshot_manifest m, back;
    struct buf text = { 0 };
    struct err err = { 0 };
    (void)state;
    sample_manifest(&m);
    for (int only = 0; only < 2; only++) {
        m.filesystem_only = only;
        if (only) {
            m.memory = (struct memory_file){ 0 };
            m.state = (struct snapshot_state){ 0 };
            memset(m.base_build_id, 0, sizeof(m.base_build_id));
            memset(m.boot_id, 0, sizeof(m.boot_id));
            m.guest_unresponsive = true;
        }
        buf_clear(&text);
        print(&m, &text);
        assert_true(buf_len(&text) < SNAPSHOT_MANIFEST_MAX);
        struct str s = buf_str(&text);
        if (snapshot_manifest_parse(s.p, s.n, &back, &err) < 0)
            fail_msg("%s", err.msg);
        assert_memory_equal(&m, &back, sizeof(m));
    }
    buf_deinit(&text);
}

static void test_one_without_the_time_is_read(void **state)
{
    struct snapshot_manifest m, back;
    struct buf text = { 0 };
    struct err err = { 0 };
    (void)state;
    sample_manifest(&m);
    m.clock_stopped_ns = 0;
    print(&m, &text);
    struct str s = buf_str(&text);
    assert_null(memmem(s.p, s.n, "clock_stopped_ns", strlen("clock_stopped_ns")));
    if (snapshot_manifest_parse(s.p, s.n, &back, &err) < 0)
        fail_msg("%s", err.msg);
    assert_memory_equal(&m, &back, sizeof(m));
    buf_deinit(&text);
}

/* A change of one byte is refused, or (of a space) changes nothing. */
static void test_a_flipped_bit_is_found(void **state)
{
    struct snapshot_manifest m, back;
    struct buf text = { 0 };
    (void)state;
    sample_manifest(&m);
    print(&m, &text);
    size_t n = buf_len(&text), accepted = 0;
    char *p = (char *)buf_head(&text);
    for (size_t i = 0; i < 8 * n; i++) {
        struct err err = { 0 };
        p[i / 8] ^= (char)(1 << i % 8);
        if (snapshot_manifest_parse(p, n, &back, &err) == 0) {
            assert_memory_equal(&m, &back, sizeof(m));
            accepted++;
        } else if (err.code != ERR_DATA_LOSS && err.code != ERR_PRECONDITION) {
            fail_msg("bit %zu: %d %s", i, err.code, err.msg);
        }
        p[i / 8] ^= (char)(1 << i % 8);
    }
    assert_true(accepted < n);
    for (size_t i = 0; i + 2 < n; i++)
        assert_true(snapshot_manifest_parse(p, i, &back, NULL) < 0);
    buf_deinit(&text);
}

/* The sample's text with `from` replaced by `to`, and the error's text. */
static const char *refusal(const char *from, const char *to)
{
    static struct err err;
    struct snapshot_manifest m;
    struct buf text = { 0 }, changed = { 0 };
    sample_manifest(&m);
    print(&m, &text);
    AUTO_FREE char *all = buf_take_text(&text);
    const char *at = strstr(all, from);
    if (!at)
        fail_msg("no %s in the manifest", from);
    buf_append(&changed, all, (size_t)(at - all));
    buf_puts(&changed, to);
    buf_puts(&changed, at + strlen(from));
    struct str s = buf_str(&changed);
    err = (struct err){ 0 };
    if (snapshot_manifest_parse(s.p, s.n, &m, &err) == 0)
        fail_msg("accepted: %s", to);
    buf_deinit(&changed);
    return err.msg;
}

static void test_parse_is_strict(void **state)
{
    static const struct {
        const char *from, *to, *says;
    } cases[] = {
        { "\"format\": 1", "\"format\": 2", "format 2, not 1" },
        { "\"format\": 1", "\"format\": \"1\"", "'format'" },
        { "\"vcpus\": 2", "\"vcpus\": 2, \"more\": 1", "unknown or missing" },
        { "\"vcpus\": 2,", "", "unknown or missing" },
        { "\"vcpus\": 2", "\"vcpus\": 2, \"vcpus\": 2", "no JSON object" },
        { "\"vcpus\": 2", "\"vcpus\": 0", "'vcpus'" },
        { "\"vcpus\": 2", "\"vcpus\": -2", "'vcpus'" },
        { "\"vcpus\": 2", "\"vcpus\": 4294967296", "'vcpus'" },
        { "\"vcpus\": 2", "\"vcpus\": 2.0", "'vcpus'" },
        { "\"vcpus\": 2", "\"vcpus\": 3", "digest" },
        { "0f8fad5b", "../ad5b", "'id'" },
        { "0f8fad5b", "0F8FAD5B", "'id'" },
        { "0f8fad5b", "0f8fad5b0", "'id'" },
        { "\"b1598156-e7b4-4664-b488-1ec83a639353\"", "\"\"", "'build_id'" },
        { "a5a5", "a5g5", "'link_secret'" },
        { "a5a5", "a5", "'link_secret'" },
        { "3333", "333", "'cmdline'" },
        { "5555", "555", "'memory'" },
        { "6666", "666", "'state'" },
        { "\"pages\": 100", "\"pages\": -1", "'memory'" },
        { "\"size\": 1234", "\"size\": 0", "'state'" },
        { "\"guest_unresponsive\": false", "\"guest_unresponsive\": 0", "'guest_unresponsive'" },
        { "\"filesystem_only\": false", "\"filesystem_only\": true", "'memory'" },
        { "\"clock_stopped_ns\": 17", "\"clock_stopped_ns\": -17", "'clock_stopped_ns'" },
        { "\"clock_stopped_ns\": 17", "\"clock_stopped_ns\": 27", "digest" },
        { "\"clock_stopped_ns\"", "\"clock_stopped\"", "unknown or missing" },
        { "\"tcg\"", "\"tcg\\u0000\"", "no JSON object" },
        { "\"tcg\"", "\"\"", "'accelerator'" },
        { "\"tcg\"", "\"tcg-and-more\"", "'accelerator'" },
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *msg = refusal(cases[i].from, cases[i].to);
        if (!strstr(msg, cases[i].says))
            fail_msg("%s: %s", cases[i].to, msg);
    }
}

static void test_print_refuses_what_no_parser_accepts(void **state)
{
    struct snapshot_manifest m;
    struct buf text = { 0 };
    struct err err = { 0 };
    (void)state;
    sample_manifest(&m);
    m.kernel[0] = '\0';
    assert_true(snapshot_manifest_print(&m, &text, &err) < 0);
    assert_int_equal(err.code, ERR_INVALID);
    assert_non_null(strstr(err.msg, "'kernel'"));
    sample_manifest(&m);
    m.memory_mb = 0;
    assert_true(snapshot_manifest_print(&m, &text, &err) < 0);
    sample_manifest(&m);
    strcpy(m.build_id, "../x");
    assert_true(snapshot_manifest_print(&m, &text, &err) < 0);
    assert_int_equal(buf_len(&text), 0);
    buf_deinit(&text);
}

static const struct vmm_host tcg_host = { .accelerator = "tcg",
                                          .version = "QEMU emulator version 7.2.0",
                                          .machine = { "pc-i440fx-7.2", "microvm tsc=2100000" } };

static void test_check_host_names_the_difference(void **state)
{
    struct snapshot_manifest m;
    struct vmm_host host = tcg_host;
    struct err err = { 0 };
    (void)state;
    sample_manifest(&m);
    assert_int_equal(snapshot_check_host(&m, &host, VMM_BOARD_PC, &err), 0);
    strcpy(host.version, "QEMU emulator version 8.0.0");
    assert_true(snapshot_check_host(&m, &host, VMM_BOARD_PC, &err) < 0);
    assert_int_equal(err.code, ERR_PRECONDITION);
    assert_non_null(strstr(err.msg, "7.2.0"));
    assert_non_null(strstr(err.msg, "8.0.0"));
    host = tcg_host;
    strcpy(host.machine[VMM_BOARD_PC], "pc-i440fx-8.2");
    assert_true(snapshot_check_host(&m, &host, VMM_BOARD_PC, &err) < 0);
    assert_non_null(strstr(err.msg, "machine type"));
    host = tcg_host;
    strcpy(host.accelerator, "kvm");
    host.kvm = true;
    assert_true(snapshot_check_host(&m, &host, VMM_BOARD_PC, &err) < 0);
    assert_non_null(strstr(err.msg, "accelerator"));
}

/* A guest that counts the host's ticks needs a host that counts as fast. */
static void test_check_host_compares_clocks(void **state)
{
    struct snapshot_manifest m;
    struct vmm_host host = tcg_host;
    struct err err = { 0 };
    (void)state;
    sample_manifest(&m);
    assert_int_equal(snapshot_describe_host(&m, &host, VMM_BOARD_MICRO, &err), 0);
    assert_string_equal(m.machine, "microvm tsc=2100000");
    strcpy(host.machine[VMM_BOARD_MICRO], "microvm tsc=2100900");
    assert_int_equal(snapshot_check_host(&m, &host, VMM_BOARD_MICRO, &err), 0);
    strcpy(host.machine[VMM_BOARD_MICRO], "microvm tsc=2102000");
    assert_true(snapshot_check_host(&m, &host, VMM_BOARD_MICRO, &err) < 0);
    assert_non_null(strstr(err.msg, "microvm tsc=2102000"));
    strcpy(host.machine[VMM_BOARD_MICRO], "microvm");
    assert_true(snapshot_check_host(&m, &host, VMM_BOARD_MICRO, &err) < 0);
    strcpy(host.machine[VMM_BOARD_MICRO], "");
    assert_true(snapshot_check_host(&m, &host, VMM_BOARD_MICRO, &err) < 0);
    assert_non_null(strstr(err.msg, "no machine"));
    assert_true(snapshot_check_host(&m, &tcg_host, VMM_BOARD_PC, &err) < 0);
}

static void test_check_host_wants_the_processor_under_kvm(void **state)
{
    struct snapshot_manifest m;
    struct vmm_host host = tcg_host;
    struct err err = { 0 };
    (void)state;
    strcpy(host.accelerator, "kvm");
    host.kvm = true;
    sample_manifest(&m);
    assert_int_equal(snapshot_describe_host(&m, &host, VMM_BOARD_PC, &err), 0);
    assert_int_equal(snapshot_check_host(&m, &host, VMM_BOARD_PC, &err), 0);
    m.cpu_flags[0] = m.cpu_flags[0] == '0' ? '1' : '0';
    assert_true(snapshot_check_host(&m, &host, VMM_BOARD_PC, &err) < 0);
    assert_non_null(strstr(err.msg, "features"));
    strcpy(m.cpu_model, "Another");
    assert_true(snapshot_check_host(&m, &host, VMM_BOARD_PC, &err) < 0);
    assert_non_null(strstr(err.msg, "processor 'Another'"));
}

static void test_check_machine(void **state)
{
    struct snapshot_manifest m;
    struct err err = { 0 };
    char kernel[SNAPSHOT_DIGEST_SIZE];
    (void)state;
    sample_manifest(&m);
    memcpy(kernel, m.kernel, sizeof(kernel));
    snapshot_digest_text("root=/dev/vda", m.cmdline);
    snapshot_digest_text("a disk", m.devices);
    assert_int_equal(snapshot_check_machine(&m, kernel, "root=/dev/vda", "a disk", &err), 0);
    assert_true(snapshot_check_machine(&m, kernel, "root=/dev/vda", "two disks", &err) < 0);
    assert_non_null(strstr(err.msg, "devices"));
    assert_true(snapshot_check_machine(&m, kernel, "root=/dev/vdb", "a disk", &err) < 0);
    assert_non_null(strstr(err.msg, "command line"));
    kernel[0] = '9';
    assert_true(snapshot_check_machine(&m, kernel, "root=/dev/vda", "a disk", &err) < 0);
    assert_int_equal(err.code, ERR_PRECONDITION);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_is_printed_is_parsed),
        cmocka_unit_test(test_one_without_the_time_is_read),
        cmocka_unit_test(test_a_flipped_bit_is_found),
        cmocka_unit_test(test_parse_is_strict),
        cmocka_unit_test(test_print_refuses_what_no_parser_accepts),
        cmocka_unit_test(test_check_host_names_the_difference),
        cmocka_unit_test(test_check_host_compares_clocks),
        cmocka_unit_test(test_check_host_wants_the_processor_under_kvm),
        cmocka_unit_test(test_check_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
