/* The multipart parser. Input: one byte that says where to cut, the Content-Type up to a line feed,
 * the body. The events must not depend on the cut, and data must lie in the input, in its order. */
#include "common/http/multipart.h"

#include "common/base/cleanup.h"

#include <assert.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct seen {
    struct multipart m;
    struct buf log;
    struct str left; /* of the body, behind the heads and the data seen so far, or earlier */
};

/* The text comes next in the body, maybe behind other bytes: go on behind it. */
static void must_follow(struct seen *seen, const void *text, size_t n)
{
    const char *at = memmem(seen->left.p, seen->left.n, text, n);
    assert(at);
    seen->left = str_from(seen->left, (size_t)(at - seen->left.p) + n);
}

static int on_part(struct multipart *m, const struct multipart_part *part)
{
    struct seen *seen = container_of(m, struct seen, m);
    must_follow(seen, "\n\r\n", 3);
    buf_putc(&seen->log, '[');
    buf_append_str(&seen->log, part->name);
    buf_putc(&seen->log, '|');
    buf_append_str(&seen->log, part->filename);
    buf_putc(&seen->log, '|');
    buf_append_str(&seen->log, part->content_type);
    buf_putc(&seen->log, ']');
    return 0;
}

static int on_data(struct multipart *m, const uint8_t *data, size_t n)
{
    struct seen *seen = container_of(m, struct seen, m);
    assert(n);
    must_follow(seen, data, n);
    buf_append(&seen->log, data, n);
    return 0;
}

static int on_part_end(struct multipart *m)
{
    buf_putc(&container_of(m, struct seen, m)->log, '.');
    return 0;
}

static int on_end(struct multipart *m)
{
    buf_putc(&container_of(m, struct seen, m)->log, '!');
    return 0;
}

static const struct multipart_events events = {
    .on_part = on_part, .on_data = on_data, .on_part_end = on_part_end, .on_end = on_end
};

static void run(struct seen *seen, struct str type, struct str body, size_t piece)
{
    struct err err = { 0 };
    seen->left = body;
    int rc = multipart_init(&seen->m, type, &events, &err);
    for (size_t at = 0; rc == 0 && at < body.n; at += piece) {
        size_t n = body.n - at < piece ? body.n - at : piece;
        AUTO_FREE uint8_t *copy = malloc(n);
        assert(copy);
        memcpy(copy, body.p + at, n);
        rc = multipart_feed(&seen->m, copy, n, &err);
    }
    if (rc == 0)
        rc = multipart_finish(&seen->m, &err);
    assert((rc == 0) == (err.code == ERR_OK));
    if (rc)
        buf_printf(&seen->log, "#%s", err.msg);
    multipart_deinit(&seen->m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct str rest = { (const char *)data + 1, size - 1 };
    struct str type = str_split(&rest, '\n');
    if (!rest.p)
        return 0;
    struct seen whole = { 0 };
    struct seen pieces = { 0 };
    run(&whole, type, rest, rest.n ? rest.n : 1);
    run(&pieces, type, rest, data[0] % 64 + 1);
    assert(str_eq(buf_str(&whole.log), buf_str(&pieces.log)));
    buf_deinit(&whole.log);
    buf_deinit(&pieces.log);
    return 0;
}
