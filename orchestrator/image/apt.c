#include "orchestrator/image/apt.h"
#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "orchestrator/image/command.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>

#define OPTIONS_MAX 16
#define OPTION_SIZE (PATH_MAX + 32)

bool apt_parse_dependency(struct str text, char out[static APT_PACKAGE_MAX])
{
    while (text.p) {
        struct str line = str_split(&text, '\n');
        if (!str_starts(line, STR("Depends: ")))
            continue;
        line = str_from(line, 9);
        size_t n = 0;
        while (n < line.n && line.p[n] != ' ' && line.p[n] != ',' && line.p[n] != ':')
            n++;
        for (size_t i = 0; i < n; i++) {
            char c = line.p[i];
            bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
            if (!plain && (i == 0 || !strchr("+-.", c)))
                return false;
        }
        return n > 0 && str_copy((struct str){ line.p, n }, out, APT_PACKAGE_MAX);
    }
    return false;
}

bool apt_parse_version(struct str text, char out[static APT_PACKAGE_MAX])
{
    while (text.p) {
        struct str line = str_split(&text, '\n');
        if (!str_starts(line, STR("Version: ")))
            continue;
        line = str_from(line, 9);
        for (size_t i = 0; i < line.n; i++)
            if (!isalnum((unsigned char)line.p[i]) && !strchr(".+-~:", line.p[i]))
                return false;
        return line.n > 0 && str_copy(line, out, APT_PACKAGE_MAX);
    }
    return false;
}

static bool of_our_suite(struct str suite)
{
    return str_eq(suite, STR(APT_SUITE)) || str_eq(suite, STR(APT_SUITE "-updates")) ||
           str_eq(suite, STR(APT_SUITE "-security"));
}

void apt_parse_sources(struct apt *a, struct str text)
{
    a->nsources = 0;
    while (text.p && a->nsources < APT_SOURCES_MAX) {
        struct str line = str_split(&text, '\n');
        struct str origin = str_split(&line, ' ');
        struct str uri = str_split(&line, ' ');
        struct str suite = str_split(&line, ' ');
        char *out = a->sources[a->nsources];
        if (!str_eq(origin, STR("Debian")) || !of_our_suite(suite) || !str_eq(line, STR("main")))
            continue;
        int n = snprintf(out, APT_SOURCE_MAX, "deb %.*s %.*s main", STR_ARG(uri), STR_ARG(suite));
        bool known = n >= APT_SOURCE_MAX;
        for (size_t i = 0; i < a->nsources; i++)
            known = known || strcmp(a->sources[i], out) == 0;
        a->nsources += known ? 0 : 1;
    }
}

/* Run an apt program with the private lists. `rest` are its words, NULL at the end. */
static int run_apt(const struct apt *a, const char *const *rest, const char *cwd,
                   struct buf *output, struct err *err)
{
    char lists[OPTION_SIZE], cache[OPTION_SIZE];
    const char *argv[OPTIONS_MAX] = { rest[0] };
    size_t n = 1;
    snprintf(lists, sizeof(lists), "Dir::State::Lists=%s", a->lists);
    snprintf(cache, sizeof(cache), "Dir::Cache=%s", a->cache);
    const char *const common[] = {
        "-q", "-o", lists, "-o", cache, "-o", "APT::Sandbox::User=root"
    };
    for (size_t i = 0; i < ARRAY_LEN(common); i++)
        argv[n++] = common[i];
    for (size_t i = 1; rest[i] && n < OPTIONS_MAX - 1; i++)
        argv[n++] = rest[i];
    struct command c = { .argv = argv,
                         .package = "apt",
                         .cwd = cwd,
                         .log = a->log,
                         .output = output,
                         .tick = a->tick,
                         .user = a->user };
    return command_run(&c, err);
}

