/* SPDX-License-Identifier: MIT */
/* A server that is killed again and again under load, while nobody restarts a client: everything
 * that was acknowledged is there exactly once, in one order, for everybody. */
#include "harness/cluster_fixture.h"
#include "harness/raw_chat.h"

#include <signal.h>
#include <stdlib.h>

#define WRITERS 3
#define READERS 2
#define ROUNDS_MAX 16

static void begin(struct cluster_fixture *fixture)
{
    fixture->pool.is_unpaced = true;
    cluster_start(&fixture->cluster, 1, NULL);
    client_pool_open(&fixture->pool, &fixture->cluster, WRITERS, READERS);
}

static struct node *the_node(struct cluster_fixture *fixture)
{
    return &fixture->cluster.servers[0];
}

/* How often the moments are gone through: more for a campaign. */
static size_t rounds(void)
{
    const char *text = getenv("JACKDAW_TEST_ROUNDS");
    size_t count = text == NULL ? 1 : strtoul(text, NULL, 10);
    return count < 1 ? 1 : count > ROUNDS_MAX ? ROUNDS_MAX : count;
}

CLUSTER_TEST_ON(test_kill__again_and_again_under_load, begin, cluster_fixture_finish)
{
    /* How many more acknowledgements there are between a start and the next kill. */
    static const size_t moments[] = {1, 200, 1500, 2, 40, 1000, 1, 2500, 7, 700};
    size_t count = sizeof moments / sizeof moments[0];
    for (size_t i = 0; i < count * rounds(); i++) {
        client_pool_go_on(&fixture->pool, moments[i % count] + i / count);
        node_kill(the_node(fixture));
        node_start(the_node(fixture));
    }
}

/* Before it is ready, when it is just ready, and while clients come back. */
CLUSTER_TEST_ON(test_kill__while_it_starts, begin, cluster_fixture_finish)
{
    CLIENT_POOL_WAIT(&fixture->pool, client_pool_acknowledged(&fixture->pool) >= 100);
    for (unsigned i = 0; i < 12; i++) {
        node_kill(the_node(fixture));
        node_launch(the_node(fixture));
        /* A little later each time: whatever the clients print passes the time. */
        uint64_t until_ms = process_group_now_ms() + i;
        while (process_group_now_ms() < until_ms)
            process_group_turn(fixture->group, until_ms);
        if (i % 3 == 2)
            CLIENT_POOL_WAIT(&fixture->pool, node_is_ready(the_node(fixture)));
    }
    node_kill(the_node(fixture));
    node_start(the_node(fixture));
}

/* Killed by the kernel at a given system call of the thread that writes: between two writes of one
 * commit, before its sync, after it. */
CLUSTER_TEST_ON(test_kill__in_the_middle_of_a_commit, begin, cluster_fixture_finish)
{
    if (!node_can_inject(fixture->group))
        CLUSTER_FIXTURE_SKIP(fixture, "strace is not to be had here: skipped\n");
    static const char *const moments[] = {
        "pwrite64:signal=KILL:when=3",  "fdatasync:signal=KILL:when=2",
        "pwrite64:signal=KILL:when=20", "fdatasync:signal=KILL:when=9",
        "pwrite64:signal=KILL:when=41", "pwrite64:signal=KILL:when=42",
        "pwrite64:signal=KILL:when=43", "pwrite64:signal=KILL:when=44",
        "pwrite64:signal=KILL:when=45", "fdatasync:signal=KILL:when=30",
    };
    for (size_t i = 0; i < sizeof moments / sizeof moments[0]; i++) {
        node_kill(the_node(fixture));
        node_inject(the_node(fixture), moments[i]);
        node_launch(the_node(fixture));
        CLIENT_POOL_WAIT(&fixture->pool, process_ended(the_node(fixture)->process));
        assert_int_equal(process_wait(the_node(fixture)->process, PROCESS_GROUP_PATIENCE_MS),
                         128 + SIGKILL);
    }
    node_inject(the_node(fixture), NULL);
    node_start(the_node(fixture));
}

