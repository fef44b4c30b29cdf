/* SPDX-License-Identifier: MIT */
/* The client library against servers that refuse, lose, abort, redirect, die and come back. */
#include "client_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- sending ---- */

static void test_send__all_in_order(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    world_send_many(world, "m", 1000);
    WORLD_WAIT(world, world->result_count == 1000 && world->event_count == 1000);
    world_check_kept(world, "m", 1000);
    world_check_told(world, "m", 1000);
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(world->results[i].status, STATUS_OK);
        assert_int_equal(world->results[i].request, i + 1);
        assert_int_equal(world->results[i].number, i + 1);
        assert_int_equal(world->results[i].session, world->cluster.sessions[0].id);
        assert_int_equal(world->results[i].attempts, 1);
    }
    struct client_figures figures;
    client_figures(world->client, &figures);
    assert_int_equal(figures.sent, 1000);
    assert_int_equal(figures.received, 1000);
    assert_int_equal(figures.retries + figures.failed + figures.gaps + figures.reconnects, 0);
    assert_true(figures.p50_us > 0 && figures.p50_us <= figures.p99_us);
    assert_true(figures.sent_per_second > 0);
    world_free(world);
}

/* Nothing is answered for a while: no more than the window may be out. */
static enum fake_action lose_sends(void *context, struct fake_server *server, const char *method,
                                   uint64_t number)
{
    (void)context, (void)server, (void)number;
    return strcmp(method, "Send") == 0 ? FAKE_LOSE : FAKE_OBEY;
}

static void test_send__window_is_bounded(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    world->cluster.judge = lose_sends;
    world_send_many(world, "m", 400);
    WORLD_WAIT(world, world->cluster.sends_seen == CLIENT_WINDOW);
    world_settle(world);
    assert_int_equal(world->cluster.sends_seen, CLIENT_WINDOW);
    world->cluster.judge = NULL;
    world_advance(world, CLIENT_ANSWER_MS + 1);
    WORLD_WAIT(world, world->result_count == 400);
    world_check_kept(world, "m", 400);
    assert_true(world->cluster.numbers_most_ahead <= CLIENT_WINDOW);
    world_free(world);
}

/* An answer in the middle is lost while all around it come: later numbers must not run away from
 * the one that is still open. */
static enum fake_action lose_answer_to_first(void *context, struct fake_server *server,
                                             const char *method, uint64_t number)
{
    (void)context, (void)server;
    return strcmp(method, "Send") == 0 && number == 1 ? FAKE_LOSE_ANSWER : FAKE_OBEY;
}

static void test_send__window_counts_from_the_oldest(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    world->cluster.judge = lose_answer_to_first;
    world_send_many(world, "m", 400);
    WORLD_WAIT(world, world->result_count == CLIENT_WINDOW - 1);
    world_settle(world);
    assert_int_equal(world->cluster.sends_done, CLIENT_WINDOW);
    world->cluster.judge = NULL;
    world_advance(world, CLIENT_ANSWER_MS + 1);
    WORLD_WAIT(world, world->result_count == 400);
    world_check_kept(world, "m", 400);
    assert_int_equal(world_count(world, STATUS_OK), 400);
    world_free(world);
}

static enum fake_action lose_third(void *context, struct fake_server *server, const char *method,
                                   uint64_t number)
{
    bool *lost = context;
    (void)server;
    if (*lost || strcmp(method, "Send") != 0 || number != 3)
        return FAKE_OBEY;
    *lost = true;
    return FAKE_LOSE;
}

/* The requests after it tell: nobody waits for its deadline. */
static void test_send__lost_request_is_noticed_at_once(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    bool lost = false;
    world->cluster.judge = lose_third;
    world->cluster.context = &lost;
    world_connect(world, 1, NULL);
    world_login(world);
    world_send_many(world, "m", 10);
    uint64_t start_us = world_now_us(world);
    WORLD_WAIT(world, world->result_count == 10);
    assert_true(world_now_us(world) - start_us < CLIENT_ANSWER_MS * 1000 / 2);
    assert_true(lost);
    world_check_kept(world, "m", 10);
    world_free(world);
}

/* A server that takes so many a second is not sent many times as many. */
static enum fake_action limit_rate(void *context, struct fake_server *server, const char *method,
                                   uint64_t number)
{
    struct world *world = context;
    (void)number;
    server->fail_status = STATUS_RESOURCE_EXHAUSTED;
    server->fail_retry_ms = 1;
    if (strcmp(method, "Send") != 0)
        return FAKE_OBEY;
    /* 1000 a second, ten at once */
    uint64_t allowed = world_now_us(world) / 1000 - world->rate_start_ms + 10;
    return world->cluster.sends_done < allowed ? FAKE_OBEY : FAKE_FAIL;
}

