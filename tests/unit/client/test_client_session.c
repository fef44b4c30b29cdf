/* SPDX-License-Identifier: MIT */
/* The client library against servers that refuse, lose, abort, redirect, die and come back. */
#include "client_fixture.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- sending ---- */

TEST(test_send__all_in_order)
{
    struct client_fixture *fixture = client_fixture_new(1);
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_login(fixture);
    client_fixture_send_many(fixture, "m", 1000);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 1000 && fixture->event_count == 1000);
    client_fixture_check_kept(fixture, "m", 1000);
    client_fixture_check_told(fixture, "m", 1000);
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(fixture->results[i].status, STATUS_OK);
        assert_int_equal(fixture->results[i].request, i + 1);
        assert_int_equal(fixture->results[i].number, i + 1);
        assert_int_equal(fixture->results[i].session, fixture->cluster.sessions[0].id);
        assert_int_equal(fixture->results[i].attempts, 1);
    }
    struct client_stats stats;
    client_stats(fixture->client, &stats);
    assert_int_equal(stats.sent, 1000);
    assert_int_equal(stats.received, 1000);
    assert_int_equal(stats.retries + stats.failed + stats.gaps + stats.reconnects, 0);
    assert_true(stats.p50_us > 0 && stats.p50_us <= stats.p99_us);
    assert_true(stats.sent_per_second > 0);
    client_fixture_free(fixture);
}

/* Nothing is answered for a while: no more than the window may be out. */
static enum fake_action lose_sends(void *context, struct fake_server *server, const char *method,
                                   uint64_t number)
{
    (void)context, (void)server, (void)number;
    return strcmp(method, "Send") == 0 ? FAKE_LOSE : FAKE_OBEY;
}

TEST(test_send__window_is_bounded)
{
    struct client_fixture *fixture = client_fixture_new(1);
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_login(fixture);
    fixture->cluster.judge = lose_sends;
    client_fixture_send_many(fixture, "m", 400);
    CLIENT_FIXTURE_WAIT(fixture, fixture->cluster.sends_seen == CLIENT_WINDOW);
    client_fixture_settle(fixture);
    assert_int_equal(fixture->cluster.sends_seen, CLIENT_WINDOW);
    fixture->cluster.judge = NULL;
    client_fixture_advance(fixture, CLIENT_ANSWER_MS + 1);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 400);
    client_fixture_check_kept(fixture, "m", 400);
    assert_true(fixture->cluster.numbers_most_ahead <= CLIENT_WINDOW);
    client_fixture_free(fixture);
}

/* An answer in the middle is lost while all around it come: later numbers must not run away from
 * the one that is still open. */
static enum fake_action lose_answer_to_first(void *context, struct fake_server *server,
                                             const char *method, uint64_t number)
{
    (void)context, (void)server;
    return strcmp(method, "Send") == 0 && number == 1 ? FAKE_LOSE_ANSWER : FAKE_OBEY;
}

TEST(test_send__window_counts_from_the_oldest)
{
    struct client_fixture *fixture = client_fixture_new(1);
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_login(fixture);
    fixture->cluster.judge = lose_answer_to_first;
    client_fixture_send_many(fixture, "m", 400);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == CLIENT_WINDOW - 1);
    client_fixture_settle(fixture);
    assert_int_equal(fixture->cluster.sends_done, CLIENT_WINDOW);
    fixture->cluster.judge = NULL;
    client_fixture_advance(fixture, CLIENT_ANSWER_MS + 1);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 400);
    client_fixture_check_kept(fixture, "m", 400);
    assert_int_equal(client_fixture_count(fixture, STATUS_OK), 400);
    client_fixture_free(fixture);
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
TEST(test_send__lost_request_is_noticed_at_once)
{
    struct client_fixture *fixture = client_fixture_new(1);
    bool lost = false;
    fixture->cluster.judge = lose_third;
    fixture->cluster.context = &lost;
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_login(fixture);
    client_fixture_send_many(fixture, "m", 10);
    uint64_t start_us = client_fixture_now_us(fixture);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 10);
    assert_true(client_fixture_now_us(fixture) - start_us < CLIENT_ANSWER_MS * 1000 / 2);
    assert_true(lost);
    client_fixture_check_kept(fixture, "m", 10);
    client_fixture_free(fixture);
}

/* A server that takes so many a second is not sent many times as many. */
static enum fake_action limit_rate(void *context, struct fake_server *server, const char *method,
                                   uint64_t number)
{
    struct client_fixture *fixture = context;
    (void)number;
    server->fail_status = STATUS_RESOURCE_EXHAUSTED;
    server->fail_retry_ms = 1;
    if (strcmp(method, "Send") != 0)
        return FAKE_OBEY;
    /* 1000 a second, ten at once */
    uint64_t allowed = client_fixture_now_us(fixture) / 1000 - fixture->rate_start_ms + 10;
    return fixture->cluster.sends_done < allowed ? FAKE_OBEY : FAKE_FAIL;
}

