/* The fields of snapshot.json, once for reading and writing. */
#ifndef ORCHESTRATOR_SNAPSHOT_FIELDS_H
#define ORCHESTRATOR_SNAPSHOT_FIELDS_H

#include "orchestrator/snapshot/manifest.h"

enum field_kind {
    FIELD_TEXT,
    FIELD_ID, /* goes into paths: [a-z0-9-] */
    FIELD_ID_OR_EMPTY,
    FIELD_DIGEST,
    FIELD_SECRET, /* LINK_SECRET_SIZE bytes, as hex */
    FIELD_BOOL,
    FIELD_UNSIGNED,    /* from 1 */
    FIELD_U64,         /* from 1 */
    FIELD_U64_OR_NONE, /* the same; 0 is absent from the text */
};

struct field {
    const char *key;
    enum field_kind kind;
    size_t offset, size;
};

#define SNAPSHOT_FIELDS 22
extern const struct field snapshot_fields[SNAPSHOT_FIELDS];

/* Whether a text may be this field's value. */
bool field_accepts(const struct field *f, struct str text);

#endif
