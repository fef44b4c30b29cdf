/* SPDX-License-Identifier: MIT */
/* What an operator does with a cluster: ask how it is, let a server leave, strike off a dead one;
 * and what a server that does not belong is told. */
#include "harness/cluster_fixture.h"
#include "harness/raw_chat.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Runs jackdaw-admin, or `server` where the first word is one of its options, with up to three words
 * until it ends, while the client pool goes on; its exit status. */
static int run(struct cluster_fixture *fixture, struct process **process, const char *first,
               const char *second, const char *third)
{
    const char *words[] = {first, second, third, NULL};
    const struct process_options options = {.name = "operator",
                                            .program = *first == '-' ? TEST_SERVER : TEST_ADMIN,
                                            .arguments = words};
    *process = process_start(fixture->group, &options);
    process_end_input(*process);
    PROCESS_GROUP_WAIT(fixture->group, process_ended(*process));
    return process_wait(*process, PROCESS_GROUP_PATIENCE_MS);
}

static void assert_runs(struct cluster_fixture *fixture, const char *first, const char *second,
                        const char *third)
{
    struct process *process;
    int status = run(fixture, &process, first, second, third);
    if (status != 0)
        process_group_fail(fixture->group, "'%s %s' ended with status %d", first, second, status);
}

/* Status 1, and a sentence on stderr that names what is in the way. */
static void assert_says(struct cluster_fixture *fixture, struct process *process,
                        const char *naming)
{
    char *log = process_log(process);
    int status = process_wait(process, PROCESS_GROUP_PATIENCE_MS);
    if (status != 1 || strstr(log, naming) == NULL || strstr(log, "assert") != NULL)
        process_group_fail(fixture->group, "status %d, and no '%s' in: %s", status, naming, log);
    free(log);
}

