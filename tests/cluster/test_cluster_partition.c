/* SPDX-License-Identifier: MIT */
/* Three servers in a network that is cut. With durability `all` every part goes on, and when they
 * meet again nothing that either acknowledged is lost or doubled, and all servers keep the same.
 * With `quorum` the smaller part refuses, and there is one history at all times. */
#include "harness/cluster_fixture.h"
#include "harness/raw_chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CUTS 8
#define VISITORS 4 /* ann and bob, and one twin in each part */

/* Two histories become one: who saw the one that gives way has seen other numbers. The order of
 * one sender's lines, and everything else, holds. */
#define CHECK_MERGED (CHECK_ALL & ~(unsigned)(CHECK_HOLES | CHECK_ORDER | CHECK_TIME))

static struct json_client *visitors[VISITORS];

/* A writer beside each server: writer i hears only what server i's part of the network hears. */
static void begin(struct cluster_fixture *fixture, const char *durability)
{
    const char *const options[] = {durability, NULL};
    cluster_fixture_use_netns(fixture, SERVERS);
    cluster_fixture_begin(fixture, options, SERVERS, 1);
}

static void begin_all(struct cluster_fixture *fixture)
{
    begin(fixture, "--durability=all");
}

static void begin_quorum(struct cluster_fixture *fixture)
{
    begin(fixture, "--durability=quorum");
}

static void finish_merged(struct cluster_fixture *fixture)
{
    fixture->rules = CHECK_MERGED;
    cluster_fixture_finish(fixture);
}

#define ALL_TEST(name) CLUSTER_TEST_ON(name, begin_all, cluster_fixture_finish)
#define MERGED_TEST(name) CLUSTER_TEST_ON(name, begin_all, finish_merged)
#define QUORUM_TEST(name) CLUSTER_TEST_ON(name, begin_quorum, cluster_fixture_finish)

static void isolate(struct cluster_fixture *fixture, size_t alone)
{
    process_group_note(fixture->group, "server %zu is cut off", alone + 1);
    for (size_t i = 0; i < SERVERS; i++)
        if (i != alone)
            netns_part(fixture->netns, alone, i);
}

static void heal(struct cluster_fixture *fixture)
{
    process_group_note(fixture->group, "all ways are open again");
    netns_heal(fixture->netns);
}

/* Somebody new in one part makes an account and a room there, and says something. */
static struct json_client *found_room(struct cluster_fixture *fixture, size_t place,
                                      const char *name)
{
    const struct json_client_options options = {
        .label = name, .addresses = {fixture->cluster.servers[place].clients}};
    cluster_enter(&fixture->cluster, place);
    struct json_client *client = json_client_start(fixture->group, &options);
    cluster_return(&fixture->cluster);
    (void)json_client_command(client, "/register %s secret", name);
    (void)json_client_command(client, "/join room-of-%s", name);
    json_client_say(client, "founded by %s", name);
    (void)json_client_expect(client, 0, "{s:s}", "type", "sent");
    return client;
}

/* What was founded in either part is there for everybody, and its founder is still logged in. */
static void assert_founded(struct cluster_fixture *fixture, struct json_client *client,
                           const char *name, struct json_client *other)
{
    (void)json_client_command(client, "/topic still here");
    (void)json_client_command(other, "/join room-of-%s", name);
    json_t *result = json_client_command(other, "/history 10");
    const json_t *messages = json_object_get(result, "history");
    char text[64];
    (void)snprintf(text, sizeof text, "founded by %s", name);
    assert_int_equal(json_array_size(messages), 1);
    if (strcmp(json_text(json_array_get(messages, 0), "text"), text) != 0)
        process_group_fail(fixture->group, "the room of %s has another message", name);
}

static bool is_told_of_new_name(struct json_client *client)
{
    return json_client_find(client, 0, "{s:s, s:s}", "type", "notice", "room", "@twin~2") != NULL;
}

/* Two who took one name: there is one room of theirs, with what both said, and one of them has a new
 * name and was told so. */
static void assert_both_twins(struct cluster_fixture *fixture)
{
    struct json_client *ann = visitors[0];
    struct json_client *const twins[] = {visitors[2], visitors[3]};
    (void)json_client_command(ann, "/join room-of-twin");
    json_t *result = json_client_command(ann, "/history 10");
    const json_t *messages = json_object_get(result, "history");
    unsigned named[2] = {0, 0};
    size_t i;
    json_t *message;
    json_array_foreach(messages, i, message)
    {
        named[0] += strcmp(json_text(message, "from"), "twin") == 0;
        named[1] += strcmp(json_text(message, "from"), "twin~2") == 0;
    }
    assert_int_equal(json_array_size(messages), 2);
    assert_int_equal(named[0], 1);
    assert_int_equal(named[1], 1);
    PROCESS_GROUP_WAIT(fixture->group,
                       is_told_of_new_name(twins[0]) != is_told_of_new_name(twins[1]));
    for (size_t j = 0; j < 2; j++)
        (void)json_client_command(twins[j], "/topic still here");
}

