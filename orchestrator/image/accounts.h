/* The sandbox's user in a guest's passwd, group and shadow files. */
#ifndef ORCHESTRATOR_IMAGE_ACCOUNTS_H
#define ORCHESTRATOR_IMAGE_ACCOUNTS_H

#include "common/base/buf.h"
#include "common/base/err.h"

#include <sys/types.h>

#define ACCOUNTS_USER "user"
#define ACCOUNTS_HOME "/home/user"
#define ACCOUNTS_UID  1000

struct accounts {
    struct buf passwd, group, shadow; /* the files' contents; changed in place */
    bool has_shadow;
    /* Filled in by accounts_ensure_user(). */
    uid_t uid;
    gid_t gid;
    char home[256];
};

/*
 * See to it that there are root and ACCOUNTS_USER. A `user` that exists stays as it is. A new one
 * gets ACCOUNTS_UID and a group of its name, or the next free numbers, `shell`, and no password; it
 * joins the group sudo or wheel where there is one. 0, -EINVAL for a passwd line of `user` that
 * cannot be read, -ENOMEM.
 */
int accounts_ensure_user(struct accounts *a, const char *shell, struct err *err);

void accounts_deinit(struct accounts *a);

#endif
