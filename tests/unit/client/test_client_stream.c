/* SPDX-License-Identifier: MIT */
/* Receiving: the cursor, pages that get lost, rewinding, long polls, credits. */
#include "client/client_internal.h"

#include "client_world.h"
#include "rpc/protocol.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void say_many(struct world *world, size_t first, size_t count)
{
    for (size_t i = first; i < first + count; i++) {
        char text[FAKE_TEXT_SIZE];
        (void)snprintf(text, sizeof text, "m%zu", i);
        fake_say(&world->cluster, "lobby", "bob", text);
    }
}

static uint64_t cursor_of(struct world *world)
{
    struct client_view view;
    client_look(world->client, &view);
    return view.seq;
}

static struct client_figures figures_of(struct world *world)
{
    struct client_figures figures;
    client_figures(world->client, &figures);
    return figures;
}

/* Many times more pages than credits, in one stream. */
static void test_receive__streams_with_credits(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world->cluster.page_events = 1;
    say_many(world, 0, 10); /* undelivered when we log in */
    world_connect(world, 1, NULL);
    world_login(world);
    WORLD_WAIT(world, world->event_count == 10);
    for (size_t i = 10; i < 500; i += 10) {
        say_many(world, i, 10);
        WORLD_WAIT(world, world->event_count == i + 10);
    }
    say_many(world, 500, 1000);
    WORLD_WAIT(world, world->event_count == 1500);
    world_check_told(world, "m", 1500);
    assert_int_equal(world->cluster.receives_seen, 1);
    assert_int_equal(cursor_of(world), 1500);
    assert_int_equal(figures_of(world).received, 1500);
    world_free(world);
}

static void test_receive__long_polls(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world->servers[0].long_poll = true;
    world_connect(world, 1, NULL);
    world_login(world);
    for (size_t i = 0; i < 100; i += 10) {
        say_many(world, i, 10);
        WORLD_WAIT(world, world->event_count == i + 10);
    }
    world_check_told(world, "m", 100);
    WORLD_WAIT(world, world->cluster.receives_seen >= 21); /* pages of five, and one that waits */
    world_settle(world);
    assert_int_equal(world->cluster.receives_seen, 21);
    world_free(world);
}

static void test_receive__lost_page_is_fetched_again(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    say_many(world, 0, 20);
    WORLD_WAIT(world, world->event_count == 20);
    world->servers[0].lose_pages = 2;
    say_many(world, 20, 10);
    world_settle(world);
    assert_int_equal(world->event_count, 20);
    say_many(world, 30, 10); /* shows that something is missing */
    WORLD_WAIT(world, world->event_count == 40);
    world_check_told(world, "m", 40);
    assert_int_equal(figures_of(world).gaps, 1);
    assert_int_equal(world->cluster.receives_seen, 2);
    world_free(world);
}

/* Nothing comes after the lost page: the server's count of what is undelivered tells. */
static void test_receive__lost_last_page_is_noticed(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    WORLD_WAIT(world, world->cluster.receives_seen == 1);
    world_settle(world);
    world->servers[0].lose_pages = 1;
    say_many(world, 0, 3);
    world_settle(world);
    for (size_t beats = 1; beats <= 2; beats++) {
        assert_int_equal(world->event_count, 0);
        world_advance(world, CLIENT_HEARTBEAT_MS);
        WORLD_WAIT(world, world->cluster.heartbeats_seen == beats);
        world_settle(world);
    }
    WORLD_WAIT(world, world->event_count == 3);
    world_check_told(world, "m", 3);
    world_free(world);
}

/* The log was cut short at 10 and written again, with what was lost handed over. */
static void test_receive__rewound(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    say_many(world, 0, 15);
    WORLD_WAIT(world, world->event_count == 15);
    assert_int_equal(cursor_of(world), 15);

    fake_server_kill(&world->servers[0]);
    struct fake_message lost[5];
    memcpy(lost, &world->cluster.messages[10], sizeof lost);
    world->cluster.message_count = 10;
    world->cluster.seq = 10;
    world->cluster.epoch += 65536;
    fake_say(&world->cluster, "lobby", "bob", "m15");
    for (size_t i = 0; i < 5; i++)
        fake_repeat(&world->cluster, &lost[i]);
    fake_say(&world->cluster, "lobby", "bob", "m16");
    world->servers[0].rewind_seq = 10;
    fake_server_start(&world->servers[0], &world->cluster);
    WORLD_WAIT(world, cursor_of(world) == 17);
    world_check_told(world, "m", 17);
    assert_int_equal(figures_of(world).duplicates, 5);
    assert_int_equal(figures_of(world).gaps, 0);
    world_free(world);
}

