/* SPDX-License-Identifier: MIT */
/* A rolling upgrade under load. The server of level 1 does not know the delta that sets a topic, the one of
 * level 2 does (chat/delta_kind.c). The master writes none before the last member is upgraded. */
#include "harness/cluster_fixture.h"

#define TOPIC_SET "{s:s, s:s, s:s}", "type", "result", "command", "topic", "status", "OK"

static struct json_client *begin(struct cluster_fixture *fixture)
{
    struct cluster *cluster = &fixture->cluster;
    for (size_t i = 0; i < SERVERS; i++) {
        size_t added = cluster_add(cluster, NULL);
        cluster->servers[added].program = TEST_SERVER_LEVEL_1;
        cluster_run(cluster, added);
    }
    cluster_wait_in_sync(cluster, ALL_SERVERS);
    client_pool_open(&fixture->pool, cluster, 2, 2);
    client_pool_go_on(&fixture->pool, A_LITTLE);
    return json_client_visit(fixture->group, cluster->servers[0].clients, "ann", "hall");
}

static void replace(struct cluster_fixture *fixture, size_t i, const char *program)
{
    struct cluster *cluster = &fixture->cluster;
    cluster_stop(cluster, i);
    cluster->servers[i].program = program;
    cluster_run(cluster, i);
    cluster_wait_in_sync(cluster, ALL_SERVERS);
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
}

static void finish(struct cluster_fixture *fixture, struct json_client *ann)
{
    assert_int_equal(json_client_leave(ann), 0);
    cluster_fixture_finish(fixture);
}

/* The first server is the master, so the upgrade changes it, too. */
CLUSTER_TEST(test_upgrade__a_new_delta_waits_for_the_last_server)
{
    struct json_client *ann = begin(fixture);
    json_client_type(ann, "/topic of birds");
    for (size_t i = 0; i + 1 < SERVERS; i++) {
        replace(fixture, i, TEST_SERVER_LEVEL_2);
        assert_null(json_client_find(ann, 0, TOPIC_SET));
    }
    size_t last = SERVERS - 1;
    if (cluster_master(&fixture->cluster, ALL_SERVERS) == last)
        replace(fixture, last, TEST_SERVER_LEVEL_1); /* so that an upgraded server is the master */
    assert_true(cluster_master(&fixture->cluster, ALL_SERVERS) != last);
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
    assert_null(json_client_find(ann, 0, TOPIC_SET));
    replace(fixture, last, TEST_SERVER_LEVEL_2);
    (void)json_client_expect(ann, 0, TOPIC_SET);
    finish(fixture, ann);
}

/* It must not skip the delta: its state would differ from that of the other servers. */
CLUSTER_TEST(test_upgrade__an_old_server_stops_at_a_new_delta)
{
    struct cluster *cluster = &fixture->cluster;
    struct json_client *ann = begin(fixture);
    for (size_t i = 0; i < SERVERS; i++)
        replace(fixture, i, TEST_SERVER_LEVEL_2);
    size_t away = cluster_master(cluster, ALL_SERVERS) == 0 ? 1 : 0;
    cluster_stop(cluster, away);
    (void)json_client_command(ann, "/topic birds");
    cluster->servers[away].program = TEST_SERVER_LEVEL_1;
    cluster_launch(cluster, away);
    struct process *process = cluster->servers[away].process;
    assert_int_equal(process_wait(process, CLUSTER_PATIENCE_MS), 1);
    assert_true(process_logged(process, "a change that this version of the server does not know"));
    cluster->servers[away].program = TEST_SERVER_LEVEL_2;
    cluster_run(cluster, away);
    cluster_wait_in_sync(cluster, ALL_SERVERS);
    (void)json_client_command(ann, "/topic more birds");
    finish(fixture, ann);
}
