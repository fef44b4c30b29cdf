/* SPDX-License-Identifier: MIT */
/* The client library against servers that refuse, lose, abort, redirect, die and come back. */
#include "client_fixture.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

LOGGED_IN_TEST(test_send__all_in_order)
{
    client_fixture_send_many(f, "m", 1000);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1000 && f->event_count == 1000);
    client_fixture_check_kept(f, "m", 1000);
    client_fixture_check_told(f, "m", 1000);
    for (size_t i = 0; i < 1000; i++) {
        assert_int_equal(f->results[i].status, STATUS_OK);
        assert_int_equal(f->results[i].request, i + 1);
        assert_int_equal(f->results[i].number, i + 1);
        assert_int_equal(f->results[i].session, f->cluster.sessions[0].id);
        assert_int_equal(f->results[i].attempts, 1);
    }
    struct client_stats stats = client_fixture_stats(f);
    assert_int_equal(stats.sent, 1000);
    assert_int_equal(stats.received, 1000);
    assert_int_equal(stats.retries + stats.failed + stats.gaps + stats.reconnects, 0);
    assert_true(stats.p50_us > 0 && stats.p50_us <= stats.p99_us);
    assert_true(stats.sent_per_second > 0);
}

/* Nothing is answered for a while: no more than the window may be out. */
LOGGED_IN_TEST(test_send__window_is_bounded)
{
    fake_order(&f->cluster, "Send", FAKE_LOSE);
    client_fixture_send_many(f, "m", 400);
    CLIENT_FIXTURE_WAIT(f, f->cluster.sends_seen == CLIENT_WINDOW);
    client_fixture_settle(f);
    assert_int_equal(f->cluster.sends_seen, CLIENT_WINDOW);
    fake_order(&f->cluster, NULL, FAKE_OBEY);
    client_fixture_advance(f, CLIENT_ANSWER_MS + 1);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 400);
    client_fixture_check_kept(f, "m", 400);
    assert_true(f->cluster.numbers_most_ahead <= CLIENT_WINDOW);
}

/* An answer in the middle is lost while all around it come: later numbers must not run away from
 * the one that is still open. */
LOGGED_IN_TEST(test_send__window_counts_from_the_oldest)
{
    f->cluster.order = (struct fake_order){FAKE_LOSE_ANSWER, .method = "Send", .number = 1};
    client_fixture_send_many(f, "m", 400);
    CLIENT_FIXTURE_WAIT(f, f->result_count == CLIENT_WINDOW - 1);
    client_fixture_settle(f);
    assert_int_equal(f->cluster.sends_done, CLIENT_WINDOW);
    fake_order(&f->cluster, NULL, FAKE_OBEY);
    client_fixture_advance(f, CLIENT_ANSWER_MS + 1);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 400);
    client_fixture_check_kept(f, "m", 400);
    assert_int_equal(client_fixture_count(f, STATUS_OK), 400);
}

/* The requests after it tell: nobody waits for its deadline. */
LOGGED_IN_TEST(test_send__lost_request_is_noticed_at_once)
{
    f->cluster.order = (struct fake_order){FAKE_LOSE, .method = "Send", .number = 3, .once = true};
    client_fixture_send_many(f, "m", 10);
    CLIENT_FIXTURE_WAIT_WITHIN(f, CLIENT_ANSWER_MS * 1000 / 2, f->result_count == 10);
    assert_int_equal(f->cluster.order.action, FAKE_OBEY); /* it was lost */
    client_fixture_check_kept(f, "m", 10);
}

/* A server that takes so many a second is not sent many times as many. */
static enum fake_action limit_rate(void *context, struct fake_server *server, const char *method,
                                   uint64_t number)
{
    struct client_fixture *f = context;
    (void)number;
    server->fail_status = STATUS_RESOURCE_EXHAUSTED;
    server->fail_retry_ms = 1;
    if (strcmp(method, "Send") != 0)
        return FAKE_OBEY;
    /* 1000 a second, ten at once */
    uint64_t allowed = client_fixture_now_us(f) / 1000 - f->rate_start_ms + 10;
    return f->cluster.sends_done < allowed ? FAKE_OBEY : FAKE_FAIL;
}

