/* SPDX-License-Identifier: MIT */
/* The client library while a cluster changes its master: how long a sender waits, what its user is
 * told, and what becomes of the session. Gaps are measured from the moment that there is a new
 * master to the first acknowledgement; bounds are wide, for machines that do other things, too. */
#include "client/client_internal.h"

#include "client_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define FOUND_MS 150u /* from there being a new master to the first acknowledgement */

static struct world *world_of(size_t servers, size_t known)
{
    struct world *world = world_new(servers);
    for (size_t i = 0; i < servers; i++)
        address_format(&world->servers[i].address, world->cluster.servers[i]);
    world->cluster.server_count = servers;
    world_connect(world, known, NULL);
    world_login(world);
    world_settle(world);
    return world;
}

static void elect(struct world *world, size_t server)
{
    for (size_t i = 0; i < WORLD_SERVERS; i++)
        world->servers[i].master = i == server;
    world->cluster.epoch += 65536;
}

/* Turns for so long, on the real clock. */
static void run_for(struct world *world, uint32_t ms)
{
    uint64_t end_us = world_now_us(world) + (uint64_t)ms * 1000;
    while (world_now_us(world) < end_us)
        world_turn(world);
}

static void check_server(struct world *world, size_t server)
{
    struct client_view view;
    char text[ADDRESS_TEXT_SIZE];
    client_look(world->client, &view);
    address_format(&world->servers[server].address, text);
    assert_string_equal(view.server, text);
}

static struct client_figures figures_of(struct world *world)
{
    struct client_figures figures;
    client_figures(world->client, &figures);
    return figures;
}

/* ---- the master dies ---- */

/* Only one server was named by the user: the others were learned. */
static void test_failover__master_is_killed(void **state)
{
    (void)state;
    struct world *world = world_of(3, 1);
    size_t status_count = world->status_count;
    fake_server_kill(&world->servers[0]);
    world_send_many(world, "m", 10);
    run_for(world, 60); /* an election */
    elect(world, 2);
    uint64_t start_us = world_now_us(world);
    WORLD_WAIT(world, world->result_count == 10);
    assert_true(world_now_us(world) - start_us < FOUND_MS * 1000);
    check_server(world, 2);
    world_check_kept(world, "m", 10);
    assert_int_equal(world->status_count, status_count); /* too short to speak of */
    struct client_figures figures = figures_of(world);
    assert_int_equal(figures.failovers, 1);
    assert_int_equal(figures.reconnects, 1);
    assert_true(figures.longest_gap_us >= 60000);
    assert_true(figures.max_us >= 60000);
    world_free(world);
}

static void test_failover__again_and_again(void **state)
{
    (void)state;
    struct world *world = world_of(3, 1);
    for (size_t round = 0; round < 6; round++) {
        size_t master = round % 3;
        for (size_t i = 0; i < 500; i++) {
            char text[FAKE_TEXT_SIZE];
            (void)snprintf(text, sizeof text, "m%zu", round * 500 + i);
            world_send(world, text);
        }
        WORLD_WAIT(world, world->cluster.message_count > 500 * round + 50);
        fake_server_kill(&world->servers[master]);
        run_for(world, 5);
        elect(world, (master + 1) % 3);
        run_for(world, 5);
        fake_server_start(&world->servers[master], &world->cluster);
    }
    WORLD_WAIT(world, world->result_count == 3000 && world->event_count == 3000);
    world_check_kept(world, "m", 3000);
    world_check_told(world, "m", 3000);
    assert_int_equal(world_count(world, STATUS_OK), 3000);
    for (size_t i = 0; i < 3000; i++)
        assert_int_equal(world->results[i].request, i + 1);
    assert_int_equal(world->cluster.session_count, 1);
    assert_int_equal(figures_of(world).failovers, 6);
    assert_true(world->cluster.resent_seen < world->cluster.sends_seen / 2);
    world_free(world);
}

static enum fake_action lose_every_send(void *context, struct fake_server *server,
                                        const char *method, uint64_t number)
{
    (void)context, (void)server, (void)number;
    return strcmp(method, "Send") == 0 ? FAKE_LOSE : FAKE_OBEY;
}

