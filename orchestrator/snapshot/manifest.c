#include "orchestrator/snapshot/manifest.h"
#include "common/base/cleanup.h"
#include "common/base/encode.h"
#include "orchestrator/snapshot/fields.h"

#include <errno.h>
#include <jansson.h>
#include <limits.h>

#define FIELDS_ALL    (SNAPSHOT_FIELDS + 4) /* and format, memory, state, digest */
#define FIELDS_MEMORY 4
#define FIELDS_STATE  2

static int bad_field(const char *key, struct err *err)
{
    return err_set(err, ERR_DATA_LOSS, EINVAL,
                   "the snapshot's manifest is damaged: '%s' is missing or malformed", key);
}

static void *place(struct snapshot_manifest *m, const struct field *f)
{
    return (char *)m + f->offset;
}

static const void *value_of(const struct snapshot_manifest *m, const struct field *f)
{
    return (const char *)m + f->offset;
}

/* An integer from `min` to `max`. */
static bool get_number(const json_t *v, json_int_t min, json_int_t max, uint64_t *out)
{
    if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max)
        return false;
    *out = (uint64_t)json_integer_value(v);
    return true;
}

static bool get_digest(const json_t *v, char out[static SNAPSHOT_DIGEST_SIZE])
{
    uint8_t raw[SHA256_SIZE];
    struct str hex = { json_string_value(v), json_string_length(v) };
    return json_is_string(v) && hex_decode(hex, raw, sizeof(raw)) &&
           str_copy(hex, out, SNAPSHOT_DIGEST_SIZE);
}

static bool get_field(const json_t *v, const struct field *f, void *to)
{
    struct str text = { json_string_value(v), json_string_length(v) };
    uint64_t number;
    switch (f->kind) {
    case FIELD_TEXT:
    case FIELD_ID:
    case FIELD_ID_OR_EMPTY:
    case FIELD_DIGEST:
        return json_is_string(v) && field_accepts(f, text) && str_copy(text, to, f->size);
    case FIELD_SECRET:
        return json_is_string(v) && hex_decode(text, to, f->size);
    case FIELD_BOOL:
        *(bool *)to = json_is_true(v);
        return json_is_boolean(v);
    case FIELD_UNSIGNED:
        if (!get_number(v, 1, UINT_MAX, &number))
            return false;
        *(unsigned *)to = (unsigned)number;
        return true;
    case FIELD_U64:
    case FIELD_U64_OR_NONE:
        return get_number(v, 1, INT64_MAX, to);
    }
    return false;
}

static bool get_memory(const json_t *v, struct memory_file *out)
{
    return json_object_size(v) == FIELDS_MEMORY &&
           get_number(json_object_get(v, "size"), 1, INT64_MAX, &out->size) &&
           get_number(json_object_get(v, "pages"), 0, INT64_MAX, &out->pages) &&
           get_number(json_object_get(v, "zero_pages"), 0, INT64_MAX, &out->zero_pages) &&
           get_digest(json_object_get(v, "sha256"), out->sha256);
}

static bool get_state(const json_t *v, struct snapshot_state *out)
{
    return json_object_size(v) == FIELDS_STATE &&
           get_number(json_object_get(v, "size"), 1, INT64_MAX, &out->size) &&
           get_digest(json_object_get(v, "sha256"), out->sha256);
}

/* SHA-256 of the object's canonical text. */
static bool digest_of(const json_t *root, char out[static SNAPSHOT_DIGEST_SIZE])
{
    uint8_t sum[SHA256_SIZE];
    AUTO_FREE char *text = json_dumps(root, JSON_COMPACT | JSON_SORT_KEYS);
    if (!text)
        return false;
    sha256(text, strlen(text), sum);
    hex_encode(sum, sizeof(sum), out);
    return true;
}

static int check_digest(json_t *root, struct err *err)
{
    char told[SNAPSHOT_DIGEST_SIZE], got[SNAPSHOT_DIGEST_SIZE];
    if (!get_digest(json_object_get(root, "digest"), told))
        return bad_field("digest", err);
    json_object_del(root, "digest");
    if (!digest_of(root, got))
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    if (strcmp(told, got) != 0)
        return err_set(err, ERR_DATA_LOSS, EINVAL,
                       "the snapshot's manifest is damaged: it has not its digest");
    return 0;
}

static bool left_out(const json_t *root, const struct field *f)
{
    return f->kind == FIELD_U64_OR_NONE && !json_object_get(root, f->key);
}

static size_t fields_left_out(const json_t *root)
{
    size_t n = 0;
    for (size_t i = 0; i < SNAPSHOT_FIELDS; i++)
        n += left_out(root, &snapshot_fields[i]);
    return n;
}

