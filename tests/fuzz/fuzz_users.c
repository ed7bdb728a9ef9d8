/* The guest's user files, which anybody in the guest may have written. Input: a name, line feed, a
 * passwd file; a NUL byte ends it and begins a group file. Each line is read or refused, and the
 * user that is found is the one of the first line that can be read and has that name. */
#include "envd/core/user.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fill(int fd, struct str text)
{
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text.p ? text.p : "", text.n, 0) != (ssize_t)text.n)
        assert(false);
}

/* A user that was read makes the same line again. */
static void check_line(const struct user *u)
{
    char line[PATH_MAX + 1024];
    struct user again;
    int n = snprintf(line, sizeof(line), "%s:x:%u:%u::%s:%s", u->name, u->uid, u->gid, u->home,
                     u->shell);
    assert(n > 0 && (size_t)n < sizeof(line));
    assert(u->name[0] && !strchr(u->name, ':') && u->uid != UINT32_MAX && u->gid != UINT32_MAX);
    assert(user_parse_line((struct str){ line, (size_t)n }, &again));
    assert(strcmp(u->name, again.name) == 0 && u->uid == again.uid && u->gid == again.gid);
    assert(strcmp(u->home, again.home) == 0 && strcmp(u->shell, again.shell) == 0);
}

static bool first_of_name(struct str passwd, struct str name, struct user *out)
{
    while (passwd.p) {
        struct user u;
        if (!user_parse_line(str_split(&passwd, '\n'), &u))
            continue;
        check_line(&u);
        if (str_eq(str_of(u.name), name)) {
            *out = u;
            return true;
        }
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static int fd[2] = { -1, -1 };
    static char path[2][64];
    for (int i = 0; i < 2 && fd[i] < 0; i++) {
        fd[i] = memfd_create("users", MFD_CLOEXEC);
        assert(fd[i] >= 0);
        snprintf(path[i], sizeof(path[i]), "/proc/self/fd/%d", fd[i]);
    }
    struct str rest = { (const char *)data, size };
    struct str name = str_split(&rest, '\n');
    struct str passwd = str_split(&rest, '\0');
    fill(fd[0], passwd);
    fill(fd[1], rest);
    user_set_files(path[0], path[1]);

    struct user found, expected;
    struct err err = { 0 };
    int rc = user_find(name, &found, &err);
    if (rc < 0) {
        assert(err.code == ERR_NOT_FOUND && err.msg[0]);
        assert(!first_of_name(passwd, name, &expected));
        return 0;
    }
    assert(first_of_name(passwd, name, &expected));
    assert(strcmp(found.name, expected.name) == 0 && found.uid == expected.uid);
    assert(found.ngroups >= 1 && found.ngroups <= USER_GROUPS_MAX && found.groups[0] == found.gid);
    char text[USER_NAME_MAX + 1];
    user_name_of(found.uid, text);
    assert(text[0] && strlen(text) <= USER_NAME_MAX);
    group_name_of(found.gid, text);
    assert(text[0] && strlen(text) <= USER_NAME_MAX);
    return 0;
}