static void test_send__adapts_to_a_rate_limit(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    world->rate_start_ms = world_now_us(world) / 1000;
    world->cluster.judge = limit_rate;
    world->cluster.context = world;
    world_send_many(world, "m", 1000);
    WORLD_WAIT(world, world->result_count == 1000);
    world_check_kept(world, "m", 1000);
    assert_true(world->cluster.sends_seen < 3000);
    world_free(world);
}

static enum fake_action misbehave(void *context, struct fake_server *server, const char *method,
                                  uint64_t number)
{
    uint32_t *count = context;
    if (strcmp(method, "Send") != 0)
        return FAKE_OBEY;
    (void)number;
    switch (++*count % 11) {
    case 3:
        server->fail_status = STATUS_RESOURCE_EXHAUSTED;
        server->fail_retry_ms = 3;
        return FAKE_FAIL;
    case 7:
        server->fail_status = STATUS_UNAVAILABLE;
        server->fail_retry_ms = 0;
        return FAKE_FAIL;
    case 9:
        return FAKE_LOSE_ANSWER;
    case 10:
        return FAKE_LOSE;
    default:
        return FAKE_OBEY;
    }
}

static void test_send__refusals_losses_and_aborts(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    uint32_t count = 0;
    world->cluster.context = &count;
    world_connect(world, 1, NULL);
    world_login(world);
    world->cluster.judge = misbehave;
    world_send_many(world, "m", 200);
    uint64_t since = 0;
    while (world->result_count < 200) {
        world_settle(world);
        world_advance(world, 500);
        world_check_patience(&since, "200 outcomes");
        if (count > 1000)
            world->cluster.judge = NULL;
    }
    WORLD_WAIT(world, world->event_count == 200);
    world_check_kept(world, "m", 200);
    world_check_told(world, "m", 200);
    assert_int_equal(world_count(world, STATUS_OK), 200);
    struct client_figures figures;
    client_figures(world->client, &figures);
    assert_true(figures.retries > 0);
    world_free(world);
}

static void test_send__definite_refusal_ends_one_only(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    world_send(world, "a");
    world_send(world, "refuse me");
    world_send(world, "b");
    WORLD_WAIT(world, world->result_count == 3);
    assert_int_equal(world->results[0].status, STATUS_OK);
    assert_int_equal(world->results[1].status, STATUS_PERMISSION_DENIED);
    assert_string_equal(world->results[1].error, "refused");
    assert_int_equal(world->results[1].request, 2);
    assert_int_equal(world->results[2].status, STATUS_OK);
    assert_int_equal(world->cluster.message_count, 2);
    world_free(world);
}

static void test_send__refused_here(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world->cluster.message_bytes = 10;
    world_connect(world, 1, NULL);
    world_login(world);
    world_send(world, "12345678901");
    world_send(world, "1234567890");
    WORLD_WAIT(world, world->result_count == 2);
    assert_int_equal(world->results[0].status, STATUS_INVALID_ARGUMENT);
    assert_int_equal(world->results[0].request, 0);
    assert_string_equal(world->results[0].error,
                        "the message has 11 bytes, and this server takes at most 10");
    assert_int_equal(world->results[1].request, 1);
    struct client_request request = {.call = CLIENT_SEND, .room = "lobby", .text = "\xFF"};
    assert_int_equal(world_ask(world, &request), ERROR_INVALID);
    request.text = "";
    assert_int_equal(world_ask(world, &request), ERROR_INVALID);
    world_free(world);
}

static void test_ask__queue_is_bounded(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world->servers[0].fail_status = STATUS_UNAVAILABLE;
    world_connect(world, 1, &(struct client_options){.queue_requests_max = 5});
    struct client_request request = {.call = CLIENT_SEND, .room = "lobby", .text = "x"};
    for (size_t i = 0; i < 5; i++) {
        assert_true(client_has_room(world->client, 1));
        assert_int_equal(world_ask(world, &request), OK);
    }
    assert_false(client_has_room(world->client, 1));
    assert_int_equal(world_ask(world, &request), ERROR_FULL);
    assert_int_equal(client_unfinished(world->client), 5);
    WORLD_WAIT(world, world->result_count == 5); /* nobody is logged in */
    assert_int_equal(world->results[4].status, STATUS_UNAUTHENTICATED);
    assert_true(client_has_room(world->client, 1));
    WORLD_WAIT(world, world->connected);
    world_free(world);

    world = world_new(1);
    world_connect(world, 1, &(struct client_options){.queue_bytes_max = 2000});
    char text[1001];
    memset(text, 'x', 1000);
    text[1000] = '\0';
    request.text = text;
    assert_int_equal(world_ask(world, &request), OK);
    assert_int_equal(world_ask(world, &request), ERROR_FULL);
    WORLD_WAIT(world, world->result_count == 1 && world->connected);
    world_free(world);
}