LOGGED_IN_TEST(test_send__adapts_to_a_rate_limit)
{
    f->rate_start_ms = client_fixture_now_us(f) / 1000;
    f->cluster.judge = limit_rate;
    f->cluster.context = f;
    client_fixture_send_through(f, "m", 1000);
    client_fixture_check_kept(f, "m", 1000);
    assert_true(f->cluster.sends_seen < 3000);
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

CLIENT_TEST(test_send__refusals_losses_and_aborts, client_fixture_new(1))
{
    uint32_t count = 0;
    f->cluster.context = &count;
    client_fixture_enter(f, 1);
    f->cluster.judge = misbehave;
    client_fixture_send_many(f, "m", 200);
    uint64_t since = 0;
    while (f->result_count < 200) {
        client_fixture_settle(f);
        client_fixture_advance(f, 500);
        client_fixture_check_patience(&since, "200 outcomes");
        if (count > 1000)
            f->cluster.judge = NULL;
    }
    CLIENT_FIXTURE_WAIT(f, f->event_count == 200);
    client_fixture_check_kept(f, "m", 200);
    client_fixture_check_told(f, "m", 200);
    assert_int_equal(client_fixture_count(f, STATUS_OK), 200);
    struct client_stats stats = client_fixture_stats(f);
    assert_true(stats.retries > 0);
}

LOGGED_IN_TEST(test_send__definite_refusal_ends_one_only)
{
    client_fixture_send(f, "a");
    client_fixture_send(f, "refuse me");
    client_fixture_send(f, "b");
    CLIENT_FIXTURE_WAIT(f, f->result_count == 3);
    assert_int_equal(f->results[0].status, STATUS_OK);
    assert_int_equal(f->results[1].status, STATUS_PERMISSION_DENIED);
    assert_string_equal(f->results[1].error, "refused");
    assert_int_equal(f->results[1].request, 2);
    assert_int_equal(f->results[2].status, STATUS_OK);
    assert_int_equal(f->cluster.message_count, 2);
}

CLIENT_TEST(test_send__refused_here, client_fixture_new(1))
{
    f->cluster.message_bytes = 10;
    client_fixture_enter(f, 1);
    client_fixture_send(f, "12345678901");
    client_fixture_send(f, "1234567890");
    CLIENT_FIXTURE_WAIT(f, f->result_count == 2);
    assert_int_equal(f->results[0].status, STATUS_INVALID_ARGUMENT);
    assert_int_equal(f->results[0].request, 0);
    assert_string_equal(f->results[0].error,
                        "the message has 11 bytes, and this server takes at most 10");
    assert_int_equal(f->results[1].request, 1);
    struct client_request request = {.call = CLIENT_SEND, .room = "lobby", .text = "\xFF"};
    assert_int_equal(client_fixture_ask(f, &request), ERROR_INVALID);
    request.text = "";
    assert_int_equal(client_fixture_ask(f, &request), ERROR_INVALID);
}

CLIENT_TEST(test_ask__queue_is_bounded, client_fixture_new(1))
{
    f->servers[0].fail_status = STATUS_UNAVAILABLE;
    client_fixture_connect(f, 1, &(struct client_options){.queue_requests_max = 5});
    struct client_request request = {.call = CLIENT_SEND, .room = "lobby", .text = "x"};
    for (size_t i = 0; i < 5; i++) {
        assert_true(client_has_room(f->client, 1));
        assert_int_equal(client_fixture_ask(f, &request), OK);
    }
    assert_false(client_has_room(f->client, 1));
    assert_int_equal(client_fixture_ask(f, &request), ERROR_FULL);
    assert_int_equal(client_unfinished(f->client), 5);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 5); /* nobody is logged in */
    assert_int_equal(f->results[4].status, STATUS_UNAUTHENTICATED);
    assert_true(client_has_room(f->client, 1));
    CLIENT_FIXTURE_WAIT(f, f->connected);
}

CLIENT_TEST(test_ask__queue_is_bounded_in_bytes, client_fixture_new(1))
{
    client_fixture_connect(f, 1, &(struct client_options){.queue_bytes_max = 2000});
    char text[1001];
    memset(text, 'x', 1000);
    text[1000] = '\0';
    struct client_request request = {.call = CLIENT_SEND, .room = "lobby", .text = text};
    assert_int_equal(client_fixture_ask(f, &request), OK);
    assert_int_equal(client_fixture_ask(f, &request), ERROR_FULL);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1 && f->connected);
}

