#include "common/base/cleanup.h"
#include "common/base/str.h"
#include "common/link/link_marker.h"
#include "orchestrator/vmm/qemu/args.h"
#include "tests/support/test.h"

#include <stdio.h>
#include <string.h>

static const struct vmm_disk disk = {
    .rootfs = "/t/rootfs",
    .layers = { "/l/1.qcow2", "/l/2,x.qcow2" },
    .top = "/l/top",
};

static const struct qemu_machine machine = {
    .disk = &disk,
    .program = "/usr/bin/qemu-system-x86_64",
    .name = "/var/lib/sandpit/run/i1",
    .machine = "pc-i440fx-7.2",
    .vcpus = 2,
    .memory_mb = 512,
    .cmdline = "root=/dev/vda rw",
};

static const struct qemu_machine micro = {
    .board = VMM_BOARD_MICRO,
    .disk = &disk,
    .program = "/usr/bin/qemu-system-x86_64",
    .machine = "microvm",
    .tsc_khz = 2100001,
    .vcpus = 1,
    .memory_mb = 512,
    .cmdline = "root=/dev/vda rw",
};

/* The value after an option, the n-th time it is given; NULL when there is none. */
static const char *option(const struct qemu_args *a, const char *name, int nth)
{
    for (size_t i = 0; i + 1 < a->n; i++)
        if (strcmp(a->argv[i], name) == 0 && nth-- == 0)
            return a->argv[i + 1];
    return NULL;
}

/* The -device whose value begins with `driver`. */
static const char *device(const struct qemu_args *a, const char *driver)
{
    for (int i = 0;; i++) {
        const char *value = option(a, "-device", i);
        if (!value || strncmp(value, driver, strlen(driver)) == 0)
            return value;
    }
}

static bool has(const char *text, const char *part)
{
    return text && strstr(text, part);
}

static void build(struct qemu_args *a, const struct qemu_machine *m)
{
    struct err err;
    *a = (struct qemu_args){ 0 };
    assert_int_equal(qemu_args_build(a, m, &err), 0);
    assert_null(a->argv[a->n]);
}

static void test_machine_is_pinned(void **state)
{
    struct qemu_args a;
    (void)state;
    build(&a, &machine);
    assert_string_equal(a.argv[0], machine.program);
    assert_string_equal(option(&a, "-M", 0), "pc-i440fx-7.2,usb=off,vmport=off,memory-backend=ram");
    assert_string_equal(option(&a, "-cpu", 0), "max");
    assert_string_equal(option(&a, "-smp", 0), "cpus=2,sockets=1,cores=2,threads=1");
    assert_string_equal(option(&a, "-m", 0), "512");
    assert_string_equal(option(&a, "-object", 0), "memory-backend-file,id=ram,size=512M,"
                                                  "mem-path=/proc/self/fd/3,share=off");
    assert_true(has(option(&a, "-accel", 0), "tcg,"));
    qemu_args_deinit(&a);

    struct qemu_machine kvm = machine;
    kvm.kvm = true;
    build(&a, &kvm);
    assert_string_equal(option(&a, "-accel", 0), "kvm");
    qemu_args_deinit(&a);
}

static void test_every_pci_device_has_its_own_address(void **state)
{
    struct qemu_args a;
    unsigned used = 0;
    int found = 0;
    (void)state;
    build(&a, &machine);
    for (int i = 0;; i++) {
        const char *value = option(&a, "-device", i);
        if (!value)
            break;
        if (!has(value, "-pci,"))
            continue;
        unsigned slot;
        assert_non_null(strstr(value, ",addr=0x"));
        assert_int_equal(sscanf(strstr(value, ",addr=0x"), ",addr=0x%x", &slot), 1);
        assert_true(slot >= 2 && slot < 32); /* 0 and 1 are the board's own */
        assert_false(used & (1u << slot));
        used |= 1u << slot;
        found++;
    }
    assert_int_equal(found, 5);
    qemu_args_deinit(&a);
}

static void test_every_device_of_the_micro_board_has_its_own_bus(void **state)
{
    struct qemu_args a;
    unsigned used = 1u << 3; /* the clock has its interrupt */
    int found = 0;
    (void)state;
    build(&a, &micro);
    assert_true(has(option(&a, "-M", 0), "microvm,acpi=off,"));
    assert_true(has(option(&a, "-M", 0), ",memory-backend=ram"));
    assert_string_equal(option(&a, "-global", 0), "virtio-mmio.force-legacy=false");
    for (int i = 0; option(&a, "-device", i); i++) {
        const char *value = option(&a, "-device", i), *at = strstr(value, "bus=virtio-mmio-bus.");
        unsigned bus;
        assert_false(has(value, "pci"));
        if (!at) {
            assert_true(has(value, "virtserialport,id=link0,bus=serial0.0,"));
            continue;
        }
        assert_int_equal(sscanf(at, "bus=virtio-mmio-bus.%u", &bus), 1);
        assert_true(bus < 8);
        assert_false(used & (1u << bus));
        used |= 1u << bus;
        found++;
    }
    assert_int_equal(found, 4);
    qemu_args_deinit(&a);
}