static int read_all(json_t *root, struct snapshot_manifest *out, struct err *err)
{
    const json_t *format = json_object_get(root, "format");
    if (!json_is_integer(format))
        return bad_field("format", err);
    if (json_integer_value(format) != SNAPSHOT_FORMAT)
        return err_set(err, ERR_PRECONDITION, EINVAL,
                       "the snapshot's manifest has format %lld, not %d",
                       (long long)json_integer_value(format), SNAPSHOT_FORMAT);
    if (json_object_size(root) != FIELDS_ALL - fields_left_out(root))
        return err_set(err, ERR_DATA_LOSS, EINVAL,
                       "the snapshot's manifest is damaged: a field is unknown or missing");
    for (size_t i = 0; i < SNAPSHOT_FIELDS; i++) {
        const struct field *f = &snapshot_fields[i];
        if (left_out(root, f))
            continue;
        if (!get_field(json_object_get(root, f->key), f, place(out, f)))
            return bad_field(f->key, err);
    }
    const json_t *memory = json_object_get(root, "memory"), *state = json_object_get(root, "state");
    if (out->filesystem_only ? !json_is_null(memory) : !get_memory(memory, &out->memory))
        return bad_field("memory", err);
    if (out->filesystem_only ? !json_is_null(state) : !get_state(state, &out->state))
        return bad_field("state", err);
    return check_digest(root, err);
}

int snapshot_manifest_parse(const char *text, size_t n, struct snapshot_manifest *out,
                            struct err *err)
{
    json_error_t why;
    *out = (struct snapshot_manifest){ 0 };
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(root)) {
        json_decref(root);
        return err_set(err, ERR_DATA_LOSS, EINVAL,
                       "the snapshot's manifest is damaged: it is no JSON object");
    }
    int rc = read_all(root, out, err);
    json_decref(root);
    return rc;
}

/* A new reference; NULL for a value that no parser would accept. */
static json_t *put_field(const struct field *f, const void *from)
{
    char hex[2 * LINK_SECRET_SIZE + 1];
    switch (f->kind) {
    case FIELD_TEXT:
    case FIELD_ID:
    case FIELD_ID_OR_EMPTY:
    case FIELD_DIGEST:
        return field_accepts(f, str_of(from)) ? json_string(from) : NULL;
    case FIELD_SECRET:
        hex_encode(from, f->size, hex);
        return json_string(hex);
    case FIELD_BOOL:
        return json_boolean(*(const bool *)from);
    case FIELD_UNSIGNED:
        return *(const unsigned *)from ? json_integer(*(const unsigned *)from) : NULL;
    case FIELD_U64:
    case FIELD_U64_OR_NONE:
        return *(const uint64_t *)from ? json_integer((json_int_t) * (const uint64_t *)from) : NULL;
    }
    return NULL;
}

static json_t *put_memory(const struct memory_file *f)
{
    return json_pack("{s:I, s:s, s:I, s:I}", "size", (json_int_t)f->size, "sha256", f->sha256,
                     "pages", (json_int_t)f->pages, "zero_pages", (json_int_t)f->zero_pages);
}

static json_t *put_state(const struct snapshot_state *s)
{
    return json_pack("{s:I, s:s}", "size", (json_int_t)s->size, "sha256", s->sha256);
}

static int set(json_t *root, const char *key, json_t *value, struct err *err)
{
    if (json_object_set_new(root, key, value) == 0)
        return 0;
    return err_set(err, ERR_INVALID, EINVAL, "the snapshot's manifest cannot have this '%s'", key);
}

static int fill(json_t *root, const struct snapshot_manifest *m, struct err *err)
{
    char digest[SNAPSHOT_DIGEST_SIZE];
    int rc = set(root, "format", json_integer(SNAPSHOT_FORMAT), err);
    for (size_t i = 0; i < SNAPSHOT_FIELDS && rc == 0; i++) {
        const struct field *f = &snapshot_fields[i];
        if (f->kind == FIELD_U64_OR_NONE && !*(const uint64_t *)value_of(m, f))
            continue;
        rc = set(root, f->key, put_field(f, value_of(m, f)), err);
    }
    if (rc == 0)
        rc = set(root, "memory", m->filesystem_only ? json_null() : put_memory(&m->memory), err);
    if (rc == 0)
        rc = set(root, "state", m->filesystem_only ? json_null() : put_state(&m->state), err);
    if (rc == 0)
        rc = set(root, "digest", digest_of(root, digest) ? json_string(digest) : NULL, err);
    return rc;
}

int snapshot_manifest_print(const struct snapshot_manifest *m, struct buf *out, struct err *err)
{
    json_t *root = json_object();
    int rc = root ? fill(root, m, err) : err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    AUTO_FREE char *text = rc == 0 ? json_dumps(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    if (rc == 0 && (!text || !buf_puts(out, text) || !buf_putc(out, '\n')))
        rc = err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    return rc;
}
