/* SPDX-License-Identifier: MIT */
/* The client library while a cluster changes its master: how long a sender waits, what its user is
 * told, and what becomes of the session. Gaps are measured from the moment that there is a new
 * master to the first acknowledgement, on the client's clock. */
#include "client/client_internal.h"

#include "client_fixture.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOUND_MS 150u /* from there being a new master to the first acknowledgement */

static struct client_fixture *client_fixture_of(size_t servers, size_t known)
{
    struct client_fixture *f = client_fixture_new(servers);
    for (size_t i = 0; i < servers; i++)
        address_format(&f->servers[i].address, f->cluster.servers[i]);
    f->cluster.server_count = servers;
    client_fixture_enter(f, known);
    client_fixture_settle(f);
    return f;
}

#define FAILOVER_TEST(name, servers, known) CLIENT_TEST(name, client_fixture_of(servers, known))

static void elect(struct client_fixture *f, size_t server)
{
    for (size_t i = 0; i < CLIENT_FIXTURE_SERVERS; i++)
        f->servers[i].master = i == server;
    f->cluster.epoch += 65536;
}

/* Turns for so long, on the client's clock. */
static void run_for(struct client_fixture *f, uint32_t ms)
{
    uint64_t end_us = client_fixture_now_us(f) + (uint64_t)ms * 1000;
    while (client_fixture_now_us(f) < end_us)
        client_fixture_turn(f);
}

static void check_server(struct client_fixture *f, size_t server)
{
    struct client_view view = client_fixture_view(f);
    char expected[ADDRESS_TEXT_SIZE];
    address_format(&f->servers[server].address, expected);
    assert_non_null(view.server);
    assert_string_equal(view.server, expected);
}

/* Only one server was named by the user: the others were learned. */
FAILOVER_TEST(test_failover__master_is_killed, 3, 1)
{
    size_t status_count = f->status_count;
    fake_server_kill(&f->servers[0]);
    client_fixture_send_many(f, "m", 10);
    run_for(f, 60); /* an election */
    elect(f, 2);
    CLIENT_FIXTURE_WAIT_WITHIN(f, FOUND_MS * 1000, f->result_count == 10);
    check_server(f, 2);
    client_fixture_check_kept(f, "m", 10);
    assert_int_equal(f->status_count, status_count); /* too short to speak of */
    struct client_stats stats = client_fixture_stats(f);
    assert_int_equal(stats.failovers, 1);
    assert_int_equal(stats.reconnects, 1);
    assert_true(stats.longest_gap_us >= 60000);
    assert_true(stats.max_us >= 60000);
}

FAILOVER_TEST(test_failover__again_and_again, 3, 1)
{
    for (size_t round = 0; round < 6; round++) {
        size_t master = round % 3;
        client_fixture_send_from(f, "m", round * 500, 500);
        CLIENT_FIXTURE_WAIT(f, f->cluster.message_count > 500 * round + 50);
        fake_server_kill(&f->servers[master]);
        run_for(f, 5);
        elect(f, (master + 1) % 3);
        run_for(f, 5);
        fake_server_start(&f->servers[master], &f->cluster);
    }
    CLIENT_FIXTURE_WAIT(f, f->result_count == 3000 && f->event_count == 3000);
    client_fixture_check_kept(f, "m", 3000);
    client_fixture_check_told(f, "m", 3000);
    assert_int_equal(client_fixture_count(f, STATUS_OK), 3000);
    for (size_t i = 0; i < 3000; i++)
        assert_int_equal(f->results[i].request, i + 1);
    assert_int_equal(f->cluster.session_count, 1);
    assert_int_equal(client_fixture_stats(f).failovers, 6);
    assert_true(f->cluster.resent_seen < f->cluster.sends_seen / 2);
}

