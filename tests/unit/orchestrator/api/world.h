/* A real API on a real listener on loopback, with a real store and a double of the sandboxes; and a
 * client that speaks plain sockets. All in one thread: asking turns the loop. */
#ifndef TESTS_UNIT_ORCHESTRATOR_API_WORLD_H
#define TESTS_UNIT_ORCHESTRATOR_API_WORLD_H

#include "tests/support/test.h"

#include "fake_host.h"
#include "orchestrator/api/api.h"

#include <stdio.h>

#define WORLD_DEADLINE_MS 20000
#define OTHER_TEAM        "bbbbbbbb-0000-4000-8000-000000000000"

struct world {
    uv_loop_t loop;
    struct defer_queue defer;
    struct config config;
    struct store *store;
    struct sandbox_host host;
    struct api *api;
    struct http_listener *listener;
    uint16_t port;
    char root[64], dir[80];
    char key[KEY_SIZE]; /* of the default team */
    char key_id[ID_UUID_SIZE];
    char team_id[ID_UUID_SIZE];
    char other_key[KEY_SIZE]; /* of another team */
    char template_id[ID_TEMPLATE_SIZE];
};

int world_setup(void **state);
int world_teardown(void **state);

#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

struct reply {
    int status;
    char head[8192]; /* lines after the status line */
    char *body;
    size_t body_n;
    json_t *json; /* of the body; NULL when it is empty */
};
void reply_free(struct reply *r);

/* The value of a header, in a static buffer; NULL when there is none. */
const char *reply_header(const struct reply *r, const char *name);

/* Send a request with the key (NULL: none) and a JSON body (NULL: none), and wait for the answer. A
 * body that is not empty must be JSON, whatever the status. */
void ask_with(struct world *w, struct reply *r, const char *key, const char *method,
              const char *target, const char *body);

/* The same with the world's key. */
void ask(struct world *w, struct reply *r, const char *method, const char *target,
         const char *body);

/* Ask and compare the status; the caller frees the reply. */
void expect(struct world *w, struct reply *r, int status, const char *method, const char *target,
            const char *body);

/* Ask, expect an error with this status in the head and in `code`, and a message that begins (or,
 * with '*' before it, contains) so. */
void expect_error(struct world *w, int status, const char *message, const char *method,
                  const char *target, const char *body);

/* Lower: bytes in, bytes out. */
int world_connect(struct world *w);
void world_send(struct world *w, int fd, const void *data, size_t n);
void world_receive(struct world *w, int fd, struct reply *r);

/* Turn the loop until test(arg) or the deadline, which fails the test. */
void world_until(struct world *w, bool (*test)(struct world *w));

#endif
