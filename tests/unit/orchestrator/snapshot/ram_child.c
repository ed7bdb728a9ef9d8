#include "tests/support/test.h"

#include "ram_child.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

static int make_memfd(const uint8_t *base, size_t npages)
{
    int fd = memfd_create("base", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)(npages * PAGE_BYTES)), 0);
    for (size_t i = 0; base && i < npages; i++) {
        const uint8_t *page = base + i * PAGE_BYTES;
        assert_int_equal(pwrite(fd, page, PAGE_BYTES, (off_t)(i * PAGE_BYTES)), PAGE_BYTES);
    }
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW), 0);
    return fd;
}

static void child(uint8_t *ram, size_t npages, ram_write_cb write_pages, int ready, int go)
{
    char c = 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (write_pages)
        write_pages(ram, npages);
    if (write(ready, &c, 1) == 1)
        (void)!read(go, &c, 1);
    _exit(0);
}

void ram_child_start_on(struct ram_child *c, int memfd, size_t npages, ram_write_cb write_pages)
{
    int ready[2], go[2];
    char byte;
    size_t size = npages * PAGE_BYTES;
    assert_int_equal(pipe2(ready, O_CLOEXEC), 0);
    assert_int_equal(pipe2(go, O_CLOEXEC), 0);
    uint8_t *ram = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE, memfd, 0);
    assert_ptr_not_equal(ram, MAP_FAILED);
    *c = (struct ram_child){ { fork(), (uintptr_t)ram, size }, go[1], npages };
    assert_true(c->m.pid >= 0);
    if (c->m.pid == 0) {
        close(go[1]);
        child(ram, npages, write_pages, ready[1], go[0]);
    }
    close(go[0]);
    close(ready[1]);
    munmap(ram, size);
    assert_int_equal(read(ready[0], &byte, 1), 1);
    close(ready[0]);
}

void ram_child_start(struct ram_child *c, const uint8_t *base, size_t npages,
                     ram_write_cb write_pages)
{
    int fd = make_memfd(base, npages);
    ram_child_start_on(c, fd, npages, write_pages);
    close(fd);
}

void ram_child_stop(struct ram_child *c)
{
    close(c->go);
    kill(c->m.pid, SIGKILL); /* another child may hold the other end of the pipe */
    assert_int_equal(waitpid(c->m.pid, NULL, 0), c->m.pid);
}

uint8_t *ram_child_read(const struct ram_child *c)
{
    uint8_t *all = malloc(c->m.size);
    struct iovec to = { all, c->m.size }, from = { (void *)(uintptr_t)c->m.address, c->m.size };
    assert_non_null(all);
    assert_int_equal(process_vm_readv(c->m.pid, &to, 1, &from, 1, 0), c->m.size);
    return all;
}

void ram_child_expect(const struct ram_child *c, const uint8_t *base, ram_write_cb write_pages)
{
    uint8_t *wanted = calloc(c->npages, PAGE_BYTES), *got = ram_child_read(c);
    assert_non_null(wanted);
    if (base)
        memcpy(wanted, base, c->m.size);
    if (write_pages)
        write_pages(wanted, c->npages);
    for (size_t i = 0; i < c->npages; i++)
        if (memcmp(wanted + i * PAGE_BYTES, got + i * PAGE_BYTES, PAGE_BYTES) != 0)
            fail_msg("page %zu is not as it was", i);
    free(wanted);
    free(got);
}

/* One of varied pages: text, noise or zeros. */
static void fill_page(uint8_t *page, size_t kind, uint32_t *noise)
{
    static const char text[] = "the same text ";
    for (size_t i = 0; kind && i < PAGE_BYTES; i++) {
        *noise = *noise * 1664525 + 1013904223;
        page[i] = kind < 3 ? (uint8_t)text[i % (sizeof(text) - 1)] : (uint8_t)(*noise >> 24);
    }
}

uint8_t *ram_make_base(size_t npages)
{
    uint8_t *base = calloc(npages, PAGE_BYTES);
    uint32_t noise = 12345;
    assert_non_null(base);
    for (size_t i = 0; i < npages; i++)
        fill_page(base + i * PAGE_BYTES, i % 5, &noise);
    return base;
}
