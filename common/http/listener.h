/* A listening TCP or unix socket that serves HTTP on every connection it accepts. */
#ifndef COMMON_HTTP_LISTENER_H
#define COMMON_HTTP_LISTENER_H

#include "common/base/err.h"
#include "common/http/http1.h"

struct http_listener;

struct http_listener_options {
    const char *host; /* numeric IPv4 or IPv6 address, or NULL with unix_path */
    uint16_t port;    /* 0: any free port, see http_listener_port */
    const char *unix_path;
    size_t max_connections; /* over it, new ones wait in the backlog; 0: HTTP_LISTENER_MAX */
    struct http1_server_options server;
};
#define HTTP_LISTENER_MAX 16384

/* 0 or -errno with a sentence such as "port 3000 on 127.0.0.1 is in use". */
int http_listener_new(struct http_listener **out, uv_loop_t *loop, struct defer_queue *defer,
                      const struct http_listener_options *options, struct err *err);
uint16_t http_listener_port(const struct http_listener *l);
size_t http_listener_connections(const struct http_listener *l);

/* Stop listening; connections in the middle of a request may end it until `grace_ms` have passed,
 * then they are aborted. on_closed comes when nothing is left; then the listener frees itself. */
void http_listener_close(struct http_listener *l, unsigned grace_ms, void (*on_closed)(void *user),
                         void *user);

#endif
