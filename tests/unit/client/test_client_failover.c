/* SPDX-License-Identifier: MIT */
/* The client library while a cluster changes its master: how long a sender waits, what its user is
 * told, and what becomes of the session. Gaps are measured from the moment that there is a new
 * master to the first acknowledgement; bounds are wide, for machines that do other things, too. */
#include "client/client_internal.h"

#include "client_fixture.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FOUND_MS 150u /* from there being a new master to the first acknowledgement */

static struct client_fixture *client_fixture_of(size_t servers, size_t known)
{
    struct client_fixture *fixture = client_fixture_new(servers);
    for (size_t i = 0; i < servers; i++)
        address_format(&fixture->servers[i].address, fixture->cluster.servers[i]);
    fixture->cluster.server_count = servers;
    client_fixture_connect(fixture, known, NULL);
    client_fixture_login(fixture);
    client_fixture_settle(fixture);
    return fixture;
}

static void elect(struct client_fixture *fixture, size_t server)
{
    for (size_t i = 0; i < CLIENT_FIXTURE_SERVERS; i++)
        fixture->servers[i].master = i == server;
    fixture->cluster.epoch += 65536;
}

/* Turns for so long, on the real clock. */
static void run_for(struct client_fixture *fixture, uint32_t ms)
{
    uint64_t end_us = client_fixture_now_us(fixture) + (uint64_t)ms * 1000;
    while (client_fixture_now_us(fixture) < end_us)
        client_fixture_turn(fixture);
}

static void check_server(struct client_fixture *fixture, size_t server)
{
    struct client_view view;
    char text[ADDRESS_TEXT_SIZE];
    client_inspect(fixture->client, &view);
    address_format(&fixture->servers[server].address, text);
    assert_string_equal(view.server, text);
}

static struct client_stats stats_of(struct client_fixture *fixture)
{
    struct client_stats stats;
    client_stats(fixture->client, &stats);
    return stats;
}

/* ---- the master dies ---- */

/* Only one server was named by the user: the others were learned. */
TEST(test_failover__master_is_killed)
{
    struct client_fixture *fixture = client_fixture_of(3, 1);
    size_t status_count = fixture->status_count;
    fake_server_kill(&fixture->servers[0]);
    client_fixture_send_many(fixture, "m", 10);
    run_for(fixture, 60); /* an election */
    elect(fixture, 2);
    uint64_t start_us = client_fixture_now_us(fixture);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 10);
    assert_true(client_fixture_now_us(fixture) - start_us < FOUND_MS * 1000);
    check_server(fixture, 2);
    client_fixture_check_kept(fixture, "m", 10);
    assert_int_equal(fixture->status_count, status_count); /* too short to speak of */
    struct client_stats stats = stats_of(fixture);
    assert_int_equal(stats.failovers, 1);
    assert_int_equal(stats.reconnects, 1);
    assert_true(stats.longest_gap_us >= 60000);
    assert_true(stats.max_us >= 60000);
    client_fixture_free(fixture);
}

TEST(test_failover__again_and_again)
{
    struct client_fixture *fixture = client_fixture_of(3, 1);
    for (size_t round = 0; round < 6; round++) {
        size_t master = round % 3;
        for (size_t i = 0; i < 500; i++) {
            char text[FAKE_TEXT_SIZE];
            (void)snprintf(text, sizeof text, "m%zu", round * 500 + i);
            client_fixture_send(fixture, text);
        }
        CLIENT_FIXTURE_WAIT(fixture, fixture->cluster.message_count > 500 * round + 50);
        fake_server_kill(&fixture->servers[master]);
        run_for(fixture, 5);
        elect(fixture, (master + 1) % 3);
        run_for(fixture, 5);
        fake_server_start(&fixture->servers[master], &fixture->cluster);
    }
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 3000 && fixture->event_count == 3000);
    client_fixture_check_kept(fixture, "m", 3000);
    client_fixture_check_told(fixture, "m", 3000);
    assert_int_equal(client_fixture_count(fixture, STATUS_OK), 3000);
    for (size_t i = 0; i < 3000; i++)
        assert_int_equal(fixture->results[i].request, i + 1);
    assert_int_equal(fixture->cluster.session_count, 1);
    assert_int_equal(stats_of(fixture).failovers, 6);
    assert_true(fixture->cluster.resent_seen < fixture->cluster.sends_seen / 2);
    client_fixture_free(fixture);
}

