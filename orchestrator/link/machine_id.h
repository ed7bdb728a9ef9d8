/* The machine id that a guest is given. */
#ifndef ORCHESTRATOR_LINK_MACHINE_ID_H
#define ORCHESTRATOR_LINK_MACHINE_ID_H

#define MACHINE_ID_SIZE 33 /* 32 hexadecimal digits */

/* The same for a sandbox at each of its starts, another one for each other sandbox. */
void machine_id_of(const char *sandbox_id, char out[static MACHINE_ID_SIZE]);

#endif
