/* SPDX-License-Identifier: MIT */
/* Processes that stop for a while or for good, and clocks that jump: nobody else notices, and who
 * was away misses nothing. */
#include "harness/cluster_fixture.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MANY 6000      /* messages: more than a server holds for one device */
#define QUIET_MS 60000 /* nothing comes any more */
#define DAY_MS 86400000
#define CLOCK_TOLERANCE_MS 600000 /* of days */

static void visit(struct cluster_fixture *fixture, const char *address)
{
    fixture->ann = json_client_visit(fixture->group, address, "ann", "lobby");
    fixture->bob = json_client_visit(fixture->group, address, "bob", "lobby");
    fixture->cat = json_client_visit(fixture->group, address, "cat", "lobby");
}

static void open_lobby(struct cluster_fixture *fixture)
{
    node_start(&fixture->node);
    visit(fixture, fixture->node.clients);
}

static void say(struct cluster_fixture *fixture, unsigned lines)
{
    for (unsigned i = 0; i < lines; i++) {
        json_client_say(fixture->ann, "line %u", fixture->said);
        fixture->said++;
    }
}

/* Until the reader has everything; what is missing then is the checker's to tell. */
static void wait_for_all(struct cluster_fixture *fixture, struct json_client *reader)
{
    PROCESS_GROUP_SETTLE(fixture->group, QUIET_MS, json_client_messages(reader) >= fixture->said);
}

static void judge(struct cluster_fixture *fixture)
{
    struct json_client *const all[] = {fixture->ann, fixture->bob, fixture->cat};
    struct checker *checker = checker_new();
    PROCESS_GROUP_SETTLE(fixture->group, QUIET_MS, json_client_sent(fixture->ann) == fixture->said);
    for (size_t i = 0; i < 3; i++) {
        wait_for_all(fixture, all[i]);
        checker_was_in(json_client_report(all[i], checker), "lobby", 1, UINT64_MAX);
    }
    checker_verify(checker, CHECK_ALL);
    assert_int_equal(checker_acknowledged(checker), fixture->said);
    checker_free(checker);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(json_client_leave(all[i]), 0);
}

static void judge_and_leave(struct cluster_fixture *fixture)
{
    judge(fixture);
    cluster_fixture_stop(fixture);
}

#define LOBBY_TEST(name) CLUSTER_TEST_ON(name, open_lobby, judge_and_leave)

static void pause_process(struct process *process)
{
    process_signal(process, SIGSTOP);
}

static void resume_process(struct process *process)
{
    process_signal(process, SIGCONT);
}

/* A device that reads nothing while much is said: its subscription overflows, and is filled from the
 * database when it goes on. The others are not kept waiting. */
LOBBY_TEST(test_pause__of_a_reader)
{
    for (unsigned i = 0; i < 3; i++) {
        pause_process(json_client_process(fixture->bob));
        say(fixture, MANY);
        wait_for_all(fixture, fixture->cat);
        resume_process(json_client_process(fixture->bob));
        say(fixture, 100); /* while it catches up */
    }
}

/* The same, and the server is another one when it wakes up. */
LOBBY_TEST(test_pause__of_a_reader_while_the_server_is_killed)
{
    pause_process(json_client_process(fixture->bob));
    say(fixture, MANY);
    PROCESS_GROUP_WAIT(fixture->group, json_client_messages(fixture->cat) > MANY / 2);
    node_kill(&fixture->node);
    node_start(&fixture->node);
    wait_for_all(fixture, fixture->cat);
    resume_process(json_client_process(fixture->bob));
    say(fixture, 100);
}

