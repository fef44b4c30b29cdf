/* SPDX-License-Identifier: MIT */
/* The bound on what the log keeps for members that are away: a lone master fills it, refuses writes,
 * serves reads, and goes on when the others return or are removed. */
#include "harness/cluster_fixture.h"
#include "harness/raw_chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEXT_BYTES 4000
#define SENDS_MAX 1000 /* 4 MB, and the bound is 1 MiB */

static const char *const options[] = {"--log_keep=1000", "--replay_bytes=65536",
                                      "--log_keep_bytes=1048576", NULL};

/* A session of its own beside the pool's, at the lone master. */
struct filler {
    struct sp_peer peer;
    uint8_t token[RAW_TOKEN_BYTES];
    uint64_t request; /* the number that was refused */
    char text[TEXT_BYTES + 1];
};

static size_t begin(struct cluster_fixture *fixture)
{
    struct cluster *cluster = &fixture->cluster;
    cluster_fixture_begin(fixture, options, 2, 2);
    size_t master = cluster_master(cluster, 7u);
    cluster_kill(cluster, 7u & ~(1u << master));
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
    return master;
}

static void send(struct cluster_fixture *fixture, struct filler *filler, struct raw_reply *reply)
{
    if (!raw_send(&filler->peer, filler->token, filler->request, "@filler", filler->text, reply))
        process_group_fail(fixture->group, "the master does not answer");
    free(reply->payload);
}

static void fill(struct cluster_fixture *fixture, size_t master, struct filler *filler)
{
    struct raw_reply reply = {.status = STATUS_OK};
    *filler = (struct filler){.request = 0};
    memset(filler->text, 'x', TEXT_BYTES);
    (void)snprintf((char *)filler->token, sizeof filler->token, "token of the filler");
    filler->peer = node_open_peer(&fixture->cluster.servers[master]);
    assert_true(raw_login(&filler->peer, "filler", filler->token));
    while (reply.status == STATUS_OK && filler->request < SENDS_MAX) {
        filler->request++;
        send(fixture, filler, &reply);
        process_group_turn(fixture->group, 0);
    }
    assert_int_equal(reply.status, STATUS_RESOURCE_EXHAUSTED);
    assert_true(reply.retry_ms > 0);
    assert_non_null(strstr(reply.text, "start that server or remove it"));
    CLIENT_POOL_WAIT(&fixture->pool, cluster_logged(&fixture->cluster, master, "log_full"));
    assert_true(cluster_logged(&fixture->cluster, master, "log_half_full"));
}

static void assert_status(struct cluster_fixture *fixture, size_t master, bool is_full)
{
    Jackdaw__StatusReply *reply = cluster_ask(&fixture->cluster, master);
    assert_non_null(reply);
    assert_int_equal(reply->log_keep_bytes, 1048576);
    assert_int_equal(reply->log_bytes >= reply->log_keep_bytes, is_full);
    assert_int_equal(reply->log_member != 0, is_full);
    jackdaw__status_reply__free_unpacked(reply, NULL);
}

static enum status call(struct filler *filler, const char *method, const ProtobufCMessage *message)
{
    struct raw_reply reply;
    const struct raw_call raw = {.method = method, .message = message, .token = filler->token};
    assert_true(raw_chat(&filler->peer, &raw, &reply));
    free(reply.payload);
    return reply.status;
}

/* Reading goes on, and so do coming, leaving and deleting. */
static void assert_serves_reads(struct cluster_fixture *fixture, size_t master,
                                struct filler *filler)
{
    Jackdaw__HistoryRequest history = JACKDAW__HISTORY_REQUEST__INIT;
    history.room = (char *)"@filler";
    assert_int_equal(call(filler, "History", &history.base), STATUS_OK);
    struct filler visitor = {.request = 1};
    (void)snprintf((char *)visitor.token, sizeof visitor.token, "another token");
    visitor.peer = node_open_peer(&fixture->cluster.servers[master]);
    assert_true(raw_login(&visitor.peer, "filler", visitor.token));
    Jackdaw__LogoutRequest logout = JACKDAW__LOGOUT_REQUEST__INIT;
    logout.request = 1;
    assert_int_equal(call(&visitor, "Logout", &logout.base), STATUS_OK);
    sp_close(&visitor.peer);
}

/* What was refused is carried out now, once, and so is what the pool's clients kept. */
static void finish(struct cluster_fixture *fixture, size_t master, struct filler *filler)
{
    struct cluster *cluster = &fixture->cluster;
    struct raw_reply reply;
    CLIENT_POOL_WAIT(&fixture->pool, cluster_logged(cluster, master, "log_has_room"));
    send(fixture, filler, &reply);
    assert_int_equal(reply.status, STATUS_OK);
    sp_close(&filler->peer);
    client_pool_each_goes_on(&fixture->pool, A_LITTLE);
    assert_status(fixture, master, false);
    cluster_fixture_finish(fixture);
}

CLUSTER_TEST(test_bound__goes_on_when_members_return)
{
    struct filler filler;
    size_t master = begin(fixture);
    fill(fixture, master, &filler);
    assert_status(fixture, master, true);
    assert_serves_reads(fixture, master, &filler);
    CLIENT_POOL_WAIT(&fixture->pool, client_pool_is_stuck(&fixture->pool));
    for (size_t i = 0; i < SERVERS; i++)
        if (i != master)
            cluster_launch(&fixture->cluster, i);
    cluster_wait_in_sync(&fixture->cluster, 7u);
    finish(fixture, master, &filler);
}

static void remove_member(struct cluster_fixture *fixture, size_t i, size_t master)
{
    char id[16];
    char address[PROCESS_GROUP_PATH_SIZE];
    const char *words[] = {"--remove", id, address, NULL};
    const struct process_options admin = {
        .name = "operator", .program = TEST_SERVER, .arguments = words};
    (void)snprintf(id, sizeof id, "%zu", i + 1);
    (void)snprintf(address, sizeof address, "--master_address=%s",
                   fixture->cluster.servers[master].internal);
    struct process *process = process_start(fixture->group, &admin);
    process_end_input(process);
    PROCESS_GROUP_WAIT(fixture->group, process_ended(process));
    assert_int_equal(process_wait(process, PROCESS_GROUP_PATIENCE_MS), 0);
}

CLUSTER_TEST(test_bound__goes_on_when_members_are_removed)
{
    struct filler filler;
    size_t master = begin(fixture);
    fill(fixture, master, &filler);
    for (size_t i = 0; i < SERVERS; i++)
        if (i != master)
            remove_member(fixture, i, master);
    finish(fixture, master, &filler);
}