static enum fake_action lose_every_send(void *context, struct fake_server *server,
                                        const char *method, uint64_t number)
{
    (void)context, (void)server, (void)number;
    return strcmp(method, "Send") == 0 ? FAKE_LOSE : FAKE_OBEY;
}

/* What was under way when a server died is marked when it is sent again. */
TEST(test_failover__marks_what_was_under_way)
{
    struct client_fixture *fixture = client_fixture_of(3, 1);
    fixture->cluster.judge = lose_every_send;
    client_fixture_send_many(fixture, "m", 3);
    CLIENT_FIXTURE_WAIT(fixture, fixture->cluster.sends_seen == 3);
    assert_int_equal(fixture->cluster.resent_seen, 0);
    fixture->cluster.judge = NULL;
    fake_server_kill(&fixture->servers[0]);
    elect(fixture, 1);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 3);
    assert_int_equal(fixture->cluster.resent_seen, 3);
    client_fixture_free(fixture);
}

/* A long one is told: once that it goes on, once that it is over. */
TEST(test_failover__long_gap_is_told)
{
    struct client_fixture *fixture = client_fixture_of(3, 3);
    size_t status_count = fixture->status_count;
    fake_server_kill(&fixture->servers[0]);
    client_fixture_settle(fixture);
    client_fixture_advance(fixture, CLIENT_QUIET_MS);
    CLIENT_FIXTURE_WAIT(fixture, !fixture->connected);
    assert_non_null(strstr(fixture->status, "was lost"));
    client_fixture_advance(fixture, 2000); /* any server will do by now, but none is in charge */
    client_fixture_send_many(fixture, "m", 3);
    client_fixture_settle(fixture);
    assert_int_equal(fixture->status_count, status_count + 1);
    elect(fixture, 1);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 3);
    assert_int_equal(fixture->status_count, status_count + 2);
    assert_true(fixture->connected);
    assert_non_null(strstr(fixture->status, "back, on "));
    client_fixture_free(fixture);
}

/* No storm while nobody is the master, and still a quick end. */
TEST(test_failover__long_election)
{
    struct client_fixture *fixture = client_fixture_of(3, 3);
    fake_server_kill(&fixture->servers[0]);
    client_fixture_send_many(fixture, "m", 3);
    size_t infos = fixture->cluster.infos_seen;
    for (int i = 0; i < 600; i++) { /* a minute */
        client_fixture_turn(fixture);
        client_fixture_turn(fixture);
        client_fixture_advance(fixture, 100);
    }
    assert_in_range(fixture->cluster.infos_seen - infos, 100, 800);
    assert_int_equal(fixture->result_count, 0);
    elect(fixture, 2);
    uint64_t start_us = client_fixture_now_us(fixture);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 3);
    assert_true(client_fixture_now_us(fixture) - start_us < 1000000);
    client_fixture_check_kept(fixture, "m", 3);
    client_fixture_free(fixture);
}

/* The server that waits with the client becomes master itself. */
TEST(test_failover__current_one_is_elected)
{
    struct client_fixture *fixture = client_fixture_of(2, 2);
    fake_server_kill(&fixture->servers[0]);
    client_fixture_send_many(fixture, "m", 3);
    client_fixture_settle(fixture);
    client_fixture_advance(fixture, 3000);
    client_fixture_settle(fixture);
    check_server(fixture, 1);
    assert_int_equal(fixture->result_count, 0);
    elect(fixture, 1);
    uint64_t start_us = client_fixture_now_us(fixture);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 3);
    assert_true(client_fixture_now_us(fixture) - start_us < 1000000);
    client_fixture_free(fixture);
}

/* ---- the master stops without a word ---- */

static enum fake_action first_is_silent(void *context, struct fake_server *server,
                                        const char *method, uint64_t number)
{
    struct client_fixture *fixture = context;
    (void)method, (void)number;
    return server == &fixture->servers[0] ? FAKE_LOSE : FAKE_OBEY;
}

