/* SPDX-License-Identifier: MIT */
/* Who is who: strangers at the address of a member, folders that are lost, addresses that change. */
#include "harness/cluster_fixture.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define OTHERS 6u /* all but the first */

static void lose_folder(struct cluster_fixture *fixture, size_t i)
{
    char from[PROCESS_GROUP_PATH_SIZE];
    char to[PROCESS_GROUP_PATH_SIZE];
    char name[32];
    (void)snprintf(name, sizeof name, "data/%zu", i + 1);
    (void)snprintf(from, sizeof from, "%s", process_group_path(fixture->group, name));
    (void)snprintf(name, sizeof name, "lost%zu", i + 1);
    (void)snprintf(to, sizeof to, "%s", process_group_path(fixture->group, name));
    assert_int_equal(rename(from, to), 0);
}

/* A database of no bytes, as a disk that was full leaves it. */
static void leave_empty_database(struct cluster_fixture *fixture, size_t i)
{
    char name[32];
    (void)snprintf(name, sizeof name, "data/%zu", i + 1);
    assert_int_equal(mkdir(process_group_path(fixture->group, name), 0700), 0);
    (void)snprintf(name, sizeof name, "data/%zu/jackdaw.db", i + 1);
    FILE *file = fopen(process_group_path(fixture->group, name), "we");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
}

static void set_seeds(struct cluster_fixture *fixture, size_t i)
{
    struct cluster *cluster = &fixture->cluster;
    static char options[CLUSTER_SERVERS_MAX][PROCESS_GROUP_PATH_SIZE];
    char *text = options[i];
    size_t used = (size_t)snprintf(text, PROCESS_GROUP_PATH_SIZE, "--master_address=");
    for (size_t j = 0; j < SERVERS; j++)
        if (j != i)
            used +=
                (size_t)snprintf(text + used, PROCESS_GROUP_PATH_SIZE - used, "%s%s",
                                 text[used - 1] == '=' ? "" : ",", cluster->servers[j].internal);
    cluster->servers[i].options[0] = text;
    cluster->servers[i].options[1] = NULL;
}

static void begin(struct cluster_fixture *fixture)
{
    cluster_fixture_begin(fixture, NULL, 2, 1);
}

#define IDENTITY_TEST(name) CLUSTER_TEST_ON(name, begin, cluster_fixture_finish)

/* All three are killed, and the address of the first is given to another cluster, which has data. The
 * two others, which have all of theirs, go on. */
IDENTITY_TEST(test_stranger__at_the_address_of_a_member)
{
    struct cluster *cluster = &fixture->cluster;
    cluster_kill(cluster, ALL_SERVERS);
    struct node stranger = {.group = fixture->group,
                            .id = 1,
                            .data_dir = process_group_path(fixture->group, "elsewhere")};
    (void)snprintf(stranger.internal, sizeof stranger.internal, "%s", cluster->servers[0].internal);
    node_start(&stranger);
    struct json_client *zoe =
        json_client_visit(fixture->group, stranger.clients, "zoe", "elsewhere");
    cluster_launch(cluster, 1);
    cluster_launch(cluster, 2);
    cluster_wait_in_sync(cluster, OTHERS);
    PROCESS_GROUP_WAIT(fixture->group, cluster_logged(cluster, 1, "other_cluster"));
    PROCESS_GROUP_WAIT(fixture->group, process_logged(stranger.process, "other_cluster"));
    json_client_say(zoe, "none of it concerns me");
    (void)json_client_expect(zoe, 0, "{s:s, s:s}", "type", "sent", "room", "elsewhere");
    assert_int_equal(json_client_leave(zoe), 0);
    assert_int_equal(node_stop(&stranger), 0);
    cluster_launch(cluster, 0); /* it gets its address back */
}

/* The first one starts first, without its data and told to found a cluster, and founds one, as nobody is
 * there; then the others come, which have the data. */
