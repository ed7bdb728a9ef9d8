#include "envd/server/rest.h"

#include "common/link/guest_protocol.h"
#include "envd/server/server.h"
#include "tests/support/fake_stream.h"
#include "tests/support/test.h"

#include <errno.h>

static struct envd envd;

/* A request whose body has not come yet. */
static void begin(struct fake_stream *f, bool trusted)
{
    fake_stream_init(f, "POST", "/init");
    f->s.trusted = trusted;
    struct http_request r = { .stream = &f->s, .head = &f->request, .context = &envd };
    rest_init(&r);
}

static void end(struct fake_stream *f)
{
    fake_stream_close(f, ECONNRESET);
    fake_stream_deinit(f);
}

/* Whoever is in the guest may send any body, before the token in it can be looked at. */
static void bodies_of_strangers_are_few(void **state)
{
    (void)state;
    static struct fake_stream many[REST_INITS_MAX], more;
    for (size_t i = 0; i < REST_INITS_MAX; i++) {
        begin(&many[i], false);
        assert_int_equal(many[i].status, 0);
    }
    begin(&more, false);
    assert_int_equal(more.status, 503);
    end(&more);
    begin(&more, true);
    assert_int_equal(more.status, 0);
    end(&more);
    end(&many[0]);
    begin(&many[0], false);
    assert_int_equal(many[0].status, 0);
    for (size_t i = 0; i < REST_INITS_MAX; i++)
        end(&many[i]);
    assert_int_equal(envd.inits, 0);
}

static void the_token_decides(void **state)
{
    (void)state;
    static const char wrong[] = "{\"accessToken\":\"other\"}";
    static const char right[] = "{\"accessToken\":\"secret\",\"defaultUser\":\"someone\"}";
    static struct fake_stream f;
    strcpy(envd.access_token, "secret");
    begin(&f, false);
    fake_stream_data(&f, wrong, sizeof(wrong) - 1);
    fake_stream_end(&f);
    assert_int_equal(f.status, 401);
    end(&f);
    begin(&f, false);
    fake_stream_data(&f, right, sizeof(right) - 1);
    fake_stream_end(&f);
    assert_int_equal(f.status, 204);
    assert_string_equal(envd.default_user, "someone");
    end(&f);
    assert_int_equal(envd.inits, 0);
}

/* A sandbox without a token would be anybody's to take over. */
static void a_client_cannot_initialize(void **state)
{
    (void)state;
    static struct envd_server server;
    static const bool is_public[] = { false, true };
    memset(envd.access_token, 0, sizeof(envd.access_token));
    envd_server_init(&server, &envd);
    for (size_t i = 0; i < 2; i++) {
        static struct fake_stream f;
        fake_stream_init(&f, "POST", "/init");
        f.s.trusted = true;
        if (is_public[i])
            fake_stream_add(&f, GUEST_PUBLIC_FIELD, "");
        server.acceptor.on_request(&server.acceptor, &f.s, &f.request);
        if (!is_public[i])
            fake_stream_end(&f);
        assert_int_equal(f.status, is_public[i] ? 404 : 204);
        end(&f);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(bodies_of_strangers_are_few),
                                        cmocka_unit_test(the_token_decides),
                                        cmocka_unit_test(a_client_cannot_initialize) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
