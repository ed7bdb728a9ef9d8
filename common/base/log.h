/* Logging: one JSON object per event and line, on standard error. */
#ifndef COMMON_BASE_LOG_H
#define COMMON_BASE_LOG_H

#include "common/base/str.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };

struct log_field {
    const char *key; /* NULL ends a list */
    enum { LOG_FIELD_STR, LOG_FIELD_INT } kind;
    struct str text;
    int64_t number;
};

/* Never pass a token, a key or a signature: they do not belong in a log. */
#define LOG_STR(k, v)                                                                              \
    {                                                                                              \
        .key = (k), .kind = LOG_FIELD_STR, .text = str_of(v)                                       \
    }
#define LOG_TEXT(k, v)                                                                             \
    {                                                                                              \
        .key = (k), .kind = LOG_FIELD_STR, .text = (v)                                             \
    }
#define LOG_INT(k, v)                                                                              \
    {                                                                                              \
        .key = (k), .kind = LOG_FIELD_INT, .number = (int64_t)(v)                                  \
    }

#define log_debug(msg, ...) log_event_(LOG_LEVEL_DEBUG, msg, ##__VA_ARGS__)
#define log_info(msg, ...)  log_event_(LOG_LEVEL_INFO, msg, ##__VA_ARGS__)
#define log_warn(msg, ...)  log_event_(LOG_LEVEL_WARN, msg, ##__VA_ARGS__)
#define log_error(msg, ...) log_event_(LOG_LEVEL_ERROR, msg, ##__VA_ARGS__)
#define log_event_(level, msg, ...)                                                                \
    log_write(level, msg, (const struct log_field[]){ __VA_ARGS__ __VA_OPT__(, ){ .key = NULL } })

/* Events below `level` are dropped. `logger` (borrowed for good) names the program in each line. */
void log_setup(enum log_level level, const char *logger);

/* "debug", "info", "warn" or "error"; false for anything else. */
bool log_level_parse(const char *name, enum log_level *out);

/* Write one event: timestamp, level, logger, message, then the fields. One write(2) per event. */
void log_write(enum log_level level, const char *msg, const struct log_field *fields);

#endif
