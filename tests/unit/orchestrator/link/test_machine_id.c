#include "orchestrator/link/machine_id.h"
#include "tests/support/test.h"

/* A sandbox that was made by an earlier daemon keeps its machine id: the value is Python's
 * hmac.new(b"sandpit machine id", b"iabc123", "sha256").hexdigest()[:32]. */
static void test_machine_id_never_changes(void **state)
{
    (void)state;
    char id[MACHINE_ID_SIZE];
    machine_id_of("iabc123", id);
    assert_string_equal(id, "d4062c3d0a20486068900318980b3ac0");
    machine_id_of("iabc124", id);
    assert_string_not_equal(id, "d4062c3d0a20486068900318980b3ac0");
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_machine_id_never_changes) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
