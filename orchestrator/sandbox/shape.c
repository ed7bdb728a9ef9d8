/* What a sandbox takes from its source, and what an unwanted one leaves. */
#include "orchestrator/sandbox/internal.h"

#include <stdio.h>
#include <unistd.h>

void sandbox_take_shape(struct sandbox_own *own, const struct source *source)
{
    struct sandbox *sb = &own->sb;
    const struct store_build *b = &source->build;
    snprintf(sb->envd_version, sizeof(sb->envd_version), "%s", b->envd_version);
    sb->vcpus = b->vcpus ? b->vcpus : sb->vcpus;
    sb->memory_mb = b->memory_mb ? b->memory_mb : sb->memory_mb;
    sb->disk_mb = b->disk_mb ? b->disk_mb : sb->disk_mb;
    memcpy(own->build_id, b->id, sizeof(own->build_id));
    memcpy(own->image_build_id, source->image_build_id, sizeof(own->image_build_id));
    memcpy(own->image_dir, b->base_dir, sizeof(own->image_dir));
    memcpy(own->base_build_id, source->base_build_id, sizeof(own->base_build_id));
    if (source->nlayers)
        memcpy(own->parent_layer_id, source->layers[source->nlayers - 1],
               sizeof(own->parent_layer_id));
}

void sandbox_drop_layer(struct sandbox_own *own)
{
    char path[PATH_MAX];
    layer_path(own->sb.host, own->layer_id, path);
    unlink(path);
}

void sandbox_discard(struct sandbox_own *own)
{
    if (own->layer_id[0])
        sandbox_drop_layer(own);
    sm_move(&own->sb.sm, SANDBOX_ENDED);
    sandbox_unref(&own->sb);
}
