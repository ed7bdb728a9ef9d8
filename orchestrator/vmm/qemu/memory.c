/* Where a VM's memory is in its process. */
#include "orchestrator/vmm/qemu/vm.h"

#include "common/base/fileio.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MAPS_MAX (1 << 20) /* of /proc/PID/maps: QEMU has some hundred lines of 100 bytes */

struct mapping {
    uint64_t from, to, offset;
    char rights[8], device[16];
    uint64_t inode;
    char path[64];
};

static bool parse(struct str line, struct mapping *m)
{
    char text[256];
    *m = (struct mapping){ 0 };
    return str_copy(line, text, sizeof(text)) &&
           sscanf(text, "%" SCNx64 "-%" SCNx64 " %7s %" SCNx64 " %15s %" SCNu64 " %63[^\n]",
                  &m->from, &m->to, m->rights, &m->offset, m->device, &m->inode, m->path) == 7;
}

/* The whole of the one private, writable mapping of a memfd of this size. The kernel may show it in
 * parts, one behind the other. */
static bool find(struct str maps, uint64_t size, uint64_t *address)
{
    struct mapping m, whole = { 0 };
    while (maps.p) {
        struct str line = str_split(&maps, '\n');
        if (!parse(line, &m) || strncmp(m.path, "/memfd:", 7) != 0 || m.rights[1] != 'w' ||
            m.rights[3] != 'p')
            continue;
        bool goes_on = m.inode == whole.inode && m.from == whole.to &&
                       m.offset == whole.offset + (whole.to - whole.from);
        if (goes_on)
            whole.to = m.to;
        else
            whole = m;
        if (whole.offset == 0 && whole.to - whole.from == size) {
            *address = whole.from;
            return true;
        }
    }
    return false;
}

int vmm_memory(const struct vmm *v, struct vmm_memory *out, struct err *err)
{
    char path[48];
    struct buf text = { 0 };
    *out = (struct vmm_memory){ .pid = v->record.pid, .size = (uint64_t)v->config.memory_mb << 20 };
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)v->record.pid);
    int rc = file_read(path, MAPS_MAX, &text, err);
    if (rc == 0 && !find(buf_str(&text), out->size, &out->address))
        rc = err_set(err, ERR_INTERNAL, ENODATA, "the VM's memory is not mapped in process %d",
                     (int)v->record.pid);
    buf_deinit(&text);
    return rc;
}
