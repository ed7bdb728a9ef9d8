/* A command in a guest, asked for over the guest link as a client would ask for it. */
#ifndef ORCHESTRATOR_LINK_GUEST_COMMAND_H
#define ORCHESTRATOR_LINK_GUEST_COMMAND_H

#include "orchestrator/link/guest_link.h"

/* Of the answer, as it came: events in envelopes with the output between them. */
#define GUEST_COMMAND_OUTPUT_MAX 65536

struct guest_command;

/* Run a program as `user` in a guest whose envd asks for no token yet; args end with NULL.
 * done(user_data, bytes, n, err) once, never from inside: the answer's body when err is NULL. NULL
 * when the link is down. */
struct guest_command *guest_command_run(struct guest_link *l, const char *user, const char *program,
                                        const char *const *args,
                                        void (*done)(void *user_data, const uint8_t *output,
                                                     size_t n, const struct err *err),
                                        void *user_data);

/* Give up; done is not called. */
void guest_command_cancel(struct guest_command *c);

#endif
