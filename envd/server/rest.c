#include "envd/server/rest.h"

#include "common/base/clock.h"
#include "common/base/fileio.h"
#include "common/base/json_text.h"
#include "envd/core/envd.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/statvfs.h>
#include <sys/sysinfo.h>
#include <time.h>

static const struct http_field no_store = { STR("cache-control"), STR("no-store") };

void rest_error(struct http_stream *s, int status, const char *message)
{
    struct http_field sniff = { STR("x-content-type-options"), STR("nosniff") };
    struct buf body = { 0 };
    buf_puts(&body, "{\"message\":");
    json_text_quote(&body, str_of(message));
    buf_printf(&body, ",\"code\":%d}\n", status);
    http_respond_fields(s, status, "application/json; charset=utf-8", &sniff, 1, body.data,
                        body.len);
    buf_deinit(&body);
}

static void respond_json(struct http_stream *s, struct buf *body)
{
    if (body->failed)
        rest_error(s, 500, "out of memory");
    else
        http_respond_fields(s, 200, "application/json", &no_store, 1, body->data, body->len);
    buf_deinit(body);
}

void rest_health(struct http_request *r)
{
    http_respond_fields(r->stream, 204, NULL, &no_store, 1, NULL, 0);
}

void rest_envs(struct http_request *r)
{
    struct envd *e = r->context;
    const struct map *maps[] = { &e->envs, &e->internal_envs };
    struct buf body = { 0 };
    const char *comma = "";
    buf_putc(&body, '{');
    for (size_t i = 0; i < 2; i++) {
        for (struct map_entry *m = map_next(maps[i], NULL); m; m = map_next(maps[i], m)) {
            if (i == 0 && map_get(&e->internal_envs, str_of(m->key)))
                continue;
            buf_puts(&body, comma);
            json_text_quote(&body, str_of(m->key));
            buf_putc(&body, ':');
            json_text_quote(&body, str_of(m->value));
            comma = ",";
        }
    }
    buf_putc(&body, '}');
    respond_json(r->stream, &body);
}

/* Jiffies of all CPUs since boot: all of them, and those spent idle. */
static bool read_cpu(uint64_t *total, uint64_t *idle)
{
    struct buf text = { 0 };
    unsigned long long v[8] = { 0 };
    bool ok = file_read("/proc/stat", 1U << 20, &text, NULL) == 0 && buf_putc(&text, '\0') &&
              sscanf((const char *)text.data, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &v[0],
                     &v[1], &v[2], &v[3], &v[4], &v[5], &v[6], &v[7]) == 8;
    buf_deinit(&text);
    *total = 0;
    for (size_t i = 0; i < 8; i++)
        *total += v[i];
    *idle = v[3] + v[4];
    return ok;
}

/* Percent of all CPUs used since the previous call (since boot at the first). */
static double cpu_used_pct(void)
{
    static uint64_t last_total, last_idle;
    uint64_t total, idle;
    if (!read_cpu(&total, &idle) || total <= last_total)
        return 0;
    uint64_t span = total - last_total, rest = idle >= last_idle ? idle - last_idle : 0;
    last_total = total;
    last_idle = idle;
    return rest >= span ? 0 : 100.0 * (double)(span - rest) / (double)span;
}

static uint64_t meminfo(const char *text, const char *key)
{
    const char *line = strstr(text, key);
    unsigned long long kib = 0;
    if (!line || sscanf(line + strlen(key), " %llu", &kib) != 1)
        return 0;
    return kib * 1024;
}

void rest_metrics(struct http_request *r)
{
    struct buf text = { 0 }, body = { 0 };
    file_read("/proc/meminfo", 65536, &text, NULL);
    buf_putc(&text, '\0');
    const char *info = text.failed ? "" : (const char *)text.data;
    uint64_t total = meminfo(info, "MemTotal:"), available = meminfo(info, "MemAvailable:");
    uint64_t cache = meminfo(info, "\nCached:");
    uint64_t used = total > available ? total - available : 0;
    buf_deinit(&text);

    struct statvfs fs;
    uint64_t disk_total = 0, disk_used = 0;
    if (statvfs("/", &fs) == 0) {
        disk_total = (uint64_t)fs.f_blocks * fs.f_frsize;
        disk_used = disk_total - (uint64_t)fs.f_bavail * fs.f_frsize;
    }
    buf_printf(&body,
               "{\"ts\":%" PRId64 ",\"cpu_count\":%d,\"cpu_used_pct\":%.2f,\"mem_total\":%" PRIu64
               ",\"mem_used\":%" PRIu64 ",\"mem_cache\":%" PRIu64 ",\"mem_total_mib\":%" PRIu64
               ",\"mem_used_mib\":%" PRIu64 ",\"disk_used\":%" PRIu64 ",\"disk_total\":%" PRIu64
               "}",
               clock_wall_ns() / 1000000000, get_nprocs(), cpu_used_pct(), total, used, cache,
               total >> 20, used >> 20, disk_used, disk_total);
    respond_json(r->stream, &body);
}
