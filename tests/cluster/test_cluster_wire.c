/* SPDX-License-Identifier: MIT */
/* Clients who reach three servers over bad wires only, while the servers die: messages between them
 * come late, twice, not at all, or break off in the middle. */
#include "harness/cluster_fixture.h"
#include "harness/proxy.h"

#define OUTSIDE SERVERS /* the clients' place */
#define A_LOT 300

static struct proxy *wires[SERVERS];

static void close_wire(void *wire)
{
    proxy_close(wire);
}

/* In the clients' place every server's address is the beginning of a wire to it. */
static void begin(struct cluster_fixture *fixture)
{
    cluster_fixture_use_netns(fixture, SERVERS + 1);
    cluster_start(&fixture->cluster, SERVERS, NULL);
    for (size_t i = 0; i < SERVERS; i++) {
        struct address address = node_address(&fixture->cluster.servers[i]);
        netns_impersonate(fixture->netns, OUTSIDE, i);
        wires[i] = proxy_open(fixture->netns, OUTSIDE, &address, i, &address);
        assert_non_null(wires[i]);
        process_group_defer(fixture->group, close_wire, wires[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        client_pool_add_writer(&fixture->pool, &fixture->cluster, OUTSIDE);
        client_pool_add_reader(&fixture->pool, &fixture->cluster, OUTSIDE);
    }
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
}

static void make_all(const struct proxy_faults *faults)
{
    for (size_t i = 0; i < SERVERS; i++)
        for (int way = 0; way < PROXY_WAYS; way++)
            proxy_set(wires[i], (enum proxy_way)way, faults);
}

static void finish(struct cluster_fixture *fixture)
{
    uint64_t faults = 0;
    make_all(&(struct proxy_faults){0});
    for (size_t i = 0; i < SERVERS; i++)
        faults += proxy_faults_made(wires[i]);
    process_group_note(fixture->group, "%llu messages were lost or worse",
                       (unsigned long long)faults);
    cluster_wait_in_sync(&fixture->cluster, ALL_SERVERS);
    cluster_fixture_finish(fixture);
}

static void kill_master_and_bring_it_back(struct cluster_fixture *fixture)
{
    struct cluster *cluster = &fixture->cluster;
    size_t master = cluster_master(cluster, ALL_SERVERS);
    cluster_kill(cluster, 1u << master);
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
    cluster_run(cluster, master);
    cluster_wait_in_sync(cluster, ALL_SERVERS);
}

CLUSTER_TEST_ON(test_wire__loses_doubles_and_breaks, begin, finish)
{
    static const struct proxy_faults faults[] = {
        {.double_every = 5, .delay_ms = 2},
        {.drop_every = 29},
        {.break_every = 61, .delay_ms = 1},
        {.double_every = 7, .drop_every = 41, .break_every = 97},
    };
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        make_all(&faults[i]);
        client_pool_each_goes_on(&fixture->pool, A_LOT);
        if (i % 2 == 1)
            kill_master_and_bring_it_back(fixture);
    }
}

/* The wire to the master takes nothing more: there is no end of a connection to be seen. */
CLUSTER_TEST_ON(test_wire__hangs, begin, finish)
{
    struct pool *pool = &fixture->pool;
    size_t master = cluster_master(&fixture->cluster, ALL_SERVERS);
    proxy_hold(wires[master], true);
    cluster_kill(&fixture->cluster, 1u << master);
    client_pool_each_goes_on(pool, A_LITTLE);
    proxy_hold(wires[master], false);
    cluster_run(&fixture->cluster, master);
    cluster_wait_in_sync(&fixture->cluster, ALL_SERVERS);
    for (size_t i = 0; i < SERVERS; i++) {
        proxy_cut(wires[i]);
        client_pool_each_goes_on(pool, A_LITTLE);
    }
}

TEST_PREPARE()
{
    return netns_is_possible() ? 0 : NETNS_SKIPPED;
}
