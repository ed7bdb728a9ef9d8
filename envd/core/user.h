/* Users and groups, read from /etc/passwd and /etc/group: no NSS, so that a static envd works in
 * any guest. */
#ifndef ENVD_CORE_USER_H
#define ENVD_CORE_USER_H

#include "common/base/err.h"
#include "common/base/str.h"

#include <limits.h>
#include <sys/types.h>

#define USER_NAME_MAX   64
#define USER_GROUPS_MAX 64

struct user {
    char name[USER_NAME_MAX + 1];
    uid_t uid;
    gid_t gid;
    char home[PATH_MAX];
    char shell[256];
    gid_t groups[USER_GROUPS_MAX]; /* supplementary, gid included */
    size_t ngroups;
};

/* 0, or -ENOENT with "user 'x' does not exist". */
int user_find(struct str name, struct user *out, struct err *err);

/* Names for ids, or decimal ids where there is no name. `out` holds USER_NAME_MAX + 1 bytes. The
 * files are read again only when they changed, which is noticed by the next user_find() or within a
 * millisecond. */
void user_name_of(uid_t uid, char *out);
void group_name_of(gid_t gid, char *out);

/* Parse one line of a passwd file into out (groups left empty); false for a malformed one. */
bool user_parse_line(struct str line, struct user *out);

/* Read these files instead of /etc/passwd and /etc/group (borrowed for good); for tests. */
void user_set_files(const char *passwd, const char *group);

/* A passwd or group file larger than this is refused. */
#define USER_FILE_MAX (4U << 20)

#endif
