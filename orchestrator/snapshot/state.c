#include "orchestrator/snapshot/state.h"
#include "common/base/cleanup.h"
#include "common/base/encode.h"
#include "orchestrator/snapshot/snapshot_io.h"

#include <errno.h>

#define COPY_BYTES 65536

static int read_some(int fd, uint8_t *to, uint64_t at)
{
    ssize_t n;
    do
        n = pread(fd, to, COPY_BYTES, (off_t)at);
    while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : (int)n;
}

int state_copy(int from, int to, struct snapshot_state *out, bool *writing)
{
    uint8_t sum[SHA256_SIZE];
    struct sha256 hash;
    AUTO_FREE uint8_t *block = malloc(COPY_BYTES);
    *writing = false;
    out->size = 0;
    if (!block)
        return -ENOMEM;
    sha256_init(&hash);
    for (;;) {
        int n = read_some(from, block, out->size);
        if (n <= 0 || out->size + (uint64_t)n > STATE_MAX) {
            if (n > 0)
                return -EFBIG;
            sha256_final(&hash, sum);
            hex_encode(sum, sizeof(sum), out->sha256);
            return n;
        }
        sha256_update(&hash, block, (size_t)n);
        int rc = to < 0 ? 0 : snapshot_pwrite(to, block, (size_t)n, out->size);
        if (rc < 0) {
            *writing = true;
            return rc;
        }
        out->size += (uint64_t)n;
    }
}
