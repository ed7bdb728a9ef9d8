/* What the files of envd's link share. */
#ifndef ENVD_GUEST_LINK_INTERNAL_H
#define ENVD_GUEST_LINK_INTERNAL_H

#include "common/base/list.h"
#include "common/http/http2.h"
#include "common/io/io_fd.h"
#include "common/link/link_frame.h"
#include "common/link/link_marker.h"
#include "envd/guest/link.h"

/* A stream from the host: the port, or one vsock connection. */
struct link_end {
    struct envd_link *l;
    struct list node;
    struct io_fd fd;
    struct link_frame call;        /* a first call, while there is no session yet */
    bool calls;                    /* a marker has come, and nothing since but first calls */
    struct http2_session *session; /* NULL while there is none */
    struct http2_session *next;    /* made ahead; NULL: not yet */
    struct http2_session *last;    /* muted, to be freed; NULL: none */
    bool marked;                   /* sessions begin with the marker */
    bool secret_changed;
    struct link_scanner scanner;
    uv_timer_t hold; /* runs while the scanner holds bytes back */
    uv_timer_t ahead;
    int handles;
};

struct envd_link {
    struct envd *e;
    struct http_acceptor *acceptor; /* borrowed */
    struct http_acceptor own;       /* takes CONNECT out */
    struct list ends;
    uint8_t secret[LINK_SECRET_SIZE];
    size_t connects; /* TCP connections open for CONNECT */

    int vsock; /* listening, or -1 */
    uint32_t vsock_peer;
    uv_poll_t vsock_poll;
    uv_timer_t search; /* for the port, which may appear after us */
    int64_t search_until_ms;
    bool search_open, vsock_open, closing;
    int handles; /* and connects; the link is freed after the last */
};

/* The port's device may be made some time after the driver was loaded. */
#define LINK_SEARCH_PAUSE_MS 20
#define LINK_SEARCH_MS       30000
#define LINK_VSOCK_BACKLOG   4

/* How long after a session began the next one is made and the last one is freed. A guest that is
 * saved and restored finds it in its memory: to make one is a thousand first executions of code,
 * which emulation pays for. */
#define LINK_AHEAD_MS 1000

#define CONNECT_MAX         1024
#define CONNECT_DEADLINE_MS 30000 /* for the guest's server to accept */
#define CONNECT_LINGER_MS   30000 /* for it to read what is left when both sides ended */

/* port.c: open the virtio-serial port of that name. A descriptor, or -errno (-ENOENT: none). */
int link_port_open(const char *sys_dir, const char *dev_dir, const char *name);

/* link.c: serve a stream (fd is taken over on success). 0 or -errno. */
int link_end_add(struct envd_link *l, int fd, enum io_fd_kind kind, bool marked);
void link_end_close(struct link_end *end);
struct envd_link *link_alloc(struct envd *e, struct http_acceptor *acceptor);
void link_handle_closed(struct envd_link *l);

/* vsock.c: accept connections of the peer with that context id on a port. 0 or -errno. */
int link_vsock_listen(struct envd_link *l, uint32_t port, uint32_t peer_cid);

/* connect.c: serve a CONNECT request. */
void link_connect_serve(struct envd_link *l, struct http_stream *s, const struct http_head *head);

#endif