/* What was under way when a server died is marked when it is sent again. */
FAILOVER_TEST(test_failover__marks_what_was_under_way, 3, 1)
{
    fake_order(&f->cluster, "Send", FAKE_LOSE);
    client_fixture_send_many(f, "m", 3);
    CLIENT_FIXTURE_WAIT(f, f->cluster.sends_seen == 3);
    assert_int_equal(f->cluster.resent_seen, 0);
    fake_order(&f->cluster, NULL, FAKE_OBEY);
    fake_server_kill(&f->servers[0]);
    elect(f, 1);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 3);
    assert_int_equal(f->cluster.resent_seen, 3);
}

static enum fake_action no_sends_yet(void *context, struct fake_server *server, const char *method,
                                     uint64_t number)
{
    struct client_fixture *f = context;
    (void)number;
    server->fail_status = STATUS_UNAVAILABLE;
    return strcmp(method, "Send") != 0 || f->cluster.sends_seen > 3 ? FAKE_OBEY : FAKE_FAIL;
}

/* A server that refuses, and lives, has not ended of the request. A forwarding one cannot tell. */
static void check_refused(struct client_fixture *f, uint32_t retry_ms, size_t resent)
{
    f->servers[0].fail_retry_ms = retry_ms;
    f->cluster.context = f;
    f->cluster.judge = no_sends_yet;
    client_fixture_send(f, "m");
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
    assert_true(f->cluster.sends_seen > 3);
    assert_int_equal(f->cluster.resent_seen, resent);
}

FAILOVER_TEST(test_failover__a_refusal_is_an_answer, 1, 1)
{
    check_refused(f, 5, 0);
}

FAILOVER_TEST(test_failover__a_forwarding_server_lost_its_master, 1, 1)
{
    check_refused(f, 0, 3);
}

/* The client has seen the epoch of server 1, which is lost. The others are of the epoch before. */
static void lose_the_latest(struct client_fixture *f)
{
    elect(f, 1);
    client_fixture_send(f, "m0");
    CLIENT_FIXTURE_WAIT(f, f->event_count == 1);
    check_server(f, 1);
    f->servers[0].is_past = f->servers[2].is_past = true;
    fake_server_kill(&f->servers[1]);
    f->servers[0].master = f->servers[2].master = true;
    CLIENT_FIXTURE_WAIT(f, !client_fixture_uses(f, 1));
}

/* Neither can know what the session has seen. */
FAILOVER_TEST(test_failover__no_session_goes_back_in_time, 3, 3)
{
    lose_the_latest(f);
    run_for(f, 2 * CLIENT_ANY_SERVER_MS);
    client_fixture_pass(f, CLIENT_GO_BACK_MS / 2);
    assert_false(client_fixture_uses(f, 0) || client_fixture_uses(f, 2));
    f->servers[1].is_new = true;
    size_t infos = f->cluster.infos_seen;
    fake_server_start(&f->servers[1], &f->cluster);
    CLIENT_FIXTURE_WAIT(f, f->cluster.infos_seen > infos);
    client_fixture_pass(f, CLIENT_ANY_SERVER_MS);
    assert_false(client_fixture_uses(f, 0) || client_fixture_uses(f, 2));
    f->servers[1].is_new = false;
    CLIENT_FIXTURE_WAIT(f, client_fixture_uses(f, 1));
    client_fixture_send(f, "m1");
    CLIENT_FIXTURE_WAIT(f, f->result_count == 2);
}

/* Nor can one that is restored from a copy, when all are there. */
FAILOVER_TEST(test_failover__all_servers_have_gone_back, 3, 3)
{
    lose_the_latest(f);
    f->servers[1].is_past = true;
    fake_server_start(&f->servers[1], &f->cluster);
    CLIENT_FIXTURE_WAIT(f, client_fixture_uses(f, 0) || client_fixture_uses(f, 1) ||
                               client_fixture_uses(f, 2));
}

FAILOVER_TEST(test_failover__the_latest_servers_do_not_come_back, 3, 3)
{
    lose_the_latest(f);
    client_fixture_pass(f, CLIENT_GO_BACK_MS);
    CLIENT_FIXTURE_WAIT(f, client_fixture_uses(f, 0) || client_fixture_uses(f, 2));
}

