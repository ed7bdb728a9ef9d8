/* Random identifiers. */
#ifndef ORCHESTRATOR_STORE_IDS_H
#define ORCHESTRATOR_STORE_IDS_H

#include <stddef.h>
#include <stdint.h>

#define ID_UUID_SIZE     37 /* with the NUL */
#define ID_TEMPLATE_SIZE 21 /* 20 of [a-z0-9] */
#define ID_SANDBOX_SIZE  22 /* "i" and 20 of [a-z0-9] */

/* n bytes of the kernel's random generator. */
void id_random_bytes(void *out, size_t n);

/* A version 4 UUID as text. */
void id_uuid(char out[static ID_UUID_SIZE]);

void id_template(char out[static ID_TEMPLATE_SIZE]);
void id_sandbox(char out[static ID_SANDBOX_SIZE]);

#endif
