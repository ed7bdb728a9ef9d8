#include "tests/unit/orchestrator/link/fake_vm.h"

#include "common/base/cleanup.h"
#include "tests/support/test.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

struct client {
    struct io_fd fd;
    struct fake_vm *vm;
};

static void on_incoming(uv_poll_t *poll, int status, int events);

static struct client *client_of(struct io *io)
{
    struct io_fd *fd = container_of(io, struct io_fd, io);
    return container_of(fd, struct client, fd);
}

static struct fake_vm *vm_of(struct io *io)
{
    struct io_fd *fd = container_of(io, struct io_fd, io);
    return container_of(fd, struct fake_vm, port);
}

/* Read where the bytes can go on. */
static void reconsider(struct fake_vm *vm)
{
    if (!vm->open)
        return;
    bool room = vm->client && !vm->stopped && io_pending(&vm->client->io) < IO_HIGH_WATER;
    if (room)
        io_read_start(&vm->port.io);
    else
        io_read_stop(&vm->port.io);
    if (!vm->client)
        return;
    if (!vm->stopped && io_pending(&vm->port.io) < IO_HIGH_WATER)
        io_read_start(&vm->client->io);
    else
        io_read_stop(&vm->client->io);
}

static void client_on_data(struct io *io, const uint8_t *data, size_t n)
{
    struct fake_vm *vm = client_of(io)->vm;
    io_write(&vm->port.io, data, n);
    reconsider(vm);
}

static void client_gone(struct io *io)
{
    struct client *c = client_of(io);
    if (c->vm->client == &c->fd)
        c->vm->client = NULL;
    io_close(io, false);
    if (c->vm->open)
        uv_poll_start(&c->vm->accepting, UV_READABLE, on_incoming);
    reconsider(c->vm);
}

static void client_on_error(struct io *io, int errnum)
{
    (void)errnum;
    client_gone(io);
}

static void client_on_drain(struct io *io)
{
    reconsider(client_of(io)->vm);
}

static void client_on_closed(struct io *io)
{
    struct client *c = client_of(io);
    c->vm->closing--;
    free(c);
}

static const struct io_events client_events = {
    .on_data = client_on_data,
    .on_eof = client_gone,
    .on_error = client_on_error,
    .on_drain = client_on_drain,
    .on_closed = client_on_closed,
};

static void on_incoming(uv_poll_t *poll, int status, int events)
{
    struct fake_vm *vm = container_of(poll, struct fake_vm, accepting);
    (void)status;
    (void)events;
    if (vm->client)
        return;
    int fd = accept4(vm->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    struct client *c = calloc(1, sizeof(*c));
    c->vm = vm;
    assert_int_equal(io_fd_init(&c->fd, &vm->t->loop, fd, IO_FD_STREAM, &client_events), 0);
    vm->client = &c->fd;
    vm->clients++;
    vm->closing++;
    uv_poll_stop(&vm->accepting); /* the next ones wait in the backlog */
    reconsider(vm);
}

static void port_on_data(struct io *io, const uint8_t *data, size_t n)
{
    struct fake_vm *vm = vm_of(io);
    if (vm->client)
        io_write(&vm->client->io, data, n);
    reconsider(vm);
}

static void port_on_drain(struct io *io)
{
    reconsider(vm_of(io));
}

static void port_on_error(struct io *io, int errnum)
{
    (void)errnum;
    io_read_stop(io);
}

static void port_on_eof(struct io *io)
{
    (void)io;
}

static void port_on_closed(struct io *io)
{
    vm_of(io)->closing--;
}

static const struct io_events port_events = {
    .on_data = port_on_data,
    .on_eof = port_on_eof,
    .on_drain = port_on_drain,
    .on_error = port_on_error,
    .on_closed = port_on_closed,
};

int fake_vm_start_raw(struct fake_vm *vm, struct test_loop *t)
{
    int fds[2];
    struct sockaddr_un at = { .sun_family = AF_UNIX };
    *vm = (struct fake_vm){ .t = t, .open = true, .closing = 2 };
    tempdir_init(&vm->dir);
    assert_true(str_copy(str_of(tempdir_path(&vm->dir, "link")), vm->path, sizeof(vm->path)));
    memcpy(at.sun_path, vm->path, sizeof(vm->path));
    vm->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(vm->listener, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(vm->listener, 1), 0); /* as QEMU */
    uv_poll_init(&t->loop, &vm->accepting, vm->listener);
    uv_poll_start(&vm->accepting, UV_READABLE, on_incoming);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds), 0);
    assert_int_equal(io_fd_init(&vm->port, &t->loop, fds[0], IO_FD_STREAM, &port_events), 0);
    return fds[1];
}