TEST(test_failover__master_stops)
{
    struct client_fixture *fixture = client_fixture_of(3, 1);
    size_t status_count = fixture->status_count;
    client_fixture_advance(fixture, 5000); /* silence that nobody minded is no gap */
    client_fixture_settle(fixture);
    fixture->cluster.context = fixture;
    fixture->cluster.judge = first_is_silent;
    client_fixture_send_many(fixture, "m", 10);
    run_for(fixture, 500); /* the servers' own patience */
    elect(fixture, 1);
    uint64_t start_us = client_fixture_now_us(fixture);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 10);
    assert_true(client_fixture_now_us(fixture) - start_us < FOUND_MS * 1000);
    check_server(fixture, 1);
    client_fixture_check_kept(fixture, "m", 10);
    assert_true(fixture->status_count <= status_count + 2);
    assert_int_equal(stats_of(fixture).failovers, 1);
    assert_in_range(stats_of(fixture).longest_gap_us, 500000, 2000000);
    client_fixture_free(fixture);
}

/* Whoever only reads finds out, too, and long before the next heartbeat. */
TEST(test_failover__reader_notices)
{
    struct client_fixture *fixture = client_fixture_of(3, 1);
    fixture->cluster.context = fixture;
    fixture->cluster.judge = first_is_silent;
    fixture->servers[0].lose_pages = 1000;
    elect(fixture, 1);
    fake_say(&fixture->cluster, "lobby", "bob", "m0");
    uint64_t start_us = client_fixture_now_us(fixture);
    for (uint64_t since = 0; fixture->event_count == 0;) {
        client_fixture_turn(fixture);
        client_fixture_advance(fixture, 20);
        client_fixture_check_patience(&since, "an event");
    }
    assert_true(client_fixture_now_us(fixture) - start_us < 4000000);
    assert_int_equal(fixture->cluster.heartbeats_seen, 0);
    check_server(fixture, 1);
    client_fixture_free(fixture);
}

/* ---- redirects ---- */

TEST(test_failover__redirect_is_followed_at_once)
{
    struct client_fixture *fixture = client_fixture_of(3, 1);
    fixture->servers[0].redirect = fixture->cluster.servers[2];
    elect(fixture, 2);
    client_fixture_send_many(fixture, "m", 3);
    uint64_t start_us = client_fixture_now_us(fixture);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 3);
    assert_true(client_fixture_now_us(fixture) - start_us < FOUND_MS * 1000);
    check_server(fixture, 2);
    assert_int_equal(fixture->cluster.resent_seen, 0); /* it was answered */
    client_fixture_free(fixture);
}

/* Each sends the client to the other. */
TEST(test_failover__redirect_loop)
{
    struct client_fixture *fixture = client_fixture_of(2, 2);
    fixture->servers[0].redirect = fixture->cluster.servers[1];
    fixture->servers[1].redirect = fixture->cluster.servers[0];
    elect(fixture, 2);
    client_fixture_send(fixture, "m0");
    size_t infos = fixture->cluster.infos_seen;
    for (int i = 0; i < 600; i++) { /* a minute */
        client_fixture_turn(fixture);
        client_fixture_turn(fixture);
        client_fixture_advance(fixture, 100);
    }
    assert_in_range(fixture->cluster.sends_seen, 3, 300);
    assert_in_range(fixture->cluster.infos_seen - infos, 50, 800);
    elect(fixture, 1);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 1);
    check_server(fixture, 1);
    assert_int_equal(fixture->cluster.message_count, 1);
    client_fixture_free(fixture);
}

/* ---- the session ---- */

static enum fake_action no_sends(void *context, struct fake_server *server, const char *method,
                                 uint64_t number)
{
    (void)context, (void)number;
    server->fail_status = STATUS_UNAUTHENTICATED;
    return strcmp(method, "Info") == 0 ? FAKE_OBEY : FAKE_FAIL;
}

/* Two halves have met, and the new master hears of the session a little later. */
TEST(test_failover__session_is_not_known_yet)
{
    struct client_fixture *fixture = client_fixture_of(2, 2);
    fake_server_kill(&fixture->servers[0]);
    elect(fixture, 1);
    fixture->cluster.judge = no_sends;
    client_fixture_send_many(fixture, "m", 3);
    client_fixture_settle(fixture);
    check_server(fixture, 1);
    client_fixture_advance(fixture, 3000);
    client_fixture_settle(fixture);
    assert_int_equal(fixture->session_ends, 0);
    assert_int_equal(fixture->result_count, 0);
    fixture->cluster.judge = NULL;
    client_fixture_advance(fixture, 1000);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 3);
    fake_say(&fixture->cluster, "lobby", "bob", "m3");
    CLIENT_FIXTURE_WAIT(fixture, fixture->event_count == 4);
    assert_int_equal(client_fixture_count(fixture, STATUS_OK), 3);
    client_fixture_check_told(fixture, "m", 4);
    client_fixture_free(fixture);
}

