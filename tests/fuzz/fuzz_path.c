/* Path rules. Input: default working directory, line feed, path. What is resolved is absolute,
 * fits, and is what was asked for: absolute paths as they are, others cleaned. */
#include "envd/core/path.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* No empty part, no "." and no "..". */
static void assert_clean(struct str path)
{
    struct str rest = str_from(path, 1);
    if (rest.n == 0)
        return;
    while (rest.p) {
        struct str part = str_split(&rest, '/');
        assert(part.n && !str_eq(part, STR(".")) && !str_eq(part, STR("..")));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct user user = { .name = "user", .home = "/home/user" };
    char workdir[PATH_MAX];
    char out[PATH_MAX];
    struct err err = { 0 };
    struct str path = { (const char *)data, size };
    struct str first = str_split(&path, '\n');
    if (!path.p || (first.n && first.p[0] != '/') || !str_copy(first, workdir, sizeof(workdir)))
        return 0;
    int rc = path_resolve(&user, path, workdir, out, &err);
    assert((rc == 0) == (err.code == ERR_OK));
    if (rc < 0) {
        assert(err.code == ERR_INVALID && err.msg[0]);
        return 0;
    }
    struct str got = str_of(out);
    assert(got.n > 0 && got.n < PATH_MAX && got.p[0] == '/');
    assert(!path.n || !memchr(path.p, '\0', path.n));
    if (path.n && path.p[0] == '/')
        assert(str_eq(got, path));
    else if (path.n == 0)
        assert(str_eq(got, workdir[0] ? str_of(workdir) : STR("/home/user")));
    else
        assert_clean(got);
    return 0;
}