/* Commands that stand between messages are carried out between them. */
static void test_ask__everything_in_order(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_ask(world, &(struct client_request){.call = CLIENT_LOGIN,
                                              .name = "ann",
                                              .password = "secret",
                                              .manner = CLIENT_ACCOUNT_NEW});
    world_ask(world, &(struct client_request){.call = CLIENT_JOIN, .room = "lobby"});
    world_send(world, "m0");
    world_ask(world, &(struct client_request){.call = CLIENT_LOGOUT});
    world_send(world, "too late");
    world_ask(world,
              &(struct client_request){.call = CLIENT_LOGIN, .name = "ann", .password = "secret"});
    world_ask(world, &(struct client_request){.call = CLIENT_ROOMS, .name = "*"});
    WORLD_WAIT(world, world->result_count == 7);
    static const struct {
        enum client_call call;
        enum status status;
    } expected[] = {
        {CLIENT_LOGIN, STATUS_OK},
        {CLIENT_JOIN, STATUS_OK},
        {CLIENT_SEND, STATUS_OK},
        {CLIENT_LOGOUT, STATUS_OK},
        {CLIENT_SEND, STATUS_UNAUTHENTICATED},
        {CLIENT_LOGIN, STATUS_OK},
        {CLIENT_ROOMS, STATUS_OK},
    };
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(world->results[i].call, expected[i].call);
        assert_int_equal(world->results[i].status, expected[i].status);
    }
    assert_int_equal(world->cluster.message_count, 1);
    assert_int_equal(world->cluster.messages[0].request, 2);
    world_free(world);
}

static enum fake_action lose_sends_count_logouts(void *context, struct fake_server *server,
                                                 const char *method, uint64_t number)
{
    size_t *logouts = context;
    if (strcmp(method, "Logout") == 0)
        ++*logouts;
    return lose_sends(NULL, server, method, number);
}

static void test_ask__logout_waits_for_what_is_before(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    size_t logouts = 0;
    world_connect(world, 1, NULL);
    world_login(world);
    world->cluster.judge = lose_sends_count_logouts;
    world->cluster.context = &logouts;
    world_send_many(world, "m", 3);
    world_ask(world, &(struct client_request){.call = CLIENT_LOGOUT});
    WORLD_WAIT(world, world->cluster.sends_seen == 3);
    world_settle(world);
    assert_int_equal(logouts, 0);
    world->cluster.judge = NULL;
    world_advance(world, CLIENT_ANSWER_MS + 1);
    WORLD_WAIT(world, world->result_count == 4);
    assert_int_equal(world->results[3].call, CLIENT_LOGOUT);
    assert_int_equal(world->results[3].status, STATUS_OK);
    world_check_kept(world, "m", 3);
    world_free(world);
}

/* ---- logging in and out ---- */

static enum status login(struct world *world, const char *name, const char *password,
                         enum client_manner manner)
{
    size_t before = world->result_count;
    world_ask(world,
              &(struct client_request){
                  .call = CLIENT_LOGIN, .name = name, .password = password, .manner = manner});
    WORLD_WAIT(world, world->result_count > before);
    return world->results[before].status;
}

static void test_login__manners(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    assert_int_equal(login(world, "ann", "a", CLIENT_ACCOUNT_EXISTS), STATUS_UNAUTHENTICATED);
    assert_int_equal(login(world, "ann", "a", CLIENT_ACCOUNT_NEW), STATUS_OK);
    assert_int_equal(login(world, "bob", "b", CLIENT_ACCOUNT_ENSURED), STATUS_FAILED_PRECONDITION);
    assert_int_equal(world->session_ends, 0);
    assert_int_equal(login(world, "ann", "a", CLIENT_ACCOUNT_EXISTS), STATUS_OK); /* again */
    assert_int_equal(world->cluster.session_count, 1);
    size_t before = world->result_count;
    world_ask(world, &(struct client_request){.call = CLIENT_LOGOUT});
    WORLD_WAIT(world, world->result_count > before);
    assert_int_equal(login(world, "ann", "a", CLIENT_ACCOUNT_NEW), STATUS_ALREADY_EXISTS);
    assert_int_equal(login(world, "ann", "x", CLIENT_ACCOUNT_ENSURED), STATUS_UNAUTHENTICATED);
    assert_int_equal(login(world, "ann", "a", CLIENT_ACCOUNT_ENSURED), STATUS_OK);
    assert_int_equal(world->cluster.account_count, 1);
    assert_int_equal(world->cluster.session_count, 2);
    world_free(world);
}

