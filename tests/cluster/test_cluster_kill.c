/* SPDX-License-Identifier: MIT */
/* A server that is killed again and again under load, while nobody restarts a client: everything
 * that was acknowledged is there exactly once, in one order, for everybody. */
#include "harness/json_client.h"
#include "harness/node.h"
#include "harness/raw_chat.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define WRITERS 3
#define READERS 2
#define LINES_EACH 50000 /* of each writer, unless it is told to stop before */
#define PRIVATE_EVERY 16 /* one line in so many goes to the next writer alone */
#define AHEAD_LINES 800  /* typed and not acknowledged: several times what a client has under way */
#define CATCH_UP_MS 30000
#define QUIET_MS 8000 /* nothing comes any more */
#define HISTORY_PAGE 200
#define ROUNDS_MAX 16

struct fixture {
    struct process_group *group;
    struct node node;
    struct json_client *writers[WRITERS];
    struct json_client *readers[READERS];
    struct json_client *late; /* comes when all is over */
    unsigned typed[WRITERS];
    unsigned lines_each;
};

static int setup(void **state)
{
    struct fixture *fixture = calloc(1, sizeof *fixture);
    fixture->group = process_group_open();
    fixture->node = (struct node){.group = fixture->group, .id = 1};
    fixture->lines_each = LINES_EACH;
    node_start(&fixture->node);
    for (size_t i = 0; i < WRITERS + READERS; i++) {
        char label[16];
        bool writes = i < WRITERS;
        (void)snprintf(label, sizeof label, "%s%zu", writes ? "writer" : "reader",
                       writes ? i : i - WRITERS);
        struct json_client *client =
            json_client_visit(fixture->group, fixture->node.clients, label, "lobby");
        if (writes)
            fixture->writers[i] = client;
        else
            fixture->readers[i - WRITERS] = client;
    }
    *state = fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < WRITERS; i++)
        json_client_free(fixture->writers[i]);
    for (size_t i = 0; i < READERS; i++)
        json_client_free(fixture->readers[i]);
    json_client_free(fixture->late);
    process_group_close(fixture->group);
    free(fixture);
    return 0;
}

/* ---- load ---- */

static bool is_private(unsigned line)
{
    return line % PRIVATE_EVERY == PRIVATE_EVERY - 1;
}

static void type_next(struct fixture *fixture, size_t i)
{
    struct json_client *writer = fixture->writers[i];
    unsigned line = fixture->typed[i]++;
    if (is_private(line)) {
        char name[16];
        (void)snprintf(name, sizeof name, "writer%zu", (i + 1) % WRITERS);
        json_client_tell(writer, name, "private %u", line);
    } else {
        json_client_say(writer, "line %u", line);
    }
}

/* The writers type no more than any of them has by now, and a little. */
static void stop_typing(struct fixture *fixture)
{
    unsigned most = 0;
    for (size_t i = 0; i < WRITERS; i++)
        most = fixture->typed[i] > most ? fixture->typed[i] : most;
    assert_true(most < fixture->lines_each); /* there was load all the time */
    fixture->lines_each = most + PRIVATE_EVERY;
}

/* Keeps writers busy until they have typed all their lines. True: it stands in conditions. */
static bool feed(struct fixture *fixture)
{
    for (size_t i = 0; i < WRITERS; i++)
        while (fixture->typed[i] < fixture->lines_each &&
               fixture->typed[i] < json_client_sent(fixture->writers[i]) + AHEAD_LINES)
            type_next(fixture, i);
    return true;
}

static size_t acknowledged(const struct fixture *fixture)
{
    size_t count = 0;
    for (size_t i = 0; i < WRITERS; i++)
        count += json_client_sent(fixture->writers[i]);
    return count;
}

static bool is_ready(const struct node *node)
{
    return process_lines(node->process) > 0;
}

/* ---- the end ---- */

/* Messages in the lobby, if each was sent exactly once. */
static unsigned public_lines(const struct fixture *fixture)
{
    unsigned count = 0;
    for (unsigned line = 0; line < fixture->lines_each; line++)
        count += !is_private(line);
    return count * WRITERS;
}

static bool all_arrived(const struct fixture *fixture)
{
    size_t expected = public_lines(fixture);
    for (size_t i = 0; i < READERS; i++)
        if (json_client_messages(fixture->readers[i]) < expected)
            return false;
    size_t private = fixture->lines_each - expected / WRITERS;
    for (size_t i = 0; i < WRITERS; i++) /* those it wrote, and those it got */
        if (json_client_messages(fixture->writers[i]) < expected + 2 * private)
            return false;
    return true;
}

