/* The texts of list requests and template references: any bytes are read or refused, and what was
 * read is written and read again. */
#include "orchestrator/api/list_query.h"
#include "orchestrator/store/templates.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

static void try_token(const char *text, bool ascending)
{
    struct list_place place, again;
    struct err err;
    if (list_token_parse(text, ascending, &place, &err) < 0)
        return;
    char *token = list_token(&place, ascending);
    assert(token);
    /* Times outside the years 1 to 9999 are clamped when written. */
    if (place.started_ns > INT64_MIN && place.started_ns < INT64_MAX) {
        assert(list_token_parse(token, ascending, &again, &err) == 0);
        assert(list_place_compare(&place, &again) == 0);
    }
    assert(list_token_parse(token, !ascending, &again, &err) < 0);
    free(token);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    char *text = malloc(n + 1);
    if (!text)
        return 0;
    memcpy(text, data, n);
    text[n] = '\0';
    struct err err;
    struct template_ref ref, again;
    json_decref(list_metadata_parse(text, &err));
    try_token(text, true);
    try_token(text, false);
    if (template_ref_parse(text, &ref, &err) == 0) {
        char whole[3 * TEMPLATE_NAME_SIZE + 3];
        snprintf(whole, sizeof(whole), "%s%s%s%s%s", ref.space, ref.space[0] ? "/" : "", ref.name,
                 ref.tag[0] ? ":" : "", ref.tag);
        assert(template_ref_parse(whole, &again, &err) == 0);
        assert(strcmp(ref.space, again.space) == 0 && strcmp(ref.name, again.name) == 0 &&
               strcmp(ref.tag, again.tag) == 0);
    }
    free(text);
    return 0;
}