TEST(test_send__adapts_to_a_rate_limit)
{
    struct client_fixture *fixture = client_fixture_new(1);
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_login(fixture);
    fixture->rate_start_ms = client_fixture_now_us(fixture) / 1000;
    fixture->cluster.judge = limit_rate;
    fixture->cluster.context = fixture;
    client_fixture_send_many(fixture, "m", 1000);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 1000);
    client_fixture_check_kept(fixture, "m", 1000);
    assert_true(fixture->cluster.sends_seen < 3000);
    client_fixture_free(fixture);
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

TEST(test_send__refusals_losses_and_aborts)
{
    struct client_fixture *fixture = client_fixture_new(1);
    uint32_t count = 0;
    fixture->cluster.context = &count;
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_login(fixture);
    fixture->cluster.judge = misbehave;
    client_fixture_send_many(fixture, "m", 200);
    uint64_t since = 0;
    while (fixture->result_count < 200) {
        client_fixture_settle(fixture);
        client_fixture_advance(fixture, 500);
        client_fixture_check_patience(&since, "200 outcomes");
        if (count > 1000)
            fixture->cluster.judge = NULL;
    }
    CLIENT_FIXTURE_WAIT(fixture, fixture->event_count == 200);
    client_fixture_check_kept(fixture, "m", 200);
    client_fixture_check_told(fixture, "m", 200);
    assert_int_equal(client_fixture_count(fixture, STATUS_OK), 200);
    struct client_stats stats;
    client_stats(fixture->client, &stats);
    assert_true(stats.retries > 0);
    client_fixture_free(fixture);
}

TEST(test_send__definite_refusal_ends_one_only)
{
    struct client_fixture *fixture = client_fixture_new(1);
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_login(fixture);
    client_fixture_send(fixture, "a");
    client_fixture_send(fixture, "refuse me");
    client_fixture_send(fixture, "b");
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 3);
    assert_int_equal(fixture->results[0].status, STATUS_OK);
    assert_int_equal(fixture->results[1].status, STATUS_PERMISSION_DENIED);
    assert_string_equal(fixture->results[1].error, "refused");
    assert_int_equal(fixture->results[1].request, 2);
    assert_int_equal(fixture->results[2].status, STATUS_OK);
    assert_int_equal(fixture->cluster.message_count, 2);
    client_fixture_free(fixture);
}

TEST(test_send__refused_here)
{
    struct client_fixture *fixture = client_fixture_new(1);
    fixture->cluster.message_bytes = 10;
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_login(fixture);
    client_fixture_send(fixture, "12345678901");
    client_fixture_send(fixture, "1234567890");
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 2);
    assert_int_equal(fixture->results[0].status, STATUS_INVALID_ARGUMENT);
    assert_int_equal(fixture->results[0].request, 0);
    assert_string_equal(fixture->results[0].error,
                        "the message has 11 bytes, and this server takes at most 10");
    assert_int_equal(fixture->results[1].request, 1);
    struct client_request request = {.call = CLIENT_SEND, .room = "lobby", .text = "\xFF"};
    assert_int_equal(client_fixture_ask(fixture, &request), ERROR_INVALID);
    request.text = "";
    assert_int_equal(client_fixture_ask(fixture, &request), ERROR_INVALID);
    client_fixture_free(fixture);
}

TEST(test_ask__queue_is_bounded)
{
    struct client_fixture *fixture = client_fixture_new(1);
    fixture->servers[0].fail_status = STATUS_UNAVAILABLE;
    client_fixture_connect(fixture, 1, &(struct client_options){.queue_requests_max = 5});
    struct client_request request = {.call = CLIENT_SEND, .room = "lobby", .text = "x"};
    for (size_t i = 0; i < 5; i++) {
        assert_true(client_has_room(fixture->client, 1));
        assert_int_equal(client_fixture_ask(fixture, &request), OK);
    }
    assert_false(client_has_room(fixture->client, 1));
    assert_int_equal(client_fixture_ask(fixture, &request), ERROR_FULL);
    assert_int_equal(client_unfinished(fixture->client), 5);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 5); /* nobody is logged in */
    assert_int_equal(fixture->results[4].status, STATUS_UNAUTHENTICATED);
    assert_true(client_has_room(fixture->client, 1));
    CLIENT_FIXTURE_WAIT(fixture, fixture->connected);
    client_fixture_free(fixture);

    fixture = client_fixture_new(1);
    client_fixture_connect(fixture, 1, &(struct client_options){.queue_bytes_max = 2000});
    char text[1001];
    memset(text, 'x', 1000);
    text[1000] = '\0';
    request.text = text;
    assert_int_equal(client_fixture_ask(fixture, &request), OK);
    assert_int_equal(client_fixture_ask(fixture, &request), ERROR_FULL);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 1 && fixture->connected);
    client_fixture_free(fixture);
}

