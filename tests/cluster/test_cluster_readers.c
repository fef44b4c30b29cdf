/* SPDX-License-Identifier: MIT */
/* Readers on every server of a cluster: what a slave answers by itself, also when its master has stopped. */
#include "base/clock.h"
#include "harness/cluster_fixture.h"
#include "harness/raw_chat.h"

#include <stdlib.h>

#define PING_TIMEOUT_MS 3000u

static const uint8_t token[RAW_TOKEN_BYTES] = {7};

static struct log_position seen; /* by the session of the token */

static enum status ask(struct sp_peer *peer, const char *method, const ProtobufCMessage *message)
{
    struct raw_reply reply;
    const struct raw_call call = {
        .method = method, .message = message, .token = token, .position = seen};
    assert_true(raw_chat(peer, &call, &reply));
    free(reply.payload);
    if (log_position_compare(reply.position, seen) > 0)
        seen = reply.position;
    return reply.status;
}

static enum status ask_history(struct sp_peer *peer)
{
    Jackdaw__HistoryRequest request = JACKDAW__HISTORY_REQUEST__INIT;
    request.room = (char *)"lobby";
    return ask(peer, "History", &request.base);
}

static enum status ask_lists(struct sp_peer *peer)
{
    Jackdaw__ListRoomsRequest rooms = JACKDAW__LIST_ROOMS_REQUEST__INIT;
    Jackdaw__ListMembersRequest members = JACKDAW__LIST_MEMBERS_REQUEST__INIT;
    members.room = (char *)"lobby";
    enum status status = ask(peer, "ListRooms", &rooms.base);
    return status == STATUS_OK ? ask(peer, "ListMembers", &members.base) : status;
}

/* A long poll from the start of the account: there is always something to tell. */
static enum status ask_receive(struct sp_peer *peer)
{
    Jackdaw__ReceiveRequest request = JACKDAW__RECEIVE_REQUEST__INIT;
    return ask(peer, "Receive", &request.base);
}

struct counters {
    uint64_t reads;
    uint64_t forwarded;
};

static struct counters counters_of(struct cluster *cluster, size_t server)
{
    Jackdaw__StatusReply *reply = cluster_ask(cluster, server);
    assert_non_null(reply);
    struct counters counters = {.reads = reply->reads, .forwarded = reply->forwarded};
    jackdaw__status_reply__free_unpacked(reply, NULL);
    return counters;
}

/* Eve, at a slave that answers by itself. */
static struct sp_peer enter(struct cluster_fixture *fixture, size_t slave)
{
    struct cluster *cluster = &fixture->cluster;
    struct sp_peer peer = node_open_peer(&cluster->servers[slave]);
    assert_true(raw_login(&peer, "eve", token));
    Jackdaw__JoinRoomRequest join = JACKDAW__JOIN_ROOM_REQUEST__INIT;
    join.request = 1;
    join.room = (char *)"lobby";
    assert_int_equal(ask(&peer, "JoinRoom", &join.base), STATUS_OK);
    uint64_t before = counters_of(cluster, slave).reads;
    PROCESS_GROUP_WAIT(fixture->group, ask_history(&peer) == STATUS_OK &&
                                           counters_of(cluster, slave).reads > before);
    return peer;
}

CLUSTER_TEST(test_readers__the_master_has_stopped)
{
    static const char *const options[] = {"--ping_timeout=3000", "--ack_timeout=60000", NULL};
    struct cluster *cluster = &fixture->cluster;
    cluster_start(cluster, SERVERS, options);
    size_t master = cluster_master(cluster, ALL_SERVERS);
    size_t slave = (master + 1) % SERVERS;
    struct sp_peer peer = enter(fixture, slave);
    struct counters before = counters_of(cluster, slave);
    cluster_sleep(cluster, master);
    uint64_t until_ms = clock_monotonic_ms() + PING_TIMEOUT_MS / 2;
    uint64_t asked = 0;
    for (; clock_monotonic_ms() < until_ms; asked += 4) {
        assert_int_equal(ask_history(&peer), STATUS_OK);
        assert_int_equal(ask_lists(&peer), STATUS_OK);
        assert_int_equal(ask_receive(&peer), STATUS_OK);
    }
    assert_true(asked > 0);
    struct counters after = counters_of(cluster, slave);
    assert_int_equal(after.reads - before.reads, asked);
    assert_int_equal(after.forwarded, before.forwarded);
    sp_close(&peer);
    cluster_awake(cluster, master);
    cluster_wait_in_sync(cluster, ALL_SERVERS);
    cluster_stop_all(cluster);
}

/* One client on each server: each receives what any of them says, and goes on when the master is killed. */
CLUSTER_TEST(test_readers__a_client_on_each_server)
{
    static const char *const names[SERVERS] = {"ann", "bob", "cat"};
    struct cluster *cluster = &fixture->cluster;
    struct json_client *clients[SERVERS];
    cluster_start(cluster, SERVERS, NULL);
    for (size_t i = 0; i < SERVERS; i++)
        clients[i] =
            json_client_visit(fixture->group, cluster->servers[i].clients, names[i], "lobby");
    for (unsigned i = 0; i < A_LITTLE; i++)
        json_client_say(clients[i % SERVERS], "line %u", i);
    for (size_t i = 0; i < SERVERS; i++)
        PROCESS_GROUP_WAIT(fixture->group, json_client_messages(clients[i]) == A_LITTLE);
    size_t killed = cluster_master(cluster, ALL_SERVERS);
    cluster_kill(cluster, 1u << killed);
    for (unsigned i = 0; i < A_LITTLE; i++)
        json_client_say(clients[i % SERVERS], "later line %u", i);
    for (size_t i = 0; i < SERVERS; i++)
        PROCESS_GROUP_WAIT(fixture->group, json_client_messages(clients[i]) == 2 * A_LITTLE);
    cluster_run(cluster, killed);
    cluster_wait_in_sync(cluster, ALL_SERVERS);
    for (size_t i = 0; i < SERVERS; i++)
        assert_int_equal(json_client_leave(clients[i]), 0);
    cluster_assert_equal(cluster);
    cluster_stop_all(cluster);
}
