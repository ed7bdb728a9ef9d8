#include "orchestrator/vmm/qemu/nodes.h"

#include "common/base/str.h"
#include "orchestrator/vmm/qemu/args.h"

#include <stdio.h>
#include <string.h>

void node_name(unsigned number, char out[static NODE_NAME_SIZE])
{
    if (number)
        snprintf(out, NODE_NAME_SIZE, QEMU_NODE_LAYER "%u", number);
    else
        snprintf(out, NODE_NAME_SIZE, QEMU_NODE_ROOTFS);
}

static bool parse(const json_t *name, unsigned *number)
{
    struct str text = str_of(json_string_value(name));
    uint64_t n;
    if (!text.p || !str_starts(text, STR(QEMU_NODE_LAYER)) ||
        !str_to_u64(str_from(text, strlen(QEMU_NODE_LAYER)), UINT32_MAX, &n) || n == 0)
        return false;
    *number = (unsigned)n;
    return true;
}

/* The disk by its id, or a part of it by its path: on PCI virtio devices are in two parts. */
static bool is_of_disk(const char *owner)
{
    return strcmp(owner, QEMU_DISK_ID) == 0 || strstr(owner, "/" QEMU_DISK_ID "/");
}

bool node_find_top(const json_t *result, unsigned *number)
{
    size_t i;
    json_t *device;
    json_array_foreach (result, i, device) {
        const char *owner = json_string_value(json_object_get(device, "qdev"));
        if (owner && is_of_disk(owner))
            return parse(json_object_get(json_object_get(device, "inserted"), "node-name"), number);
    }
    return false;
}

const char *node_path(const json_t *result, unsigned number)
{
    size_t i;
    json_t *set;
    json_array_foreach (result, i, set)
        if (json_integer_value(json_object_get(set, "fdset-id")) == (json_int_t)number)
            return json_string_value(
                json_object_get(json_array_get(json_object_get(set, "fds"), 0), "opaque"));
    return NULL;
}

size_t node_list(const json_t *result, unsigned top, unsigned *numbers, size_t max)
{
    size_t i, n = 0;
    json_t *node;
    json_array_foreach (result, i, node) {
        unsigned number;
        if (!parse(json_object_get(node, "node-name"), &number) || number > top)
            continue;
        size_t at = n < max ? n : max;
        for (; at > 0 && numbers[at - 1] > number; at--)
            if (at < max)
                numbers[at] = numbers[at - 1];
        if (at < max)
            numbers[at] = number;
        n++;
    }
    return n;
}
