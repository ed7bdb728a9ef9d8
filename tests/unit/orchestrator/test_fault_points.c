/* The list that `doctor --fault-points` prints is that of the sources. */
#include "tests/support/test.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "orchestrator/fault_points.h"

#include <ftw.h>
#include <string.h>

static unsigned found;

static bool is_listed(struct str name)
{
    for (const char *const *p = fault_points; *p; p++)
        if (str_eq(str_of(*p), name))
            return true;
    return false;
}

static void check_text(const char *path, struct str text)
{
    struct str mark = STR("FAULT_POINT(\"");
    const char *at = text.p;
    while ((at = memmem(at, text.n - (size_t)(at - text.p), mark.p, mark.n)) != NULL) {
        at += mark.n;
        struct str rest = { at, text.n - (size_t)(at - text.p) };
        struct str name = str_split(&rest, '"');
        found++;
        if (!is_listed(name))
            fail_msg("%s: the fault point %.*s is not listed", path, STR_ARG(name));
    }
}

static int visit(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)where;
    size_t n = strlen(path);
    if (kind != FTW_F || n < 2 || strcmp(path + n - 2, ".c") != 0)
        return 0;
    struct buf text = { 0 };
    assert_int_equal(file_read(path, 1 << 20, &text, NULL), 0);
    check_text(path, buf_str(&text));
    buf_deinit(&text);
    return 0;
}

static void test_every_fault_point_is_listed(void **state)
{
    (void)state;
    assert_int_equal(nftw(SOURCE_DIR "/orchestrator", visit, 16, FTW_PHYS), 0);
    assert_int_equal(nftw(SOURCE_DIR "/common", visit, 16, FTW_PHYS), 0);
    assert_true(found > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(test_every_fault_point_is_listed) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
