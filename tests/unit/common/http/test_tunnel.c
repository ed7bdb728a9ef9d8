#include "common/http/tunnel.h"

#include "tests/support/test.h"
#include "tests/unit/common/http/h2_pair.h"

#include "common/base/cleanup.h"

#include <errno.h>
#include <stdlib.h>

static struct h2_pair p;

/* A user of a tunnel. */
static struct {
    struct tunnel *opening;
    struct io *io;
    bool opened, eof, closed;
    int open_errnum, error;
    size_t drains;
    struct buf got;
    bool close_on_data;
} u;

static void on_data(struct io *io, const uint8_t *data, size_t n)
{
    assert_false(u.eof);
    buf_append(&u.got, data, n);
    if (u.close_on_data)
        io_close(io, false);
}

static void on_eof(struct io *io)
{
    (void)io;
    assert_false(u.eof);
    u.eof = true;
}

static void on_drain(struct io *io)
{
    assert_int_equal(io_pending(io), 0);
    u.drains++;
}

static void on_error(struct io *io, int errnum)
{
    (void)io;
    u.error = errnum;
}

static void on_closed(struct io *io)
{
    assert_false(u.closed);
    u.closed = true;
    u.io = NULL;
    tunnel_free(io);
}

static const struct io_events events = {
    .on_data = on_data,
    .on_eof = on_eof,
    .on_drain = on_drain,
    .on_error = on_error,
    .on_closed = on_closed,
};

static void on_open(void *user, struct io *io, int errnum)
{
    assert_ptr_equal(user, &u);
    assert_false(u.opened);
    u.opened = true;
    u.open_errnum = errnum;
    u.io = io;
    if (io)
        io->events = &events;
}

static int start(void **state)
{
    (void)state;
    memset(&u, 0, sizeof(u));
    h2_pair_start(&p, NULL);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    if (u.io) {
        io_close(u.io, true);
        LOOP_UNTIL(&p.loop, u.closed);
    }
    h2_pair_stop(&p);
    buf_deinit(&u.got);
    return 0;
}

static void open_to(const char *target)
{
    u.opening = tunnel_open(p.client.h, &p.loop.defer, str_of(target), on_open, &u);
    assert_non_null(u.opening);
    assert_false(u.opened);
    LOOP_UNTIL(&p.loop, u.opened);
}

static void test_bytes_go_both_ways_and_each_side_ends(void **state)
{
    (void)state;
    static uint8_t data[1 << 20];
    for (size_t i = 0; i < sizeof(data); i++)
        data[i] = (uint8_t)(i * 7 % 253);
    open_to("echo:1");
    assert_int_equal(u.open_errnum, 0);
    io_read_start(u.io);
    io_write(u.io, data, sizeof(data));
    assert_true(io_pending(u.io) > 0);
    io_shutdown(u.io);
    LOOP_UNTIL(&p.loop, u.eof);
    assert_int_equal(buf_len(&u.got), sizeof(data));
    assert_memory_equal(buf_head(&u.got), data, sizeof(data));
    LOOP_UNTIL(&p.loop, u.drains > 0);
    assert_int_equal(u.error, 0);
    io_close(u.io, false);
    assert_false(u.closed);
    LOOP_UNTIL(&p.loop, u.closed);
}

static void test_reading_that_is_stopped_holds_one_window(void **state)
{
    (void)state;
    static const uint8_t zeros[1 << 20];
    size_t wrote = 0;
    open_to("echo:1");
    while (wrote < 4U << 20 && io_pending(u.io) < IO_HIGH_WATER) {
        io_write(u.io, zeros, 65536);
        wrote += 65536;
        test_loop_settle(&p.loop);
    }
    assert_int_equal(buf_len(&u.got), 0);
    assert_true(wrote < 2U << 20); /* back-pressure reached us */
    io_shutdown(u.io);
    test_loop_settle(&p.loop);
    assert_false(u.eof);
    io_read_start(u.io);
    assert_int_equal(buf_len(&u.got), 0); /* not from inside */
    LOOP_UNTIL(&p.loop, u.eof);
    assert_int_equal(buf_len(&u.got), wrote);
}

static void test_end_waits_for_a_reader_that_comes_late(void **state)
{
    (void)state;
    open_to("echo:1");
    io_write(u.io, "late", 4);
    io_shutdown(u.io);
    LOOP_UNTIL(&p.loop, p.echo.closes == 1); /* the stream is over; its bytes are with us */
    test_loop_settle(&p.loop);
    io_read_start(u.io);
    LOOP_UNTIL(&p.loop, u.eof);
    assert_str(buf_str(&u.got), "late");
}

static void test_refusal_is_told(void **state)
{
    (void)state;
    open_to("nobody:1");
    assert_null(u.io);
    assert_int_equal(u.open_errnum, ECONNREFUSED);
    assert_null(tunnel_open(p.client.h, &p.loop.defer, STR("a b"), on_open, &u));
    test_loop_settle(&p.loop);
    assert_int_equal(http2_session_streams(p.client.h), 0);
}

static void test_cancel_calls_nobody(void **state)
{
    (void)state;
    u.opening = tunnel_open(p.client.h, &p.loop.defer, STR("echo:1"), on_open, &u);
    tunnel_cancel(u.opening);
    LOOP_UNTIL(&p.loop, http2_session_streams(p.client.h) == 0);
    assert_false(u.opened);
}

static void test_lost_session_is_an_error_of_the_stream(void **state)
{
    (void)state;
    open_to("echo:1");
    io_read_start(u.io);
    http2_session_abort(TAKE(p.client.h), ECONNRESET);
    assert_int_equal(u.error, 0);
    LOOP_UNTIL(&p.loop, u.error);
    assert_int_equal(u.error, ECONNRESET);
    io_write(u.io, "x", 1); /* harmless */
}

static void test_session_lost_while_opening(void **state)
{
    (void)state;
    u.opening = tunnel_open(p.client.h, &p.loop.defer, STR("echo:1"), on_open, &u);
    http2_session_abort(TAKE(p.client.h), ECONNRESET);
    LOOP_UNTIL(&p.loop, u.opened);
    assert_null(u.io);
    assert_int_equal(u.open_errnum, ECONNREFUSED); /* it never left */
}

static void test_close_inside_on_data(void **state)
{
    (void)state;
    open_to("echo:1");
    u.close_on_data = true;
    io_read_start(u.io);
    io_write(u.io, "abc", 3);
    LOOP_UNTIL(&p.loop, u.closed);
    assert_int_equal(buf_len(&u.got), 3);
    LOOP_UNTIL(&p.loop, p.echo.closes == 1);
    assert_int_equal(p.echo.last_errnum, ECONNRESET);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(test_bytes_go_both_ways_and_each_side_ends),
        CASE(test_reading_that_is_stopped_holds_one_window),
        CASE(test_end_waits_for_a_reader_that_comes_late),
        CASE(test_refusal_is_told),
        CASE(test_cancel_calls_nobody),
        CASE(test_lost_session_is_an_error_of_the_stream),
        CASE(test_session_lost_while_opening),
        CASE(test_close_inside_on_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