/* Commands that stand between messages are carried out between them. */
TEST(test_ask__everything_in_order)
{
    struct client_fixture *fixture = client_fixture_new(1);
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_ask(fixture, &(struct client_request){.call = CLIENT_LOGIN,
                                                         .name = "ann",
                                                         .password = "secret",
                                                         .manner = CLIENT_ACCOUNT_NEW});
    client_fixture_ask(fixture, &(struct client_request){.call = CLIENT_JOIN, .room = "lobby"});
    client_fixture_send(fixture, "m0");
    client_fixture_ask(fixture, &(struct client_request){.call = CLIENT_LOGOUT});
    client_fixture_send(fixture, "too late");
    client_fixture_ask(fixture, &(struct client_request){
                                    .call = CLIENT_LOGIN, .name = "ann", .password = "secret"});
    client_fixture_ask(fixture, &(struct client_request){.call = CLIENT_ROOMS, .name = "*"});
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 7);
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
        assert_int_equal(fixture->results[i].call, expected[i].call);
        assert_int_equal(fixture->results[i].status, expected[i].status);
    }
    assert_int_equal(fixture->cluster.message_count, 1);
    assert_int_equal(fixture->cluster.messages[0].request, 2);
    client_fixture_free(fixture);
}

static enum fake_action lose_sends_count_logouts(void *context, struct fake_server *server,
                                                 const char *method, uint64_t number)
{
    size_t *logouts = context;
    if (strcmp(method, "Logout") == 0)
        ++*logouts;
    return lose_sends(NULL, server, method, number);
}

TEST(test_ask__logout_waits_for_what_is_before)
{
    struct client_fixture *fixture = client_fixture_new(1);
    size_t logouts = 0;
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_login(fixture);
    fixture->cluster.judge = lose_sends_count_logouts;
    fixture->cluster.context = &logouts;
    client_fixture_send_many(fixture, "m", 3);
    client_fixture_ask(fixture, &(struct client_request){.call = CLIENT_LOGOUT});
    CLIENT_FIXTURE_WAIT(fixture, fixture->cluster.sends_seen == 3);
    client_fixture_settle(fixture);
    assert_int_equal(logouts, 0);
    fixture->cluster.judge = NULL;
    client_fixture_advance(fixture, CLIENT_ANSWER_MS + 1);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 4);
    assert_int_equal(fixture->results[3].call, CLIENT_LOGOUT);
    assert_int_equal(fixture->results[3].status, STATUS_OK);
    client_fixture_check_kept(fixture, "m", 3);
    client_fixture_free(fixture);
}

/* ---- logging in and out ---- */

static enum status login(struct client_fixture *fixture, const char *name, const char *password,
                         enum client_manner manner)
{
    size_t before = fixture->result_count;
    client_fixture_ask(
        fixture, &(struct client_request){
                     .call = CLIENT_LOGIN, .name = name, .password = password, .manner = manner});
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count > before);
    return fixture->results[before].status;
}

TEST(test_login__manners)
{
    struct client_fixture *fixture = client_fixture_new(1);
    client_fixture_connect(fixture, 1, NULL);
    assert_int_equal(login(fixture, "ann", "a", CLIENT_ACCOUNT_EXISTS), STATUS_UNAUTHENTICATED);
    assert_int_equal(login(fixture, "ann", "a", CLIENT_ACCOUNT_NEW), STATUS_OK);
    assert_int_equal(login(fixture, "bob", "b", CLIENT_ACCOUNT_ENSURED),
                     STATUS_FAILED_PRECONDITION);
    assert_int_equal(fixture->session_ends, 0);
    assert_int_equal(login(fixture, "ann", "a", CLIENT_ACCOUNT_EXISTS), STATUS_OK); /* again */
    assert_int_equal(fixture->cluster.session_count, 1);
    size_t before = fixture->result_count;
    client_fixture_ask(fixture, &(struct client_request){.call = CLIENT_LOGOUT});
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count > before);
    assert_int_equal(login(fixture, "ann", "a", CLIENT_ACCOUNT_NEW), STATUS_ALREADY_EXISTS);
    assert_int_equal(login(fixture, "ann", "x", CLIENT_ACCOUNT_ENSURED), STATUS_UNAUTHENTICATED);
    assert_int_equal(login(fixture, "ann", "a", CLIENT_ACCOUNT_ENSURED), STATUS_OK);
    assert_int_equal(fixture->cluster.account_count, 1);
    assert_int_equal(fixture->cluster.session_count, 2);
    client_fixture_free(fixture);
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
TEST(test_login__again_keeps_the_session)
{
    struct client_fixture *fixture = client_fixture_new(1);
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_login(fixture);
    client_fixture_send(fixture, "m0");
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 1);
    assert_int_equal(login(fixture, "ann", "secret", CLIENT_ACCOUNT_EXISTS), STATUS_OK);
    client_fixture_send(fixture, "m1");
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 3 && fixture->event_count == 2);
    client_fixture_check_kept(fixture, "m", 2);
    client_fixture_check_told(fixture, "m", 2);
    client_fixture_free(fixture);
}

