#include "orchestrator/image/manifest.h"
#include "common/base/cleanup.h"
#include "common/base/encode.h"
#include "common/base/fileio.h"
#include "orchestrator/image/image.h"
#include "orchestrator/vmm/vmm.h"

#include <errno.h>
#include <jansson.h>
#include <sys/stat.h>

/* The text fields, once for reading and writing. */
static const struct {
    const char *key;
    size_t offset, size;
} texts[] = {
#define TEXT(field)                                                                                \
    {                                                                                              \
#field, offsetof(struct image_manifest, field),                                            \
            sizeof(((struct image_manifest *)0)->field)                                            \
    }
    TEXT(build_id), TEXT(name),           TEXT(key),    TEXT(created), TEXT(envd_version),
    TEXT(source),   TEXT(kernel_version), TEXT(cmdline)
#undef TEXT
};

static const struct {
    const char *key;
    size_t offset;
} files[] = {
    { IMAGE_FILE_KERNEL, offsetof(struct image_manifest, kernel) },
    { IMAGE_FILE_INITRAMFS, offsetof(struct image_manifest, initramfs) },
    { IMAGE_FILE_ROOTFS, offsetof(struct image_manifest, rootfs) },
};

static const struct {
    const char *key;
    size_t offset;
} sizes[] = {
    { "disk_mb", offsetof(struct image_manifest, disk_mb) },
    { "vcpus", offsetof(struct image_manifest, vcpus) },
    { "memory_mb", offsetof(struct image_manifest, memory_mb) },
};

static const char *const kernel_names[IMAGE_KERNEL_NR] = {
    [IMAGE_KERNEL_DEBIAN] = "debian",
    [IMAGE_KERNEL_MICRO] = "micro",
};

#define KEY_KERNEL "kernel"

#define FIELDS_MAIN (2 + ARRAY_LEN(texts) + ARRAY_LEN(sizes)) /* and format, files */
#define FIELDS_FILE 2

const char *image_kernel_name(enum image_kernel kernel)
{
    return kernel_names[kernel];
}

bool image_kernel_parse(struct str name, enum image_kernel *out)
{
    for (size_t i = 0; i < IMAGE_KERNEL_NR; i++) {
        if (str_eq(name, str_of(kernel_names[i]))) {
            *out = (enum image_kernel)i;
            return true;
        }
    }
    return false;
}

static int bad_field(const char *key, struct err *err)
{
    return err_set(err, ERR_INVALID, EINVAL, "manifest: '%s' is missing or malformed", key);
}

static int read_size(const json_t *from, const char *key, uint64_t *out, struct err *err)
{
    const json_t *v = json_object_get(from, key);
    if (!json_is_integer(v) || json_integer_value(v) <= 0)
        return bad_field(key, err);
    *out = (uint64_t)json_integer_value(v);
    return 0;
}

static int read_file(const json_t *from, const char *key, struct image_file *out, struct err *err)
{
    const json_t *v = json_object_get(from, key);
    uint8_t digest[SHA256_SIZE];
    if (json_object_size(v) != FIELDS_FILE)
        return bad_field(key, err);
    struct str hex = str_of(json_string_value(json_object_get(v, "sha256")));
    if (!hex_decode(hex, digest, sizeof(digest)) ||
        !str_copy(hex, out->sha256, sizeof(out->sha256)))
        return bad_field(key, err);
    return read_size(v, "size", &out->size, err);
}

/* How many fields it takes: builds of Debian's kernel do not name it. */
static int read_kernel(const json_t *root, enum image_kernel *out, size_t *n, struct err *err)
{
    const json_t *v = json_object_get(root, KEY_KERNEL);
    struct str name = { json_string_value(v), json_string_length(v) };
    *n = v ? 1 : 0;
    *out = IMAGE_KERNEL_DEBIAN;
    return !v || (json_is_string(v) && image_kernel_parse(name, out)) ? 0
                                                                      : bad_field(KEY_KERNEL, err);
}

static int read_fields(const json_t *root, struct image_manifest *out, struct err *err)
{
    const json_t *format = json_object_get(root, "format");
    if (!json_is_integer(format))
        return bad_field("format", err);
    if (json_integer_value(format) != IMAGE_FORMAT)
        return err_set(err, ERR_PRECONDITION, EINVAL,
                       "manifest: format %lld is not %d; build the template again",
                       (long long)json_integer_value(format), IMAGE_FORMAT);
    const json_t *list = json_object_get(root, "files");
    size_t nkernel;
    int rc = read_kernel(root, &out->kernel_kind, &nkernel, err);
    if (rc < 0)
        return rc;
    if (json_object_size(root) != FIELDS_MAIN + nkernel ||
        json_object_size(list) != ARRAY_LEN(files))
        return err_set(err, ERR_INVALID, EINVAL, "manifest: a field is unknown or missing");
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        const json_t *v = json_object_get(root, texts[i].key);
        struct str text = { json_string_value(v), json_string_length(v) };
        if (!json_is_string(v) || !str_copy(text, (char *)out + texts[i].offset, texts[i].size))
            return bad_field(texts[i].key, err);
    }
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        struct image_file *f = (void *)((char *)out + files[i].offset);
        rc = read_file(list, files[i].key, f, err);
        if (rc < 0)
            return rc;
    }
    for (size_t i = 0; i < ARRAY_LEN(sizes) && rc == 0; i++)
        rc = read_size(root, sizes[i].key, (void *)((char *)out + sizes[i].offset), err);
    return rc;
}