/* What was under way when a server died is marked when it is sent again. */
static void test_failover__marks_what_was_under_way(void **state)
{
    (void)state;
    struct world *world = world_of(3, 1);
    world->cluster.judge = lose_every_send;
    world_send_many(world, "m", 3);
    WORLD_WAIT(world, world->cluster.sends_seen == 3);
    assert_int_equal(world->cluster.resent_seen, 0);
    world->cluster.judge = NULL;
    fake_server_kill(&world->servers[0]);
    elect(world, 1);
    WORLD_WAIT(world, world->result_count == 3);
    assert_int_equal(world->cluster.resent_seen, 3);
    world_free(world);
}

/* A long one is told: once that it goes on, once that it is over. */
static void test_failover__long_gap_is_told(void **state)
{
    (void)state;
    struct world *world = world_of(3, 3);
    size_t status_count = world->status_count;
    fake_server_kill(&world->servers[0]);
    world_settle(world);
    world_advance(world, CLIENT_QUIET_MS);
    WORLD_WAIT(world, !world->connected);
    assert_non_null(strstr(world->status, "was lost"));
    world_advance(world, 2000); /* any server will do by now, but none is in charge */
    world_send_many(world, "m", 3);
    world_settle(world);
    assert_int_equal(world->status_count, status_count + 1);
    elect(world, 1);
    WORLD_WAIT(world, world->result_count == 3);
    assert_int_equal(world->status_count, status_count + 2);
    assert_true(world->connected);
    assert_non_null(strstr(world->status, "back, on "));
    world_free(world);
}

/* No storm while nobody reigns, and still a quick end. */
static void test_failover__long_election(void **state)
{
    (void)state;
    struct world *world = world_of(3, 3);
    fake_server_kill(&world->servers[0]);
    world_send_many(world, "m", 3);
    size_t infos = world->cluster.infos_seen;
    for (int i = 0; i < 600; i++) { /* a minute */
        world_turn(world);
        world_turn(world);
        world_advance(world, 100);
    }
    assert_in_range(world->cluster.infos_seen - infos, 100, 800);
    assert_int_equal(world->result_count, 0);
    elect(world, 2);
    uint64_t start_us = world_now_us(world);
    WORLD_WAIT(world, world->result_count == 3);
    assert_true(world_now_us(world) - start_us < 1000000);
    world_check_kept(world, "m", 3);
    world_free(world);
}

/* The server that waits with the client becomes master itself. */
static void test_failover__current_one_is_elected(void **state)
{
    (void)state;
    struct world *world = world_of(2, 2);
    fake_server_kill(&world->servers[0]);
    world_send_many(world, "m", 3);
    world_settle(world);
    world_advance(world, 3000);
    world_settle(world);
    check_server(world, 1);
    assert_int_equal(world->result_count, 0);
    elect(world, 1);
    uint64_t start_us = world_now_us(world);
    WORLD_WAIT(world, world->result_count == 3);
    assert_true(world_now_us(world) - start_us < 1000000);
    world_free(world);
}

/* ---- the master stops without a word ---- */

static enum fake_action first_is_silent(void *context, struct fake_server *server,
                                        const char *method, uint64_t number)
{
    struct world *world = context;
    (void)method, (void)number;
    return server == &world->servers[0] ? FAKE_LOSE : FAKE_OBEY;
}

static void test_failover__master_stops(void **state)
{
    (void)state;
    struct world *world = world_of(3, 1);
    size_t status_count = world->status_count;
    world_advance(world, 5000); /* silence that nobody minded is no gap */
    world_settle(world);
    world->cluster.context = world;
    world->cluster.judge = first_is_silent;
    world_send_many(world, "m", 10);
    run_for(world, 500); /* the servers' own patience */
    elect(world, 1);
    uint64_t start_us = world_now_us(world);
    WORLD_WAIT(world, world->result_count == 10);
    assert_true(world_now_us(world) - start_us < FOUND_MS * 1000);
    check_server(world, 1);
    world_check_kept(world, "m", 10);
    assert_true(world->status_count <= status_count + 2);
    assert_int_equal(figures_of(world).failovers, 1);
    assert_in_range(figures_of(world).longest_gap_us, 500000, 2000000);
    world_free(world);
}