IDENTITY_TEST(test_founding__given_up_when_the_others_come)
{
    struct cluster *cluster = &fixture->cluster;
    cluster_kill(cluster, ALL_SERVERS);
    lose_folder(fixture, 0);
    cluster_run(cluster, 0);
    assert_true(cluster_logged(cluster, 0, "cluster_founded"));
    cluster_launch(cluster, 1);
    cluster_launch(cluster, 2);
    PROCESS_GROUP_WAIT(fixture->group, cluster_logged(cluster, 0, "cluster_given_up"));
}

/* The others are there: it does not found one at all, wherever it was told of them or not. */
static void refuses_founding(struct cluster_fixture *fixture, bool has_seeds, bool has_file)
{
    struct cluster *cluster = &fixture->cluster;
    cluster_kill(cluster, 1u);
    lose_folder(fixture, 0);
    if (has_file)
        leave_empty_database(fixture, 0);
    struct node *first = &cluster->servers[0];
    size_t used = 0;
    if (has_seeds) {
        set_seeds(fixture, 0);
        used = 1;
    }
    first->options[used] = "--founding_wait=2000";
    first->options[used + 1] = NULL;
    cluster_launch(cluster, 0);
    cluster_wait_in_sync(cluster, ALL_SERVERS);
    assert_true(cluster_logged(cluster, 0, "founding_refused"));
    assert_false(cluster_logged(cluster, 0, "cluster_founded"));
}

IDENTITY_TEST(test_founding__refused_by_who_is_asked)
{
    refuses_founding(fixture, true, false);
}

IDENTITY_TEST(test_founding__refused_by_who_calls)
{
    refuses_founding(fixture, false, true);
}

static void swap_addresses(struct cluster_fixture *fixture, size_t one, size_t other)
{
    struct node *nodes = fixture->cluster.servers;
    char kept[ADDRESS_TEXT_SIZE];
    memcpy(kept, nodes[one].internal, sizeof kept);
    memcpy(nodes[one].internal, nodes[other].internal, sizeof kept);
    memcpy(nodes[other].internal, kept, sizeof kept);
}

/* Nobody is told of it: they find each other at the addresses that they know. */
IDENTITY_TEST(test_moved__two_have_swapped)
{
    struct cluster *cluster = &fixture->cluster;
    cluster_kill(cluster, OTHERS);
    swap_addresses(fixture, 1, 2);
    for (size_t i = 1; i < SERVERS; i++) {
        cluster->servers[i].options[0] = NULL; /* no seeds */
        cluster_launch(cluster, i);
    }
    cluster_wait_in_sync(cluster, ALL_SERVERS);
    PROCESS_GROUP_WAIT(fixture->group, cluster_logged(cluster, 0, "member_met"));
}

IDENTITY_TEST(test_moved__all_in_a_circle)
{
    struct cluster *cluster = &fixture->cluster;
    cluster_kill(cluster, ALL_SERVERS);
    swap_addresses(fixture, 0, 1);
    swap_addresses(fixture, 1, 2);
    for (size_t i = 0; i < SERVERS; i++) {
        cluster->servers[i].options[0] = NULL; /* no seeds */
        cluster_launch(cluster, i);
    }
}

/* To addresses that nobody has had: each is told of the others. */
IDENTITY_TEST(test_moved__all_to_new_addresses)
{
    struct cluster *cluster = &fixture->cluster;
    cluster_kill(cluster, ALL_SERVERS);
    for (size_t i = 0; i < SERVERS; i++) { /* what listens there now keeps these ports free */
        struct node other = {.group = fixture->group,
                             .id = (unsigned)i + 10,
                             .data_dir = process_group_path(fixture->group, "ports")};
        node_start(&other);
        (void)snprintf(cluster->servers[i].internal, ADDRESS_TEXT_SIZE, "%s", other.internal);
        assert_int_equal(node_stop(&other), 0);
    }
    for (size_t i = 0; i < SERVERS; i++)
        set_seeds(fixture, i);
    for (size_t i = 0; i < SERVERS; i++)
        cluster_launch(cluster, i);
}
