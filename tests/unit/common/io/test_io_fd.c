#include "common/base/cleanup.h"
#include "common/io/io_fd.h"
#include "tests/support/loop.h"
#include "tests/support/test.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>

struct end {
    struct test_loop t;
    struct io_fd fd;
    struct test_peer peer;
    struct buf got;
    size_t data_calls, largest;
    int eofs, drains, errors, errnum, closes;
    bool inside;         /* a call into the io is running: no event may come */
    bool close_on_event; /* close in the next event */
    bool stop_on_data;
};

static struct end *of(struct io *io)
{
    struct io_fd *fd = container_of(io, struct io_fd, io);
    struct end *e = container_of(fd, struct end, fd);
    assert_false(e->inside);
    if (e->close_on_event) {
        e->close_on_event = false;
        io_close(io, false);
    }
    return e;
}

static void on_data(struct io *io, const uint8_t *data, size_t n)
{
    struct end *e = of(io);
    assert_true(n > 0);
    buf_append(&e->got, data, n);
    e->data_calls++;
    if (n > e->largest)
        e->largest = n;
    if (e->stop_on_data)
        io_read_stop(io);
}

static void on_eof(struct io *io)
{
    of(io)->eofs++;
}

static void on_drain(struct io *io)
{
    of(io)->drains++;
}

static void on_error(struct io *io, int errnum)
{
    struct end *e = of(io);
    e->errors++;
    e->errnum = errnum;
}

static void on_closed(struct io *io)
{
    of(io)->closes++;
}

static const struct io_events events = { on_data, on_eof, on_drain, on_error, on_closed };

static void start(struct end *e, enum io_fd_kind kind, bool tcp)
{
    *e = (struct end){ 0 };
    test_loop_init(&e->t);
    int theirs;
    if (tcp)
        test_peer_tcp(&e->peer, &theirs);
    else
        test_peer_pair(&e->peer, &theirs);
    assert_int_equal(io_fd_init(&e->fd, &e->t.loop, theirs, kind, &events), 0);
}

static void stop(struct end *e)
{
    if (!e->fd.closing)
        io_close(&e->fd.io, false);
    LOOP_UNTIL(&e->t, e->closes == 1);
    test_peer_close(&e->peer);
    test_loop_deinit(&e->t);
    assert_int_equal(e->closes, 1);
    buf_deinit(&e->got);
}

static void put(struct end *e, const void *data, size_t n)
{
    e->inside = true;
    io_write(&e->fd.io, data, n);
    e->inside = false;
}

static void test_read_starts_stopped(void **state)
{
    (void)state;
    struct end e;
    start(&e, IO_FD_STREAM, false);
    assert_true(test_peer_send(&e.peer, "abc", 3));
    test_loop_settle(&e.t);
    assert_int_equal(e.data_calls, 0);
    e.inside = true;
    io_read_start(&e.fd.io);
    e.inside = false;
    LOOP_UNTIL(&e.t, buf_len(&e.got) == 3);
    assert_str(buf_str(&e.got), "abc");
    stop(&e);
}

static void test_read_stop_inside_data_holds_the_rest(void **state)
{
    (void)state;
    struct end e;
    start(&e, IO_FD_STREAM, true);
    static const uint8_t many[100000];
    size_t sent = 0;
    while (sent < 300000) {
        ssize_t n = write(e.peer.fd, many, sizeof(many));
        if (n <= 0)
            break;
        sent += (size_t)n;
    }
    assert_true(sent > IO_FD_READ_SIZE);
    e.stop_on_data = true;
    io_read_start(&e.fd.io);
    test_loop_settle(&e.t);
    assert_int_equal(e.data_calls, 1);
    e.stop_on_data = false;
    io_read_start(&e.fd.io);
    LOOP_UNTIL(&e.t, buf_len(&e.got) == sent);
    stop(&e);
}

static void test_write_goes_out_at_once(void **state)
{
    (void)state;
    struct end e;
    start(&e, IO_FD_STREAM, false);
    put(&e, "hello", 5);
    assert_int_equal(io_pending(&e.fd.io), 0);
    assert_true(test_peer_has(&e.peer, "hello"));
    test_loop_settle(&e.t);
    assert_int_equal(e.drains, 0); /* nothing was queued */
    stop(&e);
}

