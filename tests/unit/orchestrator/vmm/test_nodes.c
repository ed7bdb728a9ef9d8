/* What QEMU tells about a VM's disk, as we read it. */
#include "common/base/cleanup.h"
#include "orchestrator/vmm/qemu/chain.h"
#include "orchestrator/vmm/qemu/nodes.h"
#include "tests/support/test.h"

#include <stdlib.h>
#include <string.h>

static json_t *parse(const char *text)
{
    json_t *j = json_loads(text, 0, NULL);
    assert_non_null(j);
    return j;
}

static void test_find_top(void **state)
{
    static const char *const bad[] = {
        "[]",
        "{}",
        "[{\"qdev\": \"/machine/peripheral/disk0/virtio-backend\"}]",
        "[{\"qdev\": \"/machine/peripheral/disk01/x\", \"inserted\": {\"node-name\": \"disk-2\"}}]",
        "[{\"qdev\": \"/x/disk0/x\", \"inserted\": {\"node-name\": \"#block123\"}}]",
        "[{\"qdev\": \"/x/disk0/x\", \"inserted\": {\"node-name\": \"disk-\"}}]",
        "[{\"qdev\": \"/x/disk0/x\", \"inserted\": {\"node-name\": \"disk-0\"}}]",
        "[{\"qdev\": \"/x/disk0/x\", \"inserted\": {\"node-name\": \"disk-99999999999\"}}]",
        "[{\"qdev\": 7, \"inserted\": 7}]",
    };
    unsigned n = 0;
    (void)state;
    json_t *good =
        parse("[{\"qdev\": \"other\"}, {\"qdev\": \"/machine/peripheral/disk0/virtio-backend\","
              " \"inserted\": {\"node-name\": \"disk-17\"}}]");
    assert_true(node_find_top(good, &n));
    assert_int_equal(n, 17);
    json_decref(good);
    good = parse("[{\"qdev\": \"disk01\", \"inserted\": {\"node-name\": \"disk-1\"}},"
                 " {\"qdev\": \"disk0\", \"inserted\": {\"node-name\": \"disk-3\"}}]");
    assert_true(node_find_top(good, &n));
    assert_int_equal(n, 3);
    json_decref(good);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        json_t *j = parse(bad[i]);
        assert_false(node_find_top(j, &n));
        json_decref(j);
    }
}

static void test_list_is_ascending_and_bounded(void **state)
{
    unsigned n[3] = { 0 };
    (void)state;
    json_t *j = parse(
        "[{\"node-name\": \"disk-9\"}, {\"node-name\": \"rootfs\"}, {\"node-name\": \"disk-3\"},"
        " {\"node-name\": \"disk-10\"}, {\"node-name\": \"#block7\"}, {}, {\"node-name\": "
        "\"disk-4\"}]");
    assert_int_equal(node_list(j, 9, n, 3), 3);
    assert_true(n[0] == 3 && n[1] == 4 && n[2] == 9);
    assert_int_equal(node_list(j, 10, n, 3), 4);
    assert_true(n[0] == 3 && n[1] == 4 && n[2] == 9);
    assert_int_equal(node_list(j, 2, n, 3), 0);
    json_decref(j);
}

static void test_path_of_a_set(void **state)
{
    (void)state;
    json_t *j = parse("[{\"fdset-id\": 2, \"fds\": [{\"fd\": 7, \"opaque\": \"/a\"}, {\"fd\": 8}]},"
                      " {\"fdset-id\": 3, \"fds\": []}, {\"fdset-id\": 4}]");
    assert_string_equal(node_path(j, 2), "/a");
    assert_null(node_path(j, 3));
    assert_null(node_path(j, 4));
    assert_null(node_path(j, 5));
    json_decref(j);
}

static void test_chain_changes_as_the_disk_does(void **state)
{
    struct vmm_disk d, from = { .rootfs = "/root", .layers = { "/1" }, .nlayers = 1, .top = "/2" };
    (void)state;
    assert_int_equal(chain_copy(&d, &from), 0);
    chain_push(&d, strdup("/3"));
    chain_push(&d, strdup("/4"));
    assert_int_equal(d.nlayers, 3);
    assert_string_equal(d.layers[2], "/3");
    assert_string_equal(d.top, "/4");
    assert_string_equal(chain_backing(&d, 2).path, "/2");
    assert_true(chain_backing(&d, 2).qcow2);
    chain_pop(&d);
    assert_string_equal(d.top, "/3");
    assert_int_equal(d.nlayers, 2);
    chain_cut(&d, 0);
    assert_int_equal(d.nlayers, 0);
    assert_string_equal(chain_backing(&d, 0).path, "/root");
    assert_false(chain_backing(&d, 0).qcow2);
    chain_free(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_find_top),
        cmocka_unit_test(test_list_is_ascending_and_bounded),
        cmocka_unit_test(test_path_of_a_set),
        cmocka_unit_test(test_chain_changes_as_the_disk_does),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
