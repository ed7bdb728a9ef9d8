#include "orchestrator/image/accounts.h"

#include <errno.h>
#include <stdio.h>

#define ID_MAX 60000 /* of ordinary users, as Debian has it */

static int out_of_memory(struct err *err)
{
    return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
}

/* The line of a colon-separated file whose first field is `name`; p NULL when there is none. */
static struct str find_line(struct str text, struct str name)
{
    while (text.p) {
        struct str line = str_split(&text, '\n'), rest = line;
        if (str_eq(str_split(&rest, ':'), name))
            return line;
    }
    return (struct str){ NULL, 0 };
}

static struct str field(struct str line, unsigned number)
{
    struct str f = { "", 0 };
    for (unsigned i = 0; i <= number && line.p; i++)
        f = str_split(&line, ':');
    return f;
}

/* Whether a line has this number in its third field. */
static bool id_taken(struct str text, uint64_t id)
{
    while (text.p) {
        uint64_t n;
        struct str line = str_split(&text, '\n');
        if (str_to_u64(field(line, 2), UINT32_MAX, &n) && n == id)
            return true;
    }
    return false;
}

static uint64_t free_id(struct str text)
{
    uint64_t id = ACCOUNTS_UID;
    while (id < ID_MAX && id_taken(text, id))
        id++;
    return id;
}

/* A file whose last line has no end would swallow the one we add. */
static void end_last_line(struct buf *b)
{
    struct str s = buf_str(b);
    if (s.n > 0 && s.p[s.n - 1] != '\n')
        buf_putc(b, '\n');
}

static int read_user(struct accounts *a, struct str line, struct err *err)
{
    uint64_t uid, gid;
    if (!str_to_u64(field(line, 2), UINT32_MAX - 1, &uid) ||
        !str_to_u64(field(line, 3), UINT32_MAX - 1, &gid) ||
        !str_copy(field(line, 5), a->home, sizeof(a->home)) || a->home[0] != '/')
        return err_set(err, ERR_INVALID, EINVAL,
                       "the line of '" ACCOUNTS_USER "' in /etc/passwd of the root file system is "
                       "malformed");
    a->uid = (uid_t)uid;
    a->gid = (gid_t)gid;
    return 0;
}

static int ensure_root(struct accounts *a, const char *shell, struct err *err)
{
    if (find_line(buf_str(&a->passwd), STR("root")).p)
        return 0;
    end_last_line(&a->passwd);
    if (!buf_printf(&a->passwd, "root:x:0:0:root:/root:%s\n", shell))
        return out_of_memory(err);
    if (!find_line(buf_str(&a->group), STR("root")).p && !buf_puts(&a->group, "root:x:0:\n"))
        return out_of_memory(err);
    return 0;
}

static int ensure_group(struct accounts *a, struct err *err)
{
    uint64_t gid;
    struct str line = find_line(buf_str(&a->group), STR(ACCOUNTS_USER));
    if (!line.p) {
        gid = free_id(buf_str(&a->group));
        end_last_line(&a->group);
        if (!buf_printf(&a->group, ACCOUNTS_USER ":x:%u:\n", (unsigned)gid))
            return out_of_memory(err);
    } else if (!str_to_u64(field(line, 2), UINT32_MAX - 1, &gid)) {
        return err_set(err, ERR_INVALID, EINVAL,
                       "the line of '" ACCOUNTS_USER "' in /etc/group of the root file system is "
                       "malformed");
    }
    a->gid = (gid_t)gid;
    return 0;
}

/* Add the user to the members of a group, if there is such a group. */
static int join(struct accounts *a, struct str name, bool *joined, struct err *err)
{
    struct str text = buf_str(&a->group), line = find_line(text, name);
    if (!line.p)
        return 0;
    struct buf changed = { 0 };
    size_t end = (size_t)(line.p - text.p) + line.n;
    bool has_members = line.n > 0 && line.p[line.n - 1] != ':';
    buf_append(&changed, text.p, end);
    buf_puts(&changed, has_members ? "," ACCOUNTS_USER : ACCOUNTS_USER);
    buf_append_str(&changed, str_from(text, end));
    if (changed.failed) {
        buf_deinit(&changed);
        return out_of_memory(err);
    }
    buf_deinit(&a->group);
    a->group = changed;
    *joined = true;
    return 0;
}

static int add_user(struct accounts *a, const char *shell, struct err *err)
{
    bool joined = false;
    a->uid = (uid_t)free_id(buf_str(&a->passwd));
    snprintf(a->home, sizeof(a->home), ACCOUNTS_HOME);
    int rc = ensure_group(a, err);
    if (rc < 0)
        return rc;
    end_last_line(&a->passwd);
    end_last_line(&a->shadow);
    if (!buf_printf(&a->passwd, ACCOUNTS_USER ":x:%u:%u::%s:%s\n", (unsigned)a->uid,
                    (unsigned)a->gid, a->home, shell))
        return out_of_memory(err);
    /* '*' is no password: nobody can log in with one, sudo and su do not ask for one. */
    if (a->has_shadow && !find_line(buf_str(&a->shadow), STR(ACCOUNTS_USER)).p &&
        !buf_puts(&a->shadow, ACCOUNTS_USER ":*:19000:0:99999:7:::\n"))
        return out_of_memory(err);
    rc = join(a, STR("sudo"), &joined, err);
    return rc < 0 || joined ? rc : join(a, STR("wheel"), &joined, err);
}

int accounts_ensure_user(struct accounts *a, const char *shell, struct err *err)
{
    int rc = ensure_root(a, shell, err);
    if (rc < 0)
        return rc;
    struct str line = find_line(buf_str(&a->passwd), STR(ACCOUNTS_USER));
    return line.p ? read_user(a, line, err) : add_user(a, shell, err);
}

void accounts_deinit(struct accounts *a)
{
    buf_deinit(&a->passwd);
    buf_deinit(&a->group);
    buf_deinit(&a->shadow);
}