/* A long one is told: once that it goes on, once that it is over. */
FAILOVER_TEST(test_failover__long_gap_is_told, 3, 3)
{
    size_t status_count = f->status_count;
    fake_server_kill(&f->servers[0]);
    client_fixture_settle(f);
    client_fixture_advance(f, CLIENT_QUIET_MS);
    CLIENT_FIXTURE_WAIT(f, !f->connected);
    assert_non_null(strstr(f->status, "was lost"));
    client_fixture_advance(f, 2000); /* any server will do by now, but none is in charge */
    client_fixture_send_many(f, "m", 3);
    client_fixture_settle(f);
    assert_int_equal(f->status_count, status_count + 1);
    elect(f, 1);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 3);
    assert_int_equal(f->status_count, status_count + 2);
    assert_true(f->connected);
    assert_non_null(strstr(f->status, "back, on "));
}

/* No storm while nobody is the master, and still a quick end. */
FAILOVER_TEST(test_failover__long_election, 3, 3)
{
    fake_server_kill(&f->servers[0]);
    client_fixture_send_many(f, "m", 3);
    size_t infos = f->cluster.infos_seen;
    for (int i = 0; i < 300; i++) /* a minute */
        client_fixture_pass(f, 200);
    assert_in_range(f->cluster.infos_seen - infos, 100, 800);
    assert_int_equal(f->result_count, 0);
    elect(f, 2);
    CLIENT_FIXTURE_WAIT_WITHIN(f, 1000000, f->result_count == 3);
    client_fixture_check_kept(f, "m", 3);
}

/* The server that waits with the client becomes master itself. */
FAILOVER_TEST(test_failover__current_one_is_elected, 2, 2)
{
    fake_server_kill(&f->servers[0]);
    client_fixture_send_many(f, "m", 3);
    client_fixture_settle(f);
    client_fixture_pass(f, 3000);
    check_server(f, 1);
    assert_int_equal(f->result_count, 0);
    elect(f, 1);
    CLIENT_FIXTURE_WAIT_WITHIN(f, 1000000, f->result_count == 3);
}

FAILOVER_TEST(test_failover__master_stops, 3, 1)
{
    size_t status_count = f->status_count;
    client_fixture_advance(f, 5000); /* silence that nobody minded is no gap */
    client_fixture_settle(f);
    f->cluster.order = (struct fake_order){.action = FAKE_LOSE, .server = &f->servers[0]};
    client_fixture_send_many(f, "m", 10);
    run_for(f, 500); /* the servers' own patience */
    elect(f, 1);
    CLIENT_FIXTURE_WAIT_WITHIN(f, FOUND_MS * 1000, f->result_count == 10);
    check_server(f, 1);
    client_fixture_check_kept(f, "m", 10);
    assert_true(f->status_count <= status_count + 2);
    assert_int_equal(client_fixture_stats(f).failovers, 1);
    assert_in_range(client_fixture_stats(f).longest_gap_us, 500000, 2000000);
}

/* Whoever only reads finds out, too, and long before the next heartbeat. */
FAILOVER_TEST(test_failover__reader_notices, 3, 1)
{
    f->cluster.order = (struct fake_order){.action = FAKE_LOSE, .server = &f->servers[0]};
    f->servers[0].lose_pages = 1000;
    elect(f, 1);
    fake_say(&f->cluster, "lobby", "bob", "m0");
    uint64_t start_us = client_fixture_now_us(f);
    CLIENT_FIXTURE_WAIT_LONG(f, 20, f->event_count != 0);
    assert_true(client_fixture_now_us(f) - start_us < 4000000);
    assert_int_equal(f->cluster.heartbeats_seen, 0);
    check_server(f, 1);
}

FAILOVER_TEST(test_failover__redirect_is_followed_at_once, 3, 1)
{
    f->servers[0].redirect = f->cluster.servers[2];
    elect(f, 2);
    client_fixture_send_many(f, "m", 3);
    CLIENT_FIXTURE_WAIT_WITHIN(f, FOUND_MS * 1000, f->result_count == 3);
    check_server(f, 2);
    assert_int_equal(f->cluster.resent_seen, 0); /* it was answered */
}