static void finish_load(struct fixture *fixture)
{
    PROCESS_GROUP_SETTLE(fixture->group, QUIET_MS,
                         feed(fixture) &&
                             acknowledged(fixture) == (size_t)WRITERS * fixture->lines_each &&
                             all_arrived(fixture));
}

static void judge(struct fixture *fixture)
{
    struct checker *checker = checker_new();
    for (size_t i = 0; i < WRITERS; i++) {
        struct checker_client *writer = json_client_report(fixture->writers[i], checker);
        char next[16];
        char last[16];
        (void)snprintf(next, sizeof next, "@writer%zu", (i + 1) % WRITERS);
        (void)snprintf(last, sizeof last, "@writer%zu", (i + WRITERS - 1) % WRITERS);
        checker_was_in(writer, "lobby", 1, UINT64_MAX);
        checker_was_in(writer, next, 1, UINT64_MAX);
        checker_was_in(writer, last, 1, UINT64_MAX);
    }
    for (size_t i = 0; i < READERS; i++)
        checker_was_in(json_client_report(fixture->readers[i], checker), "lobby", 1, UINT64_MAX);
    struct checker_client *late = checker_add(checker, "late", "the history");
    checker_was_in(late, "lobby", 1, UINT64_MAX);
    json_client_report_history(fixture->late, HISTORY_PAGE, late);
    checker_verify(checker, CHECK_ALL);
    assert_int_equal(checker_acknowledged(checker), (size_t)WRITERS * fixture->lines_each);
    assert_true(all_arrived(fixture));
    checker_free(checker);
}

static void assert_all_is_well(struct fixture *fixture)
{
    finish_load(fixture);
    fixture->late = json_client_visit(fixture->group, fixture->node.clients, "late", "lobby");
    judge(fixture);
    for (size_t i = 0; i < WRITERS; i++) {
        assert_int_equal(json_client_failed(fixture->writers[i]), 0);
        assert_int_equal(json_client_leave(fixture->writers[i]), 0);
        const json_t *stats = json_client_expect(fixture->writers[i], 0, "{s:s}", "type", "stats");
        assert_int_equal(json_number(stats, "sent"), fixture->lines_each);
        assert_int_equal(json_number(stats, "failed"), 0);
    }
    for (size_t i = 0; i < READERS; i++)
        assert_int_equal(json_client_leave(fixture->readers[i]), 0);
    assert_int_equal(json_client_leave(fixture->late), 0);
    assert_int_equal(node_stop(&fixture->node), 0);
    process_group_pass(fixture->group);
}

/* ---- the tests ---- */

/* How often the moments are gone through: more for a campaign. */
static size_t rounds(void)
{
    const char *text = getenv("JACKDAW_TEST_ROUNDS");
    size_t count = text == NULL ? 1 : strtoul(text, NULL, 10);
    return count < 1 ? 1 : count > ROUNDS_MAX ? ROUNDS_MAX : count;
}

static void test_kill__again_and_again_under_load(void **state)
{
    struct fixture *fixture = *state;
    /* How many more acknowledgements there are between a start and the next kill. */
    static const size_t moments[] = {1, 200, 1500, 2, 40, 1000, 1, 2500, 7, 700};
    size_t count = sizeof moments / sizeof moments[0];
    for (size_t i = 0; i < count * rounds(); i++) {
        size_t until = acknowledged(fixture) + moments[i % count] + i / count;
        PROCESS_GROUP_WAIT_MS(fixture->group, CATCH_UP_MS,
                              feed(fixture) && acknowledged(fixture) >= until);
        node_kill(&fixture->node);
        node_start(&fixture->node);
    }
    stop_typing(fixture);
    assert_all_is_well(fixture);
}

/* Before it is ready, when it is just ready, and while clients come back. */
static void test_kill__while_it_starts(void **state)
{
    struct fixture *fixture = *state;
    PROCESS_GROUP_WAIT(fixture->group, feed(fixture) && acknowledged(fixture) >= 100);
    for (unsigned i = 0; i < 12; i++) {
        node_kill(&fixture->node);
        node_launch(&fixture->node);
        /* A little later each time: whatever the clients print passes the time. */
        uint64_t until_ms = process_group_now_ms() + i;
        while (process_group_now_ms() < until_ms)
            process_group_turn(fixture->group, until_ms);
        if (i % 3 == 2)
            PROCESS_GROUP_WAIT(fixture->group, feed(fixture) && is_ready(&fixture->node));
    }
    node_kill(&fixture->node);
    node_start(&fixture->node);
    stop_typing(fixture);
    assert_all_is_well(fixture);
}