/* The account and the session are made once, however often the answers get lost. */
TEST(test_login__lost_answers)
{
    struct client_fixture *fixture = client_fixture_new(1);
    const char *lost = "RegisterAccount";
    fixture->cluster.judge = lose_answer_once;
    fixture->cluster.context = &lost;
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_ask(fixture, &(struct client_request){.call = CLIENT_LOGIN,
                                                         .name = "ann",
                                                         .password = "secret",
                                                         .manner = CLIENT_ACCOUNT_NEW});
    CLIENT_FIXTURE_WAIT(fixture, lost == NULL);
    lost = "Login";
    client_fixture_advance(fixture, CLIENT_SLOW_ANSWER_MS);
    CLIENT_FIXTURE_WAIT(fixture, lost == NULL);
    client_fixture_advance(fixture, CLIENT_SLOW_ANSWER_MS);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 1);
    assert_int_equal(fixture->results[0].status, STATUS_OK);
    assert_int_equal(fixture->cluster.account_count, 1);
    assert_int_equal(fixture->cluster.session_count, 1);
    client_fixture_free(fixture);
}

TEST(test_logout__repeated_means_done)
{
    for (int delete_account = 0; delete_account < 2; delete_account++) {
        struct client_fixture *fixture = client_fixture_new(1);
        const char *lost = delete_account ? "DeleteAccount" : "Logout";
        fixture->cluster.judge = lose_answer_once;
        fixture->cluster.context = &lost;
        client_fixture_connect(fixture, 1, NULL);
        client_fixture_login(fixture);
        client_fixture_ask(fixture, &(struct client_request){
                                        .call = delete_account ? CLIENT_DELETE : CLIENT_LOGOUT});
        CLIENT_FIXTURE_WAIT(fixture, lost == NULL);
        client_fixture_settle(fixture);
        client_fixture_advance(fixture, CLIENT_SLOW_ANSWER_MS);
        CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 1);
        assert_int_equal(fixture->results[0].status, STATUS_OK);
        assert_int_equal(fixture->results[0].attempts, 2);
        assert_int_equal(fixture->session_ends, 0); /* it was asked for */
        struct client_view view;
        client_inspect(fixture->client, &view);
        assert_null(view.name);
        client_fixture_free(fixture);
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
TEST(test_logout__asked_for_status_meanwhile)
{
    struct client_fixture *fixture = client_fixture_new(1);
    struct fake_stream *stream = &fixture->servers[0].streams[0];
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_ask(fixture, &(struct client_request){.call = CLIENT_LOGIN,
                                                         .name = "ann",
                                                         .password = "secret",
                                                         .manner = CLIENT_ACCOUNT_NEW,
                                                         .again = true});
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 1 && stream->call != NULL);
    fixture->cluster.judge = lose_logout_and_status;
    client_fixture_ask(fixture, &(struct client_request){.call = CLIENT_LOGOUT});
    CLIENT_FIXTURE_WAIT(fixture, fixture->cluster.sessions[0].ended);
    client_fixture_ask(fixture, &(struct client_request){.call = CLIENT_STATUS});
    CLIENT_FIXTURE_WAIT(fixture, fixture->cluster.statuses_seen == 1);
    struct rpc_call *call = stream->call;
    stream->call = NULL;
    rpc_call_fail(call, STATUS_UNAUTHENTICATED, 0, "the session has ended");
    client_fixture_settle(fixture);
    fixture->cluster.judge = NULL;
    client_fixture_advance(fixture, CLIENT_ANSWER_MS);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 3);
    client_fixture_settle(fixture);
    assert_int_equal(fixture->results[2].call, CLIENT_LOGOUT);
    assert_int_equal(fixture->results[2].status, STATUS_OK);
    assert_int_equal(fixture->cluster.session_count, 1);
    assert_int_equal(fixture->session_ends, 0);
    client_fixture_free(fixture);
}