int image_manifest_parse(const char *text, size_t n, struct image_manifest *out, struct err *err)
{
    json_error_t why;
    *out = (struct image_manifest){ 0 };
    json_t *root = json_loadb(text, n, JSON_REJECT_DUPLICATES, &why);
    if (!json_is_object(root)) {
        json_decref(root);
        return err_set(err, ERR_INVALID, EINVAL, "manifest is no JSON object");
    }
    int rc = read_fields(root, out, err);
    json_decref(root);
    return rc;
}

/* A new reference, NULL when memory is out. */
static json_t *to_json(const struct image_manifest *m)
{
    json_t *list = json_object(), *root = json_object();
    int bad = json_object_set_new(root, "format", json_integer(IMAGE_FORMAT));
    for (size_t i = 0; i < ARRAY_LEN(texts); i++)
        bad |=
            json_object_set_new(root, texts[i].key, json_string((const char *)m + texts[i].offset));
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        const uint64_t *v = (const void *)((const char *)m + sizes[i].offset);
        bad |= json_object_set_new(root, sizes[i].key, json_integer((json_int_t)*v));
    }
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        const struct image_file *f = (const void *)((const char *)m + files[i].offset);
        bad |= json_object_set_new(
            list, files[i].key,
            json_pack("{s:I, s:s}", "size", (json_int_t)f->size, "sha256", f->sha256));
    }
    if (m->kernel_kind != IMAGE_KERNEL_DEBIAN)
        bad |= json_object_set_new(root, KEY_KERNEL, json_string(kernel_names[m->kernel_kind]));
    bad |= json_object_set_new(root, "files", list);
    if (!bad)
        return root;
    json_decref(root);
    return NULL;
}

int image_manifest_write(const char *dir, const struct image_manifest *m, struct err *err)
{
    char path[PATH_MAX];
    json_t *root = to_json(m);
    AUTO_FREE char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    if (!text)
        return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    if (snprintf(path, sizeof(path), "%s/" IMAGE_FILE_MANIFEST, dir) >= (int)sizeof(path))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", dir);
    return file_replace(path, text, strlen(text), 0444, err);
}

static int check_size(const char *dir, const char *name, const struct image_file *f,
                      struct err *err)
{
    char path[PATH_MAX];
    struct stat st;
    if (snprintf(path, sizeof(path), "%s/%s", dir, name) >= (int)sizeof(path))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", dir);
    if (stat(path, &st) < 0)
        return err_set(err, ERR_INTERNAL, errno, "%s: %s", path, strerror(errno));
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != f->size)
        return err_set(err, ERR_DATA_LOSS, EIO, "%s has not the size its manifest tells", path);
    return 0;
}

int image_manifest_load(const char *dir, struct image_manifest *out, struct err *err)
{
    char path[PATH_MAX];
    struct buf text = { 0 };
    if (snprintf(path, sizeof(path), "%s/" IMAGE_FILE_MANIFEST, dir) >= (int)sizeof(path))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "path is too long: %s", dir);
    int rc = file_read(path, IMAGE_MANIFEST_MAX, &text, err);
    if (rc == 0) {
        struct str s = buf_str(&text);
        rc = image_manifest_parse(s.p, s.n, out, err);
    }
    buf_deinit(&text);
    for (size_t i = 0; i < ARRAY_LEN(files) && rc == 0; i++)
        rc = check_size(dir, files[i].key, (void *)((char *)out + files[i].offset), err);
    return rc;
}

enum vmm_board image_kernel_board(enum image_kernel kernel)
{
    return kernel == IMAGE_KERNEL_MICRO ? VMM_BOARD_MICRO : VMM_BOARD_PC;
}

void image_boot_files(const char *dir, const struct image_manifest *m, struct vmm_template *out,
                      char rootfs[static PATH_MAX])
{
    out->board = image_board(m);
    snprintf(out->kernel, sizeof(out->kernel), "%s/" IMAGE_FILE_KERNEL, dir);
    snprintf(out->initramfs, sizeof(out->initramfs), "%s/" IMAGE_FILE_INITRAMFS, dir);
    snprintf(rootfs, PATH_MAX, "%s/" IMAGE_FILE_ROOTFS, dir);
    snprintf(out->cmdline, sizeof(out->cmdline), "%s", m->cmdline);
}
