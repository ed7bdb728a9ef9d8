/* REST routes for file contents: GET and POST /files. */
#ifndef ENVD_FILES_FILES_H
#define ENVD_FILES_FILES_H

#include "envd/core/envd.h"

/* Handlers for envd's route table; r->context is the struct envd. They check token or signature
 * themselves. */
struct http_request;
void files_download(struct http_request *r);
void files_upload(struct http_request *r);

/* POST /files/compose; the server has checked the token. */
void files_compose(struct http_request *r);

#endif
