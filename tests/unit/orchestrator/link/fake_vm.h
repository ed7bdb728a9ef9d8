/*
 * A VM as the link sees it: envd's end on one end of a socket pair, and a unix socket that hands
 * the bytes on, as QEMU does for a virtio-serial port: to one client at a time, the next ones wait;
 * what was on its way to a client that went away is lost, what the guest wrote later waits for the
 * next.
 */
#ifndef TESTS_UNIT_ORCHESTRATOR_LINK_FAKE_VM_H
#define TESTS_UNIT_ORCHESTRATOR_LINK_FAKE_VM_H

#include "common/io/io_fd.h"
#include "envd/guest/link_internal.h"
#include "orchestrator/link/guest_link.h"
#include "tests/support/loop.h"
#include "tests/support/tempdir.h"
#include "tests/unit/common/http/h2_echo.h"

struct fake_vm {
    struct test_loop *t;
    struct tempdir dir;
    char path[108];
    int listener;
    uv_poll_t accepting;
    struct io_fd port;    /* the guest's port, from QEMU's side */
    struct io_fd *client; /* NULL: none is connected */
    size_t clients;       /* that were ever connected */
    bool stopped;         /* the VM: nothing goes either way */
    bool open;
    int closing;
    struct envd envd;
    struct envd_link *link; /* NULL when the test serves the port itself */
    struct h2_echo echo;    /* what envd serves */
};

void fake_vm_start(struct fake_vm *vm, struct test_loop *t);
void fake_vm_stop(struct fake_vm *vm);
/* The stream breaks: the host sees an end. */
void fake_vm_hang_up(struct fake_vm *vm);

/* Nothing goes either way while the VM is stopped. */
void fake_vm_pause(struct fake_vm *vm, bool stopped);

/* The same without envd: bytes from and to the returned descriptor are the guest's. */
int fake_vm_start_raw(struct fake_vm *vm, struct test_loop *t);

struct link_address fake_vm_address(const struct fake_vm *vm);

/* A daemon's end. */
struct fake_host {
    struct guest_link *l;
    size_t ups, downs;
};

void fake_host_start(struct fake_host *h, struct fake_vm *vm);
void fake_host_start_at(struct fake_host *h, struct test_loop *t, struct link_address address);

/* GET /small works. */
void fake_host_assert_alive(struct fake_host *h, struct test_loop *t);

#endif