/* Killed by the kernel at a given system call of the thread that writes: between two writes of one
 * commit, before its sync, after it. */
static void test_kill__in_the_middle_of_a_commit(void **state)
{
    struct fixture *fixture = *state;
    if (!node_can_inject(fixture->group)) {
        print_message("strace is not to be had here: skipped\n");
        process_group_pass(fixture->group);
        skip();
    }
    static const char *const moments[] = {
        "pwrite64:signal=KILL:when=3",  "fdatasync:signal=KILL:when=2",
        "pwrite64:signal=KILL:when=20", "fdatasync:signal=KILL:when=9",
        "pwrite64:signal=KILL:when=41", "pwrite64:signal=KILL:when=42",
        "pwrite64:signal=KILL:when=43", "pwrite64:signal=KILL:when=44",
        "pwrite64:signal=KILL:when=45", "fdatasync:signal=KILL:when=30",
    };
    for (size_t i = 0; i < sizeof moments / sizeof moments[0]; i++) {
        node_kill(&fixture->node);
        node_inject(&fixture->node, moments[i]);
        node_launch(&fixture->node);
        PROCESS_GROUP_WAIT_MS(fixture->group, CATCH_UP_MS,
                              feed(fixture) && process_ended(fixture->node.process));
        assert_int_equal(process_wait(fixture->node.process, PROCESS_GROUP_PATIENCE_MS),
                         128 + SIGKILL);
    }
    node_inject(&fixture->node, NULL);
    node_start(&fixture->node);
    stop_typing(fixture);
    assert_all_is_well(fixture);
}

/* Asked to stop, it ends in order, whatever it is doing: the load does not hold it up. */
static void test_stop__under_load(void **state)
{
    struct fixture *fixture = *state;
    static const size_t moments[] = {1, 500, 30, 1200};
    for (size_t i = 0; i < sizeof moments / sizeof moments[0]; i++) {
        size_t until = acknowledged(fixture) + moments[i];
        PROCESS_GROUP_WAIT_MS(fixture->group, CATCH_UP_MS,
                              feed(fixture) && acknowledged(fixture) >= until);
        uint64_t before_ms = process_group_now_ms();
        assert_int_equal(node_stop(&fixture->node), 0);
        assert_true(process_group_now_ms() - before_ms <= NODE_STOP_MS);
        node_start(&fixture->node);
    }
    stop_typing(fixture);
    assert_all_is_well(fixture);
}

/* The number of the message that request `request` became, as it is told now. */
static uint64_t send_again(struct fixture *fixture, struct sp_peer *peer, const uint8_t *token,
                           uint64_t request, const char *text, enum status expected)
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
static void test_retry__gets_the_first_answer_after_a_kill(void **state)
{
    struct fixture *fixture = *state;
    enum { SENT = 300, WINDOW = 256 };
    const uint8_t token[RAW_TOKEN_BYTES] = {5};
    struct sp_peer peer;
    struct address address = node_address(&fixture->node);
    assert_true(sp_open(&peer, &address));
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
        node_kill(&fixture->node);
        sp_close(&peer);
        node_start(&fixture->node);
        assert_true(sp_open(&peer, &address));
        for (unsigned i = SENT; i > SENT - WINDOW; i--)
            assert_int_equal(send_again(fixture, &peer, token, i, "twice", STATUS_OK), numbers[i]);
        (void)send_again(fixture, &peer, token, SENT - WINDOW, "twice", STATUS_OUT_OF_RANGE);
        (void)send_again(fixture, &peer, token, 1, "twice", STATUS_OUT_OF_RANGE);
        (void)send_again(fixture, &peer, token, SENT + 2, "too early", STATUS_ABORTED);
    }
    assert_int_equal(send_again(fixture, &peer, token, SENT + 1, "last", STATUS_OK),
                     numbers[SENT] + 1);
    sp_close(&peer);
    PROCESS_GROUP_WAIT(fixture->group, json_client_messages(fixture->readers[0]) == SENT - 1);
    process_group_pass(fixture->group);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_kill__again_and_again_under_load),          TEST(test_kill__while_it_starts),
        TEST(test_kill__in_the_middle_of_a_commit),           TEST(test_stop__under_load),
        TEST(test_retry__gets_the_first_answer_after_a_kill),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
