#include "orchestrator/snapshot/fields.h"
#include "common/base/encode.h"

#include <string.h>

#define FIELD(kind, name)                                                                          \
    {                                                                                              \
#name, kind, offsetof(struct snapshot_manifest, name),                                     \
            sizeof(((struct snapshot_manifest *)0)->name)                                          \
    }

const struct field snapshot_fields[SNAPSHOT_FIELDS] = {
    FIELD(FIELD_ID, id),
    FIELD(FIELD_TEXT, created),
    FIELD(FIELD_TEXT, vmm_version),
    FIELD(FIELD_TEXT, machine),
    FIELD(FIELD_TEXT, accelerator),
    FIELD(FIELD_TEXT, cpu_model),
    FIELD(FIELD_DIGEST, cpu_flags),
    FIELD(FIELD_DIGEST, kernel),
    FIELD(FIELD_DIGEST, cmdline),
    FIELD(FIELD_DIGEST, devices),
    FIELD(FIELD_UNSIGNED, vcpus),
    FIELD(FIELD_UNSIGNED, memory_mb),
    FIELD(FIELD_U64, disk_mb),
    FIELD(FIELD_TEXT, envd_version),
    FIELD(FIELD_UNSIGNED, guest_protocol),
    FIELD(FIELD_ID_OR_EMPTY, boot_id),
    FIELD(FIELD_BOOL, guest_unresponsive),
    FIELD(FIELD_SECRET, link_secret),
    FIELD(FIELD_ID, build_id),
    FIELD(FIELD_ID_OR_EMPTY, base_build_id),
    FIELD(FIELD_BOOL, filesystem_only),
    FIELD(FIELD_U64_OR_NONE, clock_stopped_ns),
};

static bool is_id(struct str text)
{
    for (size_t i = 0; i < text.n; i++) {
        char c = text.p[i];
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'))
            return false;
    }
    return true;
}

bool field_accepts(const struct field *f, struct str text)
{
    uint8_t raw[SHA256_SIZE];
    switch (f->kind) {
    case FIELD_TEXT:
        return text.n > 0;
    case FIELD_ID:
        return text.n > 0 && is_id(text);
    case FIELD_ID_OR_EMPTY:
        return is_id(text);
    case FIELD_DIGEST:
        return hex_decode(text, raw, sizeof(raw));
    case FIELD_SECRET:
    case FIELD_BOOL:
    case FIELD_UNSIGNED:
    case FIELD_U64:
    case FIELD_U64_OR_NONE:
        break;
    }
    return false;
}
