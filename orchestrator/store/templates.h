/* Templates, their names and tags, and their builds. */
#ifndef ORCHESTRATOR_STORE_TEMPLATES_H
#define ORCHESTRATOR_STORE_TEMPLATES_H

#include "common/base/str.h"
#include "orchestrator/store/db.h"
#include "orchestrator/store/ids.h"

#include <limits.h>

#define TEMPLATE_NAME_SIZE 129 /* of one name, namespace or tag */
#define TEMPLATE_REF_MAX   255 /* of "namespace/name:tag" */

struct store_template {
    char id[ID_TEMPLATE_SIZE];
    char team_id[ID_UUID_SIZE];    /* empty: the operator's */
    char team_slug[65];            /* of that team */
    char name[TEMPLATE_NAME_SIZE]; /* the first one; empty when it has none */
    bool is_public;
    int64_t created_ns, updated_ns;
    int64_t last_spawned_ns; /* 0: never */
    int64_t spawn_count;
    int64_t build_count;
};

/* A build: immutable once its status is "ready". */
struct store_build {
    char id[ID_UUID_SIZE];
    char template_id[ID_TEMPLATE_SIZE];
    char alias[TEMPLATE_NAME_SIZE]; /* the template's name; set by db_template_resolve() only */
    char status[16];                /* building, waiting, ready, error */
    char dir[PATH_MAX];             /* where its files are */
    unsigned vcpus;                 /* 0: the daemon's setting */
    unsigned memory_mb;             /* 0: the daemon's setting */
    uint64_t disk_mb;
    char envd_version[32];
    int64_t created_ns;
    int64_t finished_ns; /* 0: not yet */
};

/* A reference as clients write it, "[namespace/]name[:tag]", trimmed and in lower case. The tag
 * "default" is given as an empty one. */
struct template_ref {
    char space[TEMPLATE_NAME_SIZE];
    char name[TEMPLATE_NAME_SIZE];
    char tag[TEMPLATE_NAME_SIZE];
};

/* -EINVAL "invalid template reference 'x': ..." when it breaks the rules for names. */
int template_ref_parse(const char *text, struct template_ref *out, struct err *err);

/* The template that a team means by a reference (an id, or a name: first among its own, then among
 * the public ones). ERR_NOT_FOUND "template 'x' not found", ERR_DENIED "you don't have access to
 * template 'x'", ERR_INVALID. The tag of the reference plays no part. */
int db_template_find(struct db *db, const char *team_id, const char *ref,
                     struct store_template *out, struct err *err);

/* The same, and the build that the tag stands for: ERR_NOT_FOUND "tag 't' does not exist for
 * template 'x'" too. */
int db_template_resolve(struct db *db, const char *team_id, const char *ref,
                        struct store_template *out, struct store_build *build, struct err *err);

/* Make a finished build known under a name and let the tag "default" stand for it from now on; the
 * template is made when there is none of that name. team_id NULL: the operator's, public to all.
 * build->id, dir, sizes and envd_version are taken as given (an empty id is filled in); the rest is
 * filled in, as is *out. One transaction. */
int db_template_publish(struct db *db, const char *team_id, const char *name,
                        struct store_build *build, struct store_template *out, struct err *err);

/* Forget builds of the template that nothing needs: finished before `before_ns`, and neither a tag
 * nor a sandbox on record stands on them. remove(user, dir) removes the files of each first; what
 * it fails to remove stays on record. */
int db_template_prune(struct db *db, const char *template_id, int64_t before_ns,
                      bool (*remove)(void *user, const char *dir), void *user, struct err *err);

/* Templates that a team sees, its own and the operator's (NULL: all there are), by name, each with
 * the build that its tag "default" stands for (NULL: none). */
int db_template_list(struct db *db, const char *team_id,
                     void (*each)(void *user, const struct store_template *t,
                                  const struct store_build *build),
                     void *user, struct err *err);

#endif
