/* SPDX-License-Identifier: MIT */
#include "harness/cluster_fixture.h"

#include <stdlib.h>

int cluster_fixture_setup(void **state)
{
    struct cluster_fixture *fixture = calloc(1, sizeof *fixture);
    fixture->group = process_group_open();
    fixture->rules = CHECK_ALL;
    fixture->node = (struct node){.group = fixture->group, .id = 1};
    cluster_init(&fixture->cluster, fixture->group, NULL);
    *state = fixture;
    return 0;
}

int cluster_fixture_teardown(void **state)
{
    struct cluster_fixture *fixture = *state;
    netns_return(fixture->netns);
    process_group_close(fixture->group);
    netns_free(fixture->netns);
    free(fixture);
    return 0;
}

void cluster_fixture_use_netns(struct cluster_fixture *fixture, size_t locations)
{
    char why[128];
    fixture->netns = netns_new(locations, why);
    if (fixture->netns == NULL)
        process_group_fail(fixture->group, "%s", why);
    fixture->cluster.netns = fixture->netns;
}

void cluster_fixture_begin(struct cluster_fixture *fixture, const char *const *options,
                           size_t writers, size_t readers)
{
    cluster_start(&fixture->cluster, SERVERS, options);
    client_pool_open(&fixture->pool, &fixture->cluster, writers, readers);
    client_pool_go_on(&fixture->pool, A_LITTLE);
}

void cluster_fixture_finish(struct cluster_fixture *fixture)
{
    cluster_wait_in_sync(&fixture->cluster, cluster_running(&fixture->cluster));
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
    client_pool_finish(&fixture->pool, fixture->rules);
    cluster_stop_all(&fixture->cluster);
}

void cluster_fixture_stop(struct cluster_fixture *fixture)
{
    assert_int_equal(node_stop(&fixture->node), 0);
}

void cluster_fixture_run(struct cluster_fixture *fixture,
                         void (*begin)(struct cluster_fixture *fixture),
                         void (*body)(struct cluster_fixture *fixture),
                         void (*end)(struct cluster_fixture *fixture))
{
    if (begin != NULL)
        begin(fixture);
    body(fixture);
    if (end != NULL)
        end(fixture);
    process_group_pass(fixture->group);
}

struct json_client *cluster_fixture_visit(struct cluster_fixture *fixture, const char *name)
{
    return json_client_visit(fixture->group, fixture->node.clients, name, "lobby");
}
