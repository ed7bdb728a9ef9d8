#include "orchestrator/api/snapshot_options.h"

#include "common/base/str.h"
#include "orchestrator/api/parse.h"

#include <errno.h>

int snapshot_options_parse(const json_t *body, struct snapshot_options *out, struct err *err)
{
    const char *mode = NULL;
    *out = (struct snapshot_options){ .memory = true };
    int rc = parse_bool(body, "memory", &out->memory, err);
    if (rc == 0)
        rc = parse_string(body, "mode", &mode, err);
    if (rc == 0)
        rc = parse_bool(body, "requireHealthyGuest", &out->require_healthy, err);
    if (rc || !mode)
        return rc;
    bool full = strcmp(mode, "full") == 0;
    if (!full && strcmp(mode, "filesystem") != 0)
        return err_set(err, ERR_INVALID, EINVAL,
                       "validation error: field 'mode' must be full or filesystem");
    if (parse_has(body, "memory") && out->memory != full)
        return err_set(err, ERR_INVALID, EINVAL, "mode: %s contradicts memory: %s", mode,
                       out->memory ? "true" : "false");
    out->memory = full;
    return 0;
}
