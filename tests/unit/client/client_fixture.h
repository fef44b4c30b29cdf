/* SPDX-License-Identifier: MIT */
/* client_fixture.h - a client, a cluster of fake servers and a clock in one thread, for tests of the
 * client library. Tests move the client's clock, and a turn moves it only if nothing has happened and no thread
 * of the process has work. So a slow machine changes no time that a test measures. Waiting is always for a
 * condition. */
#ifndef JACKDAW_TESTS_CLIENT_CLIENT_FIXTURE_H
#define JACKDAW_TESTS_CLIENT_CLIENT_FIXTURE_H

#include "client/client.h"
#include "fake_chat.h"

#define CLIENT_FIXTURE_SERVERS 3
#define CLIENT_FIXTURE_RECORDS_MAX 20000

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

struct client_fixture {
    struct fake_cluster cluster;
    struct fake_server servers[CLIENT_FIXTURE_SERVERS];
    struct client *client;
    uint64_t
        now_us; /* the client's clock: always ahead of the real one, so that no deadline follows that */
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
    void (*on_result)(struct client_fixture *fixture, const struct client_result *result);
};

/* Servers 0..servers-1 are started, 0 is master; no client yet. */
struct client_fixture *client_fixture_new(size_t servers);
void client_fixture_free(struct client_fixture *fixture);
/* The same with a client that knows all servers and connects; then one that has logged in as ann. */
struct client_fixture *client_fixture_connected(size_t servers);
struct client_fixture *client_fixture_logged_in(size_t servers);

/* Tests on `f`, a fixture that `open` makes. */
#define CLIENT_TEST(name, open) TEST_OPEN(name, struct client_fixture, open, client_fixture_free)
#define CONNECTED_TEST(name) CLIENT_TEST(name, client_fixture_connected(1))
#define LOGGED_IN_TEST(name) CLIENT_TEST(name, client_fixture_logged_in(1))

/* Makes the client, which knows the first `known` servers. base: options to start from, or NULL. */
void client_fixture_connect(struct client_fixture *fixture, size_t known,
                            const struct client_options *base);

/* The same, with these addresses. */
void client_fixture_connect_to(struct client_fixture *fixture, const struct address *addresses,
                               size_t count);

/* The same, with a state file; what it holds goes to results when it ends. */
enum error client_fixture_connect_state(struct client_fixture *fixture, size_t known,
                                        const char *path);

/* One round of everything, waiting for at most a few milliseconds. */
void client_fixture_turn(struct client_fixture *fixture);
void client_fixture_advance(struct client_fixture *fixture, uint32_t ms);
/* Turns until nothing is under way any more: no thread has work, and the client waits for its clock, which
 * stands still. */
void client_fixture_settle(struct client_fixture *fixture);

/* Moves the client's clock, and settles. */
void client_fixture_pass(struct client_fixture *fixture, uint32_t ms);

uint64_t client_fixture_now_us(struct client_fixture *fixture);
/* Fails the test when 60 s have passed since the first use of `since` (starts 0). */
void client_fixture_check_patience(uint64_t *since, const char *what);

#define CLIENT_FIXTURE_WAIT(fixture, condition)             \
    for (uint64_t since_ = 0; !(condition);) {              \
        client_fixture_turn(fixture);                       \
        client_fixture_check_patience(&since_, #condition); \
    }

/* The same, which takes less than so long on the client's clock. */
#define CLIENT_FIXTURE_WAIT_WITHIN(fixture, us, condition)              \
    do {                                                                \
        uint64_t start_us_ = client_fixture_now_us(fixture);            \
        CLIENT_FIXTURE_WAIT(fixture, condition);                        \
        assert_true(client_fixture_now_us(fixture) - start_us_ < (us)); \
    } while (0)

/* The same in steps of so many milliseconds; the client and the servers settle after each. */
#define CLIENT_FIXTURE_WAIT_LONG(fixture, ms, condition)    \
    for (uint64_t since_ = 0; !(condition);) {              \
        client_fixture_pass(fixture, ms);                   \
        client_fixture_check_patience(&since_, #condition); \
    }

/* Asks; the outcome goes to results. */
enum error client_fixture_ask(struct client_fixture *fixture, const struct client_request *request);
void client_fixture_send(struct client_fixture *fixture, const char *text);
/* Asks for a login as `name` with the password "secret"; again: also when the session has ended. */
void client_fixture_ask_login(struct client_fixture *fixture, const char *name,
                              enum client_manner manner, bool again);
/* Logs in as "ann" (made if not there) and waits for it. */
void client_fixture_login(struct client_fixture *fixture);
/* Connects as client_fixture_connect, and logs in. */
void client_fixture_enter(struct client_fixture *fixture, size_t known);
/* Sends texts "PREFIX0", "PREFIX1" ... */
void client_fixture_send_many(struct client_fixture *fixture, const char *prefix, size_t count);
/* The same, and waits for all outcomes. */
void client_fixture_send_through(struct client_fixture *fixture, const char *prefix, size_t count);
/* Sends from "PREFIX<first>" on. */
void client_fixture_send_from(struct client_fixture *fixture, const char *prefix, size_t first,
                              size_t count);

struct client_view client_fixture_view(const struct client_fixture *fixture);
struct client_stats client_fixture_stats(const struct client_fixture *fixture);
/* Whether the client uses this server. */
bool client_fixture_uses(const struct client_fixture *fixture, size_t server);

/* Outcomes of Send with this status. */
size_t client_fixture_count(const struct client_fixture *fixture, enum status status);
/* That the servers hold exactly the messages PREFIX0.. in order. */
void client_fixture_check_kept(const struct client_fixture *fixture, const char *prefix,
                               size_t count);
/* That the client was told exactly the messages PREFIX0.. in order. */
void client_fixture_check_told(const struct client_fixture *fixture, const char *prefix,
                               size_t count);

#endif