static void both_go_on(struct cluster_fixture *fixture, size_t alone)
{
    struct cluster *cluster = &fixture->cluster;
    struct pool *pool = &fixture->pool;
    isolate(fixture, alone);
    client_pool_each_goes_on(pool, A_LITTLE);
    cluster_wait_in_sync(cluster, 1u << alone);
    cluster_wait_in_sync(cluster, ALL_SERVERS & ~(1u << alone));
    client_pool_each_goes_on(pool, A_LITTLE);
    visitors[0] = found_room(fixture, alone, "ann");
    visitors[1] = found_room(fixture, (alone + 1) % SERVERS, "bob");
    visitors[2] = found_room(fixture, alone, "twin");
    visitors[3] = found_room(fixture, (alone + 2) % SERVERS, "twin");
    heal(fixture);
    cluster_wait_in_sync(cluster, ALL_SERVERS);
    client_pool_each_goes_on(pool, A_LITTLE);
    client_pool_settle(pool);
    cluster_assert_equal(cluster);
    assert_founded(fixture, visitors[0], "ann", visitors[1]);
    assert_founded(fixture, visitors[1], "bob", visitors[0]);
    assert_both_twins(fixture);
}

MERGED_TEST(test_partition__the_master_alone_goes_on)
{
    both_go_on(fixture, cluster_master(&fixture->cluster, ALL_SERVERS));
}

MERGED_TEST(test_partition__a_slave_alone_goes_on)
{
    both_go_on(fixture, (cluster_master(&fixture->cluster, ALL_SERVERS) + 1) % SERVERS);
}

/* What a client of one server only is told: UNAVAILABLE. */
static void assert_refuses(struct cluster_fixture *fixture, size_t place)
{
    struct raw_reply reply = {.status = STATUS_OK};
    Jackdaw__LoginRequest login = JACKDAW__LOGIN_REQUEST__INIT;
    uint8_t token[RAW_TOKEN_BYTES] = {9};
    login.name = (char *)"writer0";
    login.password = (char *)"secret";
    login.token = (ProtobufCBinaryData){.data = token, .len = sizeof token};
    cluster_enter(&fixture->cluster, place);
    struct sp_peer peer = node_open_peer(&fixture->cluster.servers[place]);
    cluster_return(&fixture->cluster);
    const struct raw_call call = {.method = "Login", .message = &login.base};
    assert_true(raw_chat(&peer, &call, &reply));
    assert_int_equal(reply.status, STATUS_UNAVAILABLE);
    assert_true(reply.retry_ms > 0);
    free(reply.payload);
    sp_close(&peer);
}

static bool has_stepped_down(struct cluster_fixture *fixture, size_t place)
{
    Jackdaw__StatusReply *said = cluster_ask(&fixture->cluster, place);
    bool down = said != NULL && strcmp(said->role, "master") != 0 && said->master == 0;
    jackdaw__status_reply__free_unpacked(said, NULL);
    return down;
}

static void minority_refuses(struct cluster_fixture *fixture, size_t alone)
{
    struct cluster *cluster = &fixture->cluster;
    struct pool *pool = &fixture->pool;
    struct json_client *writer = pool->writers[alone];
    size_t from = json_client_count(writer);
    isolate(fixture, alone);
    CLIENT_POOL_WAIT(pool, has_stepped_down(fixture, alone));
    assert_refuses(fixture, alone);
    /* The client reads the acknowledgements from before the partition first. */
    (void)json_client_expect(writer, from, "{s:s, s:b}", "type", "status", "connected", 0);
    size_t sent = client_pool_sent(pool, alone);
    for (size_t i = 0; i < SERVERS; i++) {
        size_t until = client_pool_sent(pool, i) + A_LITTLE;
        if (i != alone)
            CLIENT_POOL_WAIT(pool, client_pool_sent(pool, i) >= until);
    }
    assert_true(cluster_agrees(cluster, ALL_SERVERS & ~(1u << alone)));
    assert_int_equal(client_pool_sent(pool, alone), sent);
    assert_refuses(fixture, alone);
    heal(fixture);
}

QUORUM_TEST(test_quorum__the_master_alone_refuses)
{
    minority_refuses(fixture, cluster_master(&fixture->cluster, ALL_SERVERS));
}

