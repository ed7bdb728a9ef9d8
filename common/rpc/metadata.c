#include "common/rpc/metadata.h"

#include <errno.h>

#define CONNECT_DIGITS_MAX 10
#define GRPC_DIGITS_MAX    8

struct str metadata_media_type(struct str content_type)
{
    struct str rest = content_type;
    struct str type = str_trim(str_split(&rest, ';'));
    struct str charset = rest.p ? str_trim(rest) : (struct str){ "", 0 };
    if (charset.n && !str_eq_nocase(charset, STR("charset=utf-8")) &&
        !str_eq_nocase(charset, STR("charset=\"utf-8\"")))
        return (struct str){ "", 0 };
    return type;
}

int metadata_connect_timeout(const struct http_head *head, int64_t *ms, struct err *err)
{
    struct str text = http_field_get(head, "connect-timeout-ms");
    uint64_t value = 0;
    *ms = 0;
    if (!text.p)
        return 0;
    if (text.n > CONNECT_DIGITS_MAX || !str_to_u64(text, INT64_MAX, &value))
        return err_set(err, ERR_INVALID, EINVAL,
                       "invalid Connect-Timeout-Ms: expected at most ten digits");
    *ms = (int64_t)value;
    return 0;
}

int metadata_grpc_timeout(const struct http_head *head, int64_t *ms, struct err *err)
{
    static const struct {
        char unit;
        int64_t ns;
    } units[] = {
        { 'H', 3600000000000 }, { 'M', 60000000000 }, { 'S', 1000000000 },
        { 'm', 1000000 },       { 'u', 1000 },        { 'n', 1 },
    };
    struct str text = http_field_get(head, "grpc-timeout");
    uint64_t value = 0;
    *ms = 0;
    if (!text.p)
        return 0;
    if (text.n >= 2 && text.n - 1 <= GRPC_DIGITS_MAX &&
        str_to_u64((struct str){ text.p, text.n - 1 }, INT64_MAX, &value)) {
        for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
            if (units[i].unit != text.p[text.n - 1])
                continue;
            /* Eight digits of hours fit in milliseconds, not in nanoseconds. */
            int64_t per_ms = units[i].ns / 1000000;
            *ms = per_ms ? (int64_t)value * per_ms : (int64_t)value * units[i].ns / 1000000;
            *ms += *ms == 0;
            return 0;
        }
    }
    return err_set(err, ERR_INVALID, EINVAL,
                   "invalid grpc-timeout: expected at most eight digits and a unit");
}

int metadata_encoding_name(struct str value, bool *gzip, struct err *err)
{
    *gzip = str_eq_nocase(value, STR("gzip"));
    if (*gzip || value.n == 0 || str_eq_nocase(value, STR("identity")))
        return 0;
    return err_set(err, ERR_UNIMPLEMENTED, EOPNOTSUPP,
                   "unknown compression \"%.*s\": supported encodings are gzip",
                   (int)(value.n < 32 ? value.n : 32), value.p);
}

int metadata_encoding(const struct http_head *head, const char *name, bool *gzip, struct err *err)
{
    return metadata_encoding_name(http_field_get(head, name), gzip, err);
}

/* "gzip" or "gzip;q=0.5", but not "gzip;q=0" in any precision. */
static bool is_gzip(struct str item)
{
    struct str name = str_trim(str_split(&item, ';'));
    struct str weight = item.p ? str_trim(item) : (struct str){ "", 0 };
    if (!str_eq_nocase(name, STR("gzip")))
        return false;
    if (!str_starts(weight, STR("q=0")))
        return true;
    for (size_t i = 3; i < weight.n; i++)
        if (weight.p[i] >= '1' && weight.p[i] <= '9')
            return true;
    return false;
}

bool metadata_accepts_gzip(const struct http_head *head, const char *name)
{
    for (size_t i = 0; i < head->nfields; i++) {
        if (!str_eq_nocase(head->fields[i].name, str_of(name)))
            continue;
        struct str rest = head->fields[i].value;
        while (rest.p)
            if (is_gzip(str_split(&rest, ',')))
                return true;
    }
    return false;
}

bool metadata_grpc_escape(struct buf *out, struct str message)
{
    for (size_t i = 0; i < message.n; i++) {
        unsigned char c = (unsigned char)message.p[i];
        if (c < 0x20 || c > 0x7E || c == '%')
            buf_printf(out, "%%%02X", c);
        else
            buf_putc(out, (char)c);
    }
    return !out->failed;
}
