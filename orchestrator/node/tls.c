#include "orchestrator/node/tls.h"

#include "common/base/buf.h"
#include "common/base/cleanup.h"
#include "common/base/fileio.h"

#include <errno.h>
#include <string.h>

/* Of one file; a chain of certificates has some KiB. */
#define PEM_MAX (1U << 20)

static int read_pem(const char *path, const char *what, char **out, struct err *err)
{
    struct buf text = { 0 };
    int rc = file_read(path, PEM_MAX, &text, err);
    if (rc == 0) {
        *out = buf_take_text(&text);
        if (!*out || !strstr(*out, "-----BEGIN "))
            rc = err_set(err, ERR_INVALID, EINVAL, "%s is no %s in PEM", path, what);
    }
    buf_deinit(&text);
    return rc;
}

int node_tls_credentials(grpc_server_credentials **out, const struct node_tls *tls, struct err *err)
{
    AUTO_FREE char *cert = NULL, *ca = NULL;
    char *key = NULL;
    int rc = read_pem(tls->cert, "certificate", &cert, err);
    if (rc == 0)
        rc = read_pem(tls->ca, "certificate", &ca, err);
    if (rc == 0)
        rc = read_pem(tls->key, "private key", &key, err);
    if (rc == 0) {
        grpc_ssl_pem_key_cert_pair pair = { key, cert };
        *out = grpc_ssl_server_credentials_create_ex(
            ca, &pair, 1, GRPC_SSL_REQUEST_AND_REQUIRE_CLIENT_CERTIFICATE_AND_VERIFY, NULL);
        if (!*out)
            rc = err_set(err, ERR_INVALID, EINVAL, "%s and %s cannot be used", tls->cert, tls->key);
    }
    if (key)
        explicit_bzero(key, strlen(key));
    free(key);
    return rc;
}
