/* Names of templates and snapshots as clients write them. */
#ifndef ORCHESTRATOR_STORE_TEMPLATE_REF_H
#define ORCHESTRATOR_STORE_TEMPLATE_REF_H

#include "common/base/err.h"

#include <stdbool.h>

#define TEMPLATE_NAME_SIZE 129 /* of one name, namespace or tag */
#define TEMPLATE_REF_MAX   255 /* of "namespace/name:tag" */

/* "[namespace/]name[:tag]", trimmed and in lower case. The tag "default" is given as an empty one.
 */
struct template_ref {
    char space[TEMPLATE_NAME_SIZE];
    char name[TEMPLATE_NAME_SIZE];
    char tag[TEMPLATE_NAME_SIZE];
    bool tagged; /* a tag was written, be it "default" */
};

/* -EINVAL "invalid template reference 'x': ..." when it breaks the rules for names. */
int template_ref_parse(const char *text, struct template_ref *out, struct err *err);

/* The tag as it is on record. */
static inline const char *template_ref_tag(const struct template_ref *ref)
{
    return ref->tag[0] ? ref->tag : "default";
}

#endif