static void test_small_writes_are_gathered(void **state)
{
    (void)state;
    struct end e;
    start(&e, IO_FD_STREAM, false);
    e.fd.gathers = true;
    put(&e, "he", 2);
    put(&e, "llo", 3);
    assert_int_equal(io_pending(&e.fd.io), 5);
    assert_false(test_peer_has(&e.peer, "he"));
    LOOP_UNTIL(&e.t, e.drains == 1);
    assert_true(test_peer_has(&e.peer, "hello"));
    assert_int_equal(io_pending(&e.fd.io), 0);

    /* A large one does not wait, nor does what waits before it. */
    static const uint8_t large[IO_FD_GATHER_MAX];
    put(&e, " you", 4);
    put(&e, large, sizeof(large));
    assert_int_equal(io_pending(&e.fd.io), 0);
    assert_true(test_peer_has(&e.peer, "hello you"));
    assert_int_equal(buf_len(&e.peer.got), 9 + sizeof(large));
    stop(&e);
}

static void test_shutdown_waits_for_gathered_writes(void **state)
{
    (void)state;
    struct end e;
    start(&e, IO_FD_STREAM, false);
    e.fd.gathers = true;
    put(&e, "bye", 3);
    io_shutdown(&e.fd.io);
    LOOP_UNTIL(&e.t, test_peer_ended(&e.peer));
    assert_str(buf_str(&e.peer.got), "bye");
    stop(&e);
}

/* Write n bytes of a pattern and read them slowly at the other end. */
static void fill(uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(i * 7 + i / 251);
}

static void check_queue(enum io_fd_kind kind)
{
    struct end e;
    start(&e, kind, false);
    size_t n = 3000000;
    AUTO_FREE uint8_t *pattern = malloc(n);
    fill(pattern, n);
    for (size_t at = 0; at < n; at += 100000)
        put(&e, pattern + at, 100000);
    assert_true(io_pending(&e.fd.io) > IO_HIGH_WATER);
    test_loop_settle(&e.t);
    assert_int_equal(e.drains, 0);
    LOOP_UNTIL(&e.t, (test_peer_pull(&e.peer), buf_len(&e.peer.got) == n));
    assert_memory_equal(buf_head(&e.peer.got), pattern, n);
    LOOP_UNTIL(&e.t, e.drains == 1);
    assert_int_equal(io_pending(&e.fd.io), 0);
    stop(&e);
}

static void test_write_queues_what_does_not_fit(void **state)
{
    (void)state;
    check_queue(IO_FD_STREAM);
}

static void test_port_queues_what_does_not_fit(void **state)
{
    (void)state;
    check_queue(IO_FD_PORT);
}

static void test_shutdown_follows_the_queue(void **state)
{
    (void)state;
    struct end e;
    start(&e, IO_FD_STREAM, false);
    size_t n = 2000000;
    AUTO_FREE uint8_t *pattern = calloc(1, n);
    put(&e, pattern, n);
    io_shutdown(&e.fd.io);
    LOOP_UNTIL(&e.t, test_peer_ended(&e.peer));
    assert_int_equal(buf_len(&e.peer.got), n);
    /* The other direction goes on. */
    io_read_start(&e.fd.io);
    assert_true(test_peer_send(&e.peer, "late", 4));
    LOOP_UNTIL(&e.t, buf_len(&e.got) == 4);
    stop(&e);
}

static void test_eof_leaves_writing(void **state)
{
    (void)state;
    struct end e;
    start(&e, IO_FD_STREAM, true);
    io_read_start(&e.fd.io);
    assert_true(test_peer_send(&e.peer, "abc", 3));
    shutdown(e.peer.fd, SHUT_WR);
    LOOP_UNTIL(&e.t, e.eofs == 1);
    assert_str(buf_str(&e.got), "abc");
    test_loop_settle(&e.t);
    assert_int_equal(e.eofs, 1);
    put(&e, "answer", 6);
    LOOP_UNTIL(&e.t, test_peer_has(&e.peer, "answer"));
    assert_int_equal(e.errors, 0);
    stop(&e);
}

