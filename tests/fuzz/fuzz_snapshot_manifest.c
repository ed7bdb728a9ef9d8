/* snapshot.json. The parser wants a digest of the rest, which the input cannot guess: so it is put
 * in where the input has its own right length for it. What is accepted is printed and accepted
 * again, the same. */
#include "common/base/encode.h"
#include "orchestrator/snapshot/manifest.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The input with its digest set right; NULL when it is no object. */
static char *with_digest(const uint8_t *data, size_t size)
{
    uint8_t sum[SHA256_SIZE];
    char hex[SNAPSHOT_DIGEST_SIZE];
    json_t *root = json_loadb((const char *)data, size, 0, NULL);
    if (!json_is_object(root)) {
        json_decref(root);
        return NULL;
    }
    json_object_del(root, "digest");
    char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    if (text) {
        sha256(text, strlen(text), sum);
        hex_encode(sum, sizeof(sum), hex);
        json_object_set_new(root, "digest", json_string(hex));
        free(text);
    }
    text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    return text;
}

static void try(const char *text, size_t n)
{
    struct snapshot_manifest m, back;
    struct err err = { 0 };
    struct buf out = { 0 };
    if (snapshot_manifest_parse(text, n, &m, &err) < 0) {
        assert(err.code && err.msg[0]);
        return;
    }
    int rc = snapshot_manifest_print(&m, &out, &err);
    assert(rc == 0);
    struct str s = buf_str(&out);
    rc = snapshot_manifest_parse(s.p, s.n, &back, &err);
    assert(rc == 0 && memcmp(&m, &back, sizeof(m)) == 0);
    buf_deinit(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    try((const char *)data, size);
    char *text = with_digest(data, size);
    if (text)
        try(text, strlen(text));
    free(text);
    return 0;
}
