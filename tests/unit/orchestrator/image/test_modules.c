#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "orchestrator/image/modules.h"
#include "tests/support/test.h"

#include <elf.h>
#include <errno.h>
#include <stdio.h>

/* A module file: header, three sections (none, names, .modinfo), their contents. */
static struct buf make_module(const char *info, size_t n)
{
    static const char names[] = "\0.shstrtab\0.modinfo";
    Elf64_Ehdr head = { .e_ident = { ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB },
                        .e_shoff = sizeof(head),
                        .e_shentsize = sizeof(Elf64_Shdr),
                        .e_shnum = 3,
                        .e_shstrndx = 1 };
    size_t data = sizeof(head) + 3 * sizeof(Elf64_Shdr);
    Elf64_Shdr sections[3] = {
        { 0 },
        { .sh_name = 1, .sh_offset = data, .sh_size = sizeof(names) },
        { .sh_name = 11, .sh_offset = data + sizeof(names), .sh_size = n },
    };
    struct buf b = { 0 };
    buf_append(&b, &head, sizeof(head));
    buf_append(&b, sections, sizeof(sections));
    buf_append(&b, names, sizeof(names));
    buf_append(&b, info, n);
    assert_false(b.failed);
    return b;
}

#define INFO(text) make_module(text, sizeof(text))

static void test_depends_reads_modinfo(void **state)
{
    (void)state;
    struct str depends;
    struct buf b = INFO("license=GPL\0depends=virtio,virtio_ring\0name=x");
    assert_int_equal(module_depends(buf_str(&b), &depends, NULL), 0);
    assert_str(depends, "virtio,virtio_ring");
    buf_deinit(&b);
    b = INFO("depends=\0retpoline=Y");
    assert_int_equal(module_depends(buf_str(&b), &depends, NULL), 0);
    assert_str(depends, "");
    buf_deinit(&b);
    b = INFO("softdepends=a\0name=depends=");
    assert_int_equal(module_depends(buf_str(&b), &depends, NULL), -EINVAL);
    buf_deinit(&b);
}

static void test_depends_refuses_every_cut(void **state)
{
    (void)state;
    struct str depends;
    struct buf b = INFO("depends=virtio");
    struct str whole = buf_str(&b);
    for (size_t n = 0; n < whole.n; n++) {
        /* A copy of exactly this size, so that a sanitizer sees a read past it. */
        AUTO_FREE char *cut = n ? malloc(n) : NULL;
        if (n)
            memcpy(cut, whole.p, n);
        assert_int_equal(module_depends((struct str){ cut, n }, &depends, NULL), -EINVAL);
    }
    buf_deinit(&b);
}

static void test_depends_refuses_offsets_outside(void **state)
{
    (void)state;
    struct str depends;
    static const size_t fields[] = {
        offsetof(Elf64_Ehdr, e_shoff),
        sizeof(Elf64_Ehdr) + sizeof(Elf64_Shdr) + offsetof(Elf64_Shdr, sh_offset),
        sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Shdr) + offsetof(Elf64_Shdr, sh_offset),
        sizeof(Elf64_Ehdr) + 2 * sizeof(Elf64_Shdr) + offsetof(Elf64_Shdr, sh_size)
    };
    for (size_t i = 0; i < ARRAY_LEN(fields); i++) {
        struct buf b = INFO("depends=virtio");
        memset(buf_head(&b) + fields[i], 0xff, 8);
        assert_int_equal(module_depends(buf_str(&b), &depends, NULL), -EINVAL);
        buf_deinit(&b);
    }
}

/* A table of "name", "depends" pairs. */
static int from_table(void *user, const char *name, struct str *out, struct err *err)
{
    for (const char *const *row = user; row[0]; row += 2) {
        if (strcmp(row[0], name) == 0) {
            *out = str_of(row[1]);
            return 0;
        }
    }
    return err_set(err, ERR_NOT_FOUND, ENOENT, "no module %s", name);
}

static void test_order_puts_what_is_needed_first(void **state)
{
    (void)state;
    const char *table[] = { "virtio_pci", "virtio,virtio-ring", "virtio_ring", "virtio", "virtio",
                            "",           "virtio_blk",         "virtio_ring", NULL };
    static const char *const expected[] = { "virtio", "virtio_ring", "virtio_pci", "virtio_blk" };
    struct module_order order = { 0 };
    assert_int_equal(module_order_add(&order, STR("virtio-pci"), from_table, table, NULL), 0);
    assert_int_equal(module_order_add(&order, STR("virtio_blk"), from_table, table, NULL), 0);
    assert_int_equal(module_order_add(&order, STR("virtio_pci"), from_table, table, NULL), 0);
    assert_int_equal(order.n, ARRAY_LEN(expected));
    for (size_t i = 0; i < order.n; i++)
        assert_string_equal(order.names[i], expected[i]);
}

static void test_order_tells_of_missing_and_circular(void **state)
{
    (void)state;
    const char *table[] = { "a", "b", "b", "c,a", "c", "", "d", "missing", NULL };
    struct module_order order = { 0 };
    struct err err;
    assert_int_equal(module_order_add(&order, STR("d"), from_table, table, &err), -ENOENT);
    assert_non_null(strstr(err.msg, "missing"));
    assert_int_equal(module_order_add(&order, STR("a"), from_table, table, &err), -ELOOP);
    assert_int_equal(module_order_add(&order, STR(""), from_table, table, &err), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_depends_reads_modinfo),
        cmocka_unit_test(test_depends_refuses_every_cut),
        cmocka_unit_test(test_depends_refuses_offsets_outside),
        cmocka_unit_test(test_order_puts_what_is_needed_first),
        cmocka_unit_test(test_order_tells_of_missing_and_circular),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
