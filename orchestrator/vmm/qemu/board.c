#include "orchestrator/vmm/qemu/board.h"

/* Modern virtio only: less to emulate, less to attack. */
#define PCI_MODERN ",disable-legacy=on,disable-modern=off"

/*
 * microvm without ACPI: with it, emulation finds no timer (the PIT and the PIC are gone, and QEMU
 * offers nothing else). The kernel learns of the devices by its command line, to which QEMU adds
 * them. Bus N has interrupt 5 + N; the one of bus 3 is the clock's. A panic is told by the console
 * only: the kernel finds a panic device by PCI or ACPI.
 */
const struct qemu_board qemu_boards[VMM_BOARD_NR] = {
    [VMM_BOARD_PC] = { .types = { "pc-i440fx-7.2", "pc-i440fx-8.2", "pc-i440fx-6.2" },
                       .options = "usb=off,vmport=off",
                       .serial = { "virtio-serial-pci", "addr=0x04" PCI_MODERN },
                       .disk = { "virtio-blk-pci", "addr=0x03" PCI_MODERN },
                       .net = { "virtio-net-pci",
                                "romfile=,guest_announce=off,addr=0x05" PCI_MODERN },
                       .rng = { "virtio-rng-pci", "addr=0x06" PCI_MODERN },
                       .panic = { "pvpanic-pci", "addr=0x07" } },
    [VMM_BOARD_MICRO] = { .types = { "microvm" },
                          .options = "acpi=off,pcie=off,usb=off,rtc=on,pit=on,pic=on,ioapic2=off,"
                                     "isa-serial=on,auto-kernel-cmdline=on",
                          .global = "virtio-mmio.force-legacy=false",
                          .serial = { "virtio-serial-device", "bus=virtio-mmio-bus.1" },
                          .disk = { "virtio-blk-device", "bus=virtio-mmio-bus.0" },
                          .net = { "virtio-net-device",
                                   "guest_announce=off,bus=virtio-mmio-bus.2" },
                          .rng = { "virtio-rng-device", "bus=virtio-mmio-bus.4" } },
};