/* Commands that stand between messages are carried out between them. */
CONNECTED_TEST(test_ask__everything_in_order)
{
    client_fixture_ask_login(f, "ann", CLIENT_ACCOUNT_NEW, false);
    client_fixture_ask(f, &(struct client_request){.call = CLIENT_JOIN, .room = "lobby"});
    client_fixture_send(f, "m0");
    client_fixture_ask(f, &(struct client_request){.call = CLIENT_LOGOUT});
    client_fixture_send(f, "too late");
    client_fixture_ask(
        f, &(struct client_request){.call = CLIENT_LOGIN, .name = "ann", .password = "secret"});
    client_fixture_ask(f, &(struct client_request){.call = CLIENT_ROOMS, .name = "*"});
    CLIENT_FIXTURE_WAIT(f, f->result_count == 7);
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
        assert_int_equal(f->results[i].call, expected[i].call);
        assert_int_equal(f->results[i].status, expected[i].status);
    }
    assert_int_equal(f->cluster.message_count, 1);
    assert_int_equal(f->cluster.messages[0].request, 2);
}

static enum fake_action lose_sends_count_logouts(void *context, struct fake_server *server,
                                                 const char *method, uint64_t number)
{
    size_t *logouts = context;
    (void)server, (void)number;
    *logouts += strcmp(method, "Logout") == 0;
    return strcmp(method, "Send") == 0 ? FAKE_LOSE : FAKE_OBEY;
}

CLIENT_TEST(test_ask__logout_waits_for_what_is_before, client_fixture_new(1))
{
    size_t logouts = 0;
    client_fixture_enter(f, 1);
    f->cluster.judge = lose_sends_count_logouts;
    f->cluster.context = &logouts;
    client_fixture_send_many(f, "m", 3);
    client_fixture_ask(f, &(struct client_request){.call = CLIENT_LOGOUT});
    CLIENT_FIXTURE_WAIT(f, f->cluster.sends_seen == 3);
    client_fixture_settle(f);
    assert_int_equal(logouts, 0);
    f->cluster.judge = NULL;
    client_fixture_advance(f, CLIENT_ANSWER_MS + 1);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 4);
    assert_int_equal(f->results[3].call, CLIENT_LOGOUT);
    assert_int_equal(f->results[3].status, STATUS_OK);
    client_fixture_check_kept(f, "m", 3);
}

static enum status login(struct client_fixture *f, const char *name, const char *password,
                         enum client_manner manner)
{
    size_t before = f->result_count;
    client_fixture_ask(
        f, &(struct client_request){
               .call = CLIENT_LOGIN, .name = name, .password = password, .manner = manner});
    CLIENT_FIXTURE_WAIT(f, f->result_count > before);
    return f->results[before].status;
}

CONNECTED_TEST(test_login__manners)
{
    assert_int_equal(login(f, "ann", "a", CLIENT_ACCOUNT_EXISTS), STATUS_UNAUTHENTICATED);
    assert_int_equal(login(f, "ann", "a", CLIENT_ACCOUNT_NEW), STATUS_OK);
    assert_int_equal(login(f, "bob", "b", CLIENT_ACCOUNT_ENSURED), STATUS_FAILED_PRECONDITION);
    assert_int_equal(f->session_ends, 0);
    assert_int_equal(login(f, "ann", "a", CLIENT_ACCOUNT_EXISTS), STATUS_OK); /* again */
    assert_int_equal(f->cluster.session_count, 1);
    size_t before = f->result_count;
    client_fixture_ask(f, &(struct client_request){.call = CLIENT_LOGOUT});
    CLIENT_FIXTURE_WAIT(f, f->result_count > before);
    assert_int_equal(login(f, "ann", "a", CLIENT_ACCOUNT_NEW), STATUS_ALREADY_EXISTS);
    assert_int_equal(login(f, "ann", "x", CLIENT_ACCOUNT_ENSURED), STATUS_UNAUTHENTICATED);
    assert_int_equal(login(f, "ann", "a", CLIENT_ACCOUNT_ENSURED), STATUS_OK);
    assert_int_equal(f->cluster.account_count, 1);
    assert_int_equal(f->cluster.session_count, 2);
}

