/* SPDX-License-Identifier: MIT */
/* Sending again what was answered already: two halves of a cluster have met, and the one that goes
 * on has not heard of it. */
#include "client_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct world *world_with_session(void)
{
    struct world *world = world_new(1);
    world_connect(world, 1, NULL);
    world_login(world);
    return world;
}

/* Each outcome came once and is good. */
static void check_results(const struct world *world, size_t count)
{
    assert_int_equal(world->result_count, count);
    assert_int_equal(world_count(world, STATUS_OK), count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(world->results[i].request, i + 1);
}

static void test_replay__answered_ones_go_out_again(void **state)
{
    (void)state;
    for (uint64_t known = 44; known <= 299; known += 85) {
        struct world *world = world_with_session();
        world_send_many(world, "m", 300);
        WORLD_WAIT(world, world->result_count == 300);
        fake_forget(&world->cluster, known, 0, known);
        world_send(world, "m300");
        WORLD_WAIT(world, world->result_count == 301);
        world_check_kept(world, "m", 301);
        check_results(world, 301);
        assert_int_equal(world->session_ends, 0);
        assert_int_equal(client_unfinished(world->client), 0);
        struct client_figures figures;
        client_figures(world->client, &figures);
        assert_int_equal(figures.sent, 301);
        world_free(world);
    }
}

/* It is all one to them whether answers were there, on their way, or not asked for yet. */
static void test_replay__in_the_middle_of_sending(void **state)
{
    (void)state;
    struct world *world = world_with_session();
    world_send_many(world, "m", 1000);
    for (size_t round = 1; round <= 4; round++) {
        WORLD_WAIT(world, world->cluster.message_count > round * 200);
        size_t known = world->cluster.message_count - 100;
        fake_forget(&world->cluster, known, 0, known);
    }
    WORLD_WAIT(world, world->result_count == 1000);
    world_check_kept(world, "m", 1000);
    check_results(world, 1000);
    world_free(world);
}

/* The server that asked for it dies; the next one has heard even less. */
static void test_replay__interrupted(void **state)
{
    (void)state;
    struct world *world = world_with_session();
    world_send_many(world, "m", 200);
    WORLD_WAIT(world, world->result_count == 200);
    fake_forget(&world->cluster, 150, 0, 150);
    world_send(world, "m200");
    WORLD_WAIT(world, world->cluster.message_count > 150);
    fake_server_kill(&world->servers[0]);
    fake_forget(&world->cluster, 100, 0, 100);
    fake_server_start(&world->servers[0], &world->cluster);
    world_send(world, "m201");
    WORLD_WAIT(world, world->result_count == 202);
    world_check_kept(world, "m", 202);
    check_results(world, 202);
    world_free(world);
}

static enum fake_action count_second_sends(void *context, struct fake_server *server,
                                           const char *method, uint64_t number)
{
    size_t *count = context;
    (void)server;
    *count += strcmp(method, "Send") == 0 && number == 2;
    return FAKE_OBEY;
}

/* Whoever was told that a message was refused, or gave it up, must not see it after all. */
static void test_replay__what_failed_stays_failed(void **state)
{
    (void)state;
    struct world *world = world_with_session();
    world_send(world, "a");
    world_send(world, "refuse b");
    world_send(world, "c");
    WORLD_WAIT(world, world->result_count == 3);
    fake_server_kill(&world->servers[0]);
    world_send(world, "given up");
    client_give_up(world->client, STATUS_UNAVAILABLE, "enough");
    fake_forget(&world->cluster, 0, 0, 0);
    size_t second_sends = 0;
    world->cluster.judge = count_second_sends;
    world->cluster.context = &second_sends;
    fake_server_start(&world->servers[0], &world->cluster);
    world_send(world, "d");
    WORLD_WAIT(world, world->result_count == 5);
    assert_int_equal(world->results[1].status, STATUS_PERMISSION_DENIED);
    assert_int_equal(world->results[4].status, STATUS_OK);
    assert_int_equal(world->cluster.message_count, 3);
    static const char *const texts[] = {"a", "c", "d"};
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(world->cluster.messages[i].text, texts[i]);
    assert_int_equal(world->cluster.messages[1].request, 3);
    assert_int_equal(second_sends, 0);
    world_free(world);
}

static enum fake_action lose_all_sends(void *context, struct fake_server *server,
                                       const char *method, uint64_t number)
{
    (void)context, (void)server, (void)number;
    return strcmp(method, "Send") == 0 ? FAKE_LOSE : FAKE_OBEY;
}

/* Numbers that were given up while under way leave no hole that stops the session. */
static void test_replay__given_up_numbers_are_filled(void **state)
{
    (void)state;
    struct world *world = world_with_session();
    world->cluster.judge = lose_all_sends;
    world_send_many(world, "lost", 3);
    WORLD_WAIT(world, world->cluster.sends_seen == 3);
    client_give_up(world->client, STATUS_UNAVAILABLE, "enough");
    world->cluster.judge = NULL;
    world_send(world, "d");
    WORLD_WAIT(world, world->result_count == 4);
    assert_int_equal(world->results[3].status, STATUS_OK);
    assert_int_equal(world->cluster.message_count, 1);
    assert_int_equal(world->cluster.messages[0].request, 4);
    world_free(world);
}

/* More is gone than is kept: it may be handed over by the servers that have it; if it is not, that is
 * said, instead of trying for ever. */
static void test_replay__too_much_is_gone(void **state)
{
    (void)state;
    struct world *world = world_with_session();
    world_send_many(world, "m", 300);
    WORLD_WAIT(world, world->result_count == 300);
    fake_forget(&world->cluster, 43, 0, 43); /* the 44th is the first missing, the 45th kept */
    world_send(world, "m300");
    for (unsigned round = 0; round < 4; round++) {
        world_advance(world, 25000);
        for (unsigned turn = 0; turn < 20; turn++)
            world_turn(world);
        assert_int_equal(world->session_ends, 0);
    }
    world_advance(world, 60000);
    WORLD_WAIT(world, world->session_ends == 1);
    WORLD_WAIT(world, world->result_count == 301);
    assert_int_equal(world->results[300].status, STATUS_UNAUTHENTICATED);
    assert_int_equal(world->cluster.message_count, 43);
    assert_int_equal(client_unfinished(world->client), 0);
    world_free(world);
}

static void wait_through(struct world *world, uint64_t ms)
{
    for (uint64_t waited = 0; waited < ms; waited += 25000) {
        world_advance(world, 25000);
        for (unsigned turn = 0; turn < 20; turn++)
            world_turn(world);
        assert_int_equal(world->session_ends, 0);
    }
}

static enum fake_action refuse_sends(void *context, struct fake_server *server, const char *method,
                                     uint64_t number)
{
    (void)context, (void)number;
    server->fail_status = STATUS_NOT_FOUND;
    return strcmp(method, "Send") == 0 ? FAKE_FAIL : FAKE_OBEY;
}

/* It was handed over, and what waited for it was refused: whatever is missing next has all the time. */
static void test_replay__too_much_is_gone_twice(void **state)
{
    (void)state;
    struct world *world = world_with_session();
    world_send_many(world, "m", 300);
    WORLD_WAIT(world, world->result_count == 300);
    fake_forget(&world->cluster, 43, 0, 43);
    world_send(world, "m300");
    wait_through(world, 100000);
    world->cluster.sessions[0].last_request = 300;
    world->cluster.judge = refuse_sends;
    WORLD_WAIT(world, world->result_count == 301);
    assert_int_equal(world->results[300].status, STATUS_NOT_FOUND);
    world->cluster.judge = NULL;
    world->cluster.sessions[0].last_request = 43;
    world_send(world, "m301");
    wait_through(world, 100000);
    world_free(world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_replay__answered_ones_go_out_again),
        cmocka_unit_test(test_replay__in_the_middle_of_sending),
        cmocka_unit_test(test_replay__interrupted),
        cmocka_unit_test(test_replay__what_failed_stays_failed),
        cmocka_unit_test(test_replay__given_up_numbers_are_filled),
        cmocka_unit_test(test_replay__too_much_is_gone),
        cmocka_unit_test(test_replay__too_much_is_gone_twice),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
