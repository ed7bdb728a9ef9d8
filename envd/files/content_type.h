/* The Content-Type of a file. */
#ifndef ENVD_FILES_CONTENT_TYPE_H
#define ENVD_FILES_CONTENT_TYPE_H

#include "common/base/str.h"

#define CONTENT_TYPE_SNIFF 512 /* bytes of the file's front that matter */

/* By the extension of the name; NULL for an unknown one. */
const char *content_type_by_name(const char *name);

/* By the first bytes of the file; never NULL. */
const char *content_type_sniff(struct str front);

#endif
