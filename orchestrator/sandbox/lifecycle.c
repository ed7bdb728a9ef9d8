#include "orchestrator/sandbox/internal.h"

#define KEY        "lifecycle"
#define KEY_RESUME "autoResume"
#define KEY_END    "onTimeout"
#define KEY_MEMORY "memory" /* whether a pause at the end keeps it; absent: it does */

void sandbox_write_lifecycle(struct sandbox *sb)
{
    json_t *kept = json_pack("{s:b, s:s}", KEY_RESUME, sb->auto_resume, KEY_END,
                             sb->auto_pause ? "pause" : "kill");
    if (kept && sb->auto_pause && !sb->auto_pause_memory)
        json_object_set_new(kept, KEY_MEMORY, json_false());
    json_object_set_new(sb->config, KEY, kept);
}

void sandbox_read_lifecycle(struct sandbox *sb)
{
    const json_t *kept = json_object_get(sb->config, KEY);
    const char *end = json_string_value(json_object_get(kept, KEY_END));
    sb->auto_resume = json_is_true(json_object_get(kept, KEY_RESUME));
    sb->auto_pause = end && strcmp(end, "pause") == 0;
    sb->auto_pause_memory = !json_is_false(json_object_get(kept, KEY_MEMORY));
}