/* Whoever only reads finds out, too, and long before the next heartbeat. */
static void test_failover__reader_notices(void **state)
{
    (void)state;
    struct world *world = world_of(3, 1);
    world->cluster.context = world;
    world->cluster.judge = first_is_silent;
    world->servers[0].lose_pages = 1000;
    elect(world, 1);
    fake_say(&world->cluster, "lobby", "bob", "m0");
    uint64_t start_us = world_now_us(world);
    for (uint64_t since = 0; world->event_count == 0;) {
        world_turn(world);
        world_advance(world, 20);
        world_check_patience(&since, "an event");
    }
    assert_true(world_now_us(world) - start_us < 4000000);
    assert_int_equal(world->cluster.heartbeats_seen, 0);
    check_server(world, 1);
    world_free(world);
}

/* ---- redirects ---- */

static void test_failover__redirect_is_followed_at_once(void **state)
{
    (void)state;
    struct world *world = world_of(3, 1);
    world->servers[0].redirect = world->cluster.servers[2];
    elect(world, 2);
    world_send_many(world, "m", 3);
    uint64_t start_us = world_now_us(world);
    WORLD_WAIT(world, world->result_count == 3);
    assert_true(world_now_us(world) - start_us < FOUND_MS * 1000);
    check_server(world, 2);
    assert_int_equal(world->cluster.resent_seen, 0); /* it was answered */
    world_free(world);
}