static void lose_answer_once(struct client_fixture *f, const char *method)
{
    f->cluster.order = (struct fake_order){FAKE_LOSE_ANSWER, .method = method, .once = true};
}

/* The password is checked, the session and its numbers go on. */
LOGGED_IN_TEST(test_login__again_keeps_the_session)
{
    client_fixture_send(f, "m0");
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
    assert_int_equal(login(f, "ann", "secret", CLIENT_ACCOUNT_EXISTS), STATUS_OK);
    client_fixture_send(f, "m1");
    CLIENT_FIXTURE_WAIT(f, f->result_count == 3 && f->event_count == 2);
    client_fixture_check_kept(f, "m", 2);
    client_fixture_check_told(f, "m", 2);
}

/* The account and the session are made once, however often the answers get lost. */
CONNECTED_TEST(test_login__lost_answers)
{
    static const char *const lost[] = {"RegisterAccount", "Login"};
    client_fixture_ask_login(f, "ann", CLIENT_ACCOUNT_NEW, false);
    for (size_t i = 0; i < 2; i++) {
        lose_answer_once(f, lost[i]);
        CLIENT_FIXTURE_WAIT(f, f->cluster.order.action == FAKE_OBEY);
        client_fixture_advance(f, CLIENT_SLOW_ANSWER_MS);
    }
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
    assert_int_equal(f->results[0].status, STATUS_OK);
    assert_int_equal(f->cluster.account_count, 1);
    assert_int_equal(f->cluster.session_count, 1);
}

TEST(test_logout__repeated_means_done)
{
    for (int delete_account = 0; delete_account < 2; delete_account++) {
        struct client_fixture *f = client_fixture_logged_in(1);
        lose_answer_once(f, delete_account ? "DeleteAccount" : "Logout");
        client_fixture_ask(
            f, &(struct client_request){.call = delete_account ? CLIENT_DELETE : CLIENT_LOGOUT});
        CLIENT_FIXTURE_WAIT(f, f->cluster.order.action == FAKE_OBEY);
        client_fixture_settle(f);
        client_fixture_advance(f, CLIENT_SLOW_ANSWER_MS);
        CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
        assert_int_equal(f->results[0].status, STATUS_OK);
        assert_int_equal(f->results[0].attempts, 2);
        assert_int_equal(f->session_ends, 0); /* it was asked for */
        assert_null(client_fixture_view(f).name);
        client_fixture_free(f);
    }
}

/* At the first attempt it means that there was no session to end. */
LOGGED_IN_TEST(test_logout__of_an_unknown_session)
{
    f->cluster.sessions[0].ended = true;
    client_fixture_ask(f, &(struct client_request){.call = CLIENT_LOGOUT});
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
    assert_int_equal(f->results[0].status, STATUS_UNAUTHENTICATED);
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
CLIENT_TEST(test_logout__asked_for_status_meanwhile, client_fixture_new(1))
{
    struct fake_stream *stream = &f->servers[0].streams[0];
    client_fixture_connect(f, 1, NULL);
    client_fixture_ask_login(f, "ann", CLIENT_ACCOUNT_NEW, true);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1 && stream->call != NULL);
    f->cluster.judge = lose_logout_and_status;
    client_fixture_ask(f, &(struct client_request){.call = CLIENT_LOGOUT});
    CLIENT_FIXTURE_WAIT(f, f->cluster.sessions[0].ended);
    client_fixture_ask(f, &(struct client_request){.call = CLIENT_STATUS});
    CLIENT_FIXTURE_WAIT(f, f->cluster.statuses_seen == 1);
    struct rpc_call *call = stream->call;
    stream->call = NULL;
    rpc_call_fail(call, STATUS_UNAUTHENTICATED, 0, "the session has ended");
    client_fixture_settle(f);
    f->cluster.judge = NULL;
    client_fixture_advance(f, CLIENT_ANSWER_MS);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 3);
    client_fixture_settle(f);
    assert_int_equal(f->results[2].call, CLIENT_LOGOUT);
    assert_int_equal(f->results[2].status, STATUS_OK);
    assert_int_equal(f->cluster.session_count, 1);
    assert_int_equal(f->session_ends, 0);
}