void fake_vm_start(struct fake_vm *vm, struct test_loop *t)
{
    struct err err;
    int fd = fake_vm_start_raw(vm, t);
    vm->envd.loop = &t->loop;
    vm->envd.is_guest = true;
    defer_queue_init(&vm->envd.defer, &t->loop);
    h2_echo_init(&vm->echo);
    assert_int_equal(envd_link_start_fd(&vm->link, &vm->envd, &vm->echo.acceptor, fd, &err), 0);
}

static void on_accepting_closed(uv_handle_t *handle)
{
    container_of((uv_poll_t *)handle, struct fake_vm, accepting)->closing--;
}

void fake_vm_stop(struct fake_vm *vm)
{
    vm->open = false;
    if (vm->client)
        client_gone(&vm->client->io);
    io_close(&vm->port.io, false);
    uv_close((uv_handle_t *)&vm->accepting, on_accepting_closed);
    close(vm->listener);
    if (vm->link)
        envd_link_close(vm->link);
    LOOP_UNTIL(vm->t, vm->closing == 0 && vm->echo.closes == vm->echo.requests);
    if (vm->link)
        defer_queue_close(&vm->envd.defer);
    tempdir_deinit(&vm->dir);
}

void fake_vm_pause(struct fake_vm *vm, bool stopped)
{
    vm->stopped = stopped;
    reconsider(vm);
}

void fake_vm_hang_up(struct fake_vm *vm)
{
    client_gone(&vm->client->io);
}

struct link_address fake_vm_address(const struct fake_vm *vm)
{
    struct link_address address = { .opener = LINK_VIRTIO_SERIAL };
    memcpy(address.path, vm->path, sizeof(address.path));
    return address;
}

static void on_up(struct guest_link *l)
{
    struct fake_host *h = guest_link_user(l);
    h->ups++;
    assert_int_equal(h->ups, h->downs + 1);
}

static void on_down(struct guest_link *l)
{
    struct fake_host *h = guest_link_user(l);
    h->downs++;
    assert_int_equal(h->ups, h->downs);
}

static const struct guest_link_events link_events = { .on_up = on_up, .on_down = on_down };

void fake_host_start_at(struct fake_host *h, struct test_loop *t, struct link_address address)
{
    *h = (struct fake_host){ 0 };
    h->l = guest_link_new(&t->loop, &t->defer, &address, LINK_SECRET_INITIAL, &link_events, h);
    assert_non_null(h->l);
    assert_false(guest_link_is_up(h->l));
}

void fake_host_start(struct fake_host *h, struct fake_vm *vm)
{
    fake_host_start_at(h, vm->t, fake_vm_address(vm));
}

void fake_host_assert_alive(struct fake_host *h, struct test_loop *t)
{
    struct h2_request r = { 0 };
    LOOP_UNTIL(t, guest_link_is_up(h->l));
    assert_true(h2_request_begin(guest_link_session(h->l), &r, "GET", "/small", 0));
    LOOP_UNTIL(t, r.closed);
    assert_int_equal(r.errnum, 0);
    assert_int_equal(r.status, 200);
    h2_request_deinit(&r);
}
