#include "envd/server/rest.h"

#include "envd/core/envd.h"
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

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(bodies_of_strangers_are_few),
                                        cmocka_unit_test(the_token_decides) };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