static void test_reset_is_an_error(void **state)
{
    (void)state;
    struct end e;
    start(&e, IO_FD_STREAM, true);
    struct linger linger = { .l_onoff = 1 };
    setsockopt(e.peer.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    test_peer_close(&e.peer);
    /* Noticed also while nothing is read. */
    LOOP_UNTIL(&e.t, e.errors == 1);
    assert_int_equal(e.errnum, ECONNRESET);
    put(&e, "x", 1);
    test_loop_settle(&e.t);
    assert_int_equal(e.errors, 1);
    stop(&e);
}

static void test_hang_up_without_reading_does_not_spin(void **state)
{
    (void)state;
    struct end e;
    start(&e, IO_FD_STREAM, true);
    assert_true(test_peer_send(&e.peer, "abc", 3));
    shutdown(e.peer.fd, SHUT_WR);
    LOOP_UNTIL(&e.t, e.fd.hung_up);
    test_loop_settle(&e.t);
    assert_int_equal(e.fd.watched, 0);
    assert_int_equal(e.errors + e.eofs, 0);
    io_read_start(&e.fd.io);
    LOOP_UNTIL(&e.t, e.eofs == 1);
    assert_str(buf_str(&e.got), "abc");
    stop(&e);
}

static void test_write_error_comes_after_the_peers_last_words(void **state)
{
    (void)state;
    struct end e;
    start(&e, IO_FD_STREAM, false);
    io_read_start(&e.fd.io);
    assert_true(test_peer_send(&e.peer, "go away", 7));
    test_peer_close(&e.peer);
    put(&e, "x", 1); /* EPIPE */
    assert_int_equal(e.errors, 0);
    LOOP_UNTIL(&e.t, e.errors == 1);
    assert_str(buf_str(&e.got), "go away");
    stop(&e);
}

static void test_close_inside_any_event(void **state)
{
    (void)state;
    struct end e;

    start(&e, IO_FD_STREAM, false);
    io_read_start(&e.fd.io);
    e.close_on_event = true;
    assert_true(test_peer_send(&e.peer, "abc", 3));
    LOOP_UNTIL(&e.t, e.closes == 1);
    assert_int_equal(e.data_calls, 1);
    stop(&e);

    start(&e, IO_FD_STREAM, false);
    io_read_start(&e.fd.io);
    e.close_on_event = true;
    shutdown(e.peer.fd, SHUT_WR);
    LOOP_UNTIL(&e.t, e.closes == 1);
    assert_int_equal(e.eofs, 1);
    stop(&e);

    start(&e, IO_FD_STREAM, false);
    e.close_on_event = true;
    AUTO_FREE uint8_t *many = calloc(1, 1000000);
    put(&e, many, 1000000);
    LOOP_UNTIL(&e.t, (test_peer_pull(&e.peer), e.closes == 1));
    assert_int_equal(e.drains, 1);
    stop(&e);

    start(&e, IO_FD_STREAM, false);
    e.close_on_event = true;
    io_read_start(&e.fd.io);
    test_peer_close(&e.peer);
    put(&e, "x", 1);
    LOOP_UNTIL(&e.t, e.closes == 1);
    stop(&e);
}

static void test_close_drops_the_queue_and_events(void **state)
{
    (void)state;
    struct end e;
    start(&e, IO_FD_STREAM, true);
    io_read_start(&e.fd.io);
    AUTO_FREE uint8_t *many = calloc(1, 10000000);
    put(&e, many, 10000000);
    assert_true(test_peer_send(&e.peer, "abc", 3));
    e.inside = true;
    io_close(&e.fd.io, true);
    e.inside = false;
    LOOP_UNTIL(&e.t, e.closes == 1);
    assert_int_equal(e.data_calls + e.drains + e.errors + e.eofs, 0);
    LOOP_UNTIL(&e.t, test_peer_ended(&e.peer));
    assert_int_equal(e.peer.error, ECONNRESET);
    stop(&e);
}

static int file_of(const uint8_t *data, size_t n)
{
    int fd = memfd_create("test", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, n), (ssize_t)n);
    return fd;
}

