#include "orchestrator/image/bake.h"
#include "common/base/cleanup.h"
#include "orchestrator/image/accounts.h"
#include "orchestrator/image/tree.h"

#include <errno.h>
#include <stdio.h>

#define OWNER_ROOT(m) ((struct tree_owner){ .uid = 0, .gid = 0, .mode = (m) })

/* Folders that a guest needs to come up, and those in which we put something. */
static const struct {
    const char *path;
    mode_t mode;
} folders[] = {
    { "/dev", 0755 },  { "/proc", 0555 },        { "/sys", 0555 },      { "/run", 0755 },
    { "/tmp", 01777 }, { "/var", 0755 },         { "/var/tmp", 01777 }, { "/etc", 0755 },
    { "/root", 0700 }, { "/home", 0755 },        { "/usr", 0755 },      { "/usr/bin", 0755 },
    { "/bin", 0755 },  { "/etc/sandpit", 0755 },
};

/* In our own tree they replace what mmdebstrap copied from the host; in others' only fill gaps. */
static const struct {
    const char *path, *text;
    bool own_only;
} files[] = {
    { "/etc/hostname", "e2b.local\n", false },
    { "/etc/hosts", "127.0.0.1 localhost e2b.local\n::1 localhost ip6-localhost ip6-loopback\n",
      false },
    { "/etc/resolv.conf", "nameserver 8.8.8.8\n", false },
    { "/etc/default/locale", "LANG=C.UTF-8\n", true },
    { "/etc/profile.d/sandpit.sh", "export LANG=${LANG:-C.UTF-8} SHELL=${SHELL:-/bin/bash}\n",
      true },
};

/* Folders of our own tree that the user may write to: programs are installed there without sudo. */
static const char *const open_folders[] = {
    "/usr/local",       "/usr/local/bin",  "/usr/local/etc", "/usr/local/games",   "/usr/local/lib",
    "/usr/local/share", "/usr/local/sbin", "/usr/local/src", "/usr/local/include",
};

/* Clients run every command by /bin/bash -l -c; where there is none, the shell that is does it. */
static const char bash_stand_in[] = "#!/bin/sh\nexec /bin/sh \"$@\"\n";

static int make_folders(const struct tree *t, struct err *err)
{
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(folders) && rc == 0; i++)
        rc = tree_make_dir(t, folders[i].path, OWNER_ROOT(folders[i].mode), NULL, err);
    return rc;
}

static int write_files(const struct tree *t, bool own, struct err *err)
{
    int rc = 0;
    for (size_t i = 0; i < ARRAY_LEN(files) && rc == 0; i++) {
        if (own ? false : files[i].own_only || tree_exists(t, files[i].path))
            continue;
        rc = tree_write(t, files[i].path, str_of(files[i].text), OWNER_ROOT(0644), err);
    }
    return rc;
}

static int read_if_there(const struct tree *t, const char *path, struct buf *out, struct err *err)
{
    return tree_exists(t, path) ? tree_read(t, path, out, err) : 0;
}

static int write_accounts(const struct tree *t, const struct accounts *a, struct err *err)
{
    int rc = tree_write(t, "/etc/passwd", buf_str(&a->passwd), OWNER_ROOT(0644), err);
    if (rc == 0)
        rc = tree_write(t, "/etc/group", buf_str(&a->group), OWNER_ROOT(0644), err);
    if (rc == 0 && a->has_shadow)
        rc = tree_write(t, "/etc/shadow", buf_str(&a->shadow),
                        tree_owner_of(t, "/etc/shadow", OWNER_ROOT(0600)), err);
    return rc;
}

static int make_home(const struct tree *t, const struct accounts *a, struct err *err)
{
    struct tree_owner dir = { a->uid, a->gid, 0755 }, file = { a->uid, a->gid, 0644 };
    bool made;
    int rc = tree_make_dir(t, a->home, dir, &made, err);
    if (rc == 0 && made)
        rc = tree_copy_files(t, "/etc/skel", a->home, file, err);
    return rc;
}

static int make_user(const struct tree *t, const char *shell, struct err *err)
{
    struct accounts a = { 0 };
    int rc = read_if_there(t, "/etc/passwd", &a.passwd, err);
    if (rc == 0)
        rc = read_if_there(t, "/etc/group", &a.group, err);
    a.has_shadow = tree_exists(t, "/etc/shadow");
    if (rc == 0)
        rc = read_if_there(t, "/etc/shadow", &a.shadow, err);
    if (rc == 0)
        rc = accounts_ensure_user(&a, shell, err);
    if (rc == 0)
        rc = write_accounts(t, &a, err);
    if (rc == 0)
        rc = make_home(t, &a, err);
    accounts_deinit(&a);
    if (rc == 0 && tree_exists(t, "/etc/sudoers.d/"))
        rc = tree_write(t, "/etc/sudoers.d/90-sandpit",
                        STR(ACCOUNTS_USER " ALL=(ALL:ALL) NOPASSWD:ALL\n"), OWNER_ROOT(0440), err);
    return rc;
}

static int open_up(const struct tree *t, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(open_folders); i++) {
        const char *path = open_folders[i];
        int rc = tree_make_dir(t, path, OWNER_ROOT(0777), NULL, err);
        if (rc == 0)
            rc = tree_set_mode(t, path, 0777, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int write_build(const struct tree *t, const struct bake *b, struct err *err)
{
    struct buf text = { 0 };
    buf_printf(&text, "TEMPLATE=%s\nBUILD=%s\n", b->name, b->build_id);
    int rc = text.failed
                 ? err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory")
                 : tree_write(t, "/etc/sandpit/build", buf_str(&text), OWNER_ROOT(0444), err);
    buf_deinit(&text);
    return rc;
}

static int bake(const struct tree *t, const struct bake *b, struct err *err)
{
    int rc = make_folders(t, err);
    if (rc == 0 && !tree_exists(t, "/bin/sh"))
        rc = err_set(err, ERR_PRECONDITION, ENOEXEC,
                     "the root file system has no /bin/sh: commands could not run in it");
    if (rc == 0 && !tree_exists(t, "/bin/bash"))
        rc = tree_write(t, "/bin/bash", str_of(bash_stand_in), OWNER_ROOT(0755), err);
    if (rc == 0)
        rc = write_files(t, b->own, err);
    if (rc == 0)
        rc = make_user(t, "/bin/bash", err);
    if (rc == 0 && b->own)
        rc = open_up(t, err);
    if (rc == 0)
        rc = tree_write(t, "/usr/bin/envd", b->envd, OWNER_ROOT(0755), err);
    return rc == 0 ? write_build(t, b, err) : rc;
}

int bake_tree(const struct bake *b, struct err *err)
{
    struct tree t;
    int rc = tree_open(&t, b->tree, err);
    if (rc < 0)
        return rc;
    rc = bake(&t, b, err);
    tree_close(&t);
    return rc;
}