TEST(test_failover__session_stays_unknown)
{
    struct client_fixture *fixture = client_fixture_of(2, 2);
    fake_server_kill(&fixture->servers[0]);
    elect(fixture, 1);
    fixture->cluster.sessions[0].ended = true;
    client_fixture_send_many(fixture, "m", 3);
    uint64_t start_us = client_fixture_now_us(fixture);
    for (uint64_t since = 0; fixture->session_ends == 0;) {
        client_fixture_turn(fixture);
        client_fixture_advance(fixture, 20);
        client_fixture_check_patience(&since, "the session's end");
    }
    assert_in_range(client_fixture_now_us(fixture) - start_us, 5000000, 8000000);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 3);
    assert_int_equal(client_fixture_count(fixture, STATUS_UNAUTHENTICATED), 3);
    client_fixture_free(fixture);
}

/* A client that only reads learns it from its stream, before the next heartbeat. */
TEST(test_failover__reader_learns_of_the_end)
{
    struct client_fixture *fixture = client_fixture_of(2, 2);
    size_t heartbeats = fixture->cluster.heartbeats_seen;
    fake_server_kill(&fixture->servers[0]);
    elect(fixture, 1);
    fixture->cluster.sessions[0].ended = true;
    for (uint64_t since = 0; fixture->session_ends == 0;) {
        client_fixture_turn(fixture);
        client_fixture_advance(fixture, 20);
        client_fixture_check_patience(&since, "the session's end");
    }
    assert_int_equal(fixture->cluster.heartbeats_seen, heartbeats);
    client_fixture_free(fixture);
}

/* ---- asking how the cluster is ---- */

static enum fake_action lose_sends(void *context, struct fake_server *server, const char *method,
                                   uint64_t number)
{
    (void)context, (void)server, (void)number;
    return strcmp(method, "Send") == 0 ? FAKE_LOSE : FAKE_OBEY;
}

static void ask_status(struct client_fixture *fixture)
{
    assert_int_equal(client_fixture_ask(fixture, &(struct client_request){.call = CLIENT_STATUS}),
                     OK);
}

/* That is asked when nothing goes on: it must not wait for what does not. */
TEST(test_status__is_ahead_of_what_waits)
{
    struct client_fixture *fixture = client_fixture_of(1, 1);
    fixture->cluster.judge = lose_sends;
    client_fixture_send_many(fixture, "m", 2 * CLIENT_WINDOW);
    CLIENT_FIXTURE_WAIT(fixture, fixture->cluster.sends_seen == CLIENT_WINDOW);
    ask_status(fixture);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 1);
    assert_int_equal(fixture->results[0].call, CLIENT_STATUS);
    assert_int_equal(fixture->results[0].status, STATUS_OK);
    client_fixture_free(fixture);
}

/* Asked of a server that has stopped, answered by its successor. */
TEST(test_status__of_the_next_server)
{
    struct client_fixture *fixture = client_fixture_of(2, 2);
    fixture->cluster.context = fixture;
    fixture->cluster.judge = first_is_silent;
    ask_status(fixture);
    CLIENT_FIXTURE_WAIT(fixture, fixture->cluster.statuses_seen == 1);
    elect(fixture, 1);
    client_fixture_advance(fixture, CLIENT_SUSPECT_MS);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 1);
    assert_int_equal(fixture->results[0].status, STATUS_OK);
    check_server(fixture, 1);
    client_fixture_free(fixture);
}

TEST(test_status__ends_without_an_answer)
{
    struct client_fixture *fixture = client_fixture_of(1, 1);
    fixture->cluster.context = fixture;
    fixture->cluster.judge = first_is_silent;
    ask_status(fixture);
    CLIENT_FIXTURE_WAIT(fixture, fixture->cluster.statuses_seen == 1);
    client_fixture_advance(fixture, CLIENT_STATUS_MS + 1);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 1);
    assert_int_equal(fixture->results[0].status, STATUS_DEADLINE_EXCEEDED);
    fake_server_kill(&fixture->servers[0]);
    client_fixture_settle(fixture);
    ask_status(fixture);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 2);
    assert_int_equal(fixture->results[1].status, STATUS_UNAVAILABLE);
    assert_int_equal(fixture->cluster.statuses_seen, 1);
    client_fixture_free(fixture);
}