/* Each sends the client to the other. */
FAILOVER_TEST(test_failover__redirect_loop, 2, 2)
{
    f->servers[0].redirect = f->cluster.servers[1];
    f->servers[1].redirect = f->cluster.servers[0];
    elect(f, 2);
    client_fixture_send(f, "m0");
    size_t infos = f->cluster.infos_seen;
    for (int i = 0; i < 300; i++) /* a minute */
        client_fixture_pass(f, 200);
    assert_in_range(f->cluster.sends_seen, 3, 300);
    assert_in_range(f->cluster.infos_seen - infos, 50, 800);
    elect(f, 1);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
    check_server(f, 1);
    assert_int_equal(f->cluster.message_count, 1);
}

static enum fake_action no_sends(void *context, struct fake_server *server, const char *method,
                                 uint64_t number)
{
    (void)context, (void)number;
    server->fail_status = STATUS_UNAUTHENTICATED;
    return strcmp(method, "Info") == 0 ? FAKE_OBEY : FAKE_FAIL;
}

/* Two halves have met, and the new master hears of the session a little later. */
FAILOVER_TEST(test_failover__session_is_not_known_yet, 2, 2)
{
    fake_server_kill(&f->servers[0]);
    elect(f, 1);
    f->cluster.judge = no_sends;
    client_fixture_send_many(f, "m", 3);
    client_fixture_settle(f);
    check_server(f, 1);
    client_fixture_pass(f, 3000);
    assert_int_equal(f->session_ends, 0);
    assert_int_equal(f->result_count, 0);
    f->cluster.judge = NULL;
    client_fixture_advance(f, 1000);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 3);
    fake_say(&f->cluster, "lobby", "bob", "m3");
    CLIENT_FIXTURE_WAIT(f, f->event_count == 4);
    assert_int_equal(client_fixture_count(f, STATUS_OK), 3);
    client_fixture_check_told(f, "m", 4);
}

/* The server refuses before it merges the session, and the refusal arrives after a page of the session. */
FAILOVER_TEST(test_session__a_late_refusal_is_not_the_end, 1, 1)
{
    fake_order(&f->cluster, "Send", FAKE_LOSE);
    client_fixture_send_many(f, "m", 1);
    CLIENT_FIXTURE_WAIT(f, f->servers[0].held_count == 1);
    fake_order(&f->cluster, NULL, FAKE_OBEY);
    fake_say(&f->cluster, "lobby", "bob", "hello");
    CLIENT_FIXTURE_WAIT(f, f->event_count == 1);
    rpc_call_fail(f->servers[0].held[0], STATUS_UNAUTHENTICATED, 0, "the session has ended");
    f->servers[0].held_count = 0;
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
    assert_int_equal(client_fixture_count(f, STATUS_OK), 1);
    assert_int_equal(f->session_ends, 0);
}

/* A server that refuses a request without the session has not executed it: the client sends it in the next
 * session. */
FAILOVER_TEST(test_failover__unknown_session_is_begun_again, 2, 2)
{
    const struct client_request login = {
        .call = CLIENT_LOGIN, .name = "ann", .password = "secret", .again = true};
    assert_int_equal(client_fixture_ask(f, &login), OK);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
    f->result_count = 0;
    fake_server_kill(&f->servers[0]);
    elect(f, 1);
    for (size_t i = 0; i < f->cluster.session_count; i++)
        f->cluster.sessions[i].ended = true;
    /* The first server may have executed a request that the client sent to it. */
    CLIENT_FIXTURE_WAIT(f, !client_fixture_uses(f, 0));
    client_fixture_send_many(f, "m", 3);
    CLIENT_FIXTURE_WAIT_LONG(f, 20, f->result_count >= 3);
    assert_int_equal(client_fixture_count(f, STATUS_OK), 3);
    assert_int_equal(f->cluster.message_count, 3);
    assert_int_equal(f->session_ends, 0);
}

