#include "orchestrator/store/secret.h"

#include "common/base/fileio.h"
#include "orchestrator/store/ids.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

int store_secret_load(const char *data_dir, uint8_t out[static STORE_SECRET_SIZE], struct err *err)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof(path), "%s/secret", data_dir) >= (int)sizeof(path))
        return err_set(err, ERR_INVALID, ENAMETOOLONG, "the data directory's path is too long");

    struct buf text = { 0 };
    int rc = file_read(path, STORE_SECRET_SIZE, &text, err);
    bool whole = rc == 0 && buf_len(&text) == STORE_SECRET_SIZE;
    if (whole)
        memcpy(out, buf_head(&text), STORE_SECRET_SIZE);
    if (text.data)
        explicit_bzero(text.data, text.cap);
    buf_deinit(&text);
    if (whole)
        return 0;
    if (rc == 0 || rc == -EFBIG)
        return err_set(err, ERR_INTERNAL, EINVAL,
                       "%s is damaged: it must hold exactly %d bytes; restore it, or remove it to "
                       "void every access token given out",
                       path, STORE_SECRET_SIZE);
    if (rc != -ENOENT)
        return rc;
    id_random_bytes(out, STORE_SECRET_SIZE);
    return file_replace(path, out, STORE_SECRET_SIZE, 0600, err);
}
