/* The options of a create beyond the plain ones: which are kept, which are refused. For this folder
 * only. */
#ifndef ORCHESTRATOR_API_CREATE_OPTIONS_H
#define ORCHESTRATOR_API_CREATE_OPTIONS_H

#include "orchestrator/sandbox/sandbox.h"

/* Check body's options, set what the spec has for them and spec->config (a new reference, whatever
 * is returned): {allowInternetAccess?, network?}, as answers echo it. An option that
 * would be a promise this program does not keep is refused by name. 0 or -errno. */
int create_options_parse(const json_t *body, struct sandbox_spec *spec, struct err *err);

#endif