FAILOVER_TEST(test_failover__session_stays_unknown, 2, 2)
{
    fake_server_kill(&f->servers[0]);
    elect(f, 1);
    f->cluster.sessions[0].ended = true;
    client_fixture_send_many(f, "m", 3);
    uint64_t start_us = client_fixture_now_us(f);
    CLIENT_FIXTURE_WAIT_LONG(f, 20, f->session_ends != 0);
    assert_in_range(client_fixture_now_us(f) - start_us, 5000000, 8000000);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 3);
    assert_int_equal(client_fixture_count(f, STATUS_UNAUTHENTICATED), 3);
}

/* A client that only reads learns it from its stream, before the next heartbeat. */
FAILOVER_TEST(test_failover__reader_learns_of_the_end, 2, 2)
{
    size_t heartbeats = f->cluster.heartbeats_seen;
    fake_server_kill(&f->servers[0]);
    elect(f, 1);
    f->cluster.sessions[0].ended = true;
    CLIENT_FIXTURE_WAIT_LONG(f, 20, f->session_ends != 0);
    assert_int_equal(f->cluster.heartbeats_seen, heartbeats);
}

static void ask_status(struct client_fixture *f)
{
    assert_int_equal(client_fixture_ask(f, &(struct client_request){.call = CLIENT_STATUS}), OK);
}

/* That is asked when nothing goes on: it must not wait for what does not. */
FAILOVER_TEST(test_status__is_ahead_of_what_waits, 1, 1)
{
    fake_order(&f->cluster, "Send", FAKE_LOSE);
    client_fixture_send_many(f, "m", 2 * CLIENT_WINDOW);
    CLIENT_FIXTURE_WAIT(f, f->cluster.sends_seen == CLIENT_WINDOW);
    ask_status(f);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
    assert_int_equal(f->results[0].call, CLIENT_STATUS);
    assert_int_equal(f->results[0].status, STATUS_OK);
}

/* Asked of a server that has stopped, answered by its successor. */
FAILOVER_TEST(test_status__of_the_next_server, 2, 2)
{
    f->cluster.order = (struct fake_order){.action = FAKE_LOSE, .server = &f->servers[0]};
    ask_status(f);
    CLIENT_FIXTURE_WAIT(f, f->cluster.statuses_seen == 1);
    elect(f, 1);
    client_fixture_advance(f, CLIENT_SUSPECT_MS);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
    assert_int_equal(f->results[0].status, STATUS_OK);
    check_server(f, 1);
}

FAILOVER_TEST(test_status__ends_without_an_answer, 1, 1)
{
    f->cluster.order = (struct fake_order){.action = FAKE_LOSE, .server = &f->servers[0]};
    ask_status(f);
    CLIENT_FIXTURE_WAIT(f, f->cluster.statuses_seen == 1);
    client_fixture_advance(f, CLIENT_STATUS_MS + 1);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
    assert_int_equal(f->results[0].status, STATUS_DEADLINE_EXCEEDED);
    fake_server_kill(&f->servers[0]);
    client_fixture_settle(f);
    ask_status(f);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 2);
    assert_int_equal(f->results[1].status, STATUS_UNAVAILABLE);
    assert_int_equal(f->cluster.statuses_seen, 1);
}

/* Dead ones before the one that lives: some refuse, one accepts and says nothing. */
CLIENT_TEST(test_failover__dead_addresses_at_start, client_fixture_new(3))
{
    f->servers[0].master = false;
    f->servers[2].master = true;
    f->cluster.order = (struct fake_order){.action = FAKE_LOSE, .server = &f->servers[0]};
    fake_server_kill(&f->servers[1]);
    struct address addresses[5];
    for (size_t i = 0; i < 4; i++) {
        addresses[i] = f->servers[i % 2].address;
        if (i >= 2)
            (void)snprintf(addresses[i].host, sizeof addresses[i].host, "127.0.0.%zu", i);
    }
    addresses[4] = f->servers[2].address;
    uint64_t start_us = client_fixture_now_us(f);
    client_fixture_connect_to(f, addresses, 5);
    CLIENT_FIXTURE_WAIT(f, f->connected);
    assert_true(client_fixture_now_us(f) - start_us < 4 * FOUND_MS * 1000);
    check_server(f, 2);
    assert_int_equal(f->status_count, 1);
}