/* ---- addresses that lead nowhere ---- */

/* Dead ones before the one that lives: some refuse, one accepts and says nothing. */
TEST(test_failover__dead_addresses_at_start)
{
    struct client_fixture *fixture = client_fixture_new(3);
    fixture->servers[0].master = false;
    fixture->servers[2].master = true;
    fixture->cluster.context = fixture;
    fixture->cluster.judge = first_is_silent;
    fake_server_kill(&fixture->servers[1]);
    struct address addresses[5];
    for (size_t i = 0; i < 4; i++) {
        addresses[i] = fixture->servers[i % 2].address;
        if (i >= 2)
            (void)snprintf(addresses[i].host, sizeof addresses[i].host, "127.0.0.%zu", i);
    }
    addresses[4] = fixture->servers[2].address;
    uint64_t start_us = client_fixture_now_us(fixture);
    client_fixture_connect_to(fixture, addresses, 5);
    CLIENT_FIXTURE_WAIT(fixture, fixture->connected);
    assert_true(client_fixture_now_us(fixture) - start_us < 4 * FOUND_MS * 1000);
    check_server(fixture, 2);
    assert_int_equal(fixture->status_count, 1);
    client_fixture_free(fixture);
}

/* More of them than connections are tried at once: each has its turn, nothing else has to happen. */
TEST(test_failover__many_dead_addresses)
{
    enum { DEAD = 2 * CLIENT_CONNECTIONS_MAX + 1 };
    struct client_fixture *fixture = client_fixture_new(2);
    fake_server_kill(&fixture->servers[1]);
    struct address addresses[DEAD + 1];
    for (size_t i = 0; i < DEAD; i++) {
        addresses[i] = fixture->servers[1].address;
        (void)snprintf(addresses[i].host, sizeof addresses[i].host, "127.0.0.%zu", i + 1);
    }
    addresses[DEAD] = fixture->servers[0].address;
    uint64_t start_us = client_fixture_now_us(fixture);
    client_fixture_connect_to(fixture, addresses, DEAD + 1);
    CLIENT_FIXTURE_WAIT(fixture, fixture->connected);
    assert_true(client_fixture_now_us(fixture) - start_us < 3 * CLIENT_CONNECT_MS * 1000);
    client_fixture_free(fixture);
}

/* ---- servers of another cluster ---- */

/* The own server is away, and one of another cluster, a master, is at a known address: it is told of
 * once, and not used while the own one may come back. */
TEST(test_cluster__another_one_is_not_used)
{
    struct client_fixture *fixture = client_fixture_new(2);
    for (size_t i = 0; i < 2; i++) {
        address_format(&fixture->servers[i].address, fixture->cluster.servers[i]);
        fixture->servers[i].cluster_id = (uint8_t)(i + 1);
        fixture->servers[i].master = i == 0;
    }
    fixture->cluster.server_count = 2;
    client_fixture_connect(fixture, 2, NULL);
    client_fixture_login(fixture);
    client_fixture_settle(fixture);
    check_server(fixture, 0);
    size_t status_count = fixture->status_count;
    fake_server_kill(&fixture->servers[0]);
    fixture->servers[1].master = true;
    fixture->cluster.epoch += 65536;
    client_fixture_send_many(fixture, "m", 3);
    CLIENT_FIXTURE_WAIT(fixture, fixture->status_count > status_count);
    assert_non_null(strstr(fixture->status, "belongs to another cluster"));
    run_for(fixture, 2 * CLIENT_ANY_SERVER_MS);
    assert_int_equal(fixture->result_count, 0);
    assert_int_equal(fixture->status_count, status_count + 1);
    fake_server_start(&fixture->servers[0], &fixture->cluster);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 3);
    check_server(fixture, 0);
    client_fixture_free(fixture);
}