/* A device that dies is not a device that has read: the next one gets the rest. */
CLUSTER_TEST_ON(test_kill__of_a_reader, open_lobby, cluster_fixture_stop)
{
    say(fixture, 100);
    wait_for_all(fixture, fixture->bob);
    process_kill(json_client_process(fixture->bob));
    size_t seen = json_client_messages(fixture->bob);
    say(fixture, MANY);
    wait_for_all(fixture, fixture->cat);
    const struct json_client_options options = {
        .label = "bob again", .account = "bob", .addresses = {fixture->node.clients}};
    fixture->bob = json_client_start(fixture->group, &options);
    (void)json_client_command(fixture->bob, "/login bob secret");
    char last[32];
    (void)snprintf(last, sizeof last, "line %u", fixture->said - 1);
    (void)json_client_expect(fixture->bob, 0, "{s:s, s:s}", "type", "message", "text", last);
    /* From where the dead one certainly was, at the latest. */
    struct checker *checker = checker_new();
    (void)json_client_report(fixture->ann, checker);
    struct checker_client *bob = json_client_report(fixture->bob, checker);
    checker_was_in(bob, "lobby", seen + 1, UINT64_MAX);
    checker_verify(checker, CHECK_ALL);
    checker_free(checker);
}

/* A writer that dies has not said what was not acknowledged, and has said what was; the others are
 * in agreement about which. */
CLUSTER_TEST_ON(test_kill__of_a_writer, open_lobby, cluster_fixture_stop)
{
    say(fixture, MANY);
    PROCESS_GROUP_WAIT(fixture->group, json_client_sent(fixture->ann) > 500);
    process_kill(json_client_process(fixture->ann));
    json_client_say(fixture->bob, "the end");
    (void)json_client_expect(fixture->bob, 0, "{s:s, s:s}", "type", "message", "text", "the end");
    (void)json_client_expect(fixture->cat, 0, "{s:s, s:s}", "type", "message", "text", "the end");
    struct checker *checker = checker_new();
    (void)json_client_report(fixture->ann, checker);
    checker_was_in(json_client_report(fixture->bob, checker), "lobby", 1, UINT64_MAX);
    checker_was_in(json_client_report(fixture->cat, checker), "lobby", 1, UINT64_MAX);
    checker_verify(checker, CHECK_ALL);
    checker_free(checker);
}

/* It stops for longer than clients wait for an answer: they leave it, come back, and ask again for
 * what it has meanwhile done. */
LOBBY_TEST(test_pause__of_the_server)
{
    say(fixture, MANY);
    PROCESS_GROUP_WAIT(fixture->group, json_client_sent(fixture->ann) > 100);
    pause_process(fixture->node.process);
    (void)json_client_expect(fixture->ann, 0, "{s:s, s:b}", "type", "status", "connected", 0);
    resume_process(fixture->node.process);
}

LOBBY_TEST(test_pause__of_the_server_for_a_moment)
{
    for (unsigned i = 0; i < 10; i++) {
        say(fixture, 200);
        pause_process(fixture->node.process);
        uint64_t until_ms = process_group_now_ms() + 50;
        while (process_group_now_ms() < until_ms)
            process_group_turn(fixture->group, until_ms);
        resume_process(fixture->node.process);
        wait_for_all(fixture, fixture->bob);
    }
    assert_null(json_client_find(fixture->ann, 0, "{s:s, s:b}", "type", "status", "connected", 0));
}

/* The wall clock of a node is the real one plus what stands in a file: see clock_jump.c. */
static void use_jumping_clock(void *context)
{
    (void)context;
    (void)setenv("LD_PRELOAD", TEST_CLOCK_JUMP, 1);
}