TEST(test_session__ended_by_the_server)
{
    struct client_fixture *fixture = client_fixture_new(1);
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_login(fixture);
    client_fixture_send(fixture, "m0");
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 1);
    fixture->cluster.sessions[0].ended = true;
    client_fixture_send(fixture, "lost");
    client_fixture_send(fixture, "lost too");
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 3);
    assert_int_equal(fixture->results[1].status, STATUS_UNAUTHENTICATED);
    assert_int_equal(fixture->results[2].status, STATUS_UNAUTHENTICATED);
    assert_int_equal(fixture->session_ends, 1);
    assert_int_equal(login(fixture, "ann", "secret", CLIENT_ACCOUNT_EXISTS), STATUS_OK);
    client_fixture_send(fixture, "m1");
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 5);
    assert_int_equal(fixture->results[4].request, 1);
    assert_int_equal(fixture->cluster.message_count, 2);
    client_fixture_free(fixture);
}

TEST(test_session__logs_in_again)
{
    struct client_fixture *fixture = client_fixture_new(1);
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_ask(fixture, &(struct client_request){.call = CLIENT_LOGIN,
                                                         .name = "ann",
                                                         .password = "secret",
                                                         .manner = CLIENT_ACCOUNT_NEW,
                                                         .again = true});
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 1);
    fixture->result_count = 0;
    client_fixture_send_many(fixture, "a", 3);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 3 && fixture->event_count == 3);
    fixture->cluster.sessions[0].ended = true;
    client_fixture_send_many(fixture, "b", 300);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 303);
    assert_int_equal(client_fixture_count(fixture, STATUS_OK), 303);
    assert_int_equal(fixture->session_ends, 0);
    assert_int_equal(fixture->cluster.session_count, 2);
    assert_int_equal(fixture->cluster.message_count, 303);
    for (size_t i = 0; i < 300; i++) {
        char text[FAKE_TEXT_SIZE];
        (void)snprintf(text, sizeof text, "b%zu", i);
        assert_string_equal(fixture->cluster.messages[3 + i].text, text);
    }
    assert_int_equal(fixture->results[3].request, 1);

    /* ... but not when the password is wrong by now. */
    fixture->cluster.sessions[1].ended = true;
    (void)snprintf(fixture->cluster.accounts[0].password, FAKE_TEXT_SIZE, "changed");
    client_fixture_send(fixture, "c");
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 304 && fixture->session_ends == 1);
    assert_int_equal(fixture->results[303].status, STATUS_UNAUTHENTICATED);
    client_fixture_free(fixture);
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
TEST(test_session__unknown_outcome_is_not_doubled)
{
    struct client_fixture *fixture = client_fixture_new(1);
    bool lost = false;
    fixture->cluster.judge = lose_first_send_answer;
    fixture->cluster.context = &lost;
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_ask(fixture, &(struct client_request){.call = CLIENT_LOGIN,
                                                         .name = "ann",
                                                         .password = "secret",
                                                         .manner = CLIENT_ACCOUNT_NEW,
                                                         .again = true});
    client_fixture_send(fixture, "m0");
    CLIENT_FIXTURE_WAIT(fixture, lost);
    client_fixture_settle(fixture);
    fixture->cluster.sessions[0].ended = true;
    client_fixture_advance(fixture, CLIENT_ANSWER_MS + 1);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 2);
    assert_int_equal(fixture->results[1].status, STATUS_UNAUTHENTICATED);
    assert_int_equal(fixture->cluster.message_count, 1);
    client_fixture_free(fixture);
}

TEST(test_heartbeat__regular_with_cursor)
{
    struct client_fixture *fixture = client_fixture_new(1);
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_login(fixture);
    client_fixture_send_many(fixture, "m", 3);
    CLIENT_FIXTURE_WAIT(fixture, fixture->event_count == 3);
    for (size_t i = 1; i <= 3; i++) {
        client_fixture_settle(fixture);
        assert_int_equal(fixture->cluster.heartbeats_seen, i - 1);
        client_fixture_advance(fixture, CLIENT_HEARTBEAT_MS);
        CLIENT_FIXTURE_WAIT(fixture, fixture->cluster.heartbeats_seen == i);
    }
    assert_int_equal(fixture->cluster.sessions[0].received_seq, 3);
    client_fixture_free(fixture);
}

TEST(test_give_up__ends_everything_once)
{
    struct client_fixture *fixture = client_fixture_new(1);
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_login(fixture);
    fixture->cluster.judge = lose_sends;
    client_fixture_send_many(fixture, "m", 300);
    CLIENT_FIXTURE_WAIT(fixture, fixture->cluster.sends_seen == CLIENT_WINDOW);
    client_give_up(fixture->client, STATUS_UNAVAILABLE, "enough");
    assert_int_equal(fixture->result_count, 300);
    assert_int_equal(client_fixture_count(fixture, STATUS_UNAVAILABLE), 300);
    assert_string_equal(fixture->results[0].error,
                        "enough; it may have been carried out all the same");
    assert_string_equal(fixture->results[299].error, "enough");
    assert_int_equal(client_unfinished(fixture->client), 0);
    client_fixture_settle(fixture);
    assert_int_equal(fixture->result_count, 300);
    client_fixture_free(fixture);
}

