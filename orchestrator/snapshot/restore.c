#include "orchestrator/snapshot/reader.h"
#include "common/base/cleanup.h"
#include "common/base/fault.h"
#include "orchestrator/snapshot/host_memory.h"
#include "orchestrator/snapshot/snapshot_io.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

static int put_in_vm(void *user, const struct format_chunk *c)
{
    const struct vmm_memory *m = user;
    return pages_write(m, c->runs, c->data, c->nruns);
}

int memory_apply(int dirfd, const char *name, const struct memory_file *expect,
                 const struct vmm_memory *m, struct err *err)
{
    struct reader r;
    struct vmm_memory vm = *m;
    if (FAULT_POINT("memory.apply"))
        return err_set(err, ERR_INTERNAL, EIO, "fault point memory.apply");
    int rc = reader_open(&r, dirfd, name, expect, m->size, err);
    if (rc < 0)
        return rc;
    rc = reader_run(&r, "the VM's memory", put_in_vm, &vm, err);
    reader_close(&r);
    return rc;
}

/* A new memfd is zeros already. */
static int put_in_memfd(void *user, const struct format_chunk *c)
{
    const int *fd = user;
    for (size_t i = 0; i < c->nruns; i++) {
        uint64_t at = (uint64_t)c->runs[i].page * PAGE_BYTES;
        int rc = c->zero[i] ? 0 : snapshot_pwrite(*fd, c->data[i].iov_base, c->data[i].iov_len, at);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static int make(const struct reader *r, uint64_t bytes, int *memfd, struct err *err)
{
    AUTO_CLOSE int fd = memfd_create("sandpit-ram", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0)
        return err_set(err, ERR_UNAVAILABLE, errno, "cannot make a template's memory: %s",
                       strerror(errno));
    int rc = reader_run(r, "a template's memory", put_in_memfd, &fd, err);
    if (rc < 0)
        return rc;
    if (fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot seal a template's memory: %s",
                       strerror(errno));
    *memfd = TAKE_FD(fd);
    return 0;
}

static int load(const struct reader *r, uint64_t bytes, int *memfd, struct err *err)
{
    uint64_t claim = r->header.pages * PAGE_BYTES;
    int rc = host_memory_reserve(claim, err);
    if (rc < 0)
        return rc;
    rc = make(r, bytes, memfd, err);
    host_memory_release(claim);
    return rc;
}

int memory_load(int dirfd, const char *name, const struct memory_file *expect, uint64_t bytes,
                int *memfd, struct err *err)
{
    struct reader r;
    if (FAULT_POINT("memory.load"))
        return err_set(err, ERR_INTERNAL, EIO, "fault point memory.load");
    int rc = reader_open(&r, dirfd, name, expect, bytes, err);
    if (rc < 0)
        return rc;
    rc = load(&r, bytes, memfd, err);
    reader_close(&r);
    return rc;
}
