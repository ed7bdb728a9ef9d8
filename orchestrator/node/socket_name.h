/* Where the daemon of a data directory listens for its operator. */
#ifndef ORCHESTRATOR_NODE_SOCKET_NAME_H
#define ORCHESTRATOR_NODE_SOCKET_NAME_H

#define NODE_SOCKET_NAME "node.sock" /* in the data directory */

#endif
