/* SPDX-License-Identifier: MIT */
/* Clients who reach three servers over bad wires only, while the servers die: messages between them
 * come late, twice, not at all, or break off in the middle. */
#include "harness/client_pool.h"
#include "harness/proxy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define SERVERS 3
#define ALL_SERVERS 7u
#define OUTSIDE SERVERS /* the clients' place */
#define A_LITTLE 50
#define A_LOT 300

struct fixture {
    struct process_group *group;
    struct netns *netns;
    struct cluster cluster;
    struct pool pool;
    struct proxy *wires[SERVERS];
};

static int setup(void **state)
{
    char why[128];
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->group = process_group_open();
    fixture->netns = netns_new(SERVERS + 1, why);
    assert_non_null(fixture->netns);
    cluster_init(&fixture->cluster, fixture->group, fixture->netns);
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    client_pool_free(&fixture->pool);
    process_group_close(fixture->group);
    for (size_t i = 0; i < SERVERS; i++)
        proxy_close(fixture->wires[i]);
    netns_free(fixture->netns);
    free(fixture);
    return 0;
}

/* In the clients' place every server's address is the beginning of a wire to it. */
static void begin(struct fixture *fixture)
{
    cluster_start(&fixture->cluster, SERVERS, NULL);
    for (size_t i = 0; i < SERVERS; i++) {
        struct address address = node_address(&fixture->cluster.servers[i]);
        netns_impersonate(fixture->netns, OUTSIDE, i);
        fixture->wires[i] = proxy_open(fixture->netns, OUTSIDE, &address, i, &address);
        assert_non_null(fixture->wires[i]);
    }
    for (size_t i = 0; i < 2; i++) {
        client_pool_add_writer(&fixture->pool, &fixture->cluster, OUTSIDE);
        client_pool_add_reader(&fixture->pool, &fixture->cluster, OUTSIDE);
    }
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
}

static void make_all(struct fixture *fixture, const struct proxy_faults *faults)
{
    for (size_t i = 0; i < SERVERS; i++)
        for (int way = 0; way < PROXY_WAYS; way++)
            proxy_set(fixture->wires[i], (enum proxy_way)way, faults);
}

static void finish(struct fixture *fixture)
{
    uint64_t faults = 0;
    make_all(fixture, &(struct proxy_faults){0});
    for (size_t i = 0; i < SERVERS; i++)
        faults += proxy_faults_made(fixture->wires[i]);
    process_group_note(fixture->group, "%llu messages were lost or worse",
                       (unsigned long long)faults);
    cluster_wait_in_sync(&fixture->cluster, ALL_SERVERS);
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
    client_pool_finish(&fixture->pool, CHECK_ALL);
    cluster_stop_all(&fixture->cluster);
    process_group_pass(fixture->group);
}

static void kill_master_and_bring_it_back(struct fixture *fixture)
{
    struct cluster *cluster = &fixture->cluster;
    size_t master = cluster_master(cluster, ALL_SERVERS);
    cluster_kill(cluster, 1u << master);
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
    cluster_run(cluster, master);
    cluster_wait_in_sync(cluster, ALL_SERVERS);
}

static void test_wire__loses_doubles_and_breaks(void **state)
{
    static const struct proxy_faults faults[] = {
        {.double_every = 5, .delay_ms = 2},
        {.drop_every = 29},
        {.break_every = 61, .delay_ms = 1},
        {.double_every = 7, .drop_every = 41, .break_every = 97},
    };
    struct fixture *fixture = *state;
    begin(fixture);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        make_all(fixture, &faults[i]);
        client_pool_each_goes_on(&fixture->pool, A_LOT);
        if (i % 2 == 1)
            kill_master_and_bring_it_back(fixture);
    }
    finish(fixture);
}

/* The wire to the master takes nothing more: there is no end of a connection to be seen. */
static void test_wire__hangs(void **state)
{
    struct fixture *fixture = *state;
    struct pool *pool = &fixture->pool;
    begin(fixture);
    size_t master = cluster_master(&fixture->cluster, ALL_SERVERS);
    proxy_hold(fixture->wires[master], true);
    cluster_kill(&fixture->cluster, 1u << master);
    client_pool_each_goes_on(pool, A_LITTLE);
    proxy_hold(fixture->wires[master], false);
    cluster_run(&fixture->cluster, master);
    cluster_wait_in_sync(&fixture->cluster, ALL_SERVERS);
    for (size_t i = 0; i < SERVERS; i++) {
        proxy_cut(fixture->wires[i]);
        client_pool_each_goes_on(pool, A_LITTLE);
    }
    finish(fixture);
}

int main(void)
{
    if (!netns_is_possible())
        return NETNS_SKIPPED;
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_wire__loses_doubles_and_breaks),
        TEST(test_wire__hangs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