static int find_sources(struct apt *a, struct err *err)
{
    static const char *const argv[] = { "apt-get",
                                        "indextargets",
                                        "--format",
                                        "$(ORIGIN) $(REPO_URI) $(RELEASE) $(COMPONENT)",
                                        "Created-By: Packages",
                                        NULL };
    struct buf text = { 0 };
    int rc = run_apt(a, argv, NULL, &text, err);
    if (rc == 0)
        apt_parse_sources(a, buf_str(&text));
    buf_deinit(&text);
    if (rc == 0 && a->nsources == 0)
        rc = err_set(err, ERR_NOT_FOUND, ENOENT,
                     "apt on this machine knows no Debian archive of " APT_SUITE
                     ", or could not reach it");
    return rc;
}

int apt_update(struct apt *a, const char *dir, struct err *err)
{
    static const char *const argv[] = { "apt-get", "-o", "APT::Update::Error-Mode=any", "update",
                                        NULL };
    char partial[PATH_MAX];
    struct err why = { 0 };
    snprintf(a->lists, sizeof(a->lists), "%s/lists", dir);
    snprintf(a->cache, sizeof(a->cache), "%s/cache", dir);
    if (snprintf(partial, sizeof(partial), "%s/lists/partial", dir) >= (int)sizeof(partial))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", dir);
    int rc = file_make_dirs(partial, 0755, err);
    snprintf(partial, sizeof(partial), "%s/cache/archives/partial", dir);
    if (rc == 0)
        rc = file_make_dirs(partial, 0755, err);
    if (rc < 0)
        return rc;
    /* Another archive of the machine may fail without harm: what counts is Debian's. */
    int updated = run_apt(a, argv, NULL, NULL, &why);
    if (updated == -EINTR || updated == -ENOSPC || updated == -ENOENT) {
        *err = why;
        return updated;
    }
    rc = find_sources(a, err);
    if (rc == -ENOENT && updated < 0)
        return err_set(err, ERR_UNAVAILABLE, EIO, "cannot fetch Debian's package lists: %s",
                       why.msg);
    return rc;
}

/* What apt tells of the newest version of a package. */
static int show(const struct apt *a, const char *package, struct buf *text, struct err *err)
{
    const char *const argv[] = { "apt-cache", "show", "--no-all-versions", package, NULL };
    return run_apt(a, argv, NULL, text, err);
}

int apt_version(const struct apt *a, const char *package, char out[static APT_PACKAGE_MAX],
                struct err *err)
{
    struct buf text = { 0 };
    int rc = show(a, package, &text, err);
    if (rc == 0 && !apt_parse_version(buf_str(&text), out))
        rc = err_set(err, ERR_NOT_FOUND, ENOENT, "apt tells no version of %s", package);
    buf_deinit(&text);
    return rc;
}

int apt_first_dependency(const struct apt *a, const char *package, char out[static APT_PACKAGE_MAX],
                         struct err *err)
{
    struct buf text = { 0 };
    int rc = show(a, package, &text, err);
    if (rc == 0 && !apt_parse_dependency(buf_str(&text), out))
        rc = err_set(err, ERR_NOT_FOUND, ENOENT, "the package %s depends on nothing", package);
    buf_deinit(&text);
    return rc;
}

int apt_download(const struct apt *a, const char *package, const char *dir,
                 char out[static PATH_MAX], struct err *err)
{
    const char *const argv[] = { "apt-get", "download", package, NULL };
    int rc = run_apt(a, argv, dir, NULL, err);
    if (rc < 0)
        return rc;
    DIR *list = opendir(dir);
    if (!list)
        return err_set(err, ERR_INTERNAL, errno, "cannot read %s: %s", dir, strerror(errno));
    rc = err_set(err, ERR_NOT_FOUND, ENOENT, "apt-get left no file of %s", package);
    for (struct dirent *e = readdir(list); e && rc < 0; e = readdir(list)) {
        size_t n = strlen(e->d_name);
        if (n > 4 && strcmp(e->d_name + n - 4, ".deb") == 0 &&
            snprintf(out, PATH_MAX, "%s/%s", dir, e->d_name) < PATH_MAX)
            rc = 0;
    }
    closedir(list);
    return rc;
}
