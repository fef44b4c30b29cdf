/* SPDX-License-Identifier: MIT */
/* Servers that join a cluster under load: new ones, and such as missed much; by what they missed,
 * or by a copy of everything where that is no longer kept. */
#include "harness/crowd.h"
#include "harness/flood.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SERVERS 3
#define A_LITTLE 50
#define DATABASE_MESSAGES 20000
#define MISSED_MESSAGES 100000
#define MOVED_MS (2000 * STAGE_SLOWER) /* the writers' longest wait while somebody joins */

static void begin(struct crowd_fixture *fixture, const char *const *options)
{
    cluster_start(&fixture->cluster, SERVERS, options);
    crowd_open(&fixture->crowd, &fixture->cluster, 2, 2);
    crowd_go_on(&fixture->crowd, A_LITTLE);
}

static void finish(struct crowd_fixture *fixture)
{
    crowd_finish(&fixture->crowd, CHECK_ALL);
    cluster_stop_all(&fixture->cluster);
    stage_pass(fixture->stage);
}

static const char *master_address(struct crowd_fixture *fixture)
{
    struct cluster *cluster = &fixture->cluster;
    return cluster->servers[cluster_master(cluster, cluster_running(cluster))].clients;
}

/* Waits until all are in sync; the writers never wait long meanwhile. */
static void wait_without_a_pause(struct crowd_fixture *fixture, unsigned group)
{
    size_t acknowledged = crowd_acknowledged(&fixture->crowd);
    uint64_t moved_ms = stage_now_ms();
    uint64_t longest_ms = 0;
    uint64_t until_ms = moved_ms + CLUSTER_PATIENCE_MS;
    while (!cluster_in_sync(&fixture->cluster, group) && stage_now_ms() < until_ms) {
        (void)crowd_feed(&fixture->crowd);
        stage_turn(fixture->stage, stage_now_ms() + STAGE_LOOK_MS);
        uint64_t now_ms = stage_now_ms();
        if (crowd_acknowledged(&fixture->crowd) != acknowledged)
            moved_ms = now_ms;
        acknowledged = crowd_acknowledged(&fixture->crowd);
        longest_ms = now_ms - moved_ms > longest_ms ? now_ms - moved_ms : longest_ms;
    }
    cluster_wait_in_sync(&fixture->cluster, group);
    stage_note(fixture->stage, "the longest pause was %llu ms", (unsigned long long)longest_ms);
    if (longest_ms > MOVED_MS)
        stage_fail(fixture->stage, "nothing was acknowledged for %llu ms",
                   (unsigned long long)longest_ms);
}

/* A fourth server comes to a loaded cluster that has a database. */
static void join_under_load(struct crowd_fixture *fixture, const char *durability)
{
    const char *const options[] = {durability, NULL};
    begin(fixture, options);
    flood(fixture->stage, master_address(fixture), "flood", DATABASE_MESSAGES);
    size_t fourth = cluster_add(&fixture->cluster, options);
    cluster_launch(&fixture->cluster, fourth);
    wait_without_a_pause(fixture, 15u);
    crowd_each_goes_on(&fixture->crowd, A_LITTLE);
    cluster_wait_ready(&fixture->cluster, fourth);
    finish(fixture);
}

static void test_join__under_load(void **state)
{
    join_under_load(*state, "--durability=all");
}

static void test_join__under_load_with_a_quorum(void **state)
{
    join_under_load(*state, "--durability=quorum");
}

static void test_join__under_load_with_local_durability(void **state)
{
    join_under_load(*state, "--durability=local");
}

/* A slave is away while 100,000 messages are sent. */
static void miss_many(struct crowd_fixture *fixture, const char *const *options)
{
    struct cluster *cluster = &fixture->cluster;
    begin(fixture, options);
    size_t away = (cluster_master(cluster, 7u) + 1) % SERVERS;
    cluster_kill(cluster, 1u << away);
    flood(fixture->stage, master_address(fixture), "flood", MISSED_MESSAGES);
    cluster_launch(cluster, away);
    wait_without_a_pause(fixture, 7u);
    cluster_wait_ready(cluster, away);
    bool copied = cluster_logged(cluster, away, "snapshot");
    assert_int_equal(copied, options != NULL);
    finish(fixture);
}

static void test_missed__100000_are_fetched(void **state)
{
    miss_many(*state, NULL);
}

static void test_missed__100000_are_no_longer_kept(void **state)
{
    static const char *const options[] = {"--log_keep=1000", NULL};
    miss_many(*state, options);
}

/* Killed while it gets the copy, and again: it begins anew, or goes on, and ends up in sync. */
static void test_missed__killed_while_it_gets_a_copy(void **state)
{
    static const char *const options[] = {"--log_keep=1000", NULL};
    struct crowd_fixture *fixture = *state;
    struct cluster *cluster = &fixture->cluster;
    begin(fixture, options);
    size_t away = (cluster_master(cluster, 7u) + 1) % SERVERS;
    cluster_kill(cluster, 1u << away);
    flood(fixture->stage, master_address(fixture), "flood", MISSED_MESSAGES);
    for (size_t i = 0; i < 5; i++) {
        cluster_launch(cluster, away);
        cluster_wait_listening(cluster, away);
        size_t until = crowd_acknowledged(&fixture->crowd) + i * 15;
        CROWD_WAIT(&fixture->crowd, crowd_acknowledged(&fixture->crowd) >= until);
        cluster_kill(cluster, 1u << away);
    }
    cluster_launch(cluster, away);
    wait_without_a_pause(fixture, 7u);
    finish(fixture);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, crowd_setup, crowd_teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_join__under_load),
        TEST(test_join__under_load_with_a_quorum),
        TEST(test_join__under_load_with_local_durability),
        TEST(test_missed__100000_are_fetched),
        TEST(test_missed__100000_are_no_longer_kept),
        TEST(test_missed__killed_while_it_gets_a_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
