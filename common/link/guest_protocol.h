/* What both ends of the guest link agree on beside the messages of proto/guest.proto. */
#ifndef COMMON_LINK_GUEST_PROTOCOL_H
#define COMMON_LINK_GUEST_PROTOCOL_H

/* Version of guest.proto. The orchestrator speaks this one and the one before. */
#define GUEST_PROTOCOL 1

/* Where the paths of guest.proto's methods begin. */
#define GUEST_SERVICE "/sandpit.guest.v1.Guest/"

/* Bytes of host entropy that a guest is given. */
#define GUEST_ENTROPY_SIZE 64

/* Requests that the orchestrator forwards for a client carry this field: they come over the link,
 * but may not reach the control service. */
#define GUEST_PUBLIC_FIELD "sandpit-public"

#endif
