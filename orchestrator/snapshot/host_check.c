#include "orchestrator/snapshot/host_check.h"
#include "common/base/cleanup.h"
#include "common/base/encode.h"

#include <errno.h>

void snapshot_digest_text(const char *text, char out[static SNAPSHOT_DIGEST_SIZE])
{
    uint8_t sum[SHA256_SIZE];
    sha256(text, strlen(text), sum);
    hex_encode(sum, sizeof(sum), out);
}

/* The value of "key : value", or NULL. */
static char *value_of(char *line, const char *key)
{
    char *colon = strchr(line, ':');
    if (strncmp(line, key, strlen(key)) != 0 || !colon || colon[1] != ' ')
        return NULL;
    colon[strcspn(colon, "\n")] = '\0';
    return colon + 2;
}

/* What /proc/cpuinfo says of the first processor. */
static int read_cpu(struct snapshot_manifest *m, struct err *err)
{
    AUTO_FCLOSE FILE *f = fopen("/proc/cpuinfo", "re");
    AUTO_FREE char *line = NULL;
    size_t cap = 0;
    m->cpu_model[0] = m->cpu_flags[0] = '\0';
    while (f && getline(&line, &cap, f) > 0 && !(m->cpu_model[0] && m->cpu_flags[0])) {
        const char *value = value_of(line, "model name");
        if (value)
            snprintf(m->cpu_model, sizeof(m->cpu_model), "%s", value);
        value = value_of(line, "flags");
        if (value)
            snapshot_digest_text(value, m->cpu_flags);
    }
    if (m->cpu_model[0] && m->cpu_flags[0])
        return 0;
    return err_set(err, ERR_INTERNAL, EIO, "/proc/cpuinfo does not tell the processor");
}

int snapshot_describe_host(struct snapshot_manifest *m, const struct vmm_host *host,
                           enum vmm_board board, struct err *err)
{
    const char *machine = host->machine[board];
    if (!machine[0])
        return err_set(err, ERR_PRECONDITION, ENOTSUP,
                       "%s has no machine of the kind that the template was made for",
                       host->version);
    if (!str_copy(str_of(host->version), m->vmm_version, sizeof(m->vmm_version)) ||
        !str_copy(str_of(machine), m->machine, sizeof(m->machine)) ||
        !str_copy(str_of(host->accelerator), m->accelerator, sizeof(m->accelerator)))
        return err_set(err, ERR_INTERNAL, ENAMETOOLONG, "the VMM's version is too long");
    return read_cpu(m, err);
}

static int differs(struct err *err, const char *what, const char *had, const char *has)
{
    return err_set(err, ERR_PRECONDITION, EINVAL,
                   "the snapshot was made with %s '%s', and here it is '%s'", what, had, has);
}

int snapshot_check_host(const struct snapshot_manifest *m, const struct vmm_host *host,
                        enum vmm_board board, struct err *err)
{
    struct snapshot_manifest here = { 0 };
    int rc = snapshot_describe_host(&here, host, board, err);
    if (rc < 0)
        return rc;
    if (strcmp(m->accelerator, here.accelerator) != 0)
        return differs(err, "accelerator", m->accelerator, here.accelerator);
    if (strcmp(m->vmm_version, here.vmm_version) != 0)
        return differs(err, "VMM", m->vmm_version, here.vmm_version);
    if (!vmm_machine_fits(m->machine, here.machine))
        return differs(err, "machine type", m->machine, here.machine);
    if (!host->kvm)
        return 0;
    if (strcmp(m->cpu_model, here.cpu_model) != 0)
        return differs(err, "processor", m->cpu_model, here.cpu_model);
    if (strcmp(m->cpu_flags, here.cpu_flags) != 0)
        return err_set(err, ERR_PRECONDITION, EINVAL,
                       "the snapshot was made with other features of the processor '%s'",
                       m->cpu_model);
    return 0;
}

int snapshot_check_machine(const struct snapshot_manifest *m, const char *kernel_sha256,
                           const char *cmdline, const char *devices, struct err *err)
{
    char digest[SNAPSHOT_DIGEST_SIZE];
    if (strcmp(m->kernel, kernel_sha256) != 0)
        return err_set(err, ERR_PRECONDITION, EINVAL,
                       "the snapshot was made with another kernel than its build has");
    snapshot_digest_text(cmdline, digest);
    if (strcmp(m->cmdline, digest) != 0)
        return err_set(err, ERR_PRECONDITION, EINVAL,
                       "the snapshot was made with another kernel command line");
    snapshot_digest_text(devices, digest);
    if (strcmp(m->devices, digest) != 0)
        return err_set(err, ERR_PRECONDITION, EINVAL,
                       "the snapshot was made with other devices than a VM has here");
    return 0;
}
