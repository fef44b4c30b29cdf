/* SPDX-License-Identifier: MIT */
/* A message that ends whoever writes it: it ends one server once, and no other. */
#include "harness/cluster_fixture.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define POISON "arsenic"
#define ABORTED (128 + SIGABRT)
#define DEATHS_MAX 8

static bool is_watched[CLUSTER_SERVERS_MAX]; /* started, and its end not seen yet */
static unsigned deaths[CLUSTER_SERVERS_MAX];

static void add_poison(void *context)
{
    (void)context;
    (void)setenv("LD_PRELOAD", TEST_POISON, 1);
    (void)setenv("JACKDAW_TEST_POISON", POISON, 1);
}

static void add_to_rows(void *context)
{
    add_poison(context);
    (void)setenv("JACKDAW_TEST_POISON_ROWS", "1", 1);
}

static void add_loop(void *context)
{
    add_poison(context);
    (void)setenv("JACKDAW_TEST_POISON_LOOPS", "1", 1);
}

/* Starts again whoever has ended, as an operator's supervisor does; counts. Stands in conditions. */
static bool supervise(struct cluster_fixture *fixture)
{
    for (size_t i = 0; i < fixture->cluster.count; i++) {
        struct node *node = &fixture->cluster.servers[i];
        if (!is_watched[i] || !process_ended(node->process))
            continue;
        assert_int_equal(process_wait(node->process, 0), ABORTED);
        assert_true(++deaths[i] <= DEATHS_MAX);
        process_group_note(fixture->group, "server %zu has died %u times", i + 1, deaths[i]);
        cluster_launch(&fixture->cluster, i);
    }
    return true;
}

static void meanwhile(void *context)
{
    (void)supervise(context);
}

static struct json_client *visit(struct cluster_fixture *fixture, const char *name)
{
    struct json_client_options options = {.label = name, .account = name};
    for (size_t i = 0; i < fixture->cluster.count; i++)
        options.addresses[i] = fixture->cluster.servers[i].clients;
    struct json_client *client = json_client_start(fixture->group, &options);
    json_client_type(client, "/register %s secret", name);
    (void)json_client_expect(client, 0, "{s:s, s:s, s:s}", "type", "result", "command", "register",
                             "status", "OK");
    (void)json_client_command(client, "/join lobby");
    return client;
}

/* ann and bob are in the lobby of so many servers; the poison ends those of a group. */
static void begin(struct cluster_fixture *fixture, size_t servers, unsigned poisoned,
                  void (*prepare)(void *context))
{
    struct cluster *cluster = &fixture->cluster;
    if (TEST_POISON[0] == '\0')
        CLUSTER_FIXTURE_SKIP(fixture, "sanitizers must be loaded first: skipped\n");
    memset(is_watched, 0, sizeof is_watched);
    memset(deaths, 0, sizeof deaths);
    for (size_t i = 0; i < servers; i++) {
        (void)cluster_add(cluster, NULL);
        if ((poisoned & 1u << i) != 0)
            cluster->servers[i].prepare = prepare;
        cluster_run(cluster, i);
        is_watched[i] = true;
    }
    cluster->meanwhile = meanwhile;
    cluster->context = fixture;
    cluster_wait_in_sync(cluster, (1u << servers) - 1);
    assert_int_equal(cluster_master(cluster, (1u << servers) - 1), 0);
    fixture->ann = visit(fixture, "ann");
    fixture->bob = visit(fixture, "bob");
}

/* A line of bob's, which ann sees. */
static void bob_goes_on(struct cluster_fixture *fixture)
{
    char text[32];
    snprintf(text, sizeof text, "line %u", ++fixture->said);
    json_client_say(fixture->bob, "%s", text);
    PROCESS_GROUP_WAIT_MS(fixture->group, CLUSTER_PATIENCE_MS,
                          supervise(fixture) &&
                              json_client_find(fixture->ann, 0, "{s:s, s:s}", "type", "message",
                                               "text", text) != NULL);
}

static unsigned all_deaths(void)
{
    unsigned count = 0;
    for (size_t i = 0; i < SERVERS; i++)
        count += deaths[i];
    return count;
}

static void finish(struct cluster_fixture *fixture)
{
    cluster_wait_in_sync(&fixture->cluster, (1u << fixture->cluster.count) - 1);
    cluster_assert_equal(&fixture->cluster);
    fixture->cluster.meanwhile = NULL;
    cluster_stop_all(&fixture->cluster);
}

/* What ann is told of her message. */
static void ann_is_refused(struct cluster_fixture *fixture)
{
    PROCESS_GROUP_WAIT_MS(fixture->group, CLUSTER_PATIENCE_MS,
                          supervise(fixture) &&
                              json_client_find(fixture->ann, 0, "{s:s, s:s}", "type", "failed",
                                               "status", "INTERNAL") != NULL);
    const json_t *failed =
        json_client_find(fixture->ann, 0, "{s:s, s:s}", "type", "failed", "status", "INTERNAL");
    assert_non_null(strstr(json_text(failed, "error"), "ended a server process"));
}