static void test_send_file_in_its_place(void **state)
{
    (void)state;
    struct end e;
    start(&e, IO_FD_STREAM, true);
    size_t n = 1500000;
    AUTO_FREE uint8_t *pattern = malloc(n);
    fill(pattern, n);
    AUTO_CLOSE int fd = file_of(pattern, n);
    put(&e, "head", 4);
    e.inside = true;
    io_send_file(&e.fd.io, fd, 1000, n - 1000);
    e.inside = false;
    assert_true(io_pending(&e.fd.io) >= n - 1000);
    LOOP_UNTIL(&e.t, (test_peer_pull(&e.peer), e.drains == 1));
    put(&e, "tail", 4);
    LOOP_UNTIL(&e.t, (test_peer_pull(&e.peer), buf_len(&e.peer.got) == n - 1000 + 8));
    assert_memory_equal(buf_head(&e.peer.got), "head", 4);
    assert_memory_equal(buf_head(&e.peer.got) + 4, pattern + 1000, n - 1000);
    assert_memory_equal(buf_head(&e.peer.got) + 4 + n - 1000, "tail", 4);
    stop(&e);
}

static void test_send_file_where_the_kernel_cannot(void **state)
{
    (void)state;
    struct end e;
    e = (struct end){ 0 };
    test_loop_init(&e.t);
    /* A descriptor in append mode is refused by sendfile(2); a FIFO can be polled and be in it. */
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC | O_NONBLOCK), 0);
    assert_int_equal(fcntl(fds[1], F_SETFL, O_APPEND | O_NONBLOCK), 0);
    e.peer.fd = fds[0];
    assert_int_equal(io_fd_init(&e.fd, &e.t.loop, fds[1], IO_FD_STREAM, &events), 0);
    uint8_t pattern[200000];
    fill(pattern, sizeof(pattern));
    AUTO_CLOSE int fd = file_of(pattern, sizeof(pattern));
    io_send_file(&e.fd.io, fd, 0, sizeof(pattern));
    LOOP_UNTIL(&e.t, (test_peer_pull(&e.peer), e.drains == 1));
    test_peer_pull(&e.peer);
    assert_int_equal(buf_len(&e.peer.got), sizeof(pattern));
    assert_memory_equal(buf_head(&e.peer.got), pattern, sizeof(pattern));
    stop(&e);
}

static void test_send_file_that_is_too_short(void **state)
{
    (void)state;
    struct end e;
    start(&e, IO_FD_STREAM, false);
    AUTO_CLOSE int fd = file_of((const uint8_t *)"abc", 3);
    io_send_file(&e.fd.io, fd, 0, 10);
    LOOP_UNTIL(&e.t, e.errors == 1);
    assert_int_equal(e.errnum, EIO);
    assert_true(test_peer_has(&e.peer, "abc"));
    stop(&e);
}

static void test_send_file_of_nothing_still_drains(void **state)
{
    (void)state;
    struct end e;
    start(&e, IO_FD_STREAM, false);
    AUTO_CLOSE int fd = file_of((const uint8_t *)"abc", 3);
    io_send_file(&e.fd.io, fd, 0, 0);
    LOOP_UNTIL(&e.t, e.drains == 1);
    stop(&e);
}

static void test_port_ignores_hang_ups(void **state)
{
    (void)state;
    struct end e;
    start(&e, IO_FD_PORT, false);
    io_read_start(&e.fd.io);
    assert_true(test_peer_send(&e.peer, "abc", 3));
    LOOP_UNTIL(&e.t, buf_len(&e.got) == 3);
    test_peer_close(&e.peer);
    test_loop_settle(&e.t);
    assert_int_equal(e.eofs + e.errors, 0);

    /* And does not spin on them: left alone, the loop has nothing to do but the pulse. */
    int64_t until = clock_mono_ms() + 50;
    int turns = 0;
    while (clock_mono_ms() < until) {
        test_loop_turn(&e.t);
        turns++;
    }
    assert_in_range(turns, 1, 60);
    stop(&e);
}

