/* What this host can still take. */
#include "orchestrator/sandbox/internal.h"

#include "common/base/fileio.h"

#include <errno.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>

/* Memory kept for the host itself and, per VM, for the VMM around its guest. */
#define HOST_RESERVED_MB 1024
#define VMM_OVERHEAD_MB  96

/* Below these another sandbox is refused, whatever the configured number. */
#define MEMORY_FREE_MIN_MB 256
#define DISK_FREE_MIN_MB   256

#define MEMINFO_MAX 8192

/* What the host can give to VMs. */
static uint64_t memory_for_vms_mb(void)
{
    struct sysinfo si;
    if (sysinfo(&si) < 0)
        return 0;
    uint64_t total_mb = (uint64_t)si.totalram * si.mem_unit >> 20;
    return total_mb > HOST_RESERVED_MB ? total_mb - HOST_RESERVED_MB : 0;
}

unsigned sandbox_host_capacity(const struct sandbox_host *h)
{
    if (h->config->max_sandboxes)
        return h->config->max_sandboxes < SANDBOX_SLOTS ? h->config->max_sandboxes : SANDBOX_SLOTS;
    uint64_t n = memory_for_vms_mb() / (h->config->memory_mb + VMM_OVERHEAD_MB);
    return n < 1 ? 1 : (n < SANDBOX_SLOTS ? (unsigned)n : SANDBOX_SLOTS);
}

uint64_t host_memory_available_mb(void)
{
    struct buf text = { 0 };
    uint64_t kb = UINT64_MAX;
    if (file_read("/proc/meminfo", MEMINFO_MAX, &text, NULL) == 0) {
        struct str rest = buf_str(&text);
        while (rest.p) {
            struct str line = str_split(&rest, '\n');
            struct str name = str_split(&line, ':');
            if (!str_eq(name, STR("MemAvailable")))
                continue;
            struct str number = str_trim(line);
            number = str_split(&number, ' ');
            if (!str_to_u64(number, UINT64_MAX, &kb))
                kb = UINT64_MAX;
            break;
        }
    }
    buf_deinit(&text);
    return kb == UINT64_MAX ? kb : kb >> 10;
}

static size_t count(const struct sandbox_host *h, const char *team_id)
{
    size_t n = 0;
    const struct list *lists[] = { &h->running, &h->paused };
    for (size_t i = 0; i < ARRAY_LEN(lists); i++)
        list_for_each (node, lists[i]) {
            const struct sandbox *sb = container_of(node, struct sandbox, node);
            n += sm_state(&sb->sm) != SANDBOX_PAUSED &&
                 (!team_id || strcmp(sb->team_id, team_id) == 0);
        }
    n += create_count(h, team_id);
    return n;
}

static int admit_count(struct sandbox_host *h, const char *team_id, struct err *err)
{
    unsigned capacity = sandbox_host_capacity(h), per_team = h->config->max_per_team;
    if (count(h, NULL) > capacity)
        return err_set(err, ERR_EXHAUSTED, EAGAIN,
                       "you have reached the maximum number of concurrent E2B sandboxes (%u)",
                       capacity);
    if (team_id && per_team && count(h, team_id) > per_team)
        return err_set(err, ERR_EXHAUSTED, EAGAIN,
                       "you have reached the maximum number of concurrent E2B sandboxes of a team "
                       "(%u)",
                       per_team);
    return 0;
}

static int admit_host(const struct sandbox_host *h, struct err *err)
{
    struct statvfs fs;
    uint64_t memory_mb = host_memory_available_mb();
    if (memory_mb < MEMORY_FREE_MIN_MB)
        return err_set(err, ERR_UNAVAILABLE, ENOMEM,
                       "the host has too little memory for another sandbox: %llu MB are free",
                       (unsigned long long)memory_mb);
    if (statvfs(h->config->data_dir, &fs) == 0 &&
        ((uint64_t)fs.f_bavail * fs.f_frsize >> 20) < DISK_FREE_MIN_MB)
        return err_set(err, ERR_UNAVAILABLE, ENOSPC,
                       "the host's disk is too full for another sandbox");
    return 0;
}

int sandbox_host_admit_memory(const struct sandbox_host *h, struct err *err)
{
    struct sandbox_usage used;
    uint64_t have_mb = memory_for_vms_mb();
    sandbox_host_usage(h, &used);
    uint64_t need_mb = used.memory_mb + (uint64_t)used.sandboxes * VMM_OVERHEAD_MB;
    /* One is let in whatever the host: what it can do is then seen. */
    if (h->config->max_sandboxes || used.sandboxes <= 1 || need_mb <= have_mb)
        return 0;
    return err_set(err, ERR_UNAVAILABLE, ENOMEM,
                   "the host has too little memory for another sandbox of this size: all together "
                   "would need %llu MB of %llu",
                   (unsigned long long)need_mb, (unsigned long long)have_mb);
}

void blame_host_for_lack(struct err *err)
{
    if (err->code == ERR_EXHAUSTED)
        err->code = ERR_UNAVAILABLE;
}

int sandbox_host_admit(struct sandbox_host *h, const char *team_id, struct err *err)
{
    if (h->stopping)
        return err_set(err, ERR_UNAVAILABLE, ESHUTDOWN, "the daemon is stopping");
    int rc = admit_count(h, team_id, err);
    return rc ? rc : admit_host(h, err);
}
