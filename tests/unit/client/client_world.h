/* SPDX-License-Identifier: MIT */
/* client_world.h - a client, a cluster of fake servers and a clock in one thread, for tests of the
 * client library. The clock is the real one plus what tests add, so timeouts of minutes pass at
 * once; waiting is always for a condition. */
#ifndef JACKDAW_TESTS_CLIENT_WORLD_H
#define JACKDAW_TESTS_CLIENT_WORLD_H

#include "client/client.h"
#include "fake_chat.h"

#define WORLD_SERVERS 3
#define WORLD_RECORDS_MAX 20000

/* One outcome or event, in the order of their coming. */
struct record {
    enum client_call call;
    enum status status;
    uint64_t session, request;
    uint32_t attempts;
    uint64_t number;
    char text[FAKE_TEXT_SIZE];      /* of the message */
    char error[2 * FAKE_TEXT_SIZE]; /* cut */
};

struct world {
    struct fake_cluster cluster;
    struct fake_server servers[WORLD_SERVERS];
    struct client *client;
    uint64_t ahead_us; /* of the real clock */
    uint32_t random;
    uint64_t rate_start_ms; /* for tests */
    struct record *results;
    size_t result_count;
    struct record *events;
    size_t event_count;
    size_t status_count, session_ends, restored_count, state_failures;
    bool connected;
    char status[256];
    char server[ADDRESS_TEXT_SIZE];
    /* Called with every outcome, if set. */
    void (*on_result)(struct world *world, const struct client_result *result);
};

/* Servers 0..servers-1 are started, 0 is master; no client yet. */
struct world *world_new(size_t servers);
void world_free(struct world *world);

/* Makes the client, which knows the first `known` servers. base: options to start from, or NULL. */
void world_connect(struct world *world, size_t known, const struct client_options *base);

/* The same, with these addresses. */
void world_connect_to(struct world *world, const struct address *addresses, size_t count);

/* The same, with a state file; what it holds goes to results when it ends. */
enum error world_connect_state(struct world *world, size_t known, const char *path);

/* One round of everything, waiting for at most a few milliseconds. */
void world_turn(struct world *world);
void world_advance(struct world *world, uint32_t ms);
/* Turns until nothing has happened for a moment. */
void world_settle(struct world *world);

uint64_t world_now_us(struct world *world);
/* Fails the test when 20 s have passed since the first use of `since` (starts 0). */
void world_check_patience(uint64_t *since, const char *what);

#define WORLD_WAIT(world, condition)               \
    for (uint64_t since_ = 0; !(condition);) {     \
        world_turn(world);                         \
        world_check_patience(&since_, #condition); \
    }

/* Asks; the outcome goes to results. */
enum error world_ask(struct world *world, const struct client_request *request);
void world_send(struct world *world, const char *text);
/* Logs in as "ann" (made if not there) and waits for it. */
void world_login(struct world *world);
/* Sends texts "PREFIX0", "PREFIX1" ... */
void world_send_many(struct world *world, const char *prefix, size_t count);

/* Outcomes of Send with this status. */
size_t world_count(const struct world *world, enum status status);
/* That the servers hold exactly the messages PREFIX0.. in order. */
void world_check_kept(const struct world *world, const char *prefix, size_t count);
/* That the client was told exactly the messages PREFIX0.. in order. */
void world_check_told(const struct world *world, const char *prefix, size_t count);

#endif
