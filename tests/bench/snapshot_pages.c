/*
 * bench_snapshot_pages SNAPSHOT SCRATCH [MB...]
 *
 * What the pages of a template's snapshot cost to load, and what a sandbox's dirty pages (by
 * default 16 and 30 MB of the template's own, in runs of eight) cost to find, copy, save and put
 * back. Least CPU time (of all threads) and least time of seven rounds, in milliseconds. SCRATCH is
 * a directory on the disk that is meant.
 */
#include "tests/support/test.h"

#include "common/base/cleanup.h"
#include "ram_child.h"
#include "sample.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define ROUNDS      7
#define STATE_BYTES 106000

static uint32_t *data_pages; /* of the base, which are not zero */
static size_t ndata, ndirty;

struct timing {
    const char *what;
    double cpu, wall, cpu_began, wall_began;
};

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void begin(struct timing *t, const char *what)
{
    t->what = what;
    t->wall_began = now(CLOCK_MONOTONIC);
    t->cpu_began = now(CLOCK_PROCESS_CPUTIME_ID);
}

static void end(struct timing *t, int rc, const struct err *err)
{
    double cpu = now(CLOCK_PROCESS_CPUTIME_ID) - t->cpu_began;
    double wall = now(CLOCK_MONOTONIC) - t->wall_began;
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", t->what, err->msg);
        exit(1);
    }
    t->cpu = t->cpu == 0 || cpu < t->cpu ? cpu : t->cpu;
    t->wall = t->wall == 0 || wall < t->wall ? wall : t->wall;
}

static void tell(const struct timing *t, size_t n, double bytes)
{
    for (size_t i = 0; i < n; i++)
        printf("  %-8s %7.2f CPU %7.2f ms %6.0f MB/s of CPU\n", t[i].what, t[i].cpu, t[i].wall,
               bytes / t[i].cpu / 1e3);
}

static void find_data(int memfd, size_t npages)
{
    static const uint8_t zeros[PAGE_BYTES];
    uint8_t *ram = mmap(NULL, npages * PAGE_BYTES, PROT_READ, MAP_PRIVATE, memfd, 0);
    data_pages = calloc(npages, sizeof(*data_pages));
    for (off_t at = 0; (at = lseek(memfd, at, SEEK_DATA)) >= 0; at += PAGE_BYTES)
        if (memcmp(ram + at, zeros, PAGE_BYTES) != 0)
            data_pages[ndata++] = (uint32_t)(at / PAGE_BYTES);
    munmap(ram, npages * PAGE_BYTES);
}

static void dirty(uint8_t *ram, size_t npages)
{
    for (size_t i = 0; i < ndirty; i++) {
        size_t to = i / 8 * 24 + i % 8;
        size_t from = data_pages[(i + 3000) % ndata];
        if (to < npages && to != from)
            memmove(ram + to * PAGE_BYTES, ram + from * PAGE_BYTES, PAGE_BYTES);
    }
}

static void pause_once(const struct ram_child *vm, const char *dir, int state, struct timing t[5])
{
    struct snapshot_manifest m;
    struct memory_copy *copy;
    struct err err = { 0 };
    uint64_t bytes;
    int fd = -1;
    sample_manifest(&m);
    begin(&t[0], "scan");
    end(&t[0], memory_dirty_bytes(&vm->m, &bytes, &err), &err);
    begin(&t[1], "capture");
    end(&t[1], memory_capture(&vm->m, &copy, &err), &err);
    memory_copy_free(copy);
    begin(&t[2], "pause"); /* everything but the VMM's part */
    begin(&t[3], "save");
    int rc = snapshot_begin(dir, &fd, &err);
    if (rc == 0)
        rc = memory_save(&vm->m, fd, SNAPSHOT_FILE_MEMORY, false, &m.memory, &err);
    end(&t[3], rc, &err);
    begin(&t[4], "commit");
    rc = snapshot_put_state(fd, state, &m, &err);
    if (rc == 0)
        rc = snapshot_commit(dir, fd, &m, &err);
    end(&t[4], rc, &err);
    end(&t[2], rc, &err);
}

static void resume_once(const struct ram_child *vm, const char *dir, struct timing t[3])
{
    struct snapshot_manifest m;
    struct err err = { 0 };
    int fd = -1, state = -1;
    begin(&t[0], "resume");
    begin(&t[1], "open");
    end(&t[1], snapshot_open(dir, &m, &fd, &state, &err), &err);
    begin(&t[2], "apply");
    int rc = memory_apply(fd, SNAPSHOT_FILE_MEMORY, &m.memory, &vm->m, &err);
    end(&t[2], rc, &err);
    end(&t[0], rc, &err);
    close(fd);
    close(state);
}

static void bench(int base, size_t npages, const char *dir, size_t mb)
{
    struct timing out[5] = { 0 }, in[3] = { 0 };
    struct snapshot_manifest m;
    struct err err = { 0 };
    int state = sample_state(STATE_BYTES);
    ndirty = (mb << 20) / PAGE_BYTES;
    for (int i = 0; i < ROUNDS; i++) {
        struct ram_child vm;
        ram_child_start_on(&vm, base, npages, dirty);
        pause_once(&vm, dir, state, out);
        ram_child_stop(&vm);
        ram_child_start_on(&vm, base, npages, NULL);
        resume_once(&vm, dir, in);
        ram_child_stop(&vm);
        if (snapshot_open(dir, &m, NULL, NULL, &err) < 0 || snapshot_remove(dir, &err) < 0)
            fprintf(stderr, "%s\n", err.msg);
    }
    printf("%zu MB dirty, %.1f MB on disk\n", mb, (double)m.memory.size / 1e6);
    tell(out, ARRAY_LEN(out), (double)ndirty * PAGE_BYTES);
    tell(in, ARRAY_LEN(in), (double)ndirty * PAGE_BYTES);
    close(state);
}

int main(int argc, char **argv)
{
    struct snapshot_manifest m;
    struct timing load = { 0 };
    struct err err = { 0 };
    char dir[PATH_MAX];
    int fd = -1, base = -1;
    if (argc < 3 || snapshot_open(argv[1], &m, &fd, NULL, &err) < 0) {
        fprintf(stderr, "bench_snapshot_pages SNAPSHOT SCRATCH [MB...]\n%s\n", err.msg);
        return 2;
    }
    for (int i = 0; i < ROUNDS; i++) {
        if (base >= 0)
            close(base);
        begin(&load, "load");
        int rc = memory_load(fd, SNAPSHOT_FILE_MEMORY, &m.memory, (uint64_t)m.memory_mb << 20,
                             &base, &err);
        end(&load, rc, &err);
    }
    double bytes = (double)m.memory.pages * PAGE_BYTES;
    printf("template: %.1f MB of pages, %.1f MB on disk\n", bytes / 1e6,
           (double)m.memory.size / 1e6);
    tell(&load, 1, bytes);
    find_data(base, ((size_t)m.memory_mb << 20) / PAGE_BYTES);
    snprintf(dir, sizeof(dir), "%s/bench", argv[2]);
    if (argc == 3) {
        bench(base, ((size_t)m.memory_mb << 20) / PAGE_BYTES, dir, 16);
        bench(base, ((size_t)m.memory_mb << 20) / PAGE_BYTES, dir, 30);
    }
    for (int i = 3; i < argc; i++)
        bench(base, ((size_t)m.memory_mb << 20) / PAGE_BYTES, dir, (size_t)atoi(argv[i]));
    free(data_pages);
    return 0;
}
