#include "orchestrator/vmm/console.h"

#include "common/base/cleanup.h"
#include "common/base/clock.h"
#include "common/base/fileio.h"
#include "common/base/log.h"
#include "orchestrator/vmm/unix_socket.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define READ_SIZE      16384
#define READS_PER_TURN 4
#define WINDOW_MS      1000

static int older_path(const char *path, char out[static PATH_MAX])
{
    return snprintf(out, PATH_MAX, "%s.1", path) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

/* Begin a new file; what the one before held becomes the older part. */
static void rotate(struct console *c)
{
    char older[PATH_MAX];
    int file = -1;
    if (older_path(c->path, older) == 0 && rename(c->path, older) == 0)
        file = open(c->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (file < 0) { /* give the old output up rather than grow */
        if (ftruncate(c->file, 0) < 0)
            log_warn("console file cannot be emptied", LOG_STR("reason", strerror(errno)));
    } else {
        close(c->file);
        c->file = file;
    }
    c->in_file = 0;
}

static void keep(struct console *c, const uint8_t *data, size_t n)
{
    while (n) {
        if (c->in_file >= CONSOLE_KEEP)
            rotate(c);
        size_t part = CONSOLE_KEEP - c->in_file < n ? CONSOLE_KEEP - c->in_file : n;
        /* A full disk loses console output and nothing else. */
        if (fd_write_all(c->file, data, part) < 0)
            return;
        c->in_file += part;
        data += part;
        n -= part;
    }
}

/* Whether more may come. */
static bool read_some(struct console *c, int reads)
{
    uint8_t data[READ_SIZE];
    for (int i = 0; i < reads; i++) {
        ssize_t n = recv(c->fd, data, sizeof(data), MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        c->in_window += (size_t)n;
        keep(c, data, (size_t)n);
    }
    return true;
}

static void on_readable(uv_poll_t *poll, int status, int events);

static void on_pause_over(uv_timer_t *timer)
{
    struct console *c = container_of(timer, struct console, pause);
    uv_poll_start(&c->poll, UV_READABLE, on_readable);
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct console *c = container_of(poll, struct console, poll);
    int64_t now = clock_mono_ms();
    (void)status;
    (void)events;
    if (now - c->window_ms >= WINDOW_MS) {
        c->window_ms = now;
        c->in_window = 0;
    }
    if (!read_some(c, READS_PER_TURN)) {
        uv_poll_stop(&c->poll); /* the VMM closed it: its end is told elsewhere */
        return;
    }
    if (c->in_window >= CONSOLE_RATE) {
        uv_poll_stop(&c->poll);
        uv_timer_start(&c->pause, on_pause_over, (uint64_t)(c->window_ms + WINDOW_MS - now), 0);
    }
}

int console_open(struct console *c, uv_loop_t *loop, const char *socket_path, const char *path,
                 struct err *err)
{
    *c = (struct console){ 0 };
    if (!str_copy(str_of(path), c->path, sizeof(c->path)))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "the console's path is too long");
    AUTO_CLOSE int file = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
    struct stat st;
    if (file < 0 || fstat(file, &st) < 0)
        return err_set(err, ERR_INTERNAL, errno, "cannot open %s: %s", path, strerror(errno));
    AUTO_CLOSE int fd = unix_connect(socket_path);
    int rc = fd < 0 ? fd : uv_poll_init(loop, &c->poll, fd);
    if (rc < 0)
        return err_set(err, ERR_UNAVAILABLE, -rc, "cannot connect to the console %s: %s",
                       socket_path, strerror(-rc));
    uv_timer_init(loop, &c->pause);
    c->open_handles = 2;
    c->in_file = (size_t)st.st_size;
    c->fd = TAKE_FD(fd);
    c->file = TAKE_FD(file);
    c->window_ms = clock_mono_ms();
    uv_poll_start(&c->poll, UV_READABLE, on_readable);
    return 0;
}

void console_drain(struct console *c)
{
    read_some(c, CONSOLE_KEEP / READ_SIZE);
}

static void handle_closed(struct console *c)
{
    if (--c->open_handles > 0)
        return;
    close(c->fd);
    close(c->file);
    c->on_closed(c);
}

static void on_poll_closed(uv_handle_t *h)
{
    handle_closed(container_of((uv_poll_t *)h, struct console, poll));
}

static void on_timer_closed(uv_handle_t *h)
{
    handle_closed(container_of((uv_timer_t *)h, struct console, pause));
}

void console_close(struct console *c, void (*on_closed)(struct console *c))
{
    c->on_closed = on_closed;
    uv_close((uv_handle_t *)&c->poll, on_poll_closed);
    uv_close((uv_handle_t *)&c->pause, on_timer_closed);
}

/* The last n bytes of a file into out; how many. */
static size_t file_tail(const char *path, char *out, size_t n)
{
    struct stat st;
    AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0)
        return 0;
    off_t from = st.st_size > (off_t)n ? st.st_size - (off_t)n : 0;
    ssize_t got = pread(fd, out, n, from);
    return got > 0 ? (size_t)got : 0;
}

size_t console_tail(const char *path, char *out, size_t n)
{
    char older[PATH_MAX];
    size_t newest = file_tail(path, out, n);
    if (newest == n || older_path(path, older) < 0)
        return newest;
    memmove(out + (n - newest), out, newest);
    size_t before = file_tail(older, out, n - newest);
    memmove(out + before, out + (n - newest), newest);
    return before + newest;
}
