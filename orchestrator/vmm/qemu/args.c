#include "orchestrator/vmm/qemu/args.h"

#include "common/base/cleanup.h"
#include "common/link/link_marker.h"
#include "orchestrator/vmm/qemu/board.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A locally administered address, the same in every VM, as every clone of a snapshot has it. */
#define NIC_MAC "02:53:50:00:00:01"

/* Translated code is kept up to this much; QEMU's own default is 1 GiB for each VM. */
#define TCG_CACHE_MB 256

/*
 * What the driver adds to a template's command line. A panic reboots, which QEMU turns into an end.
 * The timer check fails at random on a busy host; the crypto self-tests are a tenth of a boot under
 * emulation. tsc=reliable, nokaslr, mitigations=off, smm=off and hpet=off were tried as well and
 * gain nothing that can be measured.
 */
#define CMDLINE_ADDED                                                                              \
    "console=ttyS0 panic=1 reboot=t no_timer_check random.trust_cpu=on cryptomgr.notests"

/* Mitigations guard branches of a processor that emulated code does not run on. */
#define CMDLINE_EMULATED "mitigations=off tsc=reliable "

/* Emulation offers the micro board nothing that the TSC can be measured by but the PIT, with which
 * it fails at random on a busy host and leaves a clock of 10 ms. */
#define CMDLINE_TSC "tsc_early_khz=%u "

void qemu_args_deinit(struct qemu_args *a)
{
    for (size_t i = 0; i < a->n; i++)
        free(a->argv[i]);
    *a = (struct qemu_args){ 0 };
}

void qemu_args_add(struct qemu_args *a, const char *fmt, ...)
{
    va_list ap;
    char *text = NULL;
    va_start(ap, fmt);
    int n = a->n < QEMU_ARGS_MAX ? vasprintf(&text, fmt, ap) : -1;
    va_end(ap);
    if (n < 0)
        a->failed = true;
    else
        a->argv[a->n++] = text;
}

static void add2(struct qemu_args *a, const char *option, const char *value)
{
    qemu_args_add(a, "%s", option);
    qemu_args_add(a, "%s", value);
}

/* "key=text" as a part of an option. QEMU splits those at commas; a doubled one stands for itself.
 */
static char *named(struct qemu_args *a, const char *key, const char *value)
{
    struct buf text = { 0 };
    bool ok = buf_puts(&text, key) && buf_putc(&text, '=');
    for (const char *p = value; *p && ok; p++)
        ok = buf_putc(&text, *p) && (*p != ',' || buf_putc(&text, *p));
    char *out = ok ? buf_take_text(&text) : NULL;
    a->failed = a->failed || !out;
    buf_deinit(&text);
    return out;
}

static void add_name(struct qemu_args *a, const char *name)
{
    AUTO_FREE char *value = named(a, "guest", name);
    if (value)
        add2(a, "-name", value);
}