/* Each sends the client to the other. */
static void test_failover__redirect_loop(void **state)
{
    (void)state;
    struct world *world = world_of(2, 2);
    world->servers[0].redirect = world->cluster.servers[1];
    world->servers[1].redirect = world->cluster.servers[0];
    elect(world, 2);
    world_send(world, "m0");
    size_t infos = world->cluster.infos_seen;
    for (int i = 0; i < 600; i++) { /* a minute */
        world_turn(world);
        world_turn(world);
        world_advance(world, 100);
    }
    assert_in_range(world->cluster.sends_seen, 3, 300);
    assert_in_range(world->cluster.infos_seen - infos, 50, 800);
    elect(world, 1);
    WORLD_WAIT(world, world->result_count == 1);
    check_server(world, 1);
    assert_int_equal(world->cluster.message_count, 1);
    world_free(world);
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
static void test_failover__session_is_not_known_yet(void **state)
{
    (void)state;
    struct world *world = world_of(2, 2);
    fake_server_kill(&world->servers[0]);
    elect(world, 1);
    world->cluster.judge = no_sends;
    world_send_many(world, "m", 3);
    world_settle(world);
    check_server(world, 1);
    world_advance(world, 3000);
    world_settle(world);
    assert_int_equal(world->session_ends, 0);
    assert_int_equal(world->result_count, 0);
    world->cluster.judge = NULL;
    world_advance(world, 1000);
    WORLD_WAIT(world, world->result_count == 3);
    fake_say(&world->cluster, "lobby", "bob", "m3");
    WORLD_WAIT(world, world->event_count == 4);
    assert_int_equal(world_count(world, STATUS_OK), 3);
    world_check_told(world, "m", 4);
    world_free(world);
}

static void test_failover__session_stays_unknown(void **state)
{
    (void)state;
    struct world *world = world_of(2, 2);
    fake_server_kill(&world->servers[0]);
    elect(world, 1);
    world->cluster.sessions[0].ended = true;
    world_send_many(world, "m", 3);
    uint64_t start_us = world_now_us(world);
    for (uint64_t since = 0; world->session_ends == 0;) {
        world_turn(world);
        world_advance(world, 20);
        world_check_patience(&since, "the session's end");
    }
    assert_in_range(world_now_us(world) - start_us, 5000000, 8000000);
    WORLD_WAIT(world, world->result_count == 3);
    assert_int_equal(world_count(world, STATUS_UNAUTHENTICATED), 3);
    world_free(world);
}

/* ---- asking how the cluster is ---- */

static enum fake_action lose_sends(void *context, struct fake_server *server, const char *method,
                                   uint64_t number)
{
    (void)context, (void)server, (void)number;
    return strcmp(method, "Send") == 0 ? FAKE_LOSE : FAKE_OBEY;
}

static void ask_status(struct world *world)
{
    assert_int_equal(world_ask(world, &(struct client_request){.call = CLIENT_STATUS}), OK);
}

/* That is asked when nothing goes on: it must not wait for what does not. */
static void test_status__is_ahead_of_what_waits(void **state)
{
    (void)state;
    struct world *world = world_of(1, 1);
    world->cluster.judge = lose_sends;
    world_send_many(world, "m", 2 * CLIENT_WINDOW);
    WORLD_WAIT(world, world->cluster.sends_seen == CLIENT_WINDOW);
    ask_status(world);
    WORLD_WAIT(world, world->result_count == 1);
    assert_int_equal(world->results[0].call, CLIENT_STATUS);
    assert_int_equal(world->results[0].status, STATUS_OK);
    world_free(world);
}

/* Asked of a server that has stopped, answered by its successor. */
static void test_status__of_the_next_server(void **state)
{
    (void)state;
    struct world *world = world_of(2, 2);
    world->cluster.context = world;
    world->cluster.judge = first_is_silent;
    ask_status(world);
    WORLD_WAIT(world, world->cluster.statuses_seen == 1);
    elect(world, 1);
    world_advance(world, CLIENT_DOUBT_MS);
    WORLD_WAIT(world, world->result_count == 1);
    assert_int_equal(world->results[0].status, STATUS_OK);
    check_server(world, 1);
    world_free(world);
}

static void test_status__ends_without_an_answer(void **state)
{
    (void)state;
    struct world *world = world_of(1, 1);
    world->cluster.context = world;
    world->cluster.judge = first_is_silent;
    ask_status(world);
    WORLD_WAIT(world, world->cluster.statuses_seen == 1);
    world_advance(world, CLIENT_STATUS_MS + 1);
    WORLD_WAIT(world, world->result_count == 1);
    assert_int_equal(world->results[0].status, STATUS_DEADLINE_EXCEEDED);
    fake_server_kill(&world->servers[0]);
    world_settle(world);
    ask_status(world);
    WORLD_WAIT(world, world->result_count == 2);
    assert_int_equal(world->results[1].status, STATUS_UNAVAILABLE);
    assert_int_equal(world->cluster.statuses_seen, 1);
    world_free(world);
}

/* ---- addresses that lead nowhere ---- */

/* Dead ones before the one that lives: some refuse, one accepts and says nothing. */
static void test_failover__dead_addresses_at_start(void **state)
{
    (void)state;
    struct world *world = world_new(3);
    world->servers[0].master = false;
    world->servers[2].master = true;
    world->cluster.context = world;
    world->cluster.judge = first_is_silent;
    fake_server_kill(&world->servers[1]);
    struct address addresses[5];
    for (size_t i = 0; i < 4; i++) {
        addresses[i] = world->servers[i % 2].address;
        if (i >= 2)
            (void)snprintf(addresses[i].host, sizeof addresses[i].host, "127.0.0.%zu", i);
    }
    addresses[4] = world->servers[2].address;
    uint64_t start_us = world_now_us(world);
    world_connect_to(world, addresses, 5);
    WORLD_WAIT(world, world->connected);
    assert_true(world_now_us(world) - start_us < 4 * FOUND_MS * 1000);
    check_server(world, 2);
    assert_int_equal(world->status_count, 1);
    world_free(world);
}

/* More of them than connections are tried at once: each has its turn, nothing else has to happen. */
static void test_failover__many_dead_addresses(void **state)
{
    (void)state;
    enum { DEAD = 2 * CLIENT_LINKS_MAX + 1 };
    struct world *world = world_new(2);
    fake_server_kill(&world->servers[1]);
    struct address addresses[DEAD + 1];
    for (size_t i = 0; i < DEAD; i++) {
        addresses[i] = world->servers[1].address;
        (void)snprintf(addresses[i].host, sizeof addresses[i].host, "127.0.0.%zu", i + 1);
    }
    addresses[DEAD] = world->servers[0].address;
    uint64_t start_us = world_now_us(world);
    world_connect_to(world, addresses, DEAD + 1);
    WORLD_WAIT(world, world->connected);
    assert_true(world_now_us(world) - start_us < 3 * CLIENT_CONNECT_MS * 1000);
    world_free(world);
}

/* ---- servers of another cluster ---- */

/* The own server is away, and one of another cluster, a master, is at a known address: it is told of
 * once, and not used while the own one may come back. */
static void test_cluster__another_one_is_not_used(void **state)
{
    (void)state;
    struct world *world = world_new(2);
    for (size_t i = 0; i < 2; i++) {
        address_format(&world->servers[i].address, world->cluster.servers[i]);
        world->servers[i].cluster_id = (uint8_t)(i + 1);
        world->servers[i].master = i == 0;
    }
    world->cluster.server_count = 2;
    world_connect(world, 2, NULL);
    world_login(world);
    world_settle(world);
    check_server(world, 0);
    size_t status_count = world->status_count;
    fake_server_kill(&world->servers[0]);
    world->servers[1].master = true;
    world->cluster.epoch += 65536;
    world_send_many(world, "m", 3);
    WORLD_WAIT(world, world->status_count > status_count);
    assert_non_null(strstr(world->status, "belongs to another cluster"));
    run_for(world, 2 * CLIENT_SETTLE_MS);
    assert_int_equal(world->result_count, 0);
    assert_int_equal(world->status_count, status_count + 1);
    fake_server_start(&world->servers[0], &world->cluster);
    WORLD_WAIT(world, world->result_count == 3);
    check_server(world, 0);
    world_free(world);
}

/* Where every server is of another cluster, nobody is left to come back. */
static void test_cluster__all_are_of_another_one(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    address_format(&world->servers[0].address, world->cluster.servers[0]);
    world->cluster.server_count = 1;
    world->servers[0].cluster_id = 1;
    world_connect(world, 1, NULL);
    world_login(world);
    world_settle(world);
    fake_server_kill(&world->servers[0]);
    world->servers[0].cluster_id = 2;
    world_send_many(world, "m", 1);
    fake_server_start(&world->servers[0], &world->cluster);
    WORLD_WAIT(world, world->result_count == 1);
    world_free(world);
}

/* Without a session: the first address is of a server that was set up alone, by mistake. */
static void test_cluster__a_lone_server_is_not_preferred(void **state)
{
    (void)state;
    struct world *world = world_new(3);
    for (size_t i = 0; i < 3; i++)
        address_format(&world->servers[i].address, world->cluster.servers[i]);
    world->cluster.server_count = 3;
    world->servers[0].is_lone = true;
    world->servers[0].cluster_id = 1;
    world->servers[1].cluster_id = world->servers[2].cluster_id = 2;
    world->servers[2].master = true;
    world_connect(world, 3, NULL);
    WORLD_WAIT(world, world->connected);
    check_server(world, 2);
    world_free(world);
    /* Where nobody else answers it is better than none. */
    world = world_new(3);
    world->cluster.server_count = 3;
    world->servers[0].is_lone = true;
    fake_server_kill(&world->servers[1]);
    fake_server_kill(&world->servers[2]);
    world_connect(world, 3, NULL);
    WORLD_WAIT(world, world->connected);
    check_server(world, 0);
    assert_int_equal(world->status_count, 1); /* that it is connected: the wait is no failure */
    world_free(world);
}

/* Servers that answer without a master among them are not told as silent. */
static void test_failover__no_master_at_the_start(void **state)
{
    (void)state;
    struct world *world = world_new(3);
    world->servers[0].master = false;
    world_connect(world, 3, NULL);
    WORLD_WAIT(world, world->status_count > 0);
    assert_false(world->connected);
    assert_non_null(strstr(world->status, "no server is the master now, "));
    elect(world, 1);
    WORLD_WAIT(world, world->connected);
    check_server(world, 1);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_failover__master_is_killed),
        cmocka_unit_test(test_failover__again_and_again),
        cmocka_unit_test(test_failover__marks_what_was_under_way),
        cmocka_unit_test(test_failover__long_gap_is_told),
        cmocka_unit_test(test_failover__no_master_at_the_start),
        cmocka_unit_test(test_failover__long_election),
        cmocka_unit_test(test_failover__current_one_is_elected),
        cmocka_unit_test(test_failover__master_stops),
        cmocka_unit_test(test_failover__reader_notices),
        cmocka_unit_test(test_failover__redirect_is_followed_at_once),
        cmocka_unit_test(test_failover__redirect_loop),
        cmocka_unit_test(test_failover__session_is_not_known_yet),
        cmocka_unit_test(test_failover__session_stays_unknown),
        cmocka_unit_test(test_status__is_ahead_of_what_waits),
        cmocka_unit_test(test_status__of_the_next_server),
        cmocka_unit_test(test_status__ends_without_an_answer),
        cmocka_unit_test(test_failover__dead_addresses_at_start),
        cmocka_unit_test(test_failover__many_dead_addresses),
        cmocka_unit_test(test_cluster__another_one_is_not_used),
        cmocka_unit_test(test_cluster__all_are_of_another_one),
        cmocka_unit_test(test_cluster__a_lone_server_is_not_preferred),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
