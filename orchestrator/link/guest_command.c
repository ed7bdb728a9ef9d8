/* One request of Connect's streaming protocol with binary messages: its answer holds the output as
 * it is. */
#include "orchestrator/link/guest_command.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/encode.h"
#include "process.pb-c.h"

#include <stdio.h>
#include <stdlib.h>

#define ENVELOPE_HEAD 5
#define USER_MAX      64

struct guest_command {
    struct buf output;
    struct http_stream *stream; /* NULL once it was closed */
    int status;
    bool canceled;
    void (*done)(void *user, const uint8_t *output, size_t n, const struct err *err);
    void *user;
};

static void on_head(struct http_stream *s, const struct http_head *head)
{
    struct guest_command *c = s->user;
    c->status = head->status;
}

static void on_data(struct http_stream *s, const uint8_t *data, size_t n)
{
    struct guest_command *c = s->user;
    if (buf_len(&c->output) + n <= GUEST_COMMAND_OUTPUT_MAX)
        buf_append(&c->output, data, n);
    http_consume(s, n);
}

static void on_close(struct http_stream *s, int errnum)
{
    struct guest_command *c = s->user;
    struct err err = { 0 };
    if (errnum)
        err_fill(&err, ERR_UNAVAILABLE, "the guest did not run a command: %s", strerror(errnum));
    else if (c->status != 200)
        err_fill(&err, ERR_INTERNAL, "the guest refused to run a command: HTTP %d", c->status);
    if (!c->canceled)
        c->done(c->user, buf_head(&c->output), buf_len(&c->output), err.code ? &err : NULL);
    buf_deinit(&c->output);
    free(c);
}

static const struct http_stream_events events = { .on_head = on_head,
                                                  .on_data = on_data,
                                                  .on_end = http_drop_end,
                                                  .on_writable = http_drop_writable,
                                                  .on_close = on_close };

static void send_message(struct http_stream *s, const char *program, const char *const *args)
{
    Process__ProcessConfig config = PROCESS__PROCESS_CONFIG__INIT;
    Process__StartRequest start = PROCESS__START_REQUEST__INIT;
    /* Only read, for all that protobuf-c's types say. */
    config.cmd = (char *)(uintptr_t)program;
    config.args = (char **)(uintptr_t)args;
    while (args[config.n_args])
        config.n_args++;
    start.process = &config;
    size_t n = process__start_request__get_packed_size(&start);
    AUTO_FREE uint8_t *message = malloc(ENVELOPE_HEAD + n);
    if (!message) {
        http_reset(s);
        return;
    }
    message[0] = 0;
    message[1] = (uint8_t)(n >> 24);
    message[2] = (uint8_t)(n >> 16);
    message[3] = (uint8_t)(n >> 8);
    message[4] = (uint8_t)n;
    process__start_request__pack(&start, message + ENVELOPE_HEAD);
    http_send_data(s, message, ENVELOPE_HEAD + n);
    http_send_end(s);
}

struct guest_command *guest_command_run(struct guest_link *l, const char *user, const char *program,
                                        const char *const *args,
                                        void (*done)(void *user_data, const uint8_t *output,
                                                     size_t n, const struct err *err),
                                        void *user_data)
{
    struct guest_command *c = calloc(1, sizeof(*c));
    struct http_stream *s = c ? guest_link_stream(l, &events, c) : NULL;
    if (!s) {
        free(c);
        return NULL;
    }
    char name[USER_MAX + 2];
    struct buf basic = { 0 };
    int n = snprintf(name, sizeof(name), "%.*s:", USER_MAX, user);
    buf_puts(&basic, "Basic ");
    base64_encode(&basic, name, (size_t)n, true);
    struct http_field fields[] = {
        { STR("content-type"), STR("application/connect+proto") },
        { STR("connect-protocol-version"), STR("1") },
        { STR("authorization"), buf_str(&basic) },
    };
    struct http_head head = { .method = STR("POST"),
                              .target = STR("/process.Process/Start"),
                              .authority = STR("guest"),
                              .content_length = -1,
                              .fields = fields,
                              .nfields = ARRAY_LEN(fields) };
    *c = (struct guest_command){ .stream = s, .done = done, .user = user_data };
    if (http_send_head(s, &head, false) < 0)
        http_reset(s);
    else
        send_message(s, program, args);
    buf_deinit(&basic);
    return c;
}

void guest_command_cancel(struct guest_command *c)
{
    c->canceled = true;
    http_reset(c->stream);
}
