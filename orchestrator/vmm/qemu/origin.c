/* What a VM was started as, written down in its run directory: a later daemon may find another
 * QEMU, or KVM where there was none, and what it saves of the VM is of the VM's own machine. */
#include "orchestrator/vmm/qemu/vm.h"

#include "common/base/fault.h"
#include "common/base/fileio.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#define ORIGIN_MAX 512

int vm_origin_write(const struct vmm *v, struct err *err)
{
    char path[PATH_MAX], text[ORIGIN_MAX];
    const struct vmm_host *h = &v->host;
    if (FAULT_POINT("vmm.origin"))
        return err_set(err, ERR_INTERNAL, EIO, "fault injected at vmm.origin");
    if (vm_path(v, RUN_ORIGIN, path, sizeof(path)) < 0)
        return err_set(err, ERR_INTERNAL, ENAMETOOLONG, "%s is too long a path", v->run_dir);
    int n = snprintf(text, sizeof(text), "%s\n%s\n%s\n", h->accelerator, h->version,
                     h->machine[v->config.template.board]);
    AUTO_CLOSE int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int rc = fd < 0 ? -errno : fd_write_all(fd, text, (size_t)n);
    if (rc < 0)
        return err_set(err, ERR_INTERNAL, -rc, "cannot write %s: %s", path, strerror(-rc));
    return 0;
}

void vm_origin_read(struct vmm *v)
{
    char path[PATH_MAX];
    struct buf text = { 0 };
    struct vmm_host was = v->host;
    char machine[sizeof(was.machine[0])] = "";
    if (vm_path(v, RUN_ORIGIN, path, sizeof(path)) < 0 ||
        file_read(path, ORIGIN_MAX, &text, NULL) < 0)
        return;
    struct str rest = buf_str(&text);
    bool ok = str_copy(str_split(&rest, '\n'), was.accelerator, sizeof(was.accelerator)) &&
              str_copy(str_split(&rest, '\n'), was.version, sizeof(was.version)) &&
              str_copy(str_split(&rest, '\n'), machine, sizeof(machine)) && machine[0];
    buf_deinit(&text);
    if (!ok)
        return;
    was.kvm = strcmp(was.accelerator, "kvm") == 0;
    for (size_t board = 0; board < VMM_BOARD_NR; board++)
        memcpy(was.machine[board], machine, sizeof(machine));
    v->host = was;
}
