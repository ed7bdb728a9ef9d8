/* Rows of builds and templates, for this folder only. */
#ifndef ORCHESTRATOR_STORE_BUILDS_H
#define ORCHESTRATOR_STORE_BUILDS_H

#include "orchestrator/store/statement.h"
#include "orchestrator/store/templates.h"

/* The build a tag stands for, without its layers: 1, 0 none, -errno. */
int build_find(struct db *db, const char *template_id, const char *tag, struct store_build *out,
               struct err *err);

/* The layers that the build's disk has. */
int build_load_layers(struct db *db, struct store_build *b, struct err *err);

/* Inside the caller's transaction: the build becomes a row of the template, and the tag stands for
 * it. Fills in the id (when empty), status and times. */
int build_publish(struct db *db, const char *template_id, const char *tag, struct store_build *b,
                  struct err *err);

/* Inside the caller's transaction: make a template; team NULL: the operator's; name NULL: none. */
int template_make(struct db *db, const char *team_id, const char *name, const char *kind,
                  char id[static ID_TEMPLATE_SIZE], struct err *err);

/* The template with a name; `owner` is a team's id, or '' for the operator: 1, 0 none, -errno. */
int template_find_named(struct db *db, const char *owner, const char *name,
                        struct store_template *out, struct err *err);

/* The template a team means by a reference, as db_template_find() tells. `text` is what the client
 * wrote. */
int template_find(struct db *db, const char *team_id, const char *text,
                  const struct template_ref *ref, struct store_template *out, struct err *err);

#endif