static void test_port_reads_what_came_while_stopped(void **state)
{
    (void)state;
    struct end e;
    start(&e, IO_FD_PORT, false);
    assert_true(test_peer_send(&e.peer, "abc", 3));
    test_loop_settle(&e.t); /* the edge passes */
    io_read_start(&e.fd.io);
    LOOP_UNTIL(&e.t, buf_len(&e.got) == 3);
    io_read_stop(&e.fd.io);
    assert_true(test_peer_send(&e.peer, "def", 3));
    test_loop_settle(&e.t);
    assert_int_equal(buf_len(&e.got), 3);
    io_read_start(&e.fd.io);
    LOOP_UNTIL(&e.t, buf_len(&e.got) == 6);
    stop(&e);
}

static void test_init_refuses_a_regular_file(void **state)
{
    (void)state;
    struct end e = { 0 };
    test_loop_init(&e.t);
    char path[] = "/tmp/test_io_fd_XXXXXX";
    AUTO_CLOSE int fd = mkstemp(path);
    unlink(path);
    assert_int_equal(io_fd_init(&e.fd, &e.t.loop, fd, IO_FD_STREAM, &events), -EPERM);
    assert_true(fcntl(fd, F_GETFD) >= 0); /* still ours */
    test_loop_deinit(&e.t);
}

struct job {
    struct deferred d;
    struct defer_queue *q;
    int runs, again;
};

static void run_job(struct deferred *d)
{
    struct job *j = container_of(d, struct job, d);
    j->runs++;
    if (j->again-- > 0)
        defer(j->q, d, run_job);
}

static void test_defer_runs_once_from_the_loop(void **state)
{
    (void)state;
    struct test_loop t;
    test_loop_init(&t);
    struct job a = { .q = &t.defer, .again = 2 }, b = { .q = &t.defer }, c = { .q = &t.defer };
    defer(&t.defer, &a.d, run_job);
    defer(&t.defer, &a.d, run_job);
    defer(&t.defer, &b.d, run_job);
    defer(&t.defer, &c.d, run_job);
    defer_cancel(&b.d);
    assert_int_equal(a.runs, 0);
    uv_run(&t.loop, UV_RUN_NOWAIT);
    assert_int_equal(a.runs, 1); /* what it queued again waits for the next turn */
    test_loop_settle(&t);
    assert_int_equal(a.runs, 3);
    assert_int_equal(b.runs, 0);
    assert_int_equal(c.runs, 1);
    defer(&t.defer, &c.d, run_job);
    test_loop_deinit(&t); /* closing runs what is queued */
    assert_int_equal(c.runs, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_read_starts_stopped),
        cmocka_unit_test(test_read_stop_inside_data_holds_the_rest),
        cmocka_unit_test(test_write_goes_out_at_once),
        cmocka_unit_test(test_small_writes_are_gathered),
        cmocka_unit_test(test_shutdown_waits_for_gathered_writes),
        cmocka_unit_test(test_write_queues_what_does_not_fit),
        cmocka_unit_test(test_port_queues_what_does_not_fit),
        cmocka_unit_test(test_shutdown_follows_the_queue),
        cmocka_unit_test(test_eof_leaves_writing),
        cmocka_unit_test(test_reset_is_an_error),
        cmocka_unit_test(test_hang_up_without_reading_does_not_spin),
        cmocka_unit_test(test_write_error_comes_after_the_peers_last_words),
        cmocka_unit_test(test_close_inside_any_event),
        cmocka_unit_test(test_close_drops_the_queue_and_events),
        cmocka_unit_test(test_send_file_in_its_place),
        cmocka_unit_test(test_send_file_where_the_kernel_cannot),
        cmocka_unit_test(test_send_file_that_is_too_short),
        cmocka_unit_test(test_send_file_of_nothing_still_drains),
        cmocka_unit_test(test_port_ignores_hang_ups),
        cmocka_unit_test(test_port_reads_what_came_while_stopped),
        cmocka_unit_test(test_init_refuses_a_regular_file),
        cmocka_unit_test(test_defer_runs_once_from_the_loop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