static enum fake_action lose_answer_once(void *context, struct fake_server *server,
                                         const char *method, uint64_t number)
{
    const char **wanted = context;
    (void)server, (void)number;
    if (*wanted == NULL || strcmp(method, *wanted) != 0)
        return FAKE_OBEY;
    *wanted = NULL;
    return FAKE_LOSE_ANSWER;
}

/* The password is checked, the session and its numbers go on. */
static void test_login__again_keeps_the_session(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    world_send(world, "m0");
    WORLD_WAIT(world, world->result_count == 1);
    assert_int_equal(login(world, "ann", "secret", CLIENT_ACCOUNT_EXISTS), STATUS_OK);
    world_send(world, "m1");
    WORLD_WAIT(world, world->result_count == 3 && world->event_count == 2);
    world_check_kept(world, "m", 2);
    world_check_told(world, "m", 2);
    world_free(world);
}

/* The account and the session are made once, however often the answers get lost. */
static void test_login__lost_answers(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    const char *lost = "RegisterAccount";
    world->cluster.judge = lose_answer_once;
    world->cluster.context = &lost;
    world_connect(world, 1, NULL);
    world_ask(world, &(struct client_request){.call = CLIENT_LOGIN,
                                              .name = "ann",
                                              .password = "secret",
                                              .manner = CLIENT_ACCOUNT_NEW});
    WORLD_WAIT(world, lost == NULL);
    lost = "Login";
    world_advance(world, CLIENT_SLOW_ANSWER_MS);
    WORLD_WAIT(world, lost == NULL);
    world_advance(world, CLIENT_SLOW_ANSWER_MS);
    WORLD_WAIT(world, world->result_count == 1);
    assert_int_equal(world->results[0].status, STATUS_OK);
    assert_int_equal(world->cluster.account_count, 1);
    assert_int_equal(world->cluster.session_count, 1);
    world_free(world);
}

static void test_logout__repeated_means_done(void **state)
{
    (void)state;
    for (int delete_account = 0; delete_account < 2; delete_account++) {
        struct world *world = world_new(1);
        const char *lost = delete_account ? "DeleteAccount" : "Logout";
        world->cluster.judge = lose_answer_once;
        world->cluster.context = &lost;
        world_connect(world, 1, NULL);
        world_login(world);
        world_ask(world,
                  &(struct client_request){.call = delete_account ? CLIENT_DELETE : CLIENT_LOGOUT});
        WORLD_WAIT(world, lost == NULL);
        world_settle(world);
        world_advance(world, CLIENT_SLOW_ANSWER_MS);
        WORLD_WAIT(world, world->result_count == 1);
        assert_int_equal(world->results[0].status, STATUS_OK);
        assert_int_equal(world->results[0].attempts, 2);
        assert_int_equal(world->session_ends, 0); /* it was asked for */
        struct client_view view;
        client_look(world->client, &view);
        assert_null(view.name);
        world_free(world);
    }
}

static enum fake_action lose_logout_and_status(void *context, struct fake_server *server,
                                               const char *method, uint64_t number)
{
    (void)context, (void)server, (void)number;
    if (strcmp(method, "Logout") == 0)
        return FAKE_LOSE_ANSWER;
    return strcmp(method, "Info") == 0 ? FAKE_LOSE : FAKE_OBEY; /* Status is judged as Info */
}

/* A server ends the stream before it answers; that is no reason to log in again. */
static void test_logout__asked_for_status_meanwhile(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    struct fake_stream *stream = &world->servers[0].streams[0];
    world_connect(world, 1, NULL);
    world_ask(world, &(struct client_request){.call = CLIENT_LOGIN,
                                              .name = "ann",
                                              .password = "secret",
                                              .manner = CLIENT_ACCOUNT_NEW,
                                              .again = true});
    WORLD_WAIT(world, world->result_count == 1 && stream->call != NULL);
    world->cluster.judge = lose_logout_and_status;
    world_ask(world, &(struct client_request){.call = CLIENT_LOGOUT});
    WORLD_WAIT(world, world->cluster.sessions[0].ended);
    world_ask(world, &(struct client_request){.call = CLIENT_STATUS});
    WORLD_WAIT(world, world->cluster.statuses_seen == 1);
    struct rpc_call *call = stream->call;
    stream->call = NULL;
    rpc_call_fail(call, STATUS_UNAUTHENTICATED, 0, "the session has ended");
    world_settle(world);
    world->cluster.judge = NULL;
    world_advance(world, CLIENT_ANSWER_MS);
    WORLD_WAIT(world, world->result_count == 3);
    world_settle(world);
    assert_int_equal(world->results[2].call, CLIENT_LOGOUT);
    assert_int_equal(world->results[2].status, STATUS_OK);
    assert_int_equal(world->cluster.session_count, 1);
    assert_int_equal(world->session_ends, 0);
    world_free(world);
}