/* Asked to stop, it ends in order, whatever it is doing: the load does not hold it up. */
CLUSTER_TEST_ON(test_stop__under_load, begin, cluster_fixture_finish)
{
    static const size_t moments[] = {1, 500, 30, 1200};
    for (size_t i = 0; i < sizeof moments / sizeof moments[0]; i++) {
        client_pool_go_on(&fixture->pool, moments[i]);
        uint64_t before_ms = process_group_now_ms();
        assert_int_equal(node_stop(the_node(fixture)), 0);
        assert_true(process_group_now_ms() - before_ms <= NODE_STOP_MS);
        node_start(the_node(fixture));
    }
}

/* The number of the message that request `request` became, as it is told now. */
static uint64_t send_again(struct cluster_fixture *fixture, struct sp_peer *peer,
                           const uint8_t *token, uint64_t request, const char *text,
                           enum status expected)
{
    struct raw_reply reply;
    if (!raw_send(peer, token, request, "lobby", text, &reply))
        process_group_fail(fixture->group, "request %u was not answered", (unsigned)request);
    if (reply.status != expected)
        process_group_fail(fixture->group, "request %u got %s: %s", (unsigned)request,
                           status_name(reply.status), reply.text);
    uint64_t number = 0;
    if (reply.status == STATUS_OK) {
        Jackdaw__SendReply *sent =
            jackdaw__send_reply__unpack(NULL, reply.payload_size, reply.payload);
        assert_non_null(sent);
        number = sent->number;
        jackdaw__send_reply__free_unpacked(sent, NULL);
    }
    free(reply.payload);
    return number;
}

/* A retry gets the first answer, also from a server that was killed in between: as a number, and as
 * a refusal, whatever has become possible meanwhile. */
CLUSTER_TEST_ON(test_retry__gets_the_first_answer_after_a_kill, begin, NULL)
{
    enum { SENT = 300, WINDOW = 256 };
    const uint8_t token[RAW_TOKEN_BYTES] = {5};
    struct sp_peer peer = node_open_peer(the_node(fixture));
    assert_true(raw_login(&peer, "eve", token));
    /* Request 1 is refused: eve is not in the lobby yet. */
    (void)send_again(fixture, &peer, token, 1, "too early", STATUS_PERMISSION_DENIED);
    Jackdaw__JoinRoomRequest join = JACKDAW__JOIN_ROOM_REQUEST__INIT;
    join.request = 2;
    join.room = (char *)"lobby";
    struct raw_reply reply;
    assert_true(raw_chat(
        &peer, &(struct raw_call){.method = "JoinRoom", .message = &join.base, .token = token},
        &reply));
    assert_int_equal(reply.status, STATUS_OK);
    free(reply.payload);
    (void)send_again(fixture, &peer, token, 1, "too early", STATUS_PERMISSION_DENIED);
    uint64_t numbers[SENT + 1] = {0};
    for (unsigned i = 3; i <= SENT; i++)
        numbers[i] = send_again(fixture, &peer, token, i, "once", STATUS_OK);
    for (unsigned round = 0; round < 2; round++) {
        node_kill(the_node(fixture));
        sp_close(&peer);
        node_start(the_node(fixture));
        peer = node_open_peer(the_node(fixture));
        for (unsigned i = SENT; i > SENT - WINDOW; i--)
            assert_int_equal(send_again(fixture, &peer, token, i, "twice", STATUS_OK), numbers[i]);
        (void)send_again(fixture, &peer, token, SENT - WINDOW, "twice", STATUS_OUT_OF_RANGE);
        (void)send_again(fixture, &peer, token, 1, "twice", STATUS_OUT_OF_RANGE);
        (void)send_again(fixture, &peer, token, SENT + 2, "too early", STATUS_ABORTED);
    }
    assert_int_equal(send_again(fixture, &peer, token, SENT + 1, "last", STATUS_OK),
                     numbers[SENT] + 1);
    sp_close(&peer);
    PROCESS_GROUP_WAIT(fixture->group, json_client_messages(fixture->pool.readers[0]) == SENT - 1);
}