/* More of them than connections are tried at once: each has its turn, nothing else has to happen. */
CLIENT_TEST(test_failover__many_dead_addresses, client_fixture_new(2))
{
    enum { DEAD = 2 * CLIENT_CONNECTIONS_MAX + 1 };
    fake_server_kill(&f->servers[1]);
    struct address addresses[DEAD + 1];
    for (size_t i = 0; i < DEAD; i++) {
        addresses[i] = f->servers[1].address;
        (void)snprintf(addresses[i].host, sizeof addresses[i].host, "127.0.0.%zu", i + 1);
    }
    addresses[DEAD] = f->servers[0].address;
    uint64_t start_us = client_fixture_now_us(f);
    client_fixture_connect_to(f, addresses, DEAD + 1);
    CLIENT_FIXTURE_WAIT(f, f->connected);
    assert_true(client_fixture_now_us(f) - start_us < 3 * CLIENT_CONNECT_MS * 1000);
}

/* The own server is away, and one of another cluster, a master, is at a known address: it is told of
 * once, and not used while the own one may come back. */
CLIENT_TEST(test_cluster__another_one_is_not_used, client_fixture_new(2))
{
    for (size_t i = 0; i < 2; i++) {
        address_format(&f->servers[i].address, f->cluster.servers[i]);
        f->servers[i].cluster_id = (uint8_t)(i + 1);
        f->servers[i].master = i == 0;
    }
    f->cluster.server_count = 2;
    client_fixture_enter(f, 2);
    client_fixture_settle(f);
    check_server(f, 0);
    size_t status_count = f->status_count;
    fake_server_kill(&f->servers[0]);
    f->servers[1].master = true;
    f->cluster.epoch += 65536;
    client_fixture_send_many(f, "m", 3);
    CLIENT_FIXTURE_WAIT(f, f->status_count > status_count);
    assert_non_null(strstr(f->status, "belongs to another cluster"));
    run_for(f, 2 * CLIENT_ANY_SERVER_MS);
    assert_int_equal(f->result_count, 0);
    assert_int_equal(f->status_count, status_count + 1);
    fake_server_start(&f->servers[0], &f->cluster);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 3);
    check_server(f, 0);
}

/* The client uses a server without a cluster, which may become the master. It founds another cluster. */
CLIENT_TEST(test_cluster__a_server_founds_another_one, client_fixture_new(2))
{
    f->servers[0].cluster_id = 1;
    f->servers[1].master = false;
    client_fixture_enter(f, 2);
    client_fixture_settle(f);
    fake_server_kill(&f->servers[0]);
    client_fixture_send_many(f, "m", 1);
    run_for(f, 2 * CLIENT_ANY_SERVER_MS);
    check_server(f, 1);
    /* A server of another cluster does not know the session; a request may arrive before the Info. */
    f->cluster.judge = no_sends;
    f->servers[1].cluster_id = 2;
    f->servers[1].master = true;
    CLIENT_FIXTURE_WAIT(f, !client_fixture_uses(f, 1));
    run_for(f, 2 * CLIENT_ANY_SERVER_MS);
    assert_int_equal(f->result_count, 0);
    assert_int_equal(f->session_ends, 0);
    fake_server_start(&f->servers[0], &f->cluster);
    CLIENT_FIXTURE_WAIT(f, client_fixture_uses(f, 0));
    f->cluster.judge = NULL;
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
    check_server(f, 0);
}

