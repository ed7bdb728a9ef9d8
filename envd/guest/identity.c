#include "envd/guest/identity.h"
#include "common/base/cleanup.h"
#include "common/base/fileio.h"
#include "common/base/log.h"
#include "common/link/guest_protocol.h"
#include "common/link/link_marker.h"
#include "envd/core/wall_clock.h"
#include "envd/guest/hosts.h"
#include "envd/guest/in_place.h"
#include "envd/guest/link.h"
#include "envd/guest/machine_id.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/random.h>
#include <sys/ioctl.h>

#define STATE_DIR "/run/e2b"

/* Letters, digits and what `also` lists; at most max - 1 of them. */
static bool plain_name(const char *text, const char *also, size_t max)
{
    size_t n = 0;
    for (; text[n]; n++) {
        char c = text[n];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (n + 1 >= max || (!plain && !strchr(also, c)))
            return false;
    }
    return true;
}

/* What a Configure and a Refresh have in common. */
struct moment {
    int64_t wall_clock_ns, stood_still_ns, went_on_ns; /* 0: absent */
    ProtobufCBinaryData entropy;
};

static bool moment_ok(const struct moment *m, struct err *err)
{
    const char *wrong = NULL;
    if (m->wall_clock_ns < 0)
        wrong = "wall_clock_ns must not be negative";
    else if (m->stood_still_ns < 0)
        wrong = "stood_still_ns must not be negative";
    else if (m->went_on_ns < 0)
        wrong = "went_on_ns must not be negative";
    else if (m->entropy.len != 0 && m->entropy.len != GUEST_ENTROPY_SIZE)
        wrong = "entropy must have 64 bytes";
    return !wrong || err_set(err, ERR_INVALID, EINVAL, "%s", wrong) == 0;
}

static const char *wrong_envs(const Sandpit__Guest__V1__ConfigureRequest *r)
{
    size_t bytes = 0;
    if (r->n_envs > ENVD_ENVS_MAX)
        return "too many environment variables";
    for (size_t i = 0; i < r->n_envs; i++) {
        const char *name = r->envs[i]->key;
        if (name[0] == '\0' || strchr(name, '='))
            return "the name of an environment variable must not be empty or have a '='";
        bytes += strlen(name) + strlen(r->envs[i]->value);
    }
    return bytes > IDENTITY_ENVS_BYTES_MAX ? "the environment is too large" : NULL;
}

/* What is wrong with the request, or NULL. */
static const char *wrong_configure(const struct envd *e,
                                   const Sandpit__Guest__V1__ConfigureRequest *r)
{
    if (r->sandbox_id[0] == '\0' || !plain_name(r->sandbox_id, "", sizeof(e->sandbox_id)))
        return "sandbox_id must be letters and digits";
    if (!plain_name(r->template_id, "-_.", sizeof(e->template_id)))
        return "template_id must be letters, digits, '-', '_' and '.'";
    if (!plain_name(r->hostname, "-.", IDENTITY_HOSTNAME_MAX + 1))
        return "hostname must be letters, digits, '-' and '.', at most 64";
    if (r->machine_id[0] && !machine_id_ok(r->machine_id))
        return "machine_id must be 32 lower-case hexadecimal digits";
    if (r->link_secret.len != 0 && r->link_secret.len != LINK_SECRET_SIZE)
        return "link_secret must have 32 bytes";
    if (strlen(r->access_token) > ENVD_TOKEN_MAX)
        return "access_token is too long";
    if (strlen(r->default_user) >= sizeof(e->default_user))
        return "default_user is too long";
    if (strlen(r->default_workdir) >= sizeof(e->default_workdir) ||
        (r->default_workdir[0] && r->default_workdir[0] != '/'))
        return "default_workdir must be an absolute path";
    return wrong_envs(r);
}

/* Kept open: the first calls of a restored guest are the slow ones. -1 when there is none. */
static int random_device(void)
{
    static int fd = -1;
    if (fd < 0)
        fd = open("/dev/urandom", O_WRONLY | O_CLOEXEC);
    return fd;
}

/* Mix host entropy into the kernel's generator and make it reseed at once: two guests restored from
 * one snapshot must not go on with the same numbers. */
static void stir_entropy(ProtobufCBinaryData entropy)
{
    struct {
        int entropy_count, buf_size;
        uint8_t data[GUEST_ENTROPY_SIZE];
    } pool = { .entropy_count = 8 * GUEST_ENTROPY_SIZE, .buf_size = GUEST_ENTROPY_SIZE };
    int fd = random_device();
    memcpy(pool.data, entropy.data, sizeof(pool.data));
    if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) < 0 || ioctl(fd, RNDRESEEDCRNG) < 0)
        log_warn("cannot reseed the random generator", LOG_STR("reason", strerror(errno)));
    explicit_bzero(&pool, sizeof(pool));
}

