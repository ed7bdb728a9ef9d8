#include "common/link/link_limits.h"

const struct http_limits LINK_LIMITS_GUEST = {
    .head_bytes = 65536,
    .fields = 256,
    .requests_kept = LINK_STREAMS_MAX,
    .trailer_bytes = 8192,
    .window = LINK_WINDOW_GUEST,
    .raise_resets = true,
};

const struct http_limits LINK_LIMITS_HOST = {
    .head_bytes = 65536,
    .fields = 256,
    .requests_kept = LINK_STREAMS_MAX,
    .trailer_bytes = 8192,
    .window = LINK_WINDOW_HOST,
};
