#include "common/base/log.h"

#include "common/base/buf.h"
#include "common/base/json_text.h"
#include "common/base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

static enum log_level threshold = LOG_LEVEL_INFO;
static const char *program = "sandpit";
static const char *const names[] = { "debug", "info", "warn", "error" };

void log_setup(enum log_level level, const char *logger)
{
    threshold = level;
    program = logger;
}

bool log_level_parse(const char *name, enum log_level *out)
{
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(names[i], name) == 0) {
            *out = (enum log_level)i;
            return true;
        }
    }
    return false;
}

void log_write(enum log_level level, const char *msg, const struct log_field *fields)
{
    if (level < threshold)
        return;
    char when[CLOCK_TEXT_MAX];
    clock_rfc3339(clock_wall_ns(), when);

    struct buf line = { 0 };
    buf_printf(&line, "{\"timestamp\":\"%s\",\"level\":\"%s\",\"logger\":\"%s\",\"message\":", when,
               names[level], program);
    json_text_quote(&line, str_of(msg));
    for (; fields->key; fields++) {
        buf_printf(&line, ",\"%s\":", fields->key);
        if (fields->kind == LOG_FIELD_INT)
            buf_printf(&line, "%" PRId64, fields->number);
        else
            json_text_quote(&line, fields->text);
    }
    buf_puts(&line, "}\n");
    if (!line.failed) {
        /* A log that cannot be written has nobody to be told. */
        ssize_t n = write(STDERR_FILENO, line.data, line.len);
        (void)n;
    }
    buf_deinit(&line);
}
