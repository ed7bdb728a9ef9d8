#include "common/base/cleanup.h"
#include "common/link/guest_protocol.h"
#include "common/link/link_marker.h"
#include "envd/core/wall_clock.h"
#include "envd/guest/identity.h"
#include "tests/support/test.h"

#include <errno.h>

/* An envd on a host: its own state changes, the machine's does not. */
static struct envd host_envd(void)
{
    return (struct envd){ .default_user = "root" };
}

static void deinit(struct envd *e)
{
    envd_clear_envs(&e->envs);
    envd_clear_envs(&e->internal_envs);
}

static Sandpit__Guest__V1__ConfigureRequest good(void)
{
    Sandpit__Guest__V1__ConfigureRequest r = SANDPIT__GUEST__V1__CONFIGURE_REQUEST__INIT;
    r.sandbox_id = (char *)(uintptr_t) "iabc123";
    r.template_id = (char *)(uintptr_t) "base-1";
    return r;
}

static const char *env(const struct map *envs, const char *name)
{
    return map_get(envs, str_of(name));
}

static void test_configure_sets_everything(void **state)
{
    (void)state;
    struct envd e = host_envd();
    struct identity_files files;
    Sandpit__Guest__V1__ConfigureRequest__EnvsEntry entry =
        SANDPIT__GUEST__V1__CONFIGURE_REQUEST__ENVS_ENTRY__INIT;
    Sandpit__Guest__V1__ConfigureRequest__EnvsEntry *entries[] = { &entry };
    entry.key = (char *)(uintptr_t) "KEY";
    entry.value = (char *)(uintptr_t) "a=b";
    Sandpit__Guest__V1__ConfigureRequest r = good();
    r.access_token = (char *)(uintptr_t) "token";
    r.default_user = (char *)(uintptr_t) "user";
    r.default_workdir = (char *)(uintptr_t) "/work";
    r.envs = entries;
    r.n_envs = 1;
    r.hostname = (char *)(uintptr_t) "host-1";
    r.machine_id = (char *)(uintptr_t) "0123456789abcdef0123456789abcdef";
    assert_int_equal(identity_configure(&e, &r, &files, NULL), 0);
    assert_string_equal(e.sandbox_id, "iabc123");
    assert_string_equal(e.access_token, "token");
    assert_string_equal(e.default_user, "user");
    assert_string_equal(e.default_workdir, "/work");
    assert_string_equal(env(&e.envs, "KEY"), "a=b");
    assert_string_equal(env(&e.internal_envs, "E2B_SANDBOX_ID"), "iabc123");
    assert_string_equal(env(&e.internal_envs, "E2B_TEMPLATE_ID"), "base-1");
    assert_string_equal(files.hostname, "host-1");
    assert_string_equal(files.machine_id, "0123456789abcdef0123456789abcdef");

    /* The next one replaces it: no variable of an earlier sandbox stays, nor its token. */
    r = good();
    r.sandbox_id = (char *)(uintptr_t) "iother";
    assert_int_equal(identity_configure(&e, &r, &files, NULL), 0);
    assert_null(env(&e.envs, "KEY"));
    assert_string_equal(e.access_token, "");
    assert_string_equal(e.default_user, "user");
    assert_string_equal(env(&e.internal_envs, "E2B_SANDBOX_ID"), "iother");
    assert_string_equal(files.hostname, "");
    deinit(&e);
}

static void assert_refused(Sandpit__Guest__V1__ConfigureRequest r, const char *names)
{
    struct envd e = host_envd();
    struct identity_files files;
    struct err err = { 0 };
    assert_int_equal(identity_configure(&e, &r, &files, &err), -EINVAL);
    assert_int_equal(err.code, ERR_INVALID);
    if (!strstr(err.msg, names))
        fail_msg("'%s' does not name '%s'", err.msg, names);
    /* Nothing of it counts. */
    assert_string_equal(e.sandbox_id, "");
    assert_string_equal(e.default_user, "root");
    assert_null(env(&e.internal_envs, "E2B_SANDBOX_ID"));
    deinit(&e);
}

static void test_configure_refuses_malformed_fields(void **state)
{
    (void)state;
    static char long_text[8192];
    uint8_t bytes[64] = { 0 };
    memset(long_text, 'a', sizeof(long_text) - 1);
    Sandpit__Guest__V1__ConfigureRequest r = good();
#define REFUSE(field, value, names)                                                                \
    do {                                                                                           \
        r = good();                                                                                \
        r.field = (char *)(uintptr_t)(value);                                                      \
        assert_refused(r, names);                                                                  \
    } while (0)
    REFUSE(sandbox_id, "", "sandbox_id");
    REFUSE(sandbox_id, "../x", "sandbox_id");
    REFUSE(sandbox_id, long_text, "sandbox_id");
    REFUSE(template_id, "a b", "template_id");
    REFUSE(hostname, "a\nb", "hostname");
    REFUSE(hostname, long_text, "hostname");
    REFUSE(access_token, long_text, "access_token");
    REFUSE(machine_id, "xyz", "machine_id");
    REFUSE(machine_id, long_text, "machine_id");
    REFUSE(default_user, long_text, "default_user");
    REFUSE(default_workdir, "relative", "default_workdir");
    REFUSE(default_workdir, long_text, "default_workdir");
    for (size_t n = 1; n < sizeof(bytes); n++) {
        r = good();
        r.link_secret = (ProtobufCBinaryData){ n, bytes };
        if (n != LINK_SECRET_SIZE)
            assert_refused(r, "link_secret");
        r = good();
        r.entropy = (ProtobufCBinaryData){ n, bytes };
        assert_refused(r, "entropy");
    }
    r = good();
    r.wall_clock_ns = -1;
    assert_refused(r, "wall_clock_ns");
}