/* ---- servers that come and go ---- */

TEST(test_server__dies_and_comes_back)
{
    struct client_fixture *fixture = client_fixture_new(1);
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_login(fixture);
    for (size_t round = 0; round < 5; round++) {
        for (size_t i = 0; i < 200; i++) {
            char text[FAKE_TEXT_SIZE];
            (void)snprintf(text, sizeof text, "m%zu", round * 200 + i);
            client_fixture_send(fixture, text);
        }
        CLIENT_FIXTURE_WAIT(fixture, fixture->cluster.message_count > round * 200 + 50);
        fake_server_kill(&fixture->servers[0]);
        client_fixture_settle(fixture);
        fake_server_start(&fixture->servers[0], &fixture->cluster);
    }
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 1000 && fixture->event_count == 1000);
    client_fixture_check_kept(fixture, "m", 1000);
    client_fixture_check_told(fixture, "m", 1000);
    assert_int_equal(client_fixture_count(fixture, STATUS_OK), 1000);
    assert_int_equal(fixture->cluster.session_count, 1);
    struct client_stats stats;
    client_stats(fixture->client, &stats);
    assert_int_equal(stats.reconnects, 5);
    client_fixture_free(fixture);
}

TEST(test_server__gone_is_told_and_waited_for)
{
    struct client_fixture *fixture = client_fixture_new(1);
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_login(fixture);
    assert_true(fixture->connected);
    assert_int_equal(fixture->status_count, 1);
    fake_server_kill(&fixture->servers[0]);
    client_fixture_settle(fixture);
    client_fixture_send_many(fixture, "m", 10);
    client_fixture_advance(fixture, CLIENT_QUIET_MS);
    CLIENT_FIXTURE_WAIT(fixture, !fixture->connected);
    assert_non_null(strstr(fixture->status, "was lost"));
    client_fixture_advance(fixture, 3600000);
    client_fixture_settle(fixture);
    assert_int_equal(fixture->result_count, 0); /* an hour is no reason to fail */
    fake_server_start(&fixture->servers[0], &fixture->cluster);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 10);
    assert_true(fixture->connected);
    assert_int_equal(fixture->status_count, 3);
    client_fixture_check_kept(fixture, "m", 10);
    client_fixture_free(fixture);
}

TEST(test_server__another_takes_over)
{
    struct client_fixture *fixture = client_fixture_new(3);
    client_fixture_connect(fixture, 3, NULL);
    client_fixture_login(fixture);
    client_fixture_send_many(fixture, "m", 1000);
    CLIENT_FIXTURE_WAIT(fixture, fixture->cluster.message_count > 150);
    fake_server_kill(&fixture->servers[0]);
    client_fixture_settle(fixture);
    fixture->cluster.epoch += 65536;
    fixture->servers[2].master = true;
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 1000 && fixture->event_count == 1000);
    client_fixture_check_kept(fixture, "m", 1000);
    client_fixture_check_told(fixture, "m", 1000);
    assert_int_equal(fixture->cluster.session_count, 1);
    struct client_view view;
    client_inspect(fixture->client, &view);
    char text[ADDRESS_TEXT_SIZE];
    address_format(&fixture->servers[2].address, text);
    assert_string_equal(view.server, text);
    client_fixture_free(fixture);
}

/* Only a slave is known: it names the master, and Info names everybody. */
TEST(test_server__redirects)
{
    for (int by_info = 0; by_info < 2; by_info++) {
        struct client_fixture *fixture = client_fixture_new(2);
        char master[ADDRESS_TEXT_SIZE];
        fixture->servers[0].master = false;
        fixture->servers[1].master = true;
        address_format(&fixture->servers[1].address, master);
        if (by_info)
            memcpy(fixture->cluster.servers[fixture->cluster.server_count++], master,
                   sizeof master);
        else
            fixture->servers[0].redirect = master;
        client_fixture_connect(fixture, 1, NULL);
        client_fixture_login(fixture);
        client_fixture_send_many(fixture, "m", 10);
        CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 10);
        client_fixture_check_kept(fixture, "m", 10);
        char text[ADDRESS_TEXT_SIZE];
        assert_true(client_server(fixture->client, 1, text));
        assert_string_equal(text, master);
        assert_false(client_server(fixture->client, 2, text));
        client_fixture_free(fixture);
    }
}