static const char *all_lines(struct process *process, char *text, size_t size)
{
    size_t used = 0;
    text[0] = '\0';
    for (size_t i = 0; i < process_lines(process) && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s\n", process_line(process, i));
    return text;
}

static void assert_text_status(struct cluster_fixture *fixture, const char *address)
{
    char text[8192];
    struct process *process;
    assert_int_equal(run(fixture, &process, "--status", address, NULL), 0);
    (void)all_lines(process, text, sizeof text);
    bool tells = strstr(text, "master") != NULL && strstr(text, "in sync") != NULL;
    for (size_t i = 0; i < SERVERS; i++)
        tells = tells && strstr(text, fixture->cluster.servers[i].internal) != NULL &&
                strstr(text, fixture->cluster.servers[i].clients) != NULL;
    if (!tells)
        process_group_fail(fixture->group, "the status does not tell all: %s", text);
}

static void assert_json_status(struct cluster_fixture *fixture, size_t i, const char *address,
                               size_t master)
{
    static char text[65536];
    struct process *process;
    assert_int_equal(run(fixture, &process, "status", address, "--json"), 0);
    json_t *object = json_loads(all_lines(process, text, sizeof text), 0, NULL);
    if (!json_is_object(object))
        process_group_fail(fixture->group, "not a JSON object: %s", text);
    assert_int_equal(json_number(object, "id"), i + 1);
    assert_string_equal(json_text(object, "role"), i == master ? "master" : "slave");
    assert_int_equal(json_number(object, "master"), master + 1);
    assert_true(json_number(object, "epoch") > 0);
    assert_string_equal(json_text(object, "durability"), "all");
    const json_t *members = json_object_get(object, "members");
    assert_int_equal(json_array_size(members), SERVERS);
    size_t j;
    json_t *member;
    json_array_foreach(members, j, member)
    {
        size_t which = json_number(member, "id") - 1;
        assert_true(which < SERVERS);
        assert_string_equal(json_text(member, "client"), fixture->cluster.servers[which].clients);
        assert_string_equal(json_text(member, "internal"),
                            fixture->cluster.servers[which].internal);
        assert_true(json_is_true(json_object_get(member, "in_sync")));
    }
    json_decref(object);
}

static void begin(struct cluster_fixture *fixture)
{
    cluster_fixture_begin(fixture, NULL, 2, 1);
}

#define OPERATOR_TEST(name) CLUSTER_TEST_ON(name, begin, cluster_fixture_finish)

OPERATOR_TEST(test_status__of_any_server_at_either_address)
{
    struct cluster *cluster = &fixture->cluster;
    size_t master = cluster_master(cluster, ALL_SERVERS);
    for (size_t i = 0; i < SERVERS; i++) {
        assert_text_status(fixture, cluster->servers[i].clients);
        assert_json_status(fixture, i, cluster->servers[i].clients, master);
        assert_json_status(fixture, i, cluster->servers[i].internal, master);
    }
}

CLUSTER_TEST(test_status__of_a_server_that_is_not_there)
{
    struct process *process;
    cluster_start(&fixture->cluster, 1, NULL);
    const char *address = fixture->cluster.servers[0].clients;
    cluster_stop(&fixture->cluster, 0);
    (void)run(fixture, &process, "--status", address, NULL);
    assert_says(fixture, process, address);
    assert_int_equal(process_lines(process), 0);
}

/* The log of a server that was killed. */
OPERATOR_TEST(test_log__of_a_dead_server)
{
    char folder[PROCESS_GROUP_PATH_SIZE + 32];
    struct process *process;
    struct cluster *cluster = &fixture->cluster;
    size_t slave = (cluster_master(cluster, ALL_SERVERS) + 1) % SERVERS;
    (void)snprintf(folder, sizeof folder, "%s/%zu", process_group_path(fixture->group, "data"),
                   slave + 1);
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
    cluster_kill(cluster, 1u << slave);
    assert_int_equal(run(fixture, &process, "verify", folder, "--json"), 0);
    size_t lines = process_lines(process);
    assert_true(lines > 0); /* a torn end may come before the summary */
    json_t *summary = json_loads(process_line(process, lines - 1), 0, NULL);
    assert_string_equal(json_text(summary, "type"), "log");
    assert_true(json_number(summary, "entries") > 0);
    assert_int_equal(json_number(summary, "damages"), 0);
    json_decref(summary);
    assert_int_equal(run(fixture, &process, "dump", folder, NULL), 0);
    size_t messages = 0;
    for (size_t i = 0; i < process_lines(process); i++)
        messages += strstr(process_line(process, i), " kind=message_sent ") != NULL;
    if (messages < A_LITTLE)
        process_group_fail(fixture->group, "the log has %zu messages", messages);
}

static bool has_left(struct cluster_fixture *fixture, size_t asked, size_t i)
{
    Jackdaw__StatusReply *said = cluster_ask(&fixture->cluster, asked);
    const Jackdaw__StatusReply__Member *member =
        said == NULL ? NULL : cluster_member(said, (uint32_t)i + 1);
    bool left = said != NULL && (member == NULL || member->left);
    jackdaw__status_reply__free_unpacked(said, NULL);
    return left;
}

/* Who has left is told so when it comes again with the same arguments. */
static void assert_stays_away(struct cluster_fixture *fixture, size_t i)
{
    cluster_launch(&fixture->cluster, i);
    struct process *process = fixture->cluster.servers[i].process;
    CLIENT_POOL_WAIT(&fixture->pool, process_ended(process));
    assert_says(fixture, process, "left");
}

static void leaves(struct cluster_fixture *fixture, size_t i)
{
    struct cluster *cluster = &fixture->cluster;
    unsigned others = cluster_running(cluster) & ~(1u << i);
    assert_runs(fixture, i % 2 == 0 ? "leave" : "--leave", cluster->servers[i].internal, NULL);
    CLIENT_POOL_WAIT(&fixture->pool, process_ended(cluster->servers[i].process));
    assert_int_equal(process_wait(cluster->servers[i].process, PROCESS_GROUP_PATIENCE_MS), 0);
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
    size_t master = cluster_master(cluster, others);
    CLIENT_POOL_WAIT(&fixture->pool, has_left(fixture, master, i));
    assert_stays_away(fixture, i);
}

/* First a slave, then the master: the last one goes on. */
OPERATOR_TEST(test_leave__for_good)
{
    struct cluster *cluster = &fixture->cluster;
    leaves(fixture, (cluster_master(cluster, ALL_SERVERS) + 1) % SERVERS);
    leaves(fixture, cluster_master(cluster, cluster_running(cluster)));
}

OPERATOR_TEST(test_remove__a_dead_server)
{
    struct cluster *cluster = &fixture->cluster;
    size_t master = cluster_master(cluster, ALL_SERVERS);
    size_t dead = (master + 1) % SERVERS;
    size_t third = (master + 2) % SERVERS;
    char id[16];
    char seed[PROCESS_GROUP_PATH_SIZE];
    (void)snprintf(id, sizeof id, "%zu", dead + 1);
    (void)snprintf(seed, sizeof seed, "--master_address=%s", cluster->servers[third].internal);
    cluster_kill(cluster, 1u << dead);
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
    assert_runs(fixture, "--remove", id, seed);
    CLIENT_POOL_WAIT(&fixture->pool, has_left(fixture, third, dead));
    assert_stays_away(fixture, dead);
}

/* A server that is refused: it ends, with a sentence, and the others are none the worse. */
static void refused(struct cluster_fixture *fixture, struct node *stranger, const char *naming)
{
    struct cluster *cluster = &fixture->cluster;
    char seed[PROCESS_GROUP_PATH_SIZE];
    size_t master = cluster_master(cluster, cluster_running(cluster));
    (void)snprintf(seed, sizeof seed, "--master_address=%s", cluster->servers[master].internal);
    stranger->group = fixture->group;
    stranger->role = "slave";
    stranger->options[0] = seed;
    node_launch(stranger);
    CLIENT_POOL_WAIT(&fixture->pool, process_ended(stranger->process));
    assert_int_equal(process_lines(stranger->process), 0); /* it was never ready */
    assert_says(fixture, stranger->process, naming);
    assert_int_equal(cluster_master(cluster, cluster_running(cluster)), master);
}

OPERATOR_TEST(test_refused__id_of_another)
{
    for (unsigned id = 1; id <= SERVERS; id++) {
        char folder[16];
        (void)snprintf(folder, sizeof folder, "strange%u", id);
        struct node stranger = {.id = id, .data_dir = process_group_path(fixture->group, folder)};
        refused(fixture, &stranger, "id");
    }
    cluster_wait_in_sync(&fixture->cluster, ALL_SERVERS);
}

OPERATOR_TEST(test_refused__address_of_another)
{
    struct cluster *cluster = &fixture->cluster;
    size_t dead = (cluster_master(cluster, ALL_SERVERS) + 1) % SERVERS;
    cluster_kill(cluster, 1u << dead);
    struct node stranger = {.id = 9};
    (void)snprintf(stranger.internal, sizeof stranger.internal, "%s",
                   cluster->servers[dead].internal);
    refused(fixture, &stranger, "address");
    cluster_run(cluster, dead);
    cluster_wait_in_sync(cluster, ALL_SERVERS);
}

OPERATOR_TEST(test_refused__data_of_another_cluster)
{
    struct cluster *cluster = &fixture->cluster;
    size_t master = cluster_master(cluster, ALL_SERVERS);
    struct node stranger = {.group = fixture->group, .id = 9};
    node_start(&stranger);
    struct json_client *zoe =
        json_client_visit(fixture->group, stranger.clients, "zoe", "elsewhere");
    assert_int_equal(node_stop(&stranger), 0);
    char seed[PROCESS_GROUP_PATH_SIZE];
    (void)snprintf(seed, sizeof seed, "--master_address=%s", cluster->servers[master].internal);
    stranger.role = "slave";
    stranger.options[0] = seed;
    node_start(&stranger); /* it goes on by itself, and both sides say so */
    CLIENT_POOL_WAIT(&fixture->pool, process_logged(stranger.process, "other_cluster"));
    CLIENT_POOL_WAIT(&fixture->pool, cluster_logged(cluster, master, "other_cluster"));
    json_client_say(zoe, "still here");
    (void)json_client_expect(zoe, 0, "{s:s, s:s}", "type", "sent", "room", "elsewhere");
    assert_int_equal(json_client_leave(zoe), 0);
    assert_int_equal(node_stop(&stranger), 0);
    assert_int_equal(cluster_master(cluster, ALL_SERVERS), master);
}

/* What eve is told who knows this server only, and does not go anywhere else. */
static enum status eve_logs_in(struct cluster_fixture *fixture, size_t i, char *text, size_t size)
{
    struct raw_reply reply = {.status = STATUS_OK};
    Jackdaw__RegisterRequest account = JACKDAW__REGISTER_REQUEST__INIT;
    uint8_t nonce[16] = {3};
    account.name = (char *)"eve";
    account.password = (char *)"secret";
    account.nonce = (ProtobufCBinaryData){.data = nonce, .len = sizeof nonce};
    struct sp_peer peer = node_open_peer(&fixture->cluster.servers[i]);
    const struct raw_call call = {.method = "RegisterAccount", .message = &account.base};
    assert_true(raw_chat(&peer, &call, &reply));
    (void)snprintf(text, size, "%s", reply.text);
    free(reply.payload);
    sp_close(&peer);
    return reply.status;
}

CLUSTER_TEST(test_forward__without_it_a_slave_refuses)
{
    static const char *const options[] = {"--forward=no", NULL};
    char text[256];
    cluster_start(&fixture->cluster, SERVERS, options);
    size_t master = cluster_master(&fixture->cluster, ALL_SERVERS);
    for (size_t i = 1; i < SERVERS; i++)
        assert_int_equal(eve_logs_in(fixture, (master + i) % SERVERS, text, sizeof text),
                         STATUS_UNAVAILABLE);
    assert_int_equal(eve_logs_in(fixture, master, text, sizeof text), STATUS_OK);
    cluster_stop_all(&fixture->cluster);
}

CLUSTER_TEST(test_forward__a_slave_carries_requests)
{
    static const uint8_t token[RAW_TOKEN_BYTES] = {7};
    cluster_start(&fixture->cluster, SERVERS, NULL);
    client_pool_open(&fixture->pool, &fixture->cluster, 2, 1);
    size_t slave = (cluster_master(&fixture->cluster, ALL_SERVERS) + 1) % SERVERS;
    struct sp_peer peer = node_open_peer(&fixture->cluster.servers[slave]);
    assert_true(raw_login(&peer, "eve", token));
    for (uint64_t request = 1; request <= A_LITTLE; request++) {
        struct raw_reply reply;
        assert_true(raw_send(&peer, token, request, "@writer0", "through a slave", &reply));
        if (reply.status != STATUS_OK)
            process_group_fail(fixture->group, "eve got %s: %s", status_name(reply.status),
                               reply.text);
        free(reply.payload);
    }
    sp_close(&peer);
    PROCESS_GROUP_WAIT(fixture->group,
                       json_client_find(fixture->pool.writers[0], 0, "{s:s, s:s, s:i}", "type",
                                        "message", "from", "eve", "number", A_LITTLE) != NULL);
}

CLUSTER_TEST(test_forward__a_client_that_reaches_one_slave_only)
{
    enum { PLACES = SERVERS + 1, OUTSIDE = SERVERS };
    struct cluster *cluster = &fixture->cluster;
    if (!netns_is_possible())
        CLUSTER_FIXTURE_SKIP(fixture, "skipped\n");
    cluster_fixture_use_netns(fixture, PLACES);
    struct netns *netns = fixture->netns;
    cluster_start(cluster, SERVERS, NULL);
    size_t slave = (cluster_master(cluster, ALL_SERVERS) + 1) % SERVERS;
    for (size_t i = 0; i < SERVERS; i++)
        if (i != slave)
            netns_part(netns, OUTSIDE, i);
    struct json_client *clients[2];
    for (size_t i = 0; i < 2; i++) {
        netns_enter(netns, OUTSIDE);
        clients[i] = json_client_visit(fixture->group, cluster->servers[slave].clients,
                                       i == 0 ? "ann" : "bob", "lobby");
        netns_return(netns);
    }
    for (unsigned i = 0; i < A_LITTLE; i++)
        json_client_say(clients[0], "line %u", i);
    PROCESS_GROUP_WAIT(fixture->group, json_client_sent(clients[0]) == A_LITTLE &&
                                           json_client_messages(clients[1]) == A_LITTLE);
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(json_client_leave(clients[i]), 0);
    cluster_stop_all(cluster);
}