static void refuse_env(const char *key, const char *value, size_t n, const char *names)
{
    Sandpit__Guest__V1__ConfigureRequest__EnvsEntry entry =
        SANDPIT__GUEST__V1__CONFIGURE_REQUEST__ENVS_ENTRY__INIT;
    AUTO_FREE Sandpit__Guest__V1__ConfigureRequest__EnvsEntry **entries =
        calloc(n, sizeof(*entries));
    assert_non_null(entries);
    entry.key = (char *)(uintptr_t)key;
    entry.value = (char *)(uintptr_t)value;
    for (size_t i = 0; i < n; i++)
        entries[i] = &entry;
    Sandpit__Guest__V1__ConfigureRequest r = good();
    r.envs = entries;
    r.n_envs = n;
    assert_refused(r, names);
}

static void test_configure_refuses_malformed_variables(void **state)
{
    (void)state;
    AUTO_FREE char *big = calloc(1, IDENTITY_ENVS_BYTES_MAX + 1);
    assert_non_null(big);
    memset(big, 'v', IDENTITY_ENVS_BYTES_MAX);
    refuse_env("", "v", 1, "name");
    refuse_env("A=B", "v", 1, "name");
    refuse_env("A", "v", ENVD_ENVS_MAX + 1, "too many");
    refuse_env("A", big, 1, "too large");
}

static int refresh(struct envd *e, int64_t wall_clock_ns, int64_t stood_still_ns,
                   ProtobufCBinaryData entropy)
{
    Sandpit__Guest__V1__RefreshRequest r = SANDPIT__GUEST__V1__REFRESH_REQUEST__INIT;
    r.wall_clock_ns = wall_clock_ns;
    r.stood_still_ns = stood_still_ns;
    r.entropy = entropy;
    return identity_refresh(e, &r, NULL);
}

/* The machine's clock stays as it is. */

static int64_t moved_ns, set_ns;

void wall_clock_move(int64_t by_ns)
{
    moved_ns += by_ns;
}

void wall_clock_set(int64_t wanted_ns)
{
    set_ns = wanted_ns;
}

void wall_clock_correct(int64_t wanted_ns)
{
    (void)wanted_ns;
}

static void went_on(struct envd *e, int64_t at_ns)
{
    Sandpit__Guest__V1__RefreshRequest r = SANDPIT__GUEST__V1__REFRESH_REQUEST__INIT;
    r.wall_clock_ns = 1;
    r.stood_still_ns = 10;
    r.went_on_ns = at_ns;
    assert_int_equal(identity_refresh(e, &r, NULL), 0);
}

/* A call whose answer is lost is made again. */
static void test_the_clock_is_moved_once_for_one_moment(void **state)
{
    (void)state;
    struct envd e = host_envd();
    e.is_guest = true;
    moved_ns = set_ns = 0;
    went_on(&e, 100);
    went_on(&e, 100);
    assert_int_equal(moved_ns, 10);
    went_on(&e, 200);
    went_on(&e, 200);
    assert_int_equal(moved_ns, 20);
    /* By who does not tell when. */
    went_on(&e, 0);
    went_on(&e, 0);
    assert_int_equal(moved_ns, 40);
    assert_int_equal(set_ns, 0);
    ProtobufCBinaryData none = { 0, NULL };
    assert_int_equal(refresh(&e, 5, 0, none), 0);
    assert_int_equal(set_ns, 5);
    assert_int_equal(moved_ns, 40);
}

static void test_refresh_checks_too(void **state)
{
    (void)state;
    struct envd e = host_envd();
    uint8_t bytes[GUEST_ENTROPY_SIZE] = { 0 };
    ProtobufCBinaryData whole = { sizeof(bytes), bytes }, cut = { 5, bytes }, none = { 0, NULL };
    assert_int_equal(refresh(&e, 0, 0, none), 0);
    assert_int_equal(refresh(&e, 1, 0, whole), 0);
    assert_int_equal(refresh(&e, 1, 1, none), 0);
    assert_int_equal(refresh(&e, 1, 0, cut), -EINVAL);
    assert_int_equal(refresh(&e, -1, 0, none), -EINVAL);
    assert_int_equal(refresh(&e, 1, -1, none), -EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_configure_sets_everything),
        cmocka_unit_test(test_configure_refuses_malformed_fields),
        cmocka_unit_test(test_configure_refuses_malformed_variables),
        cmocka_unit_test(test_the_clock_is_moved_once_for_one_moment),
        cmocka_unit_test(test_refresh_checks_too),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