/* The first to answer is no master: there is time to look for one, but not for ever. */
TEST(test_server__prefers_a_master)
{
    for (size_t masters = 0; masters < 2; masters++) {
        struct client_fixture *fixture = client_fixture_new(2);
        fixture->servers[0].master = false;
        fixture->servers[1].master = masters == 1;
        client_fixture_connect(fixture, 2, NULL);
        CLIENT_FIXTURE_WAIT(fixture, fixture->connected);
        struct client_view view;
        char text[ADDRESS_TEXT_SIZE];
        client_inspect(fixture->client, &view);
        address_format(&fixture->servers[1].address, text);
        if (masters == 1)
            assert_string_equal(view.server, text);
        assert_int_equal(fixture->status_count, masters == 1 ? 1 : 2); /* the other one: waiting */
        client_fixture_free(fixture);
    }
}

TEST(test_server__steps_down)
{
    struct client_fixture *fixture = client_fixture_new(2);
    char master[ADDRESS_TEXT_SIZE];
    client_fixture_connect(fixture, 2, NULL);
    client_fixture_login(fixture);
    client_fixture_send_many(fixture, "m", 1000);
    CLIENT_FIXTURE_WAIT(fixture, fixture->cluster.message_count > 150);
    fixture->servers[0].master = false;
    fixture->servers[1].master = true;
    fixture->cluster.epoch += 65536;
    address_format(&fixture->servers[1].address, master);
    fixture->servers[0].redirect = master;
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 1000);
    client_fixture_check_kept(fixture, "m", 1000);
    struct client_view view;
    client_inspect(fixture->client, &view);
    assert_string_equal(view.server, master);
    client_fixture_free(fixture);
}

static enum fake_action first_is_silent(void *context, struct fake_server *server,
                                        const char *method, uint64_t number)
{
    struct client_fixture *fixture = context;
    (void)method, (void)number;
    return server == &fixture->servers[0] ? FAKE_LOSE : FAKE_OBEY;
}

/* The master hangs; its connection stays. Another is the master: the client finds out long before it
 * would give the first one up. */
TEST(test_server__falls_silent_and_is_replaced)
{
    struct client_fixture *fixture = client_fixture_new(2);
    client_fixture_connect(fixture, 2, NULL);
    client_fixture_login(fixture);
    fixture->cluster.context = fixture;
    fixture->cluster.judge = first_is_silent;
    client_fixture_send_many(fixture, "m", 10);
    client_fixture_settle(fixture);
    uint64_t start_us = client_fixture_now_us(fixture);
    client_fixture_advance(fixture, CLIENT_SUSPECT_MS);
    client_fixture_settle(fixture);
    assert_int_equal(fixture->result_count, 0); /* the other is no master yet */
    fixture->servers[1].master = true;
    fixture->cluster.epoch += 65536;
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 10);
    assert_true(client_fixture_now_us(fixture) - start_us < CLIENT_ANSWER_MS * 1000 / 2);
    client_fixture_check_kept(fixture, "m", 10);
    client_fixture_free(fixture);
}

/* A server of the same epoch that says it is master, too, is no reason to leave one that is slow. */
TEST(test_server__doubt_ends_when_it_answers)
{
    struct client_fixture *fixture = client_fixture_new(2);
    client_fixture_connect(fixture, 2, NULL);
    client_fixture_login(fixture);
    fixture->servers[1].master = true;
    fixture->cluster.judge = lose_sends;
    client_fixture_send_many(fixture, "m", 10);
    client_fixture_settle(fixture);
    client_fixture_advance(fixture, CLIENT_SUSPECT_MS);
    client_fixture_settle(fixture);
    struct client_view view;
    client_inspect(fixture->client, &view);
    char first[ADDRESS_TEXT_SIZE];
    address_format(&fixture->servers[0].address, first);
    assert_string_equal(view.server, first);
    client_fixture_free(fixture);
}

TEST(test_server__silent_one_is_left)
{
    struct client_fixture *fixture = client_fixture_new(1);
    fixture->cluster.id[0] = 1; /* so the client does not ask for it again */
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_login(fixture);
    fixture->cluster.context = fixture;
    fixture->cluster.judge = first_is_silent;
    client_fixture_send_many(fixture, "m", 10);
    CLIENT_FIXTURE_WAIT(fixture, fixture->cluster.sends_seen == 10);
    client_fixture_advance(fixture, CLIENT_ANSWER_MS / 2);
    client_fixture_settle(fixture);
    assert_int_equal(fixture->cluster.infos_seen, 1);
    client_fixture_advance(fixture, CLIENT_ANSWER_MS / 2);
    CLIENT_FIXTURE_WAIT(fixture, fixture->cluster.infos_seen == 2); /* on a new connection */
    fixture->cluster.judge = NULL;
    client_fixture_advance(fixture, CLIENT_ANSWER_MS);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 10);
    client_fixture_check_kept(fixture, "m", 10);
    client_fixture_free(fixture);
}