LOGGED_IN_TEST(test_session__ended_by_the_server)
{
    client_fixture_send(f, "m0");
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
    f->cluster.sessions[0].ended = true;
    client_fixture_send(f, "lost");
    client_fixture_send(f, "lost too");
    CLIENT_FIXTURE_WAIT(f, f->result_count == 3);
    assert_int_equal(f->results[1].status, STATUS_UNAUTHENTICATED);
    assert_int_equal(f->results[2].status, STATUS_UNAUTHENTICATED);
    assert_int_equal(f->session_ends, 1);
    assert_int_equal(login(f, "ann", "secret", CLIENT_ACCOUNT_EXISTS), STATUS_OK);
    client_fixture_send(f, "m1");
    CLIENT_FIXTURE_WAIT(f, f->result_count == 5);
    assert_int_equal(f->results[4].request, 1);
    assert_int_equal(f->cluster.message_count, 2);
}

CONNECTED_TEST(test_session__logs_in_again)
{
    client_fixture_ask_login(f, "ann", CLIENT_ACCOUNT_NEW, true);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
    f->result_count = 0;
    client_fixture_send_many(f, "a", 3);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 3 && f->event_count == 3);
    f->cluster.sessions[0].ended = true;
    client_fixture_send_many(f, "b", 300);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 303);
    assert_int_equal(client_fixture_count(f, STATUS_OK), 303);
    assert_int_equal(f->session_ends, 0);
    assert_int_equal(f->cluster.session_count, 2);
    assert_int_equal(f->cluster.message_count, 303);
    for (size_t i = 0; i < 300; i++) {
        char text[FAKE_TEXT_SIZE];
        (void)snprintf(text, sizeof text, "b%zu", i);
        assert_string_equal(f->cluster.messages[3 + i].text, text);
    }
    assert_int_equal(f->results[3].request, 1);

    /* ... but not when the password is wrong by now. */
    f->cluster.sessions[1].ended = true;
    (void)snprintf(f->cluster.accounts[0].password, FAKE_TEXT_SIZE, "changed");
    client_fixture_send(f, "c");
    CLIENT_FIXTURE_WAIT(f, f->result_count == 304 && f->session_ends == 1);
    assert_int_equal(f->results[303].status, STATUS_UNAUTHENTICATED);
}

/* What may have been carried out in a session that is gone is not sent in the next one. */
CONNECTED_TEST(test_session__unknown_outcome_is_not_doubled)
{
    lose_answer_once(f, "Send");
    client_fixture_ask_login(f, "ann", CLIENT_ACCOUNT_NEW, true);
    client_fixture_send(f, "m0");
    CLIENT_FIXTURE_WAIT(f, f->cluster.order.action == FAKE_OBEY);
    client_fixture_settle(f);
    f->cluster.sessions[0].ended = true;
    client_fixture_advance(f, CLIENT_ANSWER_MS + 1);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 2);
    assert_int_equal(f->results[1].status, STATUS_UNAUTHENTICATED);
    assert_int_equal(f->cluster.message_count, 1);
}

LOGGED_IN_TEST(test_heartbeat__regular_with_cursor)
{
    client_fixture_send_many(f, "m", 3);
    CLIENT_FIXTURE_WAIT(f, f->event_count == 3);
    for (size_t i = 1; i <= 3; i++) {
        client_fixture_settle(f);
        assert_int_equal(f->cluster.heartbeats_seen, i - 1);
        client_fixture_advance(f, CLIENT_HEARTBEAT_MS);
        CLIENT_FIXTURE_WAIT(f, f->cluster.heartbeats_seen == i);
    }
    assert_int_equal(f->cluster.sessions[0].received_seq, 3);
}