static volatile int64_t *map_offset(struct cluster_fixture *fixture)
{
    const char *path = process_group_path(fixture->group, "clock");
    int file = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(file >= 0);
    assert_int_equal(ftruncate(file, sizeof(int64_t)), 0);
    void *memory = mmap(NULL, sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    (void)close(file);
    assert_true(memory != MAP_FAILED);
    assert_int_equal(setenv("JACKDAW_TEST_CLOCK", path, 1), 0);
    return memory;
}

/* The time that everybody sees on the latest message, against this machine's clock, which is right. */
static int64_t error_of_latest(struct cluster_fixture *fixture)
{
    const json_t *page = json_client_command(fixture->bob, "/history 1");
    const json_t *message = json_array_get(json_object_get(page, "history"), 0);
    return (int64_t)json_number(message, "time_ms") - (int64_t)time(NULL) * 1000;
}

static void expect_error(struct cluster_fixture *fixture, int64_t error_ms)
{
    int64_t seen_ms = error_of_latest(fixture) - error_ms;
    if (seen_ms < -CLOCK_TOLERANCE_MS || seen_ms > CLOCK_TOLERANCE_MS)
        fail_msg("the latest message is %lld ms off", (long long)(seen_ms + error_ms));
}

static void say_and_expect(struct cluster_fixture *fixture, int64_t error_ms)
{
    say(fixture, 20);
    wait_for_all(fixture, fixture->bob);
    expect_error(fixture, error_ms);
}

/* Somebody sets the server's clock for a moment: days ahead, and years back. Nobody is logged out,
 * nothing goes out of order, and no message has a wrong time. */
CLUSTER_TEST(test_clock__jumps)
{
    if (TEST_CLOCK_JUMP[0] == '\0')
        CLUSTER_FIXTURE_SKIP(fixture, "not with a sanitizer: skipped\n");
    volatile int64_t *offset_ms = map_offset(fixture);
    fixture->node.prepare = use_jumping_clock;
    open_lobby(fixture);
    static const int64_t jumps_ms[] = {0, 3 * DAY_MS, 0, -400 * (int64_t)DAY_MS,
                                       365 * (int64_t)DAY_MS};
    for (size_t i = 0; i < sizeof jumps_ms / sizeof jumps_ms[0]; i++) {
        process_group_note(fixture->group, "the server's clock: %lld ms", (long long)jumps_ms[i]);
        *offset_ms = jumps_ms[i];
        say_and_expect(fixture, 0);
    }
    PROCESS_GROUP_WAIT(fixture->group, process_logged(fixture->node.process, "clock_differs id=1"));
    /* A server that starts with a wrong clock, alone, knows no better. When it is set, times recover. */
    node_kill(&fixture->node);
    node_start(&fixture->node);
    say_and_expect(fixture, 365 * (int64_t)DAY_MS);
    node_kill(&fixture->node);
    *offset_ms = 0;
    node_start(&fixture->node);
    say_and_expect(fixture, 0);
    assert_null(json_client_find(fixture->bob, 0, "{s:s}", "type", "session_ended"));
    assert_null(json_client_find(fixture->bob, 0, "{s:s}", "type", "presence"));
    judge_and_leave(fixture);
    (void)munmap((void *)(uintptr_t)offset_ms, sizeof *offset_ms);
    (void)unsetenv("JACKDAW_TEST_CLOCK");
}

/* Three servers, the master's clock a year ahead: messages have the right time all the same, here and
 * after a failover; the log and --status tell whose clock it is. */
CLUSTER_TEST(test_clock__of_the_master_a_year_ahead)
{
    if (TEST_CLOCK_JUMP[0] == '\0')
        CLUSTER_FIXTURE_SKIP(fixture, "not with a sanitizer: skipped\n");
    volatile int64_t *offset_ms = map_offset(fixture);
    struct cluster cluster;
    cluster_init(&cluster, fixture->group, NULL);
    *offset_ms = 365 * (int64_t)DAY_MS;
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(cluster_add(&cluster, NULL), i);
        cluster.servers[i].prepare = i == 0 ? use_jumping_clock : NULL;
        cluster_run(&cluster, i);
    }
    cluster_wait_in_sync(&cluster, 7);
    visit(fixture, cluster.servers[0].clients);
    say_and_expect(fixture, 0);
    PROCESS_GROUP_WAIT(fixture->group,
                       cluster_logged(&cluster, 0, "clock_differs id=1 difference_ms=3153"));
    Jackdaw__StatusReply *status = cluster_ask(&cluster, 0);
    assert_non_null(status);
    assert_true(cluster_member(status, 1)->has_clock);
    assert_true(cluster_member(status, 1)->clock_ms > 364 * (int64_t)DAY_MS);
    assert_true(cluster_member(status, 2)->clock_ms < CLOCK_TOLERANCE_MS);
    jackdaw__status_reply__free_unpacked(status, NULL);
    cluster_kill(&cluster, 1);
    say_and_expect(fixture, 0);
    cluster_run(&cluster, 0);
    cluster_wait_in_sync(&cluster, 7);
    cluster_assert_equal(&cluster);
    judge(fixture);
    cluster_stop_all(&cluster);
    (void)munmap((void *)(uintptr_t)offset_ms, sizeof *offset_ms);
    (void)unsetenv("JACKDAW_TEST_CLOCK");
}