static void test_session__ended_by_the_server(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    world_send(world, "m0");
    WORLD_WAIT(world, world->result_count == 1);
    world->cluster.sessions[0].ended = true;
    world_send(world, "lost");
    world_send(world, "lost too");
    WORLD_WAIT(world, world->result_count == 3);
    assert_int_equal(world->results[1].status, STATUS_UNAUTHENTICATED);
    assert_int_equal(world->results[2].status, STATUS_UNAUTHENTICATED);
    assert_int_equal(world->session_ends, 1);
    assert_int_equal(login(world, "ann", "secret", CLIENT_ACCOUNT_EXISTS), STATUS_OK);
    world_send(world, "m1");
    WORLD_WAIT(world, world->result_count == 5);
    assert_int_equal(world->results[4].request, 1);
    assert_int_equal(world->cluster.message_count, 2);
    world_free(world);
}

static void test_session__logs_in_again(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_ask(world, &(struct client_request){.call = CLIENT_LOGIN,
                                              .name = "ann",
                                              .password = "secret",
                                              .manner = CLIENT_ACCOUNT_NEW,
                                              .again = true});
    WORLD_WAIT(world, world->result_count == 1);
    world->result_count = 0;
    world_send_many(world, "a", 3);
    WORLD_WAIT(world, world->result_count == 3 && world->event_count == 3);
    world->cluster.sessions[0].ended = true;
    world_send_many(world, "b", 300);
    WORLD_WAIT(world, world->result_count == 303);
    assert_int_equal(world_count(world, STATUS_OK), 303);
    assert_int_equal(world->session_ends, 0);
    assert_int_equal(world->cluster.session_count, 2);
    assert_int_equal(world->cluster.message_count, 303);
    for (size_t i = 0; i < 300; i++) {
        char text[FAKE_TEXT_SIZE];
        (void)snprintf(text, sizeof text, "b%zu", i);
        assert_string_equal(world->cluster.messages[3 + i].text, text);
    }
    assert_int_equal(world->results[3].request, 1);

    /* ... but not when the password is wrong by now. */
    world->cluster.sessions[1].ended = true;
    (void)snprintf(world->cluster.accounts[0].password, FAKE_TEXT_SIZE, "changed");
    world_send(world, "c");
    WORLD_WAIT(world, world->result_count == 304 && world->session_ends == 1);
    assert_int_equal(world->results[303].status, STATUS_UNAUTHENTICATED);
    world_free(world);
}

static enum fake_action lose_first_send_answer(void *context, struct fake_server *server,
                                               const char *method, uint64_t number)
{
    bool *done = context;
    (void)server;
    if (*done || strcmp(method, "Send") != 0 || number != 1)
        return FAKE_OBEY;
    *done = true;
    return FAKE_LOSE_ANSWER;
}

/* What may have been carried out in a session that is gone is not sent in the next one. */
static void test_session__unknown_outcome_is_not_doubled(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    bool lost = false;
    world->cluster.judge = lose_first_send_answer;
    world->cluster.context = &lost;
    world_connect(world, 1, NULL);
    world_ask(world, &(struct client_request){.call = CLIENT_LOGIN,
                                              .name = "ann",
                                              .password = "secret",
                                              .manner = CLIENT_ACCOUNT_NEW,
                                              .again = true});
    world_send(world, "m0");
    WORLD_WAIT(world, lost);
    world_settle(world);
    world->cluster.sessions[0].ended = true;
    world_advance(world, CLIENT_ANSWER_MS + 1);
    WORLD_WAIT(world, world->result_count == 2);
    assert_int_equal(world->results[1].status, STATUS_UNAUTHENTICATED);
    assert_int_equal(world->cluster.message_count, 1);
    world_free(world);
}

static void test_heartbeat__regular_with_cursor(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    world_send_many(world, "m", 3);
    WORLD_WAIT(world, world->event_count == 3);
    for (size_t i = 1; i <= 3; i++) {
        world_settle(world);
        assert_int_equal(world->cluster.heartbeats_seen, i - 1);
        world_advance(world, CLIENT_HEARTBEAT_MS);
        WORLD_WAIT(world, world->cluster.heartbeats_seen == i);
    }
    assert_int_equal(world->cluster.sessions[0].received_seq, 3);
    world_free(world);
}