static void check_trail(struct world *world, const uint64_t *expected, size_t count)
{
    size_t beats = world->cluster.heartbeats_seen;
    world_settle(world);
    world_advance(world, CLIENT_HEARTBEAT_MS);
    WORLD_WAIT(world, world->cluster.heartbeats_seen > beats);
    assert_int_equal(world->cluster.trail_count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(world->cluster.trail[i].epoch >> 16, expected[2 * i]);
        assert_int_equal(world->cluster.trail[i].seq, expected[2 * i + 1]);
    }
}

/* For each earlier epoch the last position received in it, newest first; sent with heartbeats and
 * with every new stream. */
static void test_receive__leaves_a_trail(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    say_many(world, 0, 3);
    WORLD_WAIT(world, world->event_count == 3);
    check_trail(world, NULL, 0);
    world->cluster.epoch += 65536; /* 2 */
    say_many(world, 3, 2);
    WORLD_WAIT(world, world->event_count == 5);
    check_trail(world, (uint64_t[]){1, 3}, 1);
    world->cluster.epoch += 65536; /* 3, and in the same page 5 */
    say_many(world, 5, 1);
    world->cluster.epoch += 2 * 65536;
    say_many(world, 6, 2);
    WORLD_WAIT(world, world->event_count == 8);
    check_trail(world, (uint64_t[]){3, 6, 2, 5, 1, 3}, 3);
    world->cluster.trail_count = 0;
    size_t receives = world->cluster.receives_seen;
    fake_server_kill(&world->servers[0]);
    fake_server_start(&world->servers[0], &world->cluster);
    WORLD_WAIT(world, world->cluster.receives_seen > receives);
    assert_int_equal(world->cluster.trail_count, 3);
    world_free(world);
}

static void test_receive__trail_is_bounded(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    for (size_t i = 0; i < 20; i++) {
        say_many(world, i, 1);
        world->cluster.epoch += 65536;
    }
    WORLD_WAIT(world, world->event_count == 20);
    uint64_t expected[2 * CLIENT_TRAIL_MAX];
    for (size_t i = 0; i < CLIENT_TRAIL_MAX; i++)
        expected[2 * i] = expected[2 * i + 1] = 19 - i;
    check_trail(world, expected, CLIENT_TRAIL_MAX);
    world_free(world);
}

static void test_receive__rewinding_shortens_the_trail(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    for (size_t i = 0; i < 4; i++) { /* epochs 1 to 4, two messages each */
        say_many(world, 2 * i, 2);
        world->cluster.epoch += 65536;
    }
    WORLD_WAIT(world, world->event_count == 8);
    check_trail(world, (uint64_t[]){3, 6, 2, 4, 1, 2}, 3);
    size_t status_count = world->status_count;
    fake_server_kill(&world->servers[0]);
    fake_forget(&world->cluster, 3, 0, 0); /* the common place is in epoch 2 */
    world->servers[0].rewind_seq = 3;
    fake_server_start(&world->servers[0], &world->cluster);
    WORLD_WAIT(world, cursor_of(world) == 3);
    assert_true(world->status_count > status_count);
    assert_non_null(strstr(world->status, "cut off"));
    check_trail(world, (uint64_t[]){1, 2}, 1);
    say_many(world, 8, 1);
    WORLD_WAIT(world, world->event_count == 9);
    check_trail(world, (uint64_t[]){2, 3, 1, 2}, 2);
    world_check_told(world, "m", 9);
    world_free(world);
}

/* A long split: everything since comes again, in another order, with news in between. */
static void test_receive__rewound_far(void **state)
{
    (void)state;
    enum { LOST = 6000, NEWS = 500 };
    struct world *world = world_new(1);
    world->cluster.page_events = 16;
    world_connect(world, 1, NULL);
    world_login(world);
    say_many(world, 0, 10 + LOST);
    fake_happen(&world->cluster, JACKDAW__EVENT__KIND__JOINED, "eve");
    WORLD_WAIT(world, world->event_count == 11 + LOST);
    fake_server_kill(&world->servers[0]);
    struct fake_message *lost = calloc(LOST + 1, sizeof *lost);
    memcpy(lost, &world->cluster.messages[10], (LOST + 1) * sizeof *lost);
    fake_forget(&world->cluster, 10, 0, 0);
    world->cluster.said = 10 + LOST;
    say_many(world, 10 + LOST, NEWS);
    for (size_t i = 0; i <= LOST; i++)
        fake_repeat(&world->cluster, &lost[i]);
    free(lost);
    fake_happen(&world->cluster, JACKDAW__EVENT__KIND__JOINED, "kim");
    world->servers[0].rewind_seq = 10;
    fake_server_start(&world->servers[0], &world->cluster);
    WORLD_WAIT(world, cursor_of(world) == 10 + NEWS + LOST + 2);
    assert_int_equal(world->event_count, 10 + LOST + 1 + NEWS + 1);
    for (size_t i = 0; i < NEWS; i++) {
        char text[FAKE_TEXT_SIZE];
        (void)snprintf(text, sizeof text, "m%zu", 10 + LOST + i);
        assert_string_equal(world->events[11 + LOST + i].text, text);
    }
    assert_int_equal(figures_of(world).duplicates, LOST + 1);
    world_free(world);
}

