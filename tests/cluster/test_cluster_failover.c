/* SPDX-License-Identifier: MIT */
/* Three servers under load that are killed, stopped and started: whoever writes and reads goes on,
 * what was acknowledged is there exactly once, in one order, for everybody, and a server that comes
 * back follows. */
#include "harness/cluster_fixture.h"

/* Of all three, started in the order of their ids; the smallest address need not be the first. */
static size_t smallest_address(const struct cluster_fixture *fixture)
{
    size_t smallest = 0;
    for (size_t i = 1; i < SERVERS; i++) {
        struct address left;
        struct address right;
        (void)address_parse(fixture->cluster.servers[i].internal, &left, NULL);
        (void)address_parse(fixture->cluster.servers[smallest].internal, &right, NULL);
        smallest = address_compare(&left, &right) < 0 ? i : smallest;
    }
    return smallest;
}

/* A server that was away comes back as a slave, in sync, whatever it was before. */
static void come_back(struct cluster_fixture *fixture, size_t i)
{
    struct cluster *cluster = &fixture->cluster;
    size_t master = cluster_master(cluster, ALL_SERVERS & ~(1u << i));
    cluster_run(cluster, i);
    cluster_wait_in_sync(cluster, ALL_SERVERS);
    client_pool_go_on(&fixture->pool, A_LITTLE);
    assert_int_equal(cluster_master(cluster, ALL_SERVERS), master);
}

static void begin(struct cluster_fixture *fixture)
{
    cluster_fixture_begin(fixture, NULL, 2, 2);
}

#define FAILOVER_TEST(name) CLUSTER_TEST_ON(name, begin, cluster_fixture_finish)

FAILOVER_TEST(test_kill__the_master_again_and_again)
{
    struct cluster *cluster = &fixture->cluster;
    static const size_t moments[] = {1, 300, 40, 7, 700, 100};
    bool smallest_was_away = false;
    for (size_t i = 0; i < sizeof moments / sizeof moments[0]; i++) {
        client_pool_go_on(&fixture->pool, moments[i]);
        size_t master = cluster_master(cluster, ALL_SERVERS);
        smallest_was_away = smallest_was_away || master == smallest_address(fixture);
        cluster_kill(cluster, 1u << master);
        client_pool_each_goes_on(&fixture->pool, A_LITTLE);
        come_back(fixture, master);
    }
    assert_true(smallest_was_away); /* so it did come back to a living master, and followed */
}

FAILOVER_TEST(test_kill__a_slave)
{
    size_t slave = (cluster_master(&fixture->cluster, ALL_SERVERS) + 1) % SERVERS;
    cluster_kill(&fixture->cluster, 1u << slave);
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
    come_back(fixture, slave);
}

/* The last of three serves alone; first a slave is left, then the master. */
FAILOVER_TEST(test_kill__two_of_three_at_once)
{
    struct cluster *cluster = &fixture->cluster;
    for (size_t left = 1; left <= SERVERS; left += 2) {
        size_t last = (cluster_master(cluster, ALL_SERVERS) + left) % SERVERS;
        unsigned others = ALL_SERVERS & ~(1u << last);
        cluster_kill(cluster, others);
        client_pool_each_goes_on(&fixture->pool, A_LITTLE);
        for (size_t i = 0; i < SERVERS; i++)
            if (i != last)
                cluster_launch(cluster, i);
        cluster_wait_in_sync(cluster, ALL_SERVERS);
        assert_int_equal(cluster_master(cluster, ALL_SERVERS), last);
    }
}

/* The old master does not know that time went by: two of them meet, and it follows. */
FAILOVER_TEST(test_sleep__the_master)
{
    struct cluster *cluster = &fixture->cluster;
    for (size_t round = 0; round < 2; round++) {
        size_t old = cluster_master(cluster, ALL_SERVERS);
        unsigned others = ALL_SERVERS & ~(1u << old);
        cluster_sleep(cluster, old);
        client_pool_each_goes_on(&fixture->pool, A_LITTLE);
        cluster_wait_in_sync(cluster, others);
        size_t new = cluster_master(cluster, others);
        cluster_awake(cluster, old);
        cluster_wait_in_sync(cluster, ALL_SERVERS);
        assert_int_equal(cluster_master(cluster, ALL_SERVERS), new);
        client_pool_go_on(&fixture->pool, A_LITTLE);
    }
}