static void test_the_frequency_is_told_where_it_is_needed(void **state)
{
    struct qemu_args a;
    struct qemu_machine m = micro;
    (void)state;
    build(&a, &m);
    assert_true(has(option(&a, "-append", 0), " tsc_early_khz=2100001 root=/dev/vda rw"));
    qemu_args_deinit(&a);
    m.tsc_khz = 0;
    build(&a, &m);
    assert_false(has(option(&a, "-append", 0), "tsc_early_khz"));
    qemu_args_deinit(&a);
}

static void test_nothing_but_what_is_named(void **state)
{
    struct qemu_args a;
    (void)state;
    build(&a, &machine);
    bool nodefaults = false, no_config = false, no_reboot = false, stopped = false;
    for (size_t i = 0; i < a.n; i++) {
        nodefaults |= strcmp(a.argv[i], "-nodefaults") == 0;
        no_config |= strcmp(a.argv[i], "-no-user-config") == 0;
        no_reboot |= strcmp(a.argv[i], "-no-reboot") == 0;
        stopped |= strcmp(a.argv[i], "-S") == 0;
    }
    assert_true(nodefaults && no_config && no_reboot && stopped);
    assert_string_equal(option(&a, "-sandbox", 0), "on,obsolete=deny,elevateprivileges=deny,"
                                                   "spawn=deny,resourcecontrol=deny");
    assert_string_equal(option(&a, "-action", 0), "panic=shutdown");
    qemu_args_deinit(&a);
}

static void test_devices(void **state)
{
    struct qemu_args a;
    (void)state;
    build(&a, &machine);
    assert_true(has(device(&a, "virtserialport"), "id=link0,"));
    assert_true(has(device(&a, "virtserialport"), ",nr=1,"));
    assert_true(has(device(&a, "virtserialport"), ",name=" LINK_PORT_NAME));
    assert_true(has(device(&a, "virtio-net-pci"), "id=" QEMU_NIC_ID ","));
    assert_true(has(device(&a, "virtio-net-pci"), ",romfile=,"));
    assert_true(has(device(&a, "virtio-blk-pci"), ",drive=disk-2,"));
    assert_true(has(option(&a, "-netdev", 0), "hubport,"));
    assert_null(option(&a, "-netdev", 1));
    assert_true(has(option(&a, "-blockdev", 0), "node-name=rootfs,read-only=on,"));
    assert_true(has(option(&a, "-blockdev", 1), "driver=qcow2,node-name=disk-2,backing=rootfs,"));
    assert_null(option(&a, "-blockdev", 2));
    assert_string_equal(option(&a, "-add-fd", 0), "fd=7,set=1,opaque=/t/rootfs");
    assert_string_equal(option(&a, "-kernel", 0), "/proc/self/fd/10");
    assert_null(option(&a, "-incoming", 0));
    qemu_args_deinit(&a);
}

static void test_layers_stand_on_each_other(void **state)
{
    struct qemu_args a;
    struct qemu_machine m = machine;
    struct vmm_disk layered = disk;
    (void)state;
    m.disk = &layered;
    layered.nlayers = 2;
    build(&a, &m);
    assert_string_equal(option(&a, "-blockdev", 1),
                        "driver=qcow2,node-name=disk-2,backing=rootfs,file.driver=file,"
                        "file.filename=/dev/fdset/2,read-only=on,file.read-only=on,"
                        "file.locking=off");
    assert_true(has(option(&a, "-blockdev", 2), "node-name=disk-3,backing=disk-2,"));
    assert_true(has(option(&a, "-blockdev", 3), "node-name=disk-4,backing=disk-3,"));
    assert_false(has(option(&a, "-blockdev", 3), "read-only"));
    assert_true(has(device(&a, "virtio-blk-pci"), ",drive=disk-4,"));
    assert_string_equal(option(&a, "-add-fd", 1), "fd=10,set=2,opaque=/l/1.qcow2");
    assert_string_equal(option(&a, "-add-fd", 2), "fd=11,set=3,opaque=/l/2,,x.qcow2");
    assert_string_equal(option(&a, "-add-fd", 3), "fd=8,set=4,opaque=/l/top");
    assert_string_equal(option(&a, "-add-fd", 4), "fd=9,set=4,opaque=/l/top");
    assert_string_equal(option(&a, "-initrd", 0), "/proc/self/fd/13");
    qemu_args_deinit(&a);
    for (layered.nlayers = 0; layered.nlayers < VMM_LAYERS_MAX; layered.nlayers++)
        layered.layers[layered.nlayers] = "/l";
    build(&a, &m);
    qemu_args_deinit(&a);
}

/* A VMM that waits has no kernel, and every device that one that boots has. */
static void test_waiting_vmm_has_the_same_devices(void **state)
{
    struct qemu_args boots, waits;
    struct qemu_machine m = machine;
    (void)state;
    build(&boots, &m);
    m.cmdline = NULL;
    build(&waits, &m);
    assert_string_equal(option(&waits, "-incoming", 0), "defer");
    assert_string_equal(option(&waits, "-global", 0), "migration.send-configuration=off");
    assert_null(option(&waits, "-kernel", 0));
    assert_null(option(&waits, "-append", 0));
    for (int i = 0; option(&boots, "-device", i) || option(&waits, "-device", i); i++)
        assert_string_equal(option(&boots, "-device", i), option(&waits, "-device", i));
    qemu_args_deinit(&boots);
    qemu_args_deinit(&waits);
}

