#include "orchestrator/sandbox/strays.h"

#include "common/base/fileio.h"
#include "common/base/log.h"
#include "orchestrator/snapshot/snapshot.h"
#include "orchestrator/store/settings.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define BOOT_ID_PATH    "/proc/sys/kernel/random/boot_id"
#define BOOT_ID_MAX     64
#define BOOT_ID_SETTING "host_boot_id"

static void boot_id(char out[static BOOT_ID_MAX + 1])
{
    struct buf text = { 0 };
    out[0] = '\0';
    if (file_read(BOOT_ID_PATH, BOOT_ID_MAX, &text, NULL) == 0) {
        struct str rest = buf_str(&text);
        str_copy(str_split(&rest, '\n'), out, BOOT_ID_MAX + 1);
    }
    buf_deinit(&text);
}

int host_boot_changed(struct db *db, bool *changed, struct err *err)
{
    char now[BOOT_ID_MAX + 1], before[BOOT_ID_MAX + 1] = "";
    int rc = db_setting_get(db, BOOT_ID_SETTING, before, sizeof(before), err);
    boot_id(now);
    *changed = before[0] && strcmp(before, now) != 0;
    return rc;
}

int host_boot_remember(struct db *db, struct err *err)
{
    char now[BOOT_ID_MAX + 1], before[BOOT_ID_MAX + 1] = "";
    int rc = db_setting_get(db, BOOT_ID_SETTING, before, sizeof(before), err);
    boot_id(now);
    return rc < 0 || strcmp(before, now) == 0 ? rc : db_setting_set(db, BOOT_ID_SETTING, now, err);
}

/* Call each(user, name) for what is in the folder. */
static void each_entry(const char *dir, void (*each)(void *user, const char *name), void *user)
{
    DIR *list = opendir(dir);
    if (!list)
        return;
    for (struct dirent *e = readdir(list); e; e = readdir(list))
        if (e->d_name[0] != '.')
            each(user, e->d_name);
    closedir(list);
}

struct search {
    const struct sandbox_host *host;
    struct db *db;
    const struct store_sandbox *rows;
    size_t nrows;
};

static void check_snapshot(void *user, const char *name)
{
    const struct search *s = user;
    char path[PATH_MAX];
    struct store_build build;
    struct err err;
    for (size_t i = 0; i < s->nrows; i++)
        if (strcmp(s->rows[i].snapshot_id, name) == 0)
            return;
    if (db_build_find(s->db, name, &build, &err) == 0)
        return;
    snapshot_folder(s->host, name, path);
    log_info("removing a snapshot that nothing needs", LOG_STR("path", path));
    snapshot_remove(path, &err);
}

static void check_layer(void *user, const char *name)
{
    const struct search *s = user;
    char path[PATH_MAX], id[ID_UUID_SIZE];
    size_t n = STORE_LAYERS_MAX;
    AUTO_FREE char(*chain)[ID_UUID_SIZE] = calloc(STORE_LAYERS_MAX, sizeof(*chain));
    struct err err;
    snprintf(id, sizeof(id), "%.36s", name);
    if (!chain || db_layer_chain(s->db, id, chain, &n, &err) == 0)
        return;
    if (err.code != ERR_NOT_FOUND)
        return;
    layer_path(s->host, id, path);
    log_info("removing a layer that nothing needs", LOG_STR("path", path));
    unlink(path);
}

void strays_remove(const struct sandbox_host *h, struct db *db, const struct store_sandbox *rows,
                   size_t nrows)
{
    struct search s = { .host = h, .db = db, .rows = rows, .nrows = nrows };
    char dir[PATH_MAX];
    struct err err;
    snprintf(dir, sizeof(dir), "%s/snapshots", h->config->data_dir);
    if (snapshot_sweep(dir, &err) < 0)
        log_warn("unfinished snapshots are left", LOG_STR("reason", err.msg));
    each_entry(dir, check_snapshot, &s);
    snprintf(dir, sizeof(dir), "%s/layers", h->config->data_dir);
    each_entry(dir, check_layer, &s);
}

static bool is_run_dir_of_any(const struct sandbox_host *h, const char *name)
{
    for (struct map_entry *e = map_next(&h->by_id, NULL); e; e = map_next(&h->by_id, e)) {
        struct sandbox *sb = e->value;
        if (sb->vmm && strcmp(sandbox_vmm_name(own_of(sb)), name) == 0)
            return true;
    }
    return false;
}

static void check_run_dir(void *user, const char *name)
{
    struct sandbox_host *h = user;
    char path[PATH_MAX];
    if (is_run_dir_of_any(h, name))
        return;
    snprintf(path, sizeof(path), "%s/run/%s", h->config->data_dir, name);
    log_info("ending a VM that belongs to no sandbox", LOG_STR("run_dir", path));
    vmm_sweep(path, NULL);
}

void strays_sweep(struct sandbox_host *h)
{
    char dir[PATH_MAX];
    snprintf(dir, sizeof(dir), "%s/run", h->config->data_dir);
    each_entry(dir, check_run_dir, h);
}

bool process_has_open(pid_t pid, const char *path)
{
    char dir[40], link[320];
    struct stat wanted, have;
    bool found = false;
    snprintf(dir, sizeof(dir), "/proc/%d/fd", (int)pid);
    if (stat(path, &wanted) < 0)
        return false;
    DIR *list = opendir(dir);
    if (!list)
        return true;
    for (struct dirent *e = readdir(list); e && !found; e = readdir(list)) {
        snprintf(link, sizeof(link), "%s/%s", dir, e->d_name);
        found =
            stat(link, &have) == 0 && have.st_dev == wanted.st_dev && have.st_ino == wanted.st_ino;
    }
    closedir(list);
    return found;
}