FAILOVER_TEST(test_sleep__a_slave)
{
    struct cluster *cluster = &fixture->cluster;
    size_t master = cluster_master(cluster, ALL_SERVERS);
    size_t slave = (master + 1) % SERVERS;
    cluster_sleep(cluster, slave);
    cluster_wait_in_sync(cluster, ALL_SERVERS & ~(1u << slave));
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
    cluster_awake(cluster, slave);
    cluster_wait_in_sync(cluster, ALL_SERVERS);
    assert_int_equal(cluster_master(cluster, ALL_SERVERS), master);
}

/* What only the master has is not acknowledged; so nothing is missed when it dies, and stays away. */
CLUSTER_TEST_ON(test_sleep__both_slaves_and_then_the_master_dies, NULL, cluster_fixture_finish)
{
    static const char *const options[] = {"--ack_timeout=60000", NULL};
    struct cluster *cluster = &fixture->cluster;
    cluster_fixture_begin(fixture, options, 2, 2);
    size_t master = cluster_master(cluster, ALL_SERVERS);
    unsigned others = ALL_SERVERS & ~(1u << master);
    for (size_t i = 1; i < SERVERS; i++)
        cluster_sleep(cluster, (master + i) % SERVERS);
    CLIENT_POOL_WAIT(&fixture->pool, client_pool_is_stuck(&fixture->pool));
    cluster_kill(cluster, 1u << master);
    for (size_t i = 1; i < SERVERS; i++)
        cluster_awake(cluster, (master + i) % SERVERS);
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
    cluster_wait_in_sync(cluster, others);
    client_pool_settle(&fixture->pool);
    come_back(fixture, master);
}

FAILOVER_TEST(test_stop__one_after_the_other)
{
    for (size_t i = 0; i < SERVERS; i++) {
        cluster_stop(&fixture->cluster, i);
        client_pool_each_goes_on(&fixture->pool, A_LITTLE);
        come_back(fixture, i);
    }
}

static void start_in_order(struct cluster_fixture *fixture, const size_t order[static SERVERS])
{
    process_group_note(fixture->group, "all start again, in the order %zu %zu %zu", order[0] + 1,
                       order[1] + 1, order[2] + 1);
    for (size_t i = 0; i < SERVERS; i++) {
        cluster_launch(&fixture->cluster, order[i]);
        cluster_wait_listening(&fixture->cluster, order[i]);
    }
    cluster_wait_in_sync(&fixture->cluster, ALL_SERVERS);
}

static void power_cut_in_every_order(struct cluster_fixture *fixture)
{
    static const size_t orders[][SERVERS] = {{0, 1, 2}, {2, 1, 0}, {1, 2, 0},
                                             {0, 2, 1}, {2, 0, 1}, {1, 0, 2}};
    for (size_t i = 0; i < sizeof orders / sizeof orders[0]; i++) {
        client_pool_go_on(&fixture->pool, A_LITTLE);
        cluster_kill(&fixture->cluster, ALL_SERVERS);
        start_in_order(fixture, orders[i]);
    }
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
}

FAILOVER_TEST(test_power_cut__all_start_again_in_every_order)
{
    power_cut_in_every_order(fixture);
}

CLUSTER_TEST_ON(test_power_cut__with_a_quorum, NULL, cluster_fixture_finish)
{
    static const char *const options[] = {"--durability=quorum", NULL};
    cluster_fixture_begin(fixture, options, 2, 2);
    power_cut_in_every_order(fixture);
}

/* Who was left behind may not be the master alone: it waits for those who know more. */
FAILOVER_TEST(test_power_cut__the_one_left_behind_comes_first)
{
    struct cluster *cluster = &fixture->cluster;
    size_t behind = (cluster_master(cluster, ALL_SERVERS) + 1) % SERVERS;
    cluster_kill(cluster, 1u << behind);
    cluster_wait_in_sync(cluster, ALL_SERVERS & ~(1u << behind));
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
    cluster_kill(cluster, cluster_running(cluster));
    const size_t order[SERVERS] = {behind, (behind + 1) % SERVERS, (behind + 2) % SERVERS};
    start_in_order(fixture, order);
}