/* What one person was told is no duplicate for the next. */
static void test_receive__another_account_starts_afresh(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    say_many(world, 0, 5);
    WORLD_WAIT(world, world->event_count == 5);
    world_ask(world, &(struct client_request){.call = CLIENT_LOGOUT});
    world_ask(world, &(struct client_request){.call = CLIENT_LOGIN,
                                              .name = "kim",
                                              .password = "secret",
                                              .manner = CLIENT_ACCOUNT_NEW});
    WORLD_WAIT(world, world->event_count == 10);
    assert_string_equal(world->events[5].text, "m0");
    world_free(world);
}

/* Connections come and go, pages too; each message is told once, in order. */
static void test_receive__over_many_connections(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    uint64_t cursor = 0;
    for (size_t round = 0; round < 10; round++) {
        say_many(world, round * 50, 50);
        world->servers[0].lose_pages = round % 3;
        for (int i = 0; i < 3; i++) {
            world_turn(world);
            assert_true(cursor_of(world) >= cursor);
            cursor = cursor_of(world);
        }
        fake_server_kill(&world->servers[0]);
        world_settle(world);
        fake_server_start(&world->servers[0], &world->cluster);
        world_advance(world, 100);
    }
    world->servers[0].lose_pages = 0;
    WORLD_WAIT(world, world->event_count == 500);
    world_check_told(world, "m", 500);
    world_free(world);
}

/* A server whose pages never fit is asked again, but not in a storm. */
static void test_receive__nonsense_is_not_followed(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    say_many(world, 0, 5);
    WORLD_WAIT(world, world->event_count == 5);
    for (int i = 0; i < 100; i++) {
        world->servers[0].lose_pages = 1; /* the first of every stream */
        say_many(world, 5 + (size_t)i * 10, 10);
        world_turn(world);
    }
    assert_in_range(world->cluster.receives_seen, 2, 30);
    assert_int_equal(world->event_count, 5);
    assert_int_equal(cursor_of(world), 5);
    world->servers[0].lose_pages = 0;
    world_advance(world, CLIENT_RETRY_MAX_MS);
    WORLD_WAIT(world, world->event_count == 1005);
    world_check_told(world, "m", 1005);
    world_free(world);
}

static enum fake_action no_streams(void *context, struct fake_server *server, const char *method,
                                   uint64_t number)
{
    (void)context, (void)number;
    server->fail_status = STATUS_UNIMPLEMENTED;
    return strcmp(method, "Receive") == 0 ? FAKE_FAIL : FAKE_OBEY;
}

static void test_receive__refused_is_tried_again_slowly(void **state)
{
    (void)state;
    struct world *world = world_new(1);
    world->cluster.judge = no_streams;
    world_connect(world, 1, NULL);
    world_login(world);
    for (int i = 0; i < 60; i++) {
        world_turn(world);
        world_turn(world);
        world_advance(world, 1000);
    }
    assert_in_range(world->cluster.receives_seen, 20, 60);
    say_many(world, 0, 5);
    world->cluster.judge = NULL;
    world_advance(world, CLIENT_RETRY_MAX_MS);
    WORLD_WAIT(world, world->event_count == 5);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_receive__streams_with_credits),
        cmocka_unit_test(test_receive__long_polls),
        cmocka_unit_test(test_receive__lost_page_is_fetched_again),
        cmocka_unit_test(test_receive__lost_last_page_is_noticed),
        cmocka_unit_test(test_receive__rewound),
        cmocka_unit_test(test_receive__leaves_a_trail),
        cmocka_unit_test(test_receive__trail_is_bounded),
        cmocka_unit_test(test_receive__rewinding_shortens_the_trail),
        cmocka_unit_test(test_receive__rewound_far),
        cmocka_unit_test(test_receive__another_account_starts_afresh),
        cmocka_unit_test(test_receive__over_many_connections),
        cmocka_unit_test(test_receive__nonsense_is_not_followed),
        cmocka_unit_test(test_receive__refused_is_tried_again_slowly),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
