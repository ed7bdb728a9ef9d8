#include "orchestrator/store/template_ref.h"

#include "common/base/str.h"

#include <errno.h>

static bool is_name_char(char c, bool tag)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           (tag && c == '.');
}

/* Copy a part in lower case; false when it is empty, too long or has another character. */
static bool copy_part(struct str s, bool tag, char dst[static TEMPLATE_NAME_SIZE])
{
    if (s.n == 0 || s.n >= TEMPLATE_NAME_SIZE)
        return false;
    for (size_t i = 0; i < s.n; i++) {
        char c = s.p[i];
        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (!is_name_char(c, tag))
            return false;
        dst[i] = c;
    }
    dst[s.n] = '\0';
    return true;
}

int template_ref_parse(const char *text, struct template_ref *out, struct err *err)
{
    *out = (struct template_ref){ 0 };
    struct str rest = str_trim(str_of(text));
    bool ok = rest.n <= TEMPLATE_REF_MAX;
    ptrdiff_t colon = str_find(rest, ':');
    if (ok && colon >= 0) {
        ok = copy_part(str_from(rest, (size_t)colon + 1), true, out->tag);
        rest.n = (size_t)colon;
        out->tagged = true;
        if (strcmp(out->tag, "default") == 0)
            out->tag[0] = '\0';
    }
    ptrdiff_t slash = str_find(rest, '/');
    if (ok && slash >= 0) {
        ok = copy_part((struct str){ rest.p, (size_t)slash }, false, out->space);
        rest = str_from(rest, (size_t)slash + 1);
    }
    if (!ok || !copy_part(rest, false, out->name))
        return err_set(
            err, ERR_INVALID, EINVAL,
            "invalid template reference '%.128s': use [namespace/]name[:tag] with letters,"
            " digits, '-' and '_'",
            text);
    return 0;
}