static void test_give_up__ends_everything_once(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    world->cluster.judge = lose_sends;
    world_send_many(world, "m", 300);
    WORLD_WAIT(world, world->cluster.sends_seen == CLIENT_WINDOW);
    client_give_up(world->client, STATUS_UNAVAILABLE, "enough");
    assert_int_equal(world->result_count, 300);
    assert_int_equal(world_count(world, STATUS_UNAVAILABLE), 300);
    assert_string_equal(world->results[0].error,
                        "enough; it may have been carried out all the same");
    assert_string_equal(world->results[299].error, "enough");
    assert_int_equal(client_unfinished(world->client), 0);
    world_settle(world);
    assert_int_equal(world->result_count, 300);
    world_free(world);
}

/* ---- servers that come and go ---- */

static void test_server__dies_and_comes_back(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    for (size_t round = 0; round < 5; round++) {
        for (size_t i = 0; i < 200; i++) {
            char text[FAKE_TEXT_SIZE];
            (void)snprintf(text, sizeof text, "m%zu", round * 200 + i);
            world_send(world, text);
        }
        WORLD_WAIT(world, world->cluster.message_count > round * 200 + 50);
        fake_server_kill(&world->servers[0]);
        world_settle(world);
        fake_server_start(&world->servers[0], &world->cluster);
    }
    WORLD_WAIT(world, world->result_count == 1000 && world->event_count == 1000);
    world_check_kept(world, "m", 1000);
    world_check_told(world, "m", 1000);
    assert_int_equal(world_count(world, STATUS_OK), 1000);
    assert_int_equal(world->cluster.session_count, 1);
    struct client_figures figures;
    client_figures(world->client, &figures);
    assert_int_equal(figures.reconnects, 5);
    world_free(world);
}

static void test_server__gone_is_told_and_waited_for(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    assert_true(world->connected);
    assert_int_equal(world->status_count, 1);
    fake_server_kill(&world->servers[0]);
    world_settle(world);
    world_send_many(world, "m", 10);
    world_advance(world, CLIENT_QUIET_MS);
    WORLD_WAIT(world, !world->connected);
    assert_non_null(strstr(world->status, "was lost"));
    world_advance(world, 3600000);
    world_settle(world);
    assert_int_equal(world->result_count, 0); /* an hour is no reason to fail */
    fake_server_start(&world->servers[0], &world->cluster);
    WORLD_WAIT(world, world->result_count == 10);
    assert_true(world->connected);
    assert_int_equal(world->status_count, 3);
    world_check_kept(world, "m", 10);
    world_free(world);
}

static void test_server__another_takes_over(void **state)
{
    (void)state;
    struct world *world = world_new(3);
    world_connect(world, 3, NULL);
    world_login(world);
    world_send_many(world, "m", 1000);
    WORLD_WAIT(world, world->cluster.message_count > 150);
    fake_server_kill(&world->servers[0]);
    world_settle(world);
    world->cluster.epoch += 65536;
    world->servers[2].master = true;
    WORLD_WAIT(world, world->result_count == 1000 && world->event_count == 1000);
    world_check_kept(world, "m", 1000);
    world_check_told(world, "m", 1000);
    assert_int_equal(world->cluster.session_count, 1);
    struct client_view view;
    client_look(world->client, &view);
    char text[ADDRESS_TEXT_SIZE];
    address_format(&world->servers[2].address, text);
    assert_string_equal(view.server, text);
    world_free(world);
}

/* Only a slave is known: it names the master, and Info names everybody. */
static void test_server__redirects(void **state)
{
    (void)state;
    for (int by_info = 0; by_info < 2; by_info++) {
        struct world *world = world_new(2);
        char master[ADDRESS_TEXT_SIZE];
        world->servers[0].master = false;
        world->servers[1].master = true;
        address_format(&world->servers[1].address, master);
        if (by_info)
            memcpy(world->cluster.servers[world->cluster.server_count++], master, sizeof master);
        else
            world->servers[0].redirect = master;
        world_connect(world, 1, NULL);
        world_login(world);
        world_send_many(world, "m", 10);
        WORLD_WAIT(world, world->result_count == 10);
        world_check_kept(world, "m", 10);
        char text[ADDRESS_TEXT_SIZE];
        assert_true(client_server(world->client, 1, text));
        assert_string_equal(text, master);
        assert_false(client_server(world->client, 2, text));
        world_free(world);
    }
}

/* The first to answer is no master: there is time to look for one, but not for ever. */
static void test_server__prefers_a_master(void **state)
{
    (void)state;
    for (size_t masters = 0; masters < 2; masters++) {
        struct world *world = world_new(2);
        world->servers[0].master = false;
        world->servers[1].master = masters == 1;
        world_connect(world, 2, NULL);
        WORLD_WAIT(world, world->connected);
        struct client_view view;
        char text[ADDRESS_TEXT_SIZE];
        client_look(world->client, &view);
        address_format(&world->servers[1].address, text);
        if (masters == 1)
            assert_string_equal(view.server, text);
        assert_int_equal(world->status_count, masters == 1 ? 1 : 2); /* the other one: waiting */
        world_free(world);
    }
}