/* The client uses a server without a cluster, which may become the master. It founds another cluster. */
TEST(test_cluster__a_server_founds_another_one)
{
    struct client_fixture *fixture = client_fixture_new(2);
    fixture->servers[0].cluster_id = 1;
    fixture->servers[1].master = false;
    client_fixture_connect(fixture, 2, NULL);
    client_fixture_login(fixture);
    client_fixture_settle(fixture);
    fake_server_kill(&fixture->servers[0]);
    client_fixture_send_many(fixture, "m", 1);
    run_for(fixture, 2 * CLIENT_ANY_SERVER_MS);
    check_server(fixture, 1);
    fixture->servers[1].cluster_id = 2;
    fixture->servers[1].master = true;
    run_for(fixture, 2 * CLIENT_ANY_SERVER_MS);
    assert_int_equal(fixture->result_count, 0);
    fake_server_start(&fixture->servers[0], &fixture->cluster);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 1);
    check_server(fixture, 0);
    client_fixture_free(fixture);
}

/* The server founds its cluster after the client has asked for Info, and before the login. */
TEST(test_cluster__founded_before_the_login)
{
    struct client_fixture *fixture = client_fixture_new(2);
    fixture->servers[1].master = false;
    client_fixture_connect(fixture, 2, NULL);
    CLIENT_FIXTURE_WAIT(fixture, fixture->connected);
    fixture->servers[0].cluster_id = 1;
    fixture->servers[1].cluster_id = 2;
    client_fixture_login(fixture);
    client_fixture_settle(fixture);
    fake_server_kill(&fixture->servers[0]);
    fixture->servers[1].master = true;
    client_fixture_send_many(fixture, "m", 1);
    run_for(fixture, 2 * CLIENT_ANY_SERVER_MS);
    assert_int_equal(fixture->result_count, 0);
    fake_server_start(&fixture->servers[0], &fixture->cluster);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 1);
    client_fixture_free(fixture);
}

/* Where every server is of another cluster, nobody is left to come back. */
TEST(test_cluster__all_are_of_another_one)
{
    struct client_fixture *fixture = client_fixture_new(1);
    address_format(&fixture->servers[0].address, fixture->cluster.servers[0]);
    fixture->cluster.server_count = 1;
    fixture->servers[0].cluster_id = 1;
    client_fixture_connect(fixture, 1, NULL);
    client_fixture_login(fixture);
    client_fixture_settle(fixture);
    fake_server_kill(&fixture->servers[0]);
    fixture->servers[0].cluster_id = 2;
    client_fixture_send_many(fixture, "m", 1);
    fake_server_start(&fixture->servers[0], &fixture->cluster);
    CLIENT_FIXTURE_WAIT(fixture, fixture->result_count == 1);
    client_fixture_free(fixture);
}

/* Without a session: the first address is of a server that was set up alone, by mistake. */
TEST(test_cluster__a_lone_server_is_not_preferred)
{
    struct client_fixture *fixture = client_fixture_new(3);
    for (size_t i = 0; i < 3; i++)
        address_format(&fixture->servers[i].address, fixture->cluster.servers[i]);
    fixture->cluster.server_count = 3;
    fixture->servers[0].is_lone = true;
    fixture->servers[0].cluster_id = 1;
    fixture->servers[1].cluster_id = fixture->servers[2].cluster_id = 2;
    fixture->servers[2].master = true;
    client_fixture_connect(fixture, 3, NULL);
    CLIENT_FIXTURE_WAIT(fixture, fixture->connected);
    check_server(fixture, 2);
    client_fixture_free(fixture);
    /* Where nobody else answers it is better than none. */
    fixture = client_fixture_new(3);
    fixture->cluster.server_count = 3;
    fixture->servers[0].is_lone = true;
    fake_server_kill(&fixture->servers[1]);
    fake_server_kill(&fixture->servers[2]);
    client_fixture_connect(fixture, 3, NULL);
    CLIENT_FIXTURE_WAIT(fixture, fixture->connected);
    check_server(fixture, 0);
    assert_int_equal(fixture->status_count, 1); /* that it is connected: the wait is no failure */
    client_fixture_free(fixture);
}

/* Servers that answer without a master among them are not told as silent. */
TEST(test_failover__no_master_at_the_start)
{
    struct client_fixture *fixture = client_fixture_new(3);
    fixture->servers[0].master = false;
    client_fixture_connect(fixture, 3, NULL);
    CLIENT_FIXTURE_WAIT(fixture, fixture->status_count > 0);
    assert_false(fixture->connected);
    assert_non_null(strstr(fixture->status, "no server is the master now, "));
    elect(fixture, 1);
    CLIENT_FIXTURE_WAIT(fixture, fixture->connected);
    check_server(fixture, 1);
    client_fixture_free(fixture);
}