void qemu_args_base(struct qemu_args *a, const struct qemu_machine *m)
{
    qemu_args_add(a, "%s", m->program);
    if (m->name)
        add_name(a, m->name);
    add2(a, "-nodefaults", "-no-user-config");
    add2(a, "-display", "none");
    qemu_args_add(a, "-accel");
    if (m->kvm)
        qemu_args_add(a, "kvm");
    else
        qemu_args_add(a, "tcg,thread=multi,tb-size=%d", TCG_CACHE_MB);
    add2(a, "-cpu", QEMU_CPU);
    add2(a, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
}

static void add_memory(struct qemu_args *a, const struct qemu_machine *m)
{
    qemu_args_add(a, "-m");
    qemu_args_add(a, "%u", m->memory_mb);
    qemu_args_add(a, "-object");
    qemu_args_add(a, "memory-backend-file,id=ram,size=%uM,mem-path=/proc/self/fd/%d,share=off",
                  m->memory_mb, QEMU_FD_MEMORY);
    qemu_args_add(a, "-M");
    qemu_args_add(a, "%s,%s,memory-backend=ram", m->machine, qemu_boards[m->board].options);
    if (qemu_boards[m->board].global)
        add2(a, "-global", qemu_boards[m->board].global);
    qemu_args_add(a, "-smp");
    qemu_args_add(a, "cpus=%u,sockets=1,cores=%u,threads=1", m->vcpus, m->vcpus);
}

static void add_socket(struct qemu_args *a, const char *id, int fd)
{
    qemu_args_add(a, "-chardev");
    qemu_args_add(a, "socket,id=%s,fd=%d,server=on,wait=off", id, fd);
}

static void add_device(struct qemu_args *a, const struct qemu_place *place, const char *properties)
{
    qemu_args_add(a, "-device");
    qemu_args_add(a, "%s,%s,%s", place->driver, properties, place->where);
}

/* QMP, the serial console, the port of the guest link. */
static void add_channels(struct qemu_args *a, const struct qemu_board *board)
{
    add_socket(a, "qmp", QEMU_FD_QMP);
    add2(a, "-mon", "chardev=qmp,mode=control");
    add_socket(a, "console", QEMU_FD_CONSOLE);
    add2(a, "-serial", "chardev:console");
    add_socket(a, "link", QEMU_FD_LINK);
    add_device(a, &board->serial, "id=serial0,max_ports=2");
    add2(a, "-device",
         "virtserialport,id=link0,bus=serial0.0,nr=1,chardev=link,name=" LINK_PORT_NAME);
}

/* QEMU keeps the path for whoever asks it what its disk is. */
static void add_to_set(struct qemu_args *a, int fd, size_t set, const char *path)
{
    AUTO_FREE char *opaque = named(a, "opaque", path);
    qemu_args_add(a, "-add-fd");
    qemu_args_add(a, "fd=%d,set=%zu,%s", fd, set, opaque ? opaque : "");
}

/* The file is opened as part of its format's node, so that it goes when that goes. What is frozen
 * is not locked: a VMM that once wrote it may hold the lock of a writer for as long as it lives,
 * since the descriptor in its set does. */
static void add_layer(struct qemu_args *a, size_t set, const char *options)
{
    char backing[32] = QEMU_NODE_ROOTFS;
    if (set > QEMU_SET_LAYERS)
        snprintf(backing, sizeof(backing), QEMU_NODE_LAYER "%zu", set - 1);
    qemu_args_add(a, "-blockdev");
    qemu_args_add(a,
                  "driver=qcow2,node-name=" QEMU_NODE_LAYER "%zu,backing=%s,file.driver=file,"
                  "file.filename=/dev/fdset/%zu,%s",
                  set, backing, set, options);
}

static void add_disk(struct qemu_args *a, const struct qemu_board *board, const struct vmm_disk *d)
{
    char properties[96];
    size_t top = QEMU_SET_LAYERS + d->nlayers;
    add_to_set(a, QEMU_FD_ROOTFS, QEMU_SET_ROOTFS, d->rootfs);
    qemu_args_add(a, "-blockdev");
    qemu_args_add(a,
                  "driver=raw,node-name=" QEMU_NODE_ROOTFS ",read-only=on,file.driver=file,"
                  "file.filename=/dev/fdset/%d,file.read-only=on",
                  QEMU_SET_ROOTFS);
    for (size_t i = 0; i < d->nlayers; i++) {
        add_to_set(a, QEMU_FD_LAYERS + (int)i, QEMU_SET_LAYERS + i, d->layers[i]);
        add_layer(a, QEMU_SET_LAYERS + i, "read-only=on,file.read-only=on,file.locking=off");
    }
    add_to_set(a, QEMU_FD_TOP, top, d->top);
    add_to_set(a, QEMU_FD_TOP_READ, top, d->top);
    add_layer(a, top, "discard=unmap,file.discard=unmap");
    snprintf(properties, sizeof(properties),
             "id=" QEMU_DISK_ID ",drive=" QEMU_NODE_LAYER "%zu,werror=enospc,rerror=report", top);
    add_device(a, &board->disk, properties);
}

/* The card is there from the first day and its link is down; a hub port is a network of nothing. It
 * has no vnet header, so the guest negotiates what every back end can give it later. A restored
 * guest does not announce itself: nobody learns where it is by that. */
static void add_network(struct qemu_args *a, const struct qemu_board *board)
{
    add2(a, "-netdev", "hubport,id=hub0,hubid=0");
    add_device(a, &board->net, "id=" QEMU_NIC_ID ",netdev=hub0,mac=" NIC_MAC);
}

static void add_small_devices(struct qemu_args *a, const struct qemu_board *board)
{
    add2(a, "-object", "rng-builtin,id=rng");
    add_device(a, &board->rng, "id=rng0,rng=rng");
    if (board->panic.driver)
        add_device(a, &board->panic, "id=pvpanic0");
    add2(a, "-rtc", "base=utc");
    add2(a, "-boot", "menu=off,strict=on");
    qemu_args_add(a, "-no-reboot");
    add2(a, "-action", "panic=shutdown");
}

static void add_kernel(struct qemu_args *a, const struct qemu_machine *m)
{
    qemu_args_add(a, "-kernel");
    qemu_args_add(a, "/proc/self/fd/%d", qemu_fd_kernel(m->disk->nlayers));
    qemu_args_add(a, "-initrd");
    qemu_args_add(a, "/proc/self/fd/%d", qemu_fd_initramfs(m->disk->nlayers));
    qemu_args_add(a, "-append");
    char tsc[40] = "";
    if (m->tsc_khz)
        snprintf(tsc, sizeof(tsc), CMDLINE_TSC, m->tsc_khz);
    qemu_args_add(a, CMDLINE_ADDED " %s%s%s", m->kvm ? "" : CMDLINE_EMULATED, tsc, m->cmdline);
}

static void add_machine(struct qemu_args *a, const struct qemu_machine *m)
{
    const struct qemu_board *board = &qemu_boards[m->board];
    qemu_args_base(a, m);
    add_memory(a, m);
    add_channels(a, board);
    add_disk(a, board, m->disk);
    add_network(a, board);
    add_small_devices(a, board);
}

int qemu_args_build(struct qemu_args *a, const struct qemu_machine *m, struct err *err)
{
    add_machine(a, m);
    if (m->cmdline) {
        add_kernel(a, m);
    } else {
        /* A device state without memory has no section of configuration in front. */
        add2(a, "-global", "migration.send-configuration=off");
        add2(a, "-incoming", "defer");
    }
    qemu_args_add(a, "-S");
    if (a->failed)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory for QEMU's command line");
    return 0;
}

int qemu_args_devices(enum vmm_board board, const char *machine, struct buf *out)
{
    static const char *const kept[] = { "-M", "-global", "-cpu", "-device" };
    const struct vmm_disk disk = { .rootfs = "", .top = "" };
    struct qemu_machine m = { .program = "qemu",
                              .board = board,
                              .machine = machine,
                              .vcpus = 1,
                              .memory_mb = 1,
                              .disk = &disk };
    struct qemu_args a = { 0 };
    add_machine(&a, &m);
    int rc = a.failed ? -ENOMEM : 0;
    for (size_t i = 0; i + 1 < a.n && rc == 0; i++)
        for (size_t k = 0; k < ARRAY_LEN(kept) && rc == 0; k++)
            if (strcmp(a.argv[i], kept[k]) == 0 &&
                !(buf_puts(out, a.argv[i]) && buf_putc(out, ' ') && buf_puts(out, a.argv[i + 1]) &&
                  buf_putc(out, '\n')))
                rc = -ENOMEM;
    qemu_args_deinit(&a);
    return rc;
}
