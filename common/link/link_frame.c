#include "common/link/link_frame.h"

#include <errno.h>

bool link_frame_put(struct buf *out, enum link_frame_type type, struct str message)
{
    if (message.n > LINK_FRAME_MAX)
        return false;
    const uint8_t head[LINK_FRAME_HEAD] = { (uint8_t)type, (uint8_t)(message.n >> 24),
                                            (uint8_t)(message.n >> 16), (uint8_t)(message.n >> 8),
                                            (uint8_t)message.n };
    return buf_append(out, head, sizeof(head)) && buf_append_str(out, message);
}

void link_frame_deinit(struct link_frame *f)
{
    buf_deinit(&f->held);
    *f = (struct link_frame){ 0 };
}

static bool is_type(uint8_t byte)
{
    return byte == LINK_FRAME_CONFIGURE || byte == LINK_FRAME_REFRESH ||
           byte == LINK_FRAME_DECLINED;
}

/* The whole frame's size, by its head. */
static size_t whole_size(const uint8_t *head)
{
    return LINK_FRAME_HEAD +
           ((size_t)head[1] << 24 | (size_t)head[2] << 16 | (size_t)head[3] << 8 | head[4]);
}

static int whole(struct link_frame *f, const uint8_t *frame, size_t size)
{
    f->type = frame[0];
    f->message = (struct str){ (const char *)frame + LINK_FRAME_HEAD, size - LINK_FRAME_HEAD };
    return 1;
}

/* Hold bytes until there are `want` of them: 1, 0 or -ENOMEM. */
static int hold(struct link_frame *f, const uint8_t *data, size_t n, size_t want, size_t *used)
{
    size_t missing = want - buf_len(&f->held);
    size_t take = n - *used < missing ? n - *used : missing;
    if (take > 0 && !buf_append(&f->held, data + *used, take))
        return -ENOMEM;
    *used += take;
    return take == missing;
}

int link_frame_feed(struct link_frame *f, const uint8_t *data, size_t n, size_t *used)
{
    *used = 0;
    if (f->type) { /* the last one was whole */
        f->type = 0;
        buf_clear(&f->held);
    }
    if (buf_len(&f->held) == 0) {
        if (!is_type(data[0]))
            return -EPROTO;
        size_t size = n < LINK_FRAME_HEAD ? 0 : whole_size(data);
        if (size > 0 && size <= n && size <= LINK_FRAME_HEAD + LINK_FRAME_MAX) {
            *used = size;
            return whole(f, data, size);
        }
    }
    if (buf_len(&f->held) < LINK_FRAME_HEAD) {
        int rc = hold(f, data, n, LINK_FRAME_HEAD, used);
        if (rc <= 0)
            return rc;
    }
    size_t size = whole_size(buf_head(&f->held));
    if (size > LINK_FRAME_HEAD + LINK_FRAME_MAX)
        return -EMSGSIZE;
    int rc = hold(f, data, n, size, used);
    return rc == 1 ? whole(f, buf_head(&f->held), size) : rc;
}
