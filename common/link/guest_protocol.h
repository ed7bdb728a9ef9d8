/* Version of proto/guest.proto. The orchestrator speaks this one and the one before. */
#ifndef COMMON_LINK_GUEST_PROTOCOL_H
#define COMMON_LINK_GUEST_PROTOCOL_H

#define GUEST_PROTOCOL 1

#endif
