/* Range, dates and Accept-Encoding of downloads. Input: one byte of file size, then the field. */
#include "envd/files/conditions.h"
#include "envd/files/http_date.h"

#include <assert.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct range ranges[RANGES_MAX];
    time_t when;
    if (size == 0)
        return 0;
    int64_t file = data[0] < 200 ? data[0] : INT64_MAX - data[0];
    struct str field = { (const char *)data + 1, size - 1 };
    int n = conditions_parse_ranges(field, file, ranges);
    int64_t total = 0;
    assert(n >= -1 && n <= RANGES_MAX);
    for (int i = 0; i < n; i++) {
        assert(ranges[i].first >= 0 && ranges[i].length > 0);
        assert(ranges[i].length <= file && ranges[i].first <= file - ranges[i].length);
        total += ranges[i].length;
        assert(total <= file);
    }
    if (http_date_parse(field, &when)) {
        char text[HTTP_DATE_MAX];
        time_t again;
        http_date_format(when, text);
        assert(!text[0] || (http_date_parse(str_of(text), &again) && again == when));
    }
    (void)conditions_encoding(field);
    struct http_field f = { STR("if-range"), field };
    struct http_head head = { .fields = &f, .nfields = 1 };
    (void)conditions_range_applies(&head, 0);
    return 0;
}