LOGGED_IN_TEST(test_give_up__ends_everything_once)
{
    fake_order(&f->cluster, "Send", FAKE_LOSE);
    client_fixture_send_many(f, "m", 300);
    CLIENT_FIXTURE_WAIT(f, f->cluster.sends_seen == CLIENT_WINDOW);
    client_give_up(f->client, STATUS_UNAVAILABLE, "enough");
    assert_int_equal(f->result_count, 300);
    assert_int_equal(client_fixture_count(f, STATUS_UNAVAILABLE), 300);
    assert_string_equal(f->results[0].error, "enough; it may have been carried out all the same");
    assert_string_equal(f->results[299].error, "enough");
    assert_int_equal(client_unfinished(f->client), 0);
    client_fixture_settle(f);
    assert_int_equal(f->result_count, 300);
}

LOGGED_IN_TEST(test_server__dies_and_comes_back)
{
    for (size_t round = 0; round < 5; round++) {
        client_fixture_send_from(f, "m", round * 200, 200);
        CLIENT_FIXTURE_WAIT(f, f->cluster.message_count > round * 200 + 50);
        fake_server_kill(&f->servers[0]);
        client_fixture_settle(f);
        fake_server_start(&f->servers[0], &f->cluster);
    }
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1000 && f->event_count == 1000);
    client_fixture_check_kept(f, "m", 1000);
    client_fixture_check_told(f, "m", 1000);
    assert_int_equal(client_fixture_count(f, STATUS_OK), 1000);
    assert_int_equal(f->cluster.session_count, 1);
    struct client_stats stats = client_fixture_stats(f);
    assert_int_equal(stats.reconnects, 5);
}

LOGGED_IN_TEST(test_server__gone_is_told_and_waited_for)
{
    assert_true(f->connected);
    assert_int_equal(f->status_count, 1);
    fake_server_kill(&f->servers[0]);
    client_fixture_settle(f);
    client_fixture_send_many(f, "m", 10);
    client_fixture_advance(f, CLIENT_QUIET_MS);
    CLIENT_FIXTURE_WAIT(f, !f->connected);
    assert_non_null(strstr(f->status, "was lost"));
    client_fixture_pass(f, 3600000);
    assert_int_equal(f->result_count, 0); /* an hour is no reason to fail */
    fake_server_start(&f->servers[0], &f->cluster);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 10);
    assert_true(f->connected);
    assert_int_equal(f->status_count, 3);
    client_fixture_check_kept(f, "m", 10);
}

CLIENT_TEST(test_server__another_takes_over, client_fixture_logged_in(3))
{
    client_fixture_send_many(f, "m", 1000);
    CLIENT_FIXTURE_WAIT(f, f->cluster.message_count > 150);
    fake_server_kill(&f->servers[0]);
    client_fixture_settle(f);
    f->cluster.epoch += 65536;
    f->servers[2].master = true;
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1000 && f->event_count == 1000);
    client_fixture_check_kept(f, "m", 1000);
    client_fixture_check_told(f, "m", 1000);
    assert_int_equal(f->cluster.session_count, 1);
    assert_true(client_fixture_uses(f, 2));
}

/* Only a slave is known: it names the master, and Info names everybody. */
TEST(test_server__redirects)
{
    for (int by_info = 0; by_info < 2; by_info++) {
        struct client_fixture *f = client_fixture_new(2);
        char master[ADDRESS_TEXT_SIZE];
        f->servers[0].master = false;
        f->servers[1].master = true;
        address_format(&f->servers[1].address, master);
        if (by_info)
            memcpy(f->cluster.servers[f->cluster.server_count++], master, sizeof master);
        else
            f->servers[0].redirect = master;
        client_fixture_enter(f, 1);
        client_fixture_send_through(f, "m", 10);
        client_fixture_check_kept(f, "m", 10);
        char text[ADDRESS_TEXT_SIZE];
        assert_true(client_server(f->client, 1, text));
        assert_string_equal(text, master);
        assert_false(client_server(f->client, 2, text));
        client_fixture_free(f);
    }
}

/* The first to answer is no master: there is time to look for one, but not for ever. */
TEST(test_server__prefers_a_master)
{
    for (size_t masters = 0; masters < 2; masters++) {
        struct client_fixture *f = client_fixture_new(2);
        f->servers[0].master = false;
        f->servers[1].master = masters == 1;
        client_fixture_connect(f, 2, NULL);
        CLIENT_FIXTURE_WAIT(f, f->connected);
        assert_true(masters == 0 || client_fixture_uses(f, 1));
        assert_int_equal(f->status_count, masters == 1 ? 1 : 2); /* the other one: waiting */
        client_fixture_free(f);
    }
}

