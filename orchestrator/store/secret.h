/* The host's secret: what access tokens are derived from. */
#ifndef ORCHESTRATOR_STORE_SECRET_H
#define ORCHESTRATOR_STORE_SECRET_H

#include "common/base/err.h"

#include <stdint.h>

#define STORE_SECRET_SIZE 32

/* Read <data_dir>/secret, made from random bytes with mode 0600 when there is none. Only the holder
 * of the daemon's lock may call it. A file of another size is refused: a secret that changed would
 * silently void every token. 0 or -errno. */
int store_secret_load(const char *data_dir, uint8_t out[static STORE_SECRET_SIZE], struct err *err);

#endif
