#include "orchestrator/image/modules.h"

#include <elf.h>
#include <errno.h>

static int no_module(struct err *err)
{
    return err_set(err, ERR_INVALID, EINVAL, "the file is no kernel module");
}

/* n bytes at the offset, or NULL when the file has not so many. */
static const void *piece(struct str file, uint64_t offset, uint64_t n)
{
    return offset <= file.n && n <= file.n - offset ? file.p + offset : NULL;
}

static bool section_at(struct str file, const Elf64_Ehdr *head, unsigned i, Elf64_Shdr *out)
{
    const void *p = piece(file, head->e_shoff + (uint64_t)i * sizeof(*out), sizeof(*out));
    if (!p || head->e_shoff > file.n)
        return false;
    memcpy(out, p, sizeof(*out));
    return true;
}

static bool find_modinfo(struct str file, struct str *out)
{
    static const char wanted[] = ".modinfo";
    Elf64_Ehdr head;
    Elf64_Shdr names, section;
    if (file.n < sizeof(head))
        return false;
    memcpy(&head, file.p, sizeof(head));
    if (memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64 ||
        head.e_ident[EI_DATA] != ELFDATA2LSB || head.e_shentsize != sizeof(section) ||
        !section_at(file, &head, head.e_shstrndx, &names))
        return false;
    for (unsigned i = 0; i < head.e_shnum; i++) {
        if (!section_at(file, &head, i, &section))
            return false;
        uint64_t at = names.sh_offset + section.sh_name;
        const void *name = at < names.sh_offset ? NULL : piece(file, at, sizeof(wanted));
        if (!name || memcmp(name, wanted, sizeof(wanted)) != 0)
            continue;
        *out = (struct str){ piece(file, section.sh_offset, section.sh_size), section.sh_size };
        return out->p != NULL;
    }
    return false;
}

int module_depends(struct str file, struct str *depends, struct err *err)
{
    struct str info;
    if (!find_modinfo(file, &info))
        return no_module(err);
    while (info.p && info.n > 0) {
        struct str entry = str_split(&info, '\0');
        if (str_starts(entry, STR("depends="))) {
            *depends = str_from(entry, 8);
            return 0;
        }
    }
    return no_module(err);
}

static bool contains(const struct module_order *order, const char *name)
{
    for (size_t i = 0; i < order->n; i++)
        if (strcmp(order->names[i], name) == 0)
            return true;
    return false;
}

struct walk {
    struct module_order *order;
    int (*depends)(void *user, const char *name, struct str *out, struct err *err);
    void *user;
    struct err *err;
};

/* NOLINTNEXTLINE(misc-no-recursion): bounded by MODULE_DEPTH_MAX */
static int add(const struct walk *w, struct str wanted, unsigned depth)
{
    char name[MODULE_NAME_MAX];
    struct str list;
    if (!str_copy(wanted, name, sizeof(name)) || name[0] == '\0')
        return err_set(w->err, ERR_INVALID, EINVAL, "bad name of a module");
    for (char *p = name; *p; p++)
        if (*p == '-')
            *p = '_';
    if (contains(w->order, name))
        return 0;
    if (depth == 0)
        return err_set(w->err, ERR_INVALID, ELOOP, "module %s needs itself", name);
    int rc = w->depends(w->user, name, &list, w->err);
    while (rc == 0 && list.p && list.n > 0)
        rc = add(w, str_split(&list, ','), depth - 1);
    if (rc < 0)
        return rc;
    if (w->order->n == MODULES_MAX)
        return err_set(w->err, ERR_RANGE, E2BIG, "too many modules");
    memcpy(w->order->names[w->order->n++], name, sizeof(name));
    return 0;
}

int module_order_add(struct module_order *order, struct str name,
                     int (*depends)(void *user, const char *name, struct str *out, struct err *err),
                     void *user, struct err *err)
{
    struct walk w = { order, depends, user, err };
    return add(&w, name, MODULE_DEPTH_MAX);
}