QUORUM_TEST(test_quorum__a_slave_alone_refuses)
{
    minority_refuses(fixture, (cluster_master(&fixture->cluster, ALL_SERVERS) + 1) % SERVERS);
}

/* Ways are cut at random, all of them more often than not one at a time. */
QUORUM_TEST(test_quorum__ways_come_and_go)
{
    uint32_t chance = 20261;
    for (size_t i = 0; i < CUTS; i++) {
        chance = chance * 1664525u + 1013904223u;
        size_t from = (chance >> 16) % SERVERS;
        size_t to = (from + 1 + (chance >> 24) % 2) % SERVERS;
        process_group_note(fixture->group, "the way from %zu to %zu is cut", from + 1, to + 1);
        netns_cut(fixture->netns, from, to);
        size_t witness = SERVERS - from - to; /* reaches both: it goes on */
        size_t until = client_pool_sent(&fixture->pool, witness) + A_LITTLE;
        CLIENT_POOL_WAIT(&fixture->pool, client_pool_sent(&fixture->pool, witness) >= until);
        if (i % 2 == 1)
            heal(fixture);
    }
    heal(fixture);
}

/* A slave that does not hear its master asks the third, who does: nobody is elected. The slave is
 * struck off, and comes back when the way is open. */
static void one_link_is_cut(struct cluster_fixture *fixture, bool to_slave, bool to_master)
{
    struct cluster *cluster = &fixture->cluster;
    struct pool *pool = &fixture->pool;
    size_t master = cluster_master(cluster, ALL_SERVERS);
    size_t slave = (master + 1) % SERVERS;
    size_t third = (master + 2) % SERVERS;
    if (to_slave)
        netns_cut(fixture->netns, master, slave);
    if (to_master)
        netns_cut(fixture->netns, slave, master);
    cluster_wait_in_sync(cluster, 1u << master | 1u << third);
    size_t until = client_pool_sent(pool, master) + A_LITTLE;
    CLIENT_POOL_WAIT(pool, client_pool_sent(pool, master) >= until);
    heal(fixture);
    cluster_wait_in_sync(cluster, ALL_SERVERS);
    assert_int_equal(cluster_master(cluster, ALL_SERVERS), master);
}

ALL_TEST(test_link__master_to_slave_is_cut)
{
    one_link_is_cut(fixture, true, false);
}

ALL_TEST(test_link__slave_to_master_is_cut)
{
    one_link_is_cut(fixture, false, true);
}

ALL_TEST(test_link__both_ways_are_cut)
{
    one_link_is_cut(fixture, true, true);
}

/* A place more than servers, for clients that reach all of them. */
static void begin_outside(struct cluster_fixture *fixture)
{
    static const char *const options[] = {"--durability=quorum", NULL};
    cluster_fixture_use_netns(fixture, SERVERS + 1);
    cluster_start(&fixture->cluster, SERVERS, options);
}

static struct json_client *visit_from_outside(struct cluster_fixture *fixture, size_t server,
                                              const char *name)
{
    cluster_enter(&fixture->cluster, SERVERS);
    struct json_client *client =
        json_client_visit(fixture->group, fixture->cluster.servers[server].clients, name, "lobby");
    cluster_return(&fixture->cluster);
    return client;
}

/* A slave that hears no master refuses its readers, and they go on at another server. */
CLUSTER_TEST_ON(test_readers__leave_a_slave_that_is_cut_off, begin_outside, NULL)
{
    struct cluster *cluster = &fixture->cluster;
    size_t master = cluster_master(cluster, ALL_SERVERS);
    size_t slave = (master + 1) % SERVERS;
    struct json_client *ann = visit_from_outside(fixture, slave, "ann");
    struct json_client *bob = visit_from_outside(fixture, master, "bob");
    json_client_say(bob, "before");
    PROCESS_GROUP_WAIT(fixture->group, json_client_messages(ann) == 1);
    isolate(fixture, slave);
    json_client_say(bob, "after");
    PROCESS_GROUP_WAIT(fixture->group, json_client_messages(ann) == 2);
    json_client_say(ann, "here I am");
    PROCESS_GROUP_WAIT(fixture->group, json_client_messages(bob) == 3);
    heal(fixture);
    cluster_wait_in_sync(cluster, ALL_SERVERS);
    assert_int_equal(json_client_leave(ann), 0);
    assert_int_equal(json_client_leave(bob), 0);
    cluster_assert_equal(cluster);
    cluster_stop_all(cluster);
}

TEST_PREPARE()
{
    return netns_is_possible() ? 0 : NETNS_SKIPPED;
}