CLIENT_TEST(test_server__steps_down, client_fixture_new(2))
{
    char master[ADDRESS_TEXT_SIZE];
    client_fixture_enter(f, 2);
    client_fixture_send_many(f, "m", 1000);
    CLIENT_FIXTURE_WAIT(f, f->cluster.message_count > 150);
    f->servers[0].master = false;
    f->servers[1].master = true;
    f->cluster.epoch += 65536;
    address_format(&f->servers[1].address, master);
    f->servers[0].redirect = master;
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1000);
    client_fixture_check_kept(f, "m", 1000);
    assert_true(client_fixture_uses(f, 1));
}

/* The master hangs; its connection stays. Another is the master: the client finds out long before it
 * would give the first one up. */
CLIENT_TEST(test_server__falls_silent_and_is_replaced, client_fixture_logged_in(2))
{
    f->cluster.order = (struct fake_order){.action = FAKE_LOSE, .server = &f->servers[0]};
    client_fixture_send_many(f, "m", 10);
    client_fixture_settle(f);
    uint64_t start_us = client_fixture_now_us(f);
    client_fixture_pass(f, CLIENT_SUSPECT_MS);
    assert_int_equal(f->result_count, 0); /* the other is no master yet */
    f->servers[1].master = true;
    f->cluster.epoch += 65536;
    CLIENT_FIXTURE_WAIT(f, f->result_count == 10);
    assert_true(client_fixture_now_us(f) - start_us < CLIENT_ANSWER_MS * 1000 / 2);
    client_fixture_check_kept(f, "m", 10);
}

/* Another server is the master; the server in use does not answer any more. */
static void replace_silently(struct client_fixture *fixture)
{
    fixture->servers[1].master = true;
    fixture->cluster.epoch += 65536;
    fixture->cluster.order =
        (struct fake_order){.action = FAKE_LOSE, .server = &fixture->servers[0]};
    client_fixture_send_many(fixture, "m", 1);
    client_fixture_settle(fixture);
    client_fixture_pass(fixture, CLIENT_SUSPECT_MIN_MS + 20);
}

CLIENT_TEST(test_server__that_answered_fast_is_suspected_soon, client_fixture_logged_in(2))
{
    client_fixture_send_many(f, "before", 1);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
    replace_silently(f);
    assert_true(client_fixture_uses(f, 1));
}

/* The client's clock moves on while the server executes a Send. */
static enum fake_action work_slowly(void *context, struct fake_server *server, const char *method,
                                    uint64_t number)
{
    (void)server, (void)number;
    if (strcmp(method, "Send") == 0)
        client_fixture_advance(context, CLIENT_SUSPECT_MS / 4);
    return FAKE_OBEY;
}

CLIENT_TEST(test_server__that_answered_slowly_is_suspected_late, client_fixture_logged_in(2))
{
    f->cluster.judge = work_slowly;
    f->cluster.context = f;
    client_fixture_send_through(f, "before", 1);
    f->cluster.judge = NULL;
    replace_silently(f);
    assert_true(client_fixture_uses(f, 0));
    client_fixture_pass(f, CLIENT_SUSPECT_MS - CLIENT_SUSPECT_MIN_MS);
    assert_true(client_fixture_uses(f, 1));
}

/* A server of the same epoch that says it is master, too, is no reason to leave one that is slow. */
CLIENT_TEST(test_server__doubt_ends_when_it_answers, client_fixture_logged_in(2))
{
    f->servers[1].master = true;
    fake_order(&f->cluster, "Send", FAKE_LOSE);
    client_fixture_send_many(f, "m", 10);
    client_fixture_settle(f);
    client_fixture_pass(f, CLIENT_SUSPECT_MS);
    assert_true(client_fixture_uses(f, 0));
}

