/* The nodes of a VM's disk by their numbers (args.h), as QEMU tells them. */
#ifndef ORCHESTRATOR_VMM_QEMU_NODES_H
#define ORCHESTRATOR_VMM_QEMU_NODES_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#define NODE_NAME_SIZE 24

/* The name of layer `number`, such as "disk-3"; 0: the root file system's. */
void node_name(unsigned number, char out[static NODE_NAME_SIZE]);

/* From the answer to query-block: the number of what the guest's disk is. */
bool node_find_top(const json_t *result, unsigned *number);

/* From the answer to query-fdsets: the path of layer `number`, borrowed; NULL when there is none.
 */
const char *node_path(const json_t *result, unsigned number);

/* From the answer to query-named-block-nodes: the numbers of the layers up to `top`, ascending.
 * Returns how many there are; more than `max` are not written. */
size_t node_list(const json_t *result, unsigned top, unsigned *numbers, size_t max);

#endif
