#include "orchestrator/doctor_kept.h"

#include "common/base/cleanup.h"
#include "common/base/str.h"
#include "orchestrator/snapshot/snapshot.h"
#include "orchestrator/store/db.h"
#include "orchestrator/store/sandboxes.h"

#include <dirent.h>
#include <fts.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct kept {
    const char *data_dir;
    void (*tell)(void *user, const char *text);
    void *user;
    struct snapshot_manifest manifest; /* of the snapshot that is looked at */
};

/* What the folder takes of the disk, in MiB. */
static unsigned long long size_mb(const struct kept *k, const char *folder)
{
    char path[PATH_MAX];
    snprintf(path, sizeof(path), "%s/%s", k->data_dir, folder);
    char *const roots[] = { path, NULL };
    unsigned long long blocks = 0;
    FTS *tree = fts_open(roots, FTS_PHYSICAL | FTS_XDEV, NULL);
    for (FTSENT *e = tree ? fts_read(tree) : NULL; e; e = fts_read(tree))
        if (e->fts_info == FTS_F)
            blocks += (unsigned long long)e->fts_statp->st_blocks;
    if (tree)
        fts_close(tree);
    return blocks / 2048;
}

static void tell_sizes(const struct kept *k)
{
    char text[PATH_MAX + 256];
    snprintf(text, sizeof(text),
             "%s keeps %llu MiB of templates, %llu MiB of saved memory, %llu MiB of disks: sandpit "
             "kill removes a sandbox's, a paused one's too.",
             k->data_dir, size_mb(k, "templates"), size_mb(k, "snapshots"), size_mb(k, "layers"));
    k->tell(k->user, text);
}

/* Copies of the database that migrations left. */
static void tell_copies(const struct kept *k)
{
    char path[PATH_MAX + NAME_MAX + 2], text[sizeof(path) + 128];
    struct stat st;
    DIR *list = opendir(k->data_dir);
    for (struct dirent *e = list ? readdir(list) : NULL; e; e = readdir(list)) {
        snprintf(path, sizeof(path), "%s/%s", k->data_dir, e->d_name);
        if (!str_starts(str_of(e->d_name), STR(DB_FILE ".v")) || stat(path, &st) < 0)
            continue;
        snprintf(text, sizeof(text),
                 "%s (%lld KiB) is from before a newer sandpit changed the database: it may go, "
                 "unless the older one is to run again.",
                 path, (long long)st.st_blocks / 2);
        k->tell(k->user, text);
    }
    if (list)
        closedir(list);
}

/* Its manifest alone is read: what is wrong with the rest shows when it is resumed. */
static void tell_unusable(void *user, const struct store_sandbox *sb)
{
    struct kept *k = user;
    char dir[PATH_MAX + ID_UUID_SIZE + 16], text[512];
    struct err err;
    if (strcmp(sb->state, "paused") != 0 || !sb->snapshot_id[0])
        return;
    snprintf(dir, sizeof(dir), "%s/snapshots/%s", k->data_dir, sb->snapshot_id);
    if (snapshot_open(dir, &k->manifest, NULL, NULL, &err) == 0)
        return;
    snprintf(text, sizeof(text),
             "The paused sandbox %s cannot go on from its memory: %s. sandpit kill %s removes it.",
             sb->id, err.msg, sb->id);
    k->tell(k->user, text);
}

void doctor_kept(const char *data_dir, void (*tell)(void *user, const char *text), void *user)
{
    AUTO_FREE struct kept *k = calloc(1, sizeof(*k));
    struct db *db = NULL;
    struct err err;
    if (!k)
        return;
    *k = (struct kept){ .data_dir = data_dir, .tell = tell, .user = user };
    tell_sizes(k);
    tell_copies(k);
    if (db_open(&db, data_dir, &err) == 0 && db_sandbox_load(db, tell_unusable, k, &err) < 0)
        tell(user, err.msg);
    db_close(db);
}
