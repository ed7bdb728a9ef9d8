/* Debian's archives, as the machine's own apt knows them, with lists of the builder's own: the
 * machine's stay as they are, and need not be fresh. */
#ifndef ORCHESTRATOR_IMAGE_APT_H
#define ORCHESTRATOR_IMAGE_APT_H

#include "common/base/buf.h"
#include "common/base/err.h"

#include <limits.h>

#define APT_SUITE       "bookworm"
#define APT_PACKAGE_MAX 128
#define APT_SOURCES_MAX 16
#define APT_SOURCE_MAX  512

struct apt {
    char lists[PATH_MAX], cache[PATH_MAX];
    const char *log;
    void (*tick)(void *user, const char *line);
    void *user;
    char sources[APT_SOURCES_MAX][APT_SOURCE_MAX]; /* "deb URI SUITE main" */
    size_t nsources;
};

/* Fetch the lists into <dir>/lists and find the archives of Debian's APT_SUITE among them. `a` has
 * log, tick and user set. 0; -ENOENT when the machine's apt knows none; or -errno. */
int apt_update(struct apt *a, const char *dir, struct err *err);

/* The package that a package depends on first. */
int apt_first_dependency(const struct apt *a, const char *package, char out[static APT_PACKAGE_MAX],
                         struct err *err);

/* The version of a package that would be fetched. */
int apt_version(const struct apt *a, const char *package, char out[static APT_PACKAGE_MAX],
                struct err *err);

/* Fetch the package's file into `dir`, which holds no other; its path into out. */
int apt_download(const struct apt *a, const char *package, const char *dir,
                 char out[static PATH_MAX], struct err *err);

/* For apt's other users: the first dependency in the text that `apt-cache show` prints. false when
 * there is none or it is no package's name. */
bool apt_parse_dependency(struct str text, char out[static APT_PACKAGE_MAX]);

/* The version in the same text; false when there is none, or not a plain one. */
bool apt_parse_version(struct str text, char out[static APT_PACKAGE_MAX]);

/* Take the archives of APT_SUITE out of "ORIGIN URI SUITE COMPONENT" lines, each once. */
void apt_parse_sources(struct apt *a, struct str text);

#endif
