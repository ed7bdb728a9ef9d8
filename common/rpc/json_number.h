/* The value of a JSON number's text. Each returns false when the text is no such number or has
 * more than the range; 1.0 and 1e3 are integers, 1.5 is none. */
#ifndef COMMON_RPC_JSON_NUMBER_H
#define COMMON_RPC_JSON_NUMBER_H

#include "common/base/str.h"

bool json_number_u64(struct str text, uint64_t max, uint64_t *out);
bool json_number_i64(struct str text, int64_t min, int64_t max, int64_t *out);
bool json_number_double(struct str text, double *out);

#endif
