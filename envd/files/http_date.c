#include "envd/files/http_date.h"

void http_date_format(time_t when, char out[static HTTP_DATE_MAX])
{
    struct tm tm;
    if (!gmtime_r(&when, &tm) || !strftime(out, HTTP_DATE_MAX, "%a, %d %b %Y %H:%M:%S GMT", &tm))
        out[0] = '\0';
}

bool http_date_parse(struct str text, time_t *out)
{
    static const char *const forms[] = {
        "%a, %d %b %Y %H:%M:%S GMT", /* the one in use */
        "%A, %d-%b-%y %H:%M:%S GMT", /* RFC 850 */
        "%a %b %e %H:%M:%S %Y",      /* asctime */
    };
    char copy[64];
    if (!str_copy(text, copy, sizeof(copy)))
        return false;
    for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
        struct tm tm = { 0 };
        const char *end = strptime(copy, forms[i], &tm);
        if (end && *end == '\0') {
            *out = timegm(&tm);
            return true;
        }
    }
    return false;
}
