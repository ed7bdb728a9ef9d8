#include "orchestrator/snapshot/reader.h"
#include "common/base/cleanup.h"
#include "common/base/encode.h"
#include "orchestrator/snapshot/parallel.h"
#include "orchestrator/snapshot/snapshot_io.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

/* Say which file an error is about. */
static int damaged(struct err *err, const char *name, const char *what)
{
    return err_set(err, ERR_DATA_LOSS, EIO, "the snapshot's %s is damaged: %s", name, what);
}

static int unreadable(struct err *err, const char *name, int rc)
{
    if (rc == -ENODATA)
        return damaged(err, name, "it is cut short");
    return err_set(err, ERR_INTERNAL, -rc, "cannot read the snapshot's %s: %s", name,
                   strerror(-rc));
}

static int read_index(struct reader *r, const char *name, const struct memory_file *expect,
                      struct err *err)
{
    uint8_t header[FORMAT_HEADER], sum[SHA256_SIZE];
    char hex[2 * SHA256_SIZE + 1];
    struct sha256 hash;
    int rc = snapshot_pread(r->fd, header, sizeof(header), 0);
    if (rc < 0)
        return unreadable(err, name, rc);
    rc = format_header_get(header, expect->size, &r->header, err);
    if (rc < 0)
        return rc;
    size_t n = (size_t)r->header.nchunks * FORMAT_ENTRY;
    AUTO_FREE uint8_t *table = malloc(n + 1);
    r->entries = calloc(r->header.nchunks + 1, sizeof(*r->entries));
    if (!table || !r->entries)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    rc = snapshot_pread(r->fd, table, n, r->header.table);
    if (rc < 0)
        return unreadable(err, name, rc);
    sha256_init(&hash);
    sha256_update(&hash, header, sizeof(header));
    sha256_update(&hash, table, n);
    sha256_final(&hash, sum);
    hex_encode(sum, sizeof(sum), hex);
    if (strcmp(hex, expect->sha256) != 0)
        return damaged(err, name, "its digest is not the one in the manifest");
    rc = format_table_get(&r->header, table, r->entries, err);
    if (rc == 0 && (r->header.pages != expect->pages || r->header.zero_pages != expect->zero_pages))
        return damaged(err, name, "it has not the pages that the manifest tells");
    return rc;
}

int reader_open(struct reader *r, int dirfd, const char *name, const struct memory_file *expect,
                uint64_t ram_size, struct err *err)
{
    struct stat st;
    *r = (struct reader){ .fd = openat(dirfd, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) };
    if (r->fd < 0)
        return errno == ENOENT ? damaged(err, name, "it is missing")
                               : unreadable(err, name, -errno);
    int rc = fstat(r->fd, &st) < 0 ? unreadable(err, name, -errno) : 0;
    if (rc == 0 && (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != expect->size))
        rc = damaged(err, name, "it has not the size that the manifest tells");
    if (rc == 0)
        rc = read_index(r, name, expect, err);
    if (rc == 0 && r->header.ram_size != ram_size)
        rc = err_set(err, ERR_PRECONDITION, EINVAL,
                     "the snapshot is of %llu MB of memory, the VM has %llu MB",
                     (unsigned long long)r->header.ram_size >> 20,
                     (unsigned long long)ram_size >> 20);
    if (rc < 0)
        reader_close(r);
    return rc;
}

void reader_close(struct reader *r)
{
    if (r->fd >= 0)
        close(r->fd);
    free(r->entries);
    *r = (struct reader){ .fd = -1 };
}

struct job {
    const struct reader *r;
    const char *target;
    reader_put_cb put;
    void *user;
    pthread_mutex_t lock;
    uint32_t next;
    int rc;
    struct err err; /* of the first failure */
};

/* One thread's buffers. */
struct bench {
    uint8_t body[FORMAT_BODY_MAX];
    uint8_t pages[CHUNK_BYTES];
    struct format_chunk chunk;
};

static bool take_chunk(struct job *job, uint32_t *k)
{
    pthread_mutex_lock(&job->lock);
    bool more = job->rc == 0 && job->next < job->r->header.nchunks;
    *k = job->next;
    job->next += more;
    pthread_mutex_unlock(&job->lock);
    return more;
}

static void fail(struct job *job, int rc, const struct err *err)
{
    pthread_mutex_lock(&job->lock);
    if (job->rc == 0) {
        job->rc = rc;
        job->err = *err;
    }
    pthread_mutex_unlock(&job->lock);
}

static int put_chunk(const struct job *job, uint32_t k, struct bench *b, struct err *err)
{
    const struct reader *r = job->r;
    const struct format_entry *e = &r->entries[k];
    uint64_t end =
        k + 1 < r->header.nchunks ? r->entries[k + 1].first : r->header.ram_size / PAGE_BYTES;
    int rc = snapshot_pread(r->fd, b->body, e->stored, e->offset);
    if (rc < 0)
        return unreadable(err, "memory", rc);
    if (!format_chunk_intact(e, b->body))
        return err_set(err, ERR_DATA_LOSS, EIO,
                       "the snapshot's memory is damaged: a chunk of pages (%u of %u) has not its "
                       "digest",
                       k + 1, r->header.nchunks);
    rc = format_chunk_get(e, (uint32_t)end, b->body, b->pages, &b->chunk, err);
    if (rc < 0)
        return rc;
    rc = job->put(job->user, &b->chunk);
    if (rc < 0)
        return err_set(err, ERR_UNAVAILABLE, -rc, "cannot write %s: %s", job->target,
                       strerror(-rc));
    return 0;
}

static void run_chunks(void *user)
{
    struct job *job = user;
    struct err err = { 0 };
    uint32_t k;
    AUTO_FREE struct bench *b = malloc(sizeof(*b));
    if (!b)
        fail(job, err_set(&err, ERR_EXHAUSTED, ENOMEM, "out of memory"), &err);
    while (b && take_chunk(job, &k)) {
        int rc = put_chunk(job, k, b, &err);
        if (rc < 0)
            fail(job, rc, &err);
    }
}

int reader_run(const struct reader *r, const char *target, reader_put_cb put, void *user,
               struct err *err)
{
    struct job job = { .r = r, .target = target, .put = put, .user = user };
    pthread_mutex_init(&job.lock, NULL);
    parallel_run(parallel_threads(r->header.nchunks), run_chunks, &job);
    pthread_mutex_destroy(&job.lock);
    if (job.rc < 0 && err)
        *err = job.err;
    return job.rc;
}