static void test_devices_text(void **state)
{
    struct buf text = { 0 };
    (void)state;
    assert_int_equal(qemu_args_devices(VMM_BOARD_PC, "pc-i440fx-7.2", &text), 0);
    AUTO_FREE char *s = buf_take_text(&text);
    buf_deinit(&text);
    assert_true(has(s, "-M pc-i440fx-7.2,usb=off,vmport=off,memory-backend=ram\n"));
    assert_true(has(s, "-cpu max\n"));
    assert_true(has(s, "-device virtio-net-pci,id=net0,"));
    assert_false(has(s, "/proc/self/fd"));
    assert_false(has(s, "-m "));
    assert_false(has(s, "-global "));

    assert_int_equal(qemu_args_devices(VMM_BOARD_MICRO, "microvm", &text), 0);
    AUTO_FREE char *t = buf_take_text(&text);
    buf_deinit(&text);
    assert_true(has(t, "-M microvm,acpi=off,"));
    assert_true(has(t, "-global virtio-mmio.force-legacy=false\n"));
    assert_true(has(t, "-device virtio-net-device,id=net0,"));
    assert_false(has(t, "migration"));
}

/* What older builds were saved with: other devices would make each of them unusable. */
static void test_devices_of_a_pc_stay(void **state)
{
    struct buf text = { 0 };
    (void)state;
    assert_int_equal(qemu_args_devices(VMM_BOARD_PC, "pc-i440fx-7.2", &text), 0);
    AUTO_FREE char *s = buf_take_text(&text);
    buf_deinit(&text);
    assert_string_equal(
        s,
        "-cpu max\n"
        "-M pc-i440fx-7.2,usb=off,vmport=off,memory-backend=ram\n"
        "-device virtio-serial-pci,id=serial0,max_ports=2,addr=0x04,disable-legacy=on,"
        "disable-modern=off\n"
        "-device virtserialport,id=link0,bus=serial0.0,nr=1,chardev=link,name=" LINK_PORT_NAME "\n"
        "-device virtio-blk-pci,id=disk0,drive=disk-2,werror=enospc,rerror=report,addr=0x03,"
        "disable-legacy=on,disable-modern=off\n"
        "-device virtio-net-pci,id=net0,netdev=hub0,mac=02:53:50:00:00:01,romfile=,"
        "guest_announce=off,addr=0x05,disable-legacy=on,disable-modern=off\n"
        "-device virtio-rng-pci,id=rng0,rng=rng,addr=0x06,disable-legacy=on,disable-modern=off"
        "\n"
        "-device pvpanic-pci,id=pvpanic0,addr=0x07\n");
}

static void test_name_escapes_commas(void **state)
{
    struct qemu_args a;
    struct qemu_machine m = machine;
    (void)state;
    m.name = "/data/a,process=evil,,b";
    build(&a, &m);
    assert_string_equal(option(&a, "-name", 0), "guest=/data/a,,process=evil,,,,b");
    qemu_args_deinit(&a);
}

static void test_template_cmdline_comes_last(void **state)
{
    struct qemu_args a;
    (void)state;
    build(&a, &machine);
    const char *append = option(&a, "-append", 0);
    assert_true(has(append, "console=ttyS0 "));
    assert_true(has(append, " panic=1 "));
    assert_string_equal(append + strlen(append) - strlen(" root=/dev/vda rw"), " root=/dev/vda rw");
    qemu_args_deinit(&a);
}

static void test_too_many_arguments_fail(void **state)
{
    struct qemu_args a = { 0 };
    (void)state;
    for (int i = 0; i < QEMU_ARGS_MAX; i++)
        qemu_args_add(&a, "%d", i);
    assert_false(a.failed);
    qemu_args_add(&a, "one more");
    assert_true(a.failed);
    assert_int_equal(a.n, QEMU_ARGS_MAX);
    qemu_args_deinit(&a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_machine_is_pinned),
        cmocka_unit_test(test_every_pci_device_has_its_own_address),
        cmocka_unit_test(test_every_device_of_the_micro_board_has_its_own_bus),
        cmocka_unit_test(test_the_frequency_is_told_where_it_is_needed),
        cmocka_unit_test(test_nothing_but_what_is_named),
        cmocka_unit_test(test_devices),
        cmocka_unit_test(test_layers_stand_on_each_other),
        cmocka_unit_test(test_waiting_vmm_has_the_same_devices),
        cmocka_unit_test(test_devices_text),
        cmocka_unit_test(test_devices_of_a_pc_stay),
        cmocka_unit_test(test_name_escapes_commas),
        cmocka_unit_test(test_template_cmdline_comes_last),
        cmocka_unit_test(test_too_many_arguments_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