/* The server is the master of another cluster before the client asks again, and refuses the session. */
CLIENT_TEST(test_cluster__a_server_that_founded_another_one_refuses, client_fixture_new(2))
{
    f->servers[0].cluster_id = 1;
    f->servers[1].master = false;
    client_fixture_enter(f, 2);
    client_fixture_settle(f);
    fake_server_kill(&f->servers[0]);
    client_fixture_send_many(f, "m", 1);
    f->cluster.judge = no_sends;
    f->servers[1].master = true;
    run_for(f, 2 * CLIENT_ANY_SERVER_MS);
    check_server(f, 1);
    f->servers[1].cluster_id = 2;
    run_for(f, 2 * CLIENT_SESSION_UNKNOWN_MS);
    assert_int_equal(f->session_ends, 0);
    fake_server_start(&f->servers[0], &f->cluster);
    CLIENT_FIXTURE_WAIT(f, client_fixture_uses(f, 0));
    f->cluster.judge = NULL;
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
    check_server(f, 0);
}

/* The server founds its cluster after the client has asked for Info, and before the login. */
CLIENT_TEST(test_cluster__founded_before_the_login, client_fixture_new(2))
{
    f->servers[1].master = false;
    client_fixture_connect(f, 2, NULL);
    CLIENT_FIXTURE_WAIT(f, f->connected);
    f->servers[0].cluster_id = 1;
    f->servers[1].cluster_id = 2;
    client_fixture_login(f);
    client_fixture_settle(f);
    fake_server_kill(&f->servers[0]);
    f->servers[1].master = true;
    client_fixture_send_many(f, "m", 1);
    run_for(f, 2 * CLIENT_ANY_SERVER_MS);
    assert_int_equal(f->result_count, 0);
    fake_server_start(&f->servers[0], &f->cluster);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
}

/* Where every server is of another cluster, nobody is left to come back. */
CLIENT_TEST(test_cluster__all_are_of_another_one, client_fixture_new(1))
{
    address_format(&f->servers[0].address, f->cluster.servers[0]);
    f->cluster.server_count = 1;
    f->servers[0].cluster_id = 1;
    client_fixture_enter(f, 1);
    client_fixture_settle(f);
    fake_server_kill(&f->servers[0]);
    f->servers[0].cluster_id = 2;
    client_fixture_send_many(f, "m", 1);
    fake_server_start(&f->servers[0], &f->cluster);
    CLIENT_FIXTURE_WAIT(f, f->result_count == 1);
}

/* Without a session: the first address is of a server that was set up alone, by mistake. */
CLIENT_TEST(test_cluster__a_lone_server_is_not_preferred, client_fixture_new(3))
{
    for (size_t i = 0; i < 3; i++)
        address_format(&f->servers[i].address, f->cluster.servers[i]);
    f->cluster.server_count = 3;
    f->servers[0].is_lone = true;
    f->servers[0].cluster_id = 1;
    f->servers[1].cluster_id = f->servers[2].cluster_id = 2;
    f->servers[2].master = true;
    client_fixture_connect(f, 3, NULL);
    CLIENT_FIXTURE_WAIT(f, f->connected);
    check_server(f, 2);
}

/* Where nobody else answers it is better than none. */
CLIENT_TEST(test_cluster__a_lone_server_is_better_than_none, client_fixture_new(3))
{
    f->cluster.server_count = 3;
    f->servers[0].is_lone = true;
    fake_server_kill(&f->servers[1]);
    fake_server_kill(&f->servers[2]);
    client_fixture_connect(f, 3, NULL);
    CLIENT_FIXTURE_WAIT(f, f->connected);
    check_server(f, 0);
    assert_int_equal(f->status_count, 1); /* that it is connected: the wait is no failure */
}

/* Servers that answer without a master among them are not told as silent. */
CLIENT_TEST(test_failover__no_master_at_the_start, client_fixture_new(3))
{
    f->servers[0].master = false;
    client_fixture_connect(f, 3, NULL);
    CLIENT_FIXTURE_WAIT(f, f->status_count > 0);
    assert_false(f->connected);
    assert_non_null(strstr(f->status, "no server is the master now, "));
    elect(f, 1);
    CLIENT_FIXTURE_WAIT(f, f->connected);
    check_server(f, 1);
}