static void test_server__steps_down(void **state)
{
    (void)state;
    struct world *world = world_new(2);
    char master[ADDRESS_TEXT_SIZE];
    world_connect(world, 2, NULL);
    world_login(world);
    world_send_many(world, "m", 1000);
    WORLD_WAIT(world, world->cluster.message_count > 150);
    world->servers[0].master = false;
    world->servers[1].master = true;
    world->cluster.epoch += 65536;
    address_format(&world->servers[1].address, master);
    world->servers[0].redirect = master;
    WORLD_WAIT(world, world->result_count == 1000);
    world_check_kept(world, "m", 1000);
    struct client_view view;
    client_look(world->client, &view);
    assert_string_equal(view.server, master);
    world_free(world);
}

static enum fake_action first_is_silent(void *context, struct fake_server *server,
                                        const char *method, uint64_t number)
{
    struct world *world = context;
    (void)method, (void)number;
    return server == &world->servers[0] ? FAKE_LOSE : FAKE_OBEY;
}

/* The master hangs; its connection stays. Another reigns: the client finds out long before it
 * would give the first one up. */
static void test_server__falls_silent_and_is_replaced(void **state)
{
    (void)state;
    struct world *world = world_new(2);
    world_connect(world, 2, NULL);
    world_login(world);
    world->cluster.context = world;
    world->cluster.judge = first_is_silent;
    world_send_many(world, "m", 10);
    world_settle(world);
    uint64_t start_us = world_now_us(world);
    world_advance(world, CLIENT_DOUBT_MS);
    world_settle(world);
    assert_int_equal(world->result_count, 0); /* the other is no master yet */
    world->servers[1].master = true;
    world->cluster.epoch += 65536;
    WORLD_WAIT(world, world->result_count == 10);
    assert_true(world_now_us(world) - start_us < CLIENT_ANSWER_MS * 1000 / 2);
    world_check_kept(world, "m", 10);
    world_free(world);
}

/* A server of the same reign that says it is master, too, is no reason to leave one that is slow. */
static void test_server__doubt_ends_when_it_answers(void **state)
{
    (void)state;
    struct world *world = world_new(2);
    world_connect(world, 2, NULL);
    world_login(world);
    world->servers[1].master = true;
    world->cluster.judge = lose_sends;
    world_send_many(world, "m", 10);
    world_settle(world);
    world_advance(world, CLIENT_DOUBT_MS);
    world_settle(world);
    struct client_view view;
    client_look(world->client, &view);
    char first[ADDRESS_TEXT_SIZE];
    address_format(&world->servers[0].address, first);
    assert_string_equal(view.server, first);
    world_free(world);
}

static void test_server__silent_one_is_left(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    world->cluster.context = world;
    world->cluster.judge = first_is_silent;
    world_send_many(world, "m", 10);
    WORLD_WAIT(world, world->cluster.sends_seen == 10);
    world_advance(world, CLIENT_ANSWER_MS / 2);
    world_settle(world);
    assert_int_equal(world->cluster.infos_seen, 1);
    world_advance(world, CLIENT_ANSWER_MS / 2);
    WORLD_WAIT(world, world->cluster.infos_seen == 2); /* on a new connection */
    world->cluster.judge = NULL;
    world_advance(world, CLIENT_ANSWER_MS);
    WORLD_WAIT(world, world->result_count == 10);
    world_check_kept(world, "m", 10);
    world_free(world);
}

/* Nobody speaks; a heartbeat finds out that the server is dead. */
static void test_server__idle_client_notices(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    world_settle(world);
    world->cluster.context = world;
    world->cluster.judge = first_is_silent;
    world_advance(world, CLIENT_HEARTBEAT_MS);
    WORLD_WAIT(world, world->cluster.heartbeats_seen == 1);
    world_advance(world, CLIENT_ANSWER_MS);
    world_settle(world);
    world_advance(world, CLIENT_QUIET_MS);
    WORLD_WAIT(world, !world->connected);
    assert_non_null(strstr(world->status, "does not answer"));
    world_free(world);
}

/* What is wrong with TLS is told in place of silence. */
static void test_server__tls_on_one_side_only(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    const struct client_options base = {.tls_authority = TLS_FILES "/authority.pem"};
    world->servers[0].address.tls = true; /* it does not know */
    world_connect(world, 1, &base);
    uint64_t since = 0;
    while (strstr(world->status, "it does not use TLS: leave out tls+tcp://; trying again") ==
           NULL) {
        world_turn(world);
        world_check_patience(&since, "the reason is told");
    }
    assert_false(world->connected);
    world_free(world);
}

