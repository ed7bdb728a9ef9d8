/* Lines of /proc/self/mountinfo:
 *   36 35 98:0 /root /mount/point rw,noatime shared:1 - cgroup cgroup rw,memory */
#include "orchestrator/cgroup/internal.h"

struct mount {
    struct str point, type, options;
};

static struct mount parse(struct str line)
{
    struct mount m = { 0 };
    for (int i = 0; i < 5; i++)
        m.point = str_split(&line, ' ');
    while (line.p && !str_eq(str_split(&line, ' '), STR("-")))
        ;
    m.type = str_split(&line, ' ');
    str_split(&line, ' ');
    m.options = line;
    return m;
}

static bool has_option(struct str options, const char *name)
{
    while (options.p)
        if (str_eq(str_split(&options, ','), str_of(name)))
            return true;
    return false;
}

static bool find(struct str mounts, struct str type, const char *option, char *out, size_t n)
{
    while (mounts.p) {
        struct mount m = parse(str_split(&mounts, '\n'));
        if (str_eq(m.type, type) && (!option || has_option(m.options, option)))
            return str_copy(m.point, out, n);
    }
    return false;
}

bool mount_find_v2(struct str mounts, char *out, size_t n)
{
    return find(mounts, STR("cgroup2"), NULL, out, n);
}

bool mount_find_v1(struct str mounts, const char *controller, char *out, size_t n)
{
    return find(mounts, STR("cgroup"), controller, out, n);
}