/* A call whose answer was lost comes again. */
static bool was_moved_for(struct envd *e, int64_t went_on_ns)
{
    bool same = went_on_ns && e->clock_moved_for_ns == went_on_ns;
    e->clock_moved_for_ns = went_on_ns;
    return same;
}

static void set_clock(struct envd *e, const struct moment *m)
{
    if (!m->stood_still_ns && m->wall_clock_ns)
        wall_clock_set(m->wall_clock_ns);
    else if (m->stood_still_ns && !was_moved_for(e, m->went_on_ns))
        wall_clock_move(m->stood_still_ns);
}

static void apply_moment(struct envd *e, const struct moment *m)
{
    set_clock(e, m);
    if (m->entropy.len)
        stir_entropy(m->entropy);
}

/* Programs in the sandbox read who they belong to from the environment or from a file. */
static void set_internal_env(struct envd *e, const char *name, const char *value)
{
    if (!envd_set_env(&e->internal_envs, str_of(name), value[0] ? value : NULL))
        log_error("cannot set a variable", LOG_STR("name", name));
}

static void write_state(const char *path, const char *value)
{
    struct err err;
    int rc = write_in_place(path, str_of(value), 0444, &err);
    if (rc == -ENOENT && file_make_dirs(STATE_DIR, 0755, &err) == 0)
        rc = write_in_place(path, str_of(value), 0444, &err);
    if (rc < 0)
        log_warn("cannot write the sandbox's identity", LOG_STR("reason", err.msg));
}

void identity_write_files(const struct envd *e, const struct identity_files *files)
{
    struct err err;
    write_state(STATE_DIR "/.E2B_SANDBOX_ID", e->sandbox_id);
    write_state(STATE_DIR "/.E2B_TEMPLATE_ID", e->template_id);
    if (files->machine_id[0] && machine_id_set("", files->machine_id, &err) < 0)
        log_warn("cannot set the machine id", LOG_STR("reason", err.msg));
    if (files->hostname[0] && hosts_set_self("/etc/hosts", files->hostname, &err) < 0)
        log_warn("the hostname will not resolve", LOG_STR("reason", err.msg));
}

void identity_settle(struct envd *e)
{
    if (e->unwritten)
        identity_write_files(e, TAKE(e->unwritten));
}

/* Of a length that was checked. */
static void set_text(char *to, size_t size, const char *text)
{
    bool fits = str_copy(str_of(text), to, size);
    assert(fits);
}

int identity_configure(struct envd *e, const Sandpit__Guest__V1__ConfigureRequest *r,
                       struct identity_files *files, struct err *err)
{
    const struct moment now = { r->wall_clock_ns, r->stood_still_ns, r->went_on_ns, r->entropy };
    const char *wrong = wrong_configure(e, r);
    if (wrong)
        return err_set(err, ERR_INVALID, EINVAL, "%s", wrong);
    if (!moment_ok(&now, err))
        return -EINVAL;

    /* The clock first: each moment until it is set makes it late. */
    if (e->is_guest)
        apply_moment(e, &now);
    set_text(e->sandbox_id, sizeof(e->sandbox_id), r->sandbox_id);
    set_text(e->template_id, sizeof(e->template_id), r->template_id);
    set_text(e->access_token, sizeof(e->access_token), r->access_token);
    if (r->default_user[0])
        set_text(e->default_user, sizeof(e->default_user), r->default_user);
    set_text(e->default_workdir, sizeof(e->default_workdir), r->default_workdir);
    envd_clear_envs(&e->envs);
    for (size_t i = 0; i < r->n_envs; i++)
        if (!envd_set_env(&e->envs, str_of(r->envs[i]->key), r->envs[i]->value))
            return err_set(err, ERR_EXHAUSTED, ENOMEM, "out of memory");
    set_internal_env(e, "E2B_SANDBOX_ID", e->sandbox_id);
    set_internal_env(e, "E2B_TEMPLATE_ID", e->template_id);
    if (r->link_secret.len && e->link)
        envd_link_set_secret(e->link, r->link_secret.data);
    set_text(files->hostname, sizeof(files->hostname), r->hostname);
    set_text(files->machine_id, sizeof(files->machine_id), r->machine_id);
    if (e->is_guest && files->hostname[0] &&
        sethostname(files->hostname, strlen(files->hostname)) < 0)
        log_warn("cannot set the hostname", LOG_STR("reason", strerror(errno)));
    return 0;
}

int identity_refresh(struct envd *e, const Sandpit__Guest__V1__RefreshRequest *r, struct err *err)
{
    const struct moment now = { r->wall_clock_ns, r->stood_still_ns, r->went_on_ns, r->entropy };
    if (!moment_ok(&now, err))
        return -EINVAL;
    if (e->is_guest)
        apply_moment(e, &now);
    return 0;
}
