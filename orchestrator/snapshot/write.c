#include "orchestrator/snapshot/copy.h"
#include "common/base/cleanup.h"
#include "common/base/encode.h"
#include "common/base/fault.h"
#include "orchestrator/snapshot/format.h"
#include "orchestrator/snapshot/parallel.h"
#include "orchestrator/snapshot/snapshot_io.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>

/*
 * Each thread takes the next chunk, gets and encodes it, then waits for its turn to claim its place
 * in the file. Places are given in the order of the chunks, so that the same pages make the same
 * file; the writing itself is not in turn.
 */
struct writer {
    const struct page_set *set;
    const struct vmm_memory *vm;    /* pages come from here, */
    const struct memory_copy *copy; /* or from here */
    uint64_t ram_size;
    bool on_zeros;
    int fd;

    pthread_mutex_t lock;
    pthread_cond_t turn;
    size_t next;   /* chunk that no thread has yet */
    size_t placed; /* chunks whose place is known */
    int rc;        /* of the first failure */
    bool reading;  /* ... which was to read the VM's memory */
    struct format_header header;
    uint64_t end;   /* of the file */
    uint8_t *table; /* room for an entry of each chunk */
};

/* One thread's buffers. */
struct bench {
    uint8_t pages[CHUNK_BYTES];
    uint8_t body[FORMAT_BODY_MAX];
};

static void fail(struct writer *w, int rc, bool reading)
{
    pthread_mutex_lock(&w->lock);
    if (w->rc == 0) {
        w->rc = rc;
        w->reading = reading;
    }
    pthread_cond_broadcast(&w->turn);
    pthread_mutex_unlock(&w->lock);
}

static bool take_chunk(struct writer *w, size_t *k)
{
    pthread_mutex_lock(&w->lock);
    bool more = w->rc == 0 && w->next < w->set->nchunks;
    *k = w->next;
    w->next += more;
    pthread_mutex_unlock(&w->lock);
    return more;
}

/* Wait until every chunk before k has its place, then give k one. */
static bool place(struct writer *w, size_t k, struct format_entry *e)
{
    pthread_mutex_lock(&w->lock);
    while (w->placed != k && w->rc == 0)
        pthread_cond_wait(&w->turn, &w->lock);
    bool going = w->rc == 0;
    if (going) {
        e->offset = w->end;
        w->placed++;
        pthread_cond_broadcast(&w->turn);
    }
    if (going && e->stored) {
        format_entry_put(e, w->table + (size_t)w->header.nchunks++ * FORMAT_ENTRY);
        w->end += e->stored;
        w->header.pages += e->pages;
        w->header.zero_pages += e->zero_pages;
    }
    pthread_mutex_unlock(&w->lock);
    return going;
}

static void write_chunk(struct writer *w, size_t k, struct bench *b)
{
    const struct page_run *runs;
    struct format_entry e;
    size_t count, n = page_set_chunk(w->set, k, &runs, &count);
    const uint8_t *pages = w->copy ? w->copy->data + k * CHUNK_BYTES : b->pages;
    int rc = w->copy ? 0 : pages_read(w->vm, runs, n, b->pages);
    if (rc < 0) {
        fail(w, rc, true);
        return;
    }
    format_chunk_put(runs, n, pages, w->on_zeros, b->pages, b->body, &e);
    if (!place(w, k, &e) || !e.stored)
        return;
    rc = snapshot_pwrite(w->fd, b->body, e.stored, e.offset);
    if (rc < 0)
        fail(w, rc, false);
    /* What is on its way to the disk already need not be waited for at the end. */
    (void)sync_file_range(w->fd, (off_t)e.offset, e.stored, SYNC_FILE_RANGE_WRITE);
}

static void write_chunks(void *user)
{
    struct writer *w = user;
    AUTO_FREE struct bench *b = malloc(sizeof(*b));
    size_t k;
    if (!b)
        fail(w, -ENOMEM, true);
    while (b && take_chunk(w, &k))
        write_chunk(w, k, b);
}

static int finish(struct writer *w, struct memory_file *out)
{
    uint8_t header[FORMAT_HEADER], sum[SHA256_SIZE];
    struct sha256 hash;
    size_t table = (size_t)w->header.nchunks * FORMAT_ENTRY;
    w->header.ram_size = w->ram_size;
    w->header.table = w->end;
    format_header_put(&w->header, header);
    int rc = snapshot_pwrite(w->fd, w->table, table, w->end);
    if (rc == 0)
        rc = snapshot_pwrite(w->fd, header, sizeof(header), 0);
    if (rc < 0)
        return rc;
    sha256_init(&hash);
    sha256_update(&hash, header, sizeof(header));
    sha256_update(&hash, w->table, table);
    sha256_final(&hash, sum);
    *out = (struct memory_file){ .size = w->end + table,
                                 .pages = w->header.pages,
                                 .zero_pages = w->header.zero_pages };
    hex_encode(sum, sizeof(sum), out->sha256);
    return 0;
}

static int write_file(struct writer *w, const char *name, struct memory_file *out, struct err *err)
{
    AUTO_FREE uint8_t *table = malloc(w->set->nchunks * FORMAT_ENTRY + 1);
    if (!table)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    w->table = table;
    w->end = FORMAT_HEADER;
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->turn, NULL);
    parallel_run(parallel_threads(w->set->nchunks), write_chunks, w);
    int rc = w->rc ? w->rc : finish(w, out);
    pthread_cond_destroy(&w->turn);
    pthread_mutex_destroy(&w->lock);
    if (rc < 0 && w->reading)
        return err_set(err, ERR_UNAVAILABLE, -rc, "cannot read the VM's memory: %s", strerror(-rc));
    return rc < 0 ? snapshot_write_failed(err, -rc, name) : 0;
}

static int create(struct writer *w, int dirfd, const char *name, struct memory_file *out,
                  struct err *err)
{
    if (FAULT_POINT("snapshot.memory"))
        return snapshot_write_failed(err, EIO, name);
    AUTO_CLOSE int fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return snapshot_write_failed(err, errno, name);
    w->fd = fd;
    int rc = write_file(w, name, out, err);
    if (rc < 0)
        unlinkat(dirfd, name, 0);
    return rc;
}

int memory_write(const struct memory_copy *c, int dirfd, const char *name, bool on_zeros,
                 struct memory_file *out, struct err *err)
{
    struct writer w = { .set = &c->set, .copy = c, .ram_size = c->ram_size, .on_zeros = on_zeros };
    return create(&w, dirfd, name, out, err);
}

int memory_save(const struct vmm_memory *m, int dirfd, const char *name, bool on_zeros,
                struct memory_file *out, struct err *err)
{
    struct page_set set = { 0 };
    int rc = pages_scan(m, &set, err);
    if (rc == 0)
        rc = memory_save_pages(m, &set, dirfd, name, on_zeros, out, err);
    page_set_deinit(&set);
    return rc;
}

int memory_save_pages(const struct vmm_memory *m, const struct page_set *set, int dirfd,
                      const char *name, bool on_zeros, struct memory_file *out, struct err *err)
{
    struct writer w = { .set = set, .vm = m, .ram_size = m->size, .on_zeros = on_zeros };
    return create(&w, dirfd, name, out, err);
}