/* The reason comes up after it was told that the server does not answer. */
static void test_server__tells_the_reason_later(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    const struct client_options base = {.tls_authority = TLS_FILES "/authority.pem"};
    fake_server_kill(&world->servers[0]);
    world->servers[0].address.tls = true;
    world_connect(world, 1, &base);
    uint64_t since = 0;
    while (strstr(world->status, "does not answer") == NULL) {
        world_turn(world);
        world_check_patience(&since, "the server does not answer");
    }
    world->servers[0].address.tls = false;
    fake_server_start(&world->servers[0], &world->cluster);
    since = 0;
    while (strstr(world->status, "it does not use TLS") == NULL) {
        world_turn(world);
        world_check_patience(&since, "the reason is told");
    }
    assert_int_equal(world->status_count, 2);
    world_free(world);
}

/* Without asking the DNS: no label has so many characters. */
static void test_server__name_without_address(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    struct address address = {.port = 2625};
    memset(address.host, 'x', 64);
    world_connect_to(world, &address, 1);
    uint64_t since = 0;
    while (strstr(world->status, ": the name has no address; trying again") == NULL) {
        world_turn(world);
        world_check_patience(&since, "the reason is told");
    }
    assert_false(world->connected);
    world_free(world);
}

static enum fake_action all_unavailable(void *context, struct fake_server *server,
                                        const char *method, uint64_t number)
{
    (void)context, (void)number;
    server->fail_status = STATUS_UNAVAILABLE;
    return strcmp(method, "Send") == 0 ? FAKE_FAIL : FAKE_OBEY;
}

/* However long it lasts, no storm: after the first doublings the pause is 0.25 to 0.5 s. */
static void test_retry__backoff_grows_and_is_bounded(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    world->cluster.judge = all_unavailable;
    world_send(world, "m0");
    size_t first = 0;
    for (int i = 0; i < 300; i++) { /* a minute */
        for (int turns = 0; turns < 3; turns++)
            world_turn(world);
        world_advance(world, 200);
        if (i == 5)
            first = world->cluster.sends_seen;
    }
    assert_in_range(first, 3, 12);
    assert_in_range(world->cluster.sends_seen, 60, 160);
    world->cluster.judge = NULL;
    world_advance(world, CLIENT_RETRY_MAX_MS);
    WORLD_WAIT(world, world->result_count == 1);
    assert_int_equal(world->results[0].request, 1);
    assert_int_equal(world->cluster.message_count, 1);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_send__all_in_order),
        cmocka_unit_test(test_send__window_is_bounded),
        cmocka_unit_test(test_send__window_counts_from_the_oldest),
        cmocka_unit_test(test_send__lost_request_is_noticed_at_once),
        cmocka_unit_test(test_send__adapts_to_a_rate_limit),
        cmocka_unit_test(test_send__refusals_losses_and_aborts),
        cmocka_unit_test(test_send__definite_refusal_ends_one_only),
        cmocka_unit_test(test_send__refused_here),
        cmocka_unit_test(test_ask__queue_is_bounded),
        cmocka_unit_test(test_ask__everything_in_order),
        cmocka_unit_test(test_ask__logout_waits_for_what_is_before),
        cmocka_unit_test(test_login__manners),
        cmocka_unit_test(test_login__again_keeps_the_session),
        cmocka_unit_test(test_login__lost_answers),
        cmocka_unit_test(test_logout__repeated_means_done),
        cmocka_unit_test(test_logout__asked_for_status_meanwhile),
        cmocka_unit_test(test_session__ended_by_the_server),
        cmocka_unit_test(test_session__logs_in_again),
        cmocka_unit_test(test_session__unknown_outcome_is_not_doubled),
        cmocka_unit_test(test_heartbeat__regular_with_cursor),
        cmocka_unit_test(test_give_up__ends_everything_once),
        cmocka_unit_test(test_server__dies_and_comes_back),
        cmocka_unit_test(test_server__gone_is_told_and_waited_for),
        cmocka_unit_test(test_server__another_takes_over),
        cmocka_unit_test(test_server__redirects),
        cmocka_unit_test(test_server__prefers_a_master),
        cmocka_unit_test(test_server__steps_down),
        cmocka_unit_test(test_server__falls_silent_and_is_replaced),
        cmocka_unit_test(test_server__doubt_ends_when_it_answers),
        cmocka_unit_test(test_server__silent_one_is_left),
        cmocka_unit_test(test_server__idle_client_notices),
        cmocka_unit_test(test_server__tls_on_one_side_only),
        cmocka_unit_test(test_server__tells_the_reason_later),
        cmocka_unit_test(test_server__name_without_address),
        cmocka_unit_test(test_retry__backoff_grows_and_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
