/* Random messages of any type, by reflection. */
#ifndef TESTS_UNIT_COMMON_RPC_PB_RANDOM_H
#define TESTS_UNIT_COMMON_RPC_PB_RANDOM_H

#include "common/base/arena.h"

struct pb_random {
    uint64_t state; /* the seed */
    struct arena *arena;
};

/* A message with some of its fields set: every value that has a text in JSON may come, NaN apart
 * (it has many forms). Nests at most `depth` deep. */
ProtobufCMessage *pb_random_message(struct pb_random *r, const ProtobufCMessageDescriptor *type,
                                    int depth);

#endif
