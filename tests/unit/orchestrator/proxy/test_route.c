#include "common/base/cleanup.h"
#include "orchestrator/proxy/pages.h"
#include "orchestrator/proxy/route.h"
#include "tests/support/test.h"

static struct http_head head_of(const char *authority, struct http_field *fields, size_t n)
{
    return (struct http_head){ .method = STR("GET"),
                               .target = STR("/"),
                               .authority = str_of(authority),
                               .fields = fields,
                               .nfields = n };
}

static void host_names_the_sandbox(void **state)
{
    (void)state;
    static const struct {
        const char *host;
        enum proxy_route_result result;
        const char *id;
        uint16_t port;
    } cases[] = {
        { "49983-iabc.localhost:3002", PROXY_ROUTE_OK, "iabc", 49983 },
        { "8000-iabc-6532622b.example.com", PROXY_ROUTE_OK, "iabc", 8000 },
        { "8000-iabc", PROXY_ROUTE_BAD_HOST, "", 0 },
        { "8000.example.com", PROXY_ROUTE_BAD_HOST, "", 0 },
        { "x-iabc.example.com", PROXY_ROUTE_BAD_PORT, "", 0 },
        { "0-iabc.example.com", PROXY_ROUTE_BAD_PORT, "", 0 },
        { "65536-iabc.example.com", PROXY_ROUTE_BAD_PORT, "", 0 },
        { "80-iABC.example.com", PROXY_ROUTE_BAD_ID, "", 80 },
        { "80-i_b.example.com", PROXY_ROUTE_BAD_ID, "", 80 },
        { "80-.example.com", PROXY_ROUTE_BAD_ID, "", 80 },
        { "localhost:3002", PROXY_ROUTE_BAD_HOST, "", 0 },
        { "", PROXY_ROUTE_BAD_HOST, "", 0 },
        { "[::1", PROXY_ROUTE_BAD_HOST, "", 0 },
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_head head = head_of(cases[i].host, NULL, 0);
        struct proxy_route route;
        assert_int_equal(proxy_route_parse(&head, &route), cases[i].result);
        if (cases[i].result == PROXY_ROUTE_OK) {
            assert_string_equal(route.id, cases[i].id);
            assert_int_equal(route.port, cases[i].port);
        }
    }
}

static void fields_name_it_on_shared_hosts_only(void **state)
{
    (void)state;
    struct http_field fields[] = { { STR("e2b-sandbox-id"), STR("iabc") },
                                   { STR("e2b-sandbox-port"), STR("49983") } };
    const char *shared[] = { "localhost:3002", "127.0.0.1", "[::1]:3002", "sandbox.example.com",
                             "LOCALHOST" };
    struct proxy_route route;
    for (size_t i = 0; i < ARRAY_LEN(shared); i++) {
        struct http_head head = head_of(shared[i], fields, 2);
        assert_int_equal(proxy_route_parse(&head, &route), PROXY_ROUTE_OK);
        assert_string_equal(route.id, "iabc");
        head.nfields = 1;
        assert_int_equal(proxy_route_parse(&head, &route), PROXY_ROUTE_MISSING_HEADER);
    }
    struct http_head head = head_of("80-iother.example.com", fields, 2);
    assert_int_equal(proxy_route_parse(&head, &route), PROXY_ROUTE_OK);
    assert_string_equal(route.id, "iother");
    head = head_of("sandbox.", fields, 2);
    assert_int_not_equal(proxy_route_parse(&head, &route), PROXY_ROUTE_OK);
}

static void a_signed_file_names_itself(void **state)
{
    (void)state;
    struct proxy_route route;
    struct http_head head = head_of("127.0.0.1:3002", NULL, 0);
    head.target = STR("/files?path=a&signature=v1_x");
    assert_int_equal(proxy_route_parse(&head, &route), PROXY_ROUTE_SIGNED_FILE);
    head.target = STR("/files?path=a");
    assert_int_not_equal(proxy_route_parse(&head, &route), PROXY_ROUTE_SIGNED_FILE);
    head.target = STR("/other?signature=v1_x");
    assert_int_not_equal(proxy_route_parse(&head, &route), PROXY_ROUTE_SIGNED_FILE);
}

static void internal_paths_are_found_in_any_spelling(void **state)
{
    (void)state;
    const char *internal[] = { "/init",
                               "/init?x=1",
                               "//init",
                               "/./init",
                               "/a/../init",
                               "/%69nit",
                               "/init/",
                               "/upgrade",
                               "/fsthaw",
                               "/%2e/init",
                               "/sandpit.guest.v1.Guest/Configure" };
    const char *open[] = { "/", "/health", "/initx", "/a/init", "/files?path=/init", "/%zz" };
    for (size_t i = 0; i < ARRAY_LEN(internal); i++)
        assert_true(proxy_path_is_internal(str_of(internal[i])));
    for (size_t i = 0; i < ARRAY_LEN(open); i++)
        assert_false(proxy_path_is_internal(str_of(open[i])));
}

static void only_a_navigating_browser_gets_html(void **state)
{
    (void)state;
    struct http_field agent = { STR("user-agent"), STR("Mozilla/5.0 Chrome/120") };
    struct http_field fields[3] = { agent };
    struct http_head head = head_of("x", fields, 1);
    assert_true(proxy_wants_html(&head));
    fields[1] = (struct http_field){ STR("sec-fetch-mode"), STR("cors") };
    head.nfields = 2;
    assert_false(proxy_wants_html(&head));
    fields[1].value = STR("navigate");
    assert_true(proxy_wants_html(&head));
    fields[1] = (struct http_field){ STR("accept"), STR("application/json") };
    assert_false(proxy_wants_html(&head));
    fields[0].value = STR("curl/8.0");
    head.nfields = 1;
    assert_false(proxy_wants_html(&head));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(host_names_the_sandbox),
        cmocka_unit_test(fields_name_it_on_shared_hosts_only),
        cmocka_unit_test(a_signed_file_names_itself),
        cmocka_unit_test(internal_paths_are_found_in_any_spelling),
        cmocka_unit_test(only_a_navigating_browser_gets_html),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
