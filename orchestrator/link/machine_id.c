#include "orchestrator/link/machine_id.h"

#include "common/base/encode.h"
#include "common/base/sha256.h"

#include <string.h>

/* A machine id is a secret of its machine (machine-id(5)), an application hashes it before it shows
 * it. So it comes from the sandbox's id by a hash under a name of its own. */
#define PURPOSE "sandpit machine id"

void machine_id_of(const char *sandbox_id, char out[static MACHINE_ID_SIZE])
{
    uint8_t digest[SHA256_SIZE];
    hmac_sha256(PURPOSE, strlen(PURPOSE), sandbox_id, strlen(sandbox_id), digest);
    hex_encode(digest, (MACHINE_ID_SIZE - 1) / 2, out);
    out[MACHINE_ID_SIZE - 1] = '\0';
}
