/* SPDX-License-Identifier: MIT */
/* Servers that join a cluster under load: new ones, and such as missed much; by what they missed,
 * or by a copy of everything where that is no longer kept. */
#include "harness/cluster_fixture.h"
#include "harness/flood.h"

#define DATABASE_MESSAGES 20000
#define MISSED_MESSAGES 100000
#define MOVED_MS 2000 /* no pause of the writers, however short the join is */

#define JOIN_TEST(name) CLUSTER_TEST_ON(name, NULL, cluster_fixture_finish)

static const char *master_address(struct cluster_fixture *fixture)
{
    struct cluster *cluster = &fixture->cluster;
    return cluster->servers[cluster_master(cluster, cluster_running(cluster))].clients;
}

/* Waits until all are in sync; the writers never wait long meanwhile. */
static void wait_without_a_pause(struct cluster_fixture *fixture, unsigned group)
{
    size_t acknowledged = client_pool_acknowledged(&fixture->pool);
    uint64_t began_ms = process_group_now_ms();
    uint64_t moved_ms = began_ms;
    uint64_t longest_ms = 0;
    uint64_t until_ms = moved_ms + CLUSTER_PATIENCE_MS;
    while (!cluster_in_sync(&fixture->cluster, group) && process_group_now_ms() < until_ms) {
        (void)client_pool_feed(&fixture->pool);
        process_group_turn(fixture->group, process_group_now_ms() + PROCESS_GROUP_LOOK_MS);
        uint64_t now_ms = process_group_now_ms();
        if (client_pool_acknowledged(&fixture->pool) != acknowledged)
            moved_ms = now_ms;
        acknowledged = client_pool_acknowledged(&fixture->pool);
        longest_ms = now_ms - moved_ms > longest_ms ? now_ms - moved_ms : longest_ms;
    }
    uint64_t took_ms = process_group_now_ms() - began_ms;
    cluster_wait_in_sync(&fixture->cluster, group);
    process_group_note(fixture->group, "the longest pause was %llu ms",
                       (unsigned long long)longest_ms);
    /* A slow machine makes pause and join longer. */
    if (longest_ms > MOVED_MS && longest_ms > took_ms / 2)
        process_group_fail(fixture->group, "nothing was acknowledged for %llu ms",
                           (unsigned long long)longest_ms);
}

/* A fourth server comes to a loaded cluster that has a database. */
static void join_under_load(struct cluster_fixture *fixture, const char *const *options)
{
    cluster_fixture_begin(fixture, options, 2, 2);
    flood(fixture->group, master_address(fixture), "flood", DATABASE_MESSAGES);
    size_t fourth = cluster_add(&fixture->cluster, options);
    cluster_launch(&fixture->cluster, fourth);
    wait_without_a_pause(fixture, 15u);
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
    cluster_wait_ready(&fixture->cluster, fourth);
}

JOIN_TEST(test_join__under_load)
{
    join_under_load(fixture, (const char *const[]){"--durability=all", NULL});
}

JOIN_TEST(test_join__under_load_with_a_quorum)
{
    join_under_load(fixture, (const char *const[]){"--durability=quorum", NULL});
}

/* With this policy two masters would number messages alike, so no delay may make a second one. */
JOIN_TEST(test_join__under_load_with_local_durability)
{
    join_under_load(fixture,
                    (const char *const[]){"--durability=local", "--ping_timeout_min=60000",
                                          "--ping_timeout=60000", "--ack_timeout=60000", NULL});
}

/* A slave is away while 100,000 messages are sent. */
static void miss_many(struct cluster_fixture *fixture, const char *const *options)
{
    struct cluster *cluster = &fixture->cluster;
    cluster_fixture_begin(fixture, options, 2, 2);
    size_t away = (cluster_master(cluster, 7u) + 1) % SERVERS;
    cluster_kill(cluster, 1u << away);
    flood(fixture->group, master_address(fixture), "flood", MISSED_MESSAGES);
    cluster_launch(cluster, away);
    wait_without_a_pause(fixture, 7u);
    cluster_wait_ready(cluster, away);
    bool copied = cluster_logged(cluster, away, "snapshot");
    assert_int_equal(copied, options != NULL);
}

JOIN_TEST(test_missed__100000_are_fetched)
{
    miss_many(fixture, NULL);
}

/* Only a quorum prunes what a member lacks. */
static const char *const pruning[] = {"--durability=quorum", "--log_keep=1000",
                                      "--replay_bytes=65536", "--log_keep_bytes=1048576", NULL};

JOIN_TEST(test_missed__100000_are_no_longer_kept)
{
    miss_many(fixture, pruning);
}

/* Killed while it gets the copy, and again: it begins anew, or goes on, and ends up in sync. */
JOIN_TEST(test_missed__killed_while_it_gets_a_copy)
{
    struct cluster *cluster = &fixture->cluster;
    cluster_fixture_begin(fixture, pruning, 2, 2);
    size_t away = (cluster_master(cluster, 7u) + 1) % SERVERS;
    cluster_kill(cluster, 1u << away);
    flood(fixture->group, master_address(fixture), "flood", MISSED_MESSAGES);
    for (size_t i = 0; i < 5; i++) {
        cluster_launch(cluster, away);
        cluster_wait_listening(cluster, away);
        size_t until = client_pool_acknowledged(&fixture->pool) + i * 15;
        CLIENT_POOL_WAIT(&fixture->pool, client_pool_acknowledged(&fixture->pool) >= until);
        cluster_kill(cluster, 1u << away);
    }
    cluster_launch(cluster, away);
    wait_without_a_pause(fixture, 7u);
}