CLIENT_TEST(test_server__silent_one_is_left, client_fixture_new(1))
{
    f->cluster.id[0] = 1; /* so the client does not ask for it again */
    client_fixture_enter(f, 1);
    f->cluster.order = (struct fake_order){.action = FAKE_LOSE, .server = &f->servers[0]};
    client_fixture_send_many(f, "m", 10);
    CLIENT_FIXTURE_WAIT(f, f->cluster.sends_seen == 10);
    client_fixture_pass(f, CLIENT_ANSWER_MS / 2);
    assert_int_equal(f->cluster.infos_seen, 1);
    client_fixture_advance(f, CLIENT_ANSWER_MS / 2);
    CLIENT_FIXTURE_WAIT(f, f->cluster.infos_seen == 2); /* on a new connection */
    fake_order(&f->cluster, NULL, FAKE_OBEY);
    client_fixture_advance(f, CLIENT_ANSWER_MS);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 10);
    client_fixture_check_kept(f, "m", 10);
}

/* Nobody speaks; a heartbeat finds out that the server is dead. */
LOGGED_IN_TEST(test_server__idle_client_notices)
{
    client_fixture_settle(f);
    f->cluster.order = (struct fake_order){.action = FAKE_LOSE, .server = &f->servers[0]};
    client_fixture_advance(f, CLIENT_HEARTBEAT_MS);
    CLIENT_FIXTURE_WAIT(f, f->cluster.heartbeats_seen == 1);
    client_fixture_pass(f, CLIENT_ANSWER_MS);
    client_fixture_advance(f, CLIENT_QUIET_MS);
    CLIENT_FIXTURE_WAIT(f, !f->connected);
    assert_non_null(strstr(f->status, "does not answer"));
}

/* What is wrong with TLS is told in place of silence. */
CLIENT_TEST(test_server__tls_on_one_side_only, client_fixture_new(1))
{
    const struct client_options base = {.tls_authority = TLS_FILES "/authority.pem"};
    f->servers[0].address.tls = true; /* it does not know */
    client_fixture_connect(f, 1, &base);
    CLIENT_FIXTURE_WAIT(
        f, strstr(f->status, "it does not use TLS: leave out tls+tcp://; trying again") != NULL);
    assert_false(f->connected);
}

/* The reason comes up after it was told that the server does not answer. */
CLIENT_TEST(test_server__tells_the_reason_later, client_fixture_new(1))
{
    const struct client_options base = {.tls_authority = TLS_FILES "/authority.pem"};
    fake_server_kill(&f->servers[0]);
    f->servers[0].address.tls = true;
    client_fixture_connect(f, 1, &base);
    CLIENT_FIXTURE_WAIT(f, strstr(f->status, "does not answer") != NULL);
    f->servers[0].address.tls = false;
    fake_server_start(&f->servers[0], &f->cluster);
    CLIENT_FIXTURE_WAIT(f, strstr(f->status, "it does not use TLS") != NULL);
    assert_int_equal(f->status_count, 2);
}

/* Without asking the DNS: no label has so many characters. */
CLIENT_TEST(test_server__name_without_address, client_fixture_new(1))
{
    struct address address = {.port = 2625};
    memset(address.host, 'x', 64);
    client_fixture_connect_to(f, &address, 1);
    CLIENT_FIXTURE_WAIT(f, strstr(f->status, ": the name has no address; trying again") != NULL);
    assert_false(f->connected);
}

/* However long it lasts, no storm: after the first doublings the pause is 0.25 to 0.5 s. */
LOGGED_IN_TEST(test_retry__backoff_grows_and_is_bounded)
{
    f->cluster.order =
        (struct fake_order){FAKE_FAIL, .method = "Send", .fail_status = STATUS_UNAVAILABLE};
    client_fixture_send(f, "m0");
    size_t first = 0;
    for (int i = 0; i < 300; i++) { /* a minute */
        client_fixture_pass(f, 200);
        if (i == 5)
            first = f->cluster.sends_seen;
    }
    assert_in_range(first, 3, 12);
    assert_in_range(f->cluster.sends_seen, 60, 160);
    fake_order(&f->cluster, NULL, FAKE_OBEY);
    client_fixture_advance(f, CLIENT_RETRY_MAX_MS);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
    assert_int_equal(f->results[0].request, 1);
    assert_int_equal(f->cluster.message_count, 1);
}