/* How many requests the servers that run say that they refused. */
static uint64_t count_refused(struct cluster_fixture *fixture)
{
    uint64_t refused = 0;
    for (size_t i = 0; i < fixture->cluster.count; i++) {
        Jackdaw__StatusReply *reply = cluster_ask(&fixture->cluster, i);
        refused += reply == NULL ? 0 : reply->poison_requests;
        jackdaw__status_reply__free_unpacked(reply, NULL);
    }
    return refused;
}

CLUSTER_TEST_ON(test_poison__ends_one_of_three_servers_once, NULL, finish)
{
    begin(fixture, SERVERS, ALL_SERVERS, add_poison);
    bob_goes_on(fixture);
    json_client_say(fixture->ann, "some " POISON " for you");
    ann_is_refused(fixture);
    bob_goes_on(fixture);
    assert_int_equal(all_deaths(), 1);
    assert_int_equal(deaths[0], 1);
    assert_int_equal(count_refused(fixture), 1);
    json_client_say(fixture->ann, "never mind");
    (void)json_client_expect(fixture->bob, 0, "{s:s, s:s}", "type", "message", "text",
                             "never mind");
}

/* It comes back to the only server there is. */
CLUSTER_TEST_ON(test_poison__ends_a_single_server_once, NULL, finish)
{
    begin(fixture, 1, 1u, add_poison);
    json_client_say(fixture->ann, "some " POISON " for you");
    ann_is_refused(fixture);
    bob_goes_on(fixture);
    assert_int_equal(all_deaths(), 1);
    assert_true(cluster_logged(&fixture->cluster, 0, "poison_refused method=Send account=ann"));
}

/* The master writes it, and those that follow it cannot. */
CLUSTER_TEST_ON(test_poison__slaves_take_a_snapshot, NULL, finish)
{
    begin(fixture, SERVERS, ALL_SERVERS & ~1u, add_poison);
    json_client_say(fixture->ann, "some " POISON " for you");
    (void)json_client_expect(fixture->bob, 0, "{s:s, s:s}", "type", "message", "text",
                             "some " POISON " for you");
    bob_goes_on(fixture);
    cluster_wait_in_sync(&fixture->cluster, ALL_SERVERS);
    assert_int_equal(cluster_master(&fixture->cluster, ALL_SERVERS), 0);
    assert_int_equal(deaths[0], 0);
    for (size_t i = 1; i < SERVERS; i++) {
        assert_int_equal(deaths[i], 2);
        assert_true(cluster_logged(&fixture->cluster, i, "poison_entry"));
        assert_true(cluster_logged(&fixture->cluster, i, "snapshot_installed"));
    }
    bob_goes_on(fixture);
}

static void all_have_died_once(struct cluster_fixture *fixture, size_t servers)
{
    for (size_t i = 0; i < servers; i++) {
        PROCESS_GROUP_WAIT_MS(fixture->group, CLUSTER_PATIENCE_MS,
                              supervise(fixture) && deaths[i] == 1);
        PROCESS_GROUP_WAIT_MS(fixture->group, CLUSTER_PATIENCE_MS,
                              supervise(fixture) &&
                                  cluster_logged(&fixture->cluster, i, "text_left_out"));
    }
}

/* The log has the message when its row ends each server that writes it. */
/* All may have died before bob has her message. It keeps its number, but not its text. */
CLUSTER_TEST_ON(test_poison__in_rows_ends_each_of_three_servers_once, NULL, finish)
{
    begin(fixture, SERVERS, ALL_SERVERS, add_to_rows);
    json_client_say(fixture->ann, "some " POISON " for you");
    all_have_died_once(fixture, SERVERS);
    PROCESS_GROUP_WAIT_MS(fixture->group, CLUSTER_PATIENCE_MS,
                          supervise(fixture) &&
                              json_client_find(fixture->bob, 0, "{s:s, s:i}", "type", "message",
                                               "number", 1) != NULL);
    bob_goes_on(fixture);
    json_client_say(fixture->ann, "never mind");
    (void)json_client_expect(fixture->bob, 0, "{s:s, s:s, s:i}", "type", "message", "text",
                             "never mind", "number", 3);
    assert_int_equal(all_deaths(), SERVERS);
}

CLUSTER_TEST_ON(test_poison__in_rows_ends_a_single_server_once, NULL, finish)
{
    begin(fixture, 1, 1u, add_to_rows);
    json_client_say(fixture->ann, "some " POISON " for you");
    all_have_died_once(fixture, 1);
    bob_goes_on(fixture);
    assert_int_equal(all_deaths(), 1);
}

/* A server that computes for ever has not ended, but somebody ends it. */
CLUSTER_TEST_ON(test_poison__may_compute_for_ever, NULL, finish)
{
    begin(fixture, 1, 1u, add_loop);
    json_client_say(fixture->ann, "some " POISON " for you");
    Jackdaw__StatusReply *reply = NULL;
    PROCESS_GROUP_WAIT(fixture->group, (reply = cluster_ask(&fixture->cluster, 0)) == NULL);
    is_watched[0] = false;
    cluster_kill(&fixture->cluster, 1u);
    cluster_run(&fixture->cluster, 0);
    is_watched[0] = true;
    ann_is_refused(fixture);
    bob_goes_on(fixture);
    assert_int_equal(all_deaths(), 0);
}