/* Nobody speaks; a heartbeat finds out that the server is dead. */
TEST(test_server__idle_client_notices)
{
    struct client_fixture *fixture = client_fixture_new(1);
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_login(fixture);
    client_fixture_settle(fixture);
    fixture->cluster.context = fixture;
    fixture->cluster.judge = first_is_silent;
    client_fixture_advance(fixture, CLIENT_HEARTBEAT_MS);
    CLIENT_FIXTURE_WAIT(fixture, fixture->cluster.heartbeats_seen == 1);
    client_fixture_advance(fixture, CLIENT_ANSWER_MS);
    client_fixture_settle(fixture);
    client_fixture_advance(fixture, CLIENT_QUIET_MS);
    CLIENT_FIXTURE_WAIT(fixture, !fixture->connected);
    assert_non_null(strstr(fixture->status, "does not answer"));
    client_fixture_free(fixture);
}

/* What is wrong with TLS is told in place of silence. */
TEST(test_server__tls_on_one_side_only)
{
    struct client_fixture *fixture = client_fixture_new(1);
    const struct client_options base = {.tls_authority = TLS_FILES "/authority.pem"};
    fixture->servers[0].address.tls = true; /* it does not know */
    client_fixture_connect(fixture, 1, &base);
    uint64_t since = 0;
    while (strstr(fixture->status, "it does not use TLS: leave out tls+tcp://; trying again") ==
           NULL) {
        client_fixture_turn(fixture);
        client_fixture_check_patience(&since, "the reason is told");
    }
    assert_false(fixture->connected);
    client_fixture_free(fixture);
}

/* The reason comes up after it was told that the server does not answer. */
TEST(test_server__tells_the_reason_later)
{
    struct client_fixture *fixture = client_fixture_new(1);
    const struct client_options base = {.tls_authority = TLS_FILES "/authority.pem"};
    fake_server_kill(&fixture->servers[0]);
    fixture->servers[0].address.tls = true;
    client_fixture_connect(fixture, 1, &base);
    uint64_t since = 0;
    while (strstr(fixture->status, "does not answer") == NULL) {
        client_fixture_turn(fixture);
        client_fixture_check_patience(&since, "the server does not answer");
    }
    fixture->servers[0].address.tls = false;
    fake_server_start(&fixture->servers[0], &fixture->cluster);
    since = 0;
    while (strstr(fixture->status, "it does not use TLS") == NULL) {
        client_fixture_turn(fixture);
        client_fixture_check_patience(&since, "the reason is told");
    }
    assert_int_equal(fixture->status_count, 2);
    client_fixture_free(fixture);
}

/* Without asking the DNS: no label has so many characters. */
TEST(test_server__name_without_address)
{
    struct client_fixture *fixture = client_fixture_new(1);
    struct address address = {.port = 2625};
    memset(address.host, 'x', 64);
    client_fixture_connect_to(fixture, &address, 1);
    uint64_t since = 0;
    while (strstr(fixture->status, ": the name has no address; trying again") == NULL) {
        client_fixture_turn(fixture);
        client_fixture_check_patience(&since, "the reason is told");
    }
    assert_false(fixture->connected);
    client_fixture_free(fixture);
}

static enum fake_action all_unavailable(void *context, struct fake_server *server,
                                        const char *method, uint64_t number)
{
    (void)context, (void)number;
    server->fail_status = STATUS_UNAVAILABLE;
    return strcmp(method, "Send") == 0 ? FAKE_FAIL : FAKE_OBEY;
}

/* However long it lasts, no storm: after the first doublings the pause is 0.25 to 0.5 s. */
TEST(test_retry__backoff_grows_and_is_bounded)
{
    struct client_fixture *fixture = client_fixture_new(1);
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_login(fixture);
    fixture->cluster.judge = all_unavailable;
    client_fixture_send(fixture, "m0");
    size_t first = 0;
    for (int i = 0; i < 300; i++) { /* a minute */
        for (int turns = 0; turns < 3; turns++)
            client_fixture_turn(fixture);
        client_fixture_advance(fixture, 200);
        if (i == 5)
            first = fixture->cluster.sends_seen;
    }
    assert_in_range(first, 3, 12);
    assert_in_range(fixture->cluster.sends_seen, 60, 160);
    fixture->cluster.judge = NULL;
    client_fixture_advance(fixture, CLIENT_RETRY_MAX_MS);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 1);
    assert_int_equal(fixture->results[0].request, 1);
    assert_int_equal(fixture->cluster.message_count, 1);
    client_fixture_free(fixture);
}
