/* SPDX-License-Identifier: MIT */
/* A disk that takes nothing more, or fails: nothing is acknowledged that is not kept, and when the
 * disk is well again the same clients go on. */
#include "harness/cluster_fixture.h"
#include "harness/raw_chat.h"
#include "harness/small_disk.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define LINES 200 /* before, and again while nothing can be written */
#define FILE_BYTES \
    12288 /* fewer than the log of the chat has already, more than what the server logs */

/* Sees what the server really answers. */
static struct {
    struct sp_peer peer;
    uint8_t token[RAW_TOKEN_BYTES];
    uint64_t request;
    unsigned raw_sent;
} eve;

static void close_eve(void *unused)
{
    (void)unused;
    sp_close(&eve.peer);
}

static void begin(struct cluster_fixture *fixture)
{
    memset(&eve, 0, sizeof eve);
    eve.peer.descriptor = -1;
    eve.token[0] = 42;
    process_group_defer(fixture->group, close_eve, NULL);
}

static void say(struct cluster_fixture *fixture, unsigned lines)
{
    for (unsigned i = 0; i < lines; i++)
        json_client_say(fixture->ann, "line %u", fixture->said++);
}

/* ann and bob are in the lobby, and eve is logged in by hand. */
static void open_silent_lobby(struct cluster_fixture *fixture)
{
    node_start(&fixture->node);
    fixture->ann = cluster_fixture_visit(fixture, "ann");
    fixture->bob = cluster_fixture_visit(fixture, "bob");
    eve.peer = node_open_peer(&fixture->node);
    assert_true(raw_login(&eve.peer, "eve", eve.token));
}

/* The same, and ann has said something. */
static void open_lobby(struct cluster_fixture *fixture)
{
    open_silent_lobby(fixture);
    say(fixture, LINES);
    PROCESS_GROUP_WAIT(fixture->group, json_client_messages(fixture->bob) == fixture->said);
}

/* What eve's message gets. */
static enum status eve_sends(struct cluster_fixture *fixture, uint64_t request, uint32_t *retry_ms)
{
    struct raw_reply reply;
    char text[32];
    (void)snprintf(text, sizeof text, "request %u", (unsigned)request);
    if (!raw_send(&eve.peer, eve.token, request, "@bob", text, &reply))
        process_group_fail(fixture->group, "the server did not answer eve");
    process_group_note(fixture->group, "eve got %s: %s", status_name(reply.status), reply.text);
    free(reply.payload);
    if (retry_ms != NULL)
        *retry_ms = reply.retry_ms;
    return reply.status;
}

static void eve_succeeds(struct cluster_fixture *fixture)
{
    assert_int_equal(eve_sends(fixture, ++eve.request, NULL), STATUS_OK);
    eve.raw_sent++;
}

/* While nothing can be written: refused for now, in words, and nobody is lied to. */
static void assert_nothing_goes(struct cluster_fixture *fixture)
{
    size_t sent = fixture->said;
    size_t seen = fixture->said + eve.raw_sent;
    PROCESS_GROUP_WAIT(fixture->group, json_client_sent(fixture->ann) == sent);
    PROCESS_GROUP_WAIT(fixture->group, json_client_messages(fixture->bob) == seen);
    say(fixture, LINES);
    for (unsigned i = 0; i < 5; i++) {
        uint32_t retry_ms = 0;
        assert_int_equal(eve_sends(fixture, eve.request + 1, &retry_ms), STATUS_UNAVAILABLE);
        assert_true(retry_ms > 0);
    }
    PROCESS_GROUP_WAIT(fixture->group, process_logged(fixture->node.process, "rolled_back"));
    assert_int_equal(json_client_sent(fixture->ann), sent);
    assert_int_equal(json_client_failed(fixture->ann), 0);
    assert_int_equal(json_client_messages(fixture->bob), seen);
    assert_true(process_id(fixture->node.process) != 0);
}

/* Once it can again: all that waited goes through, with the same clients, once. */
static void assert_all_goes(struct cluster_fixture *fixture)
{
    uint64_t until_ms = process_group_now_ms() + PROCESS_GROUP_PATIENCE_MS;
    while (eve_sends(fixture, eve.request + 1, NULL) != STATUS_OK) {
        assert_true(process_group_now_ms() < until_ms);
        process_group_turn(fixture->group, process_group_now_ms() + 50);
    }
    eve.request++;
    eve.raw_sent++;
    eve_succeeds(fixture);
    say(fixture, LINES);
    PROCESS_GROUP_WAIT(fixture->group, json_client_sent(fixture->ann) == fixture->said);
    PROCESS_GROUP_WAIT(fixture->group, json_client_messages(fixture->ann) == fixture->said);
    PROCESS_GROUP_WAIT(fixture->group,
                       json_client_messages(fixture->bob) == fixture->said + eve.raw_sent);
}

static void judge(struct cluster_fixture *fixture)
{
    struct checker *checker = checker_new();
    checker_was_in(json_client_report(fixture->ann, checker), "lobby", 1, UINT64_MAX);
    struct checker_client *bob = json_client_report(fixture->bob, checker);
    checker_was_in(bob, "lobby", 1, UINT64_MAX);
    checker_was_in(bob, "@eve", 1, UINT64_MAX);
    assert_int_equal(checker_acknowledged(checker), fixture->said);
    checker_verify(checker, CHECK_ALL);
    checker_free(checker);
}

/* And it is all on the disk: kill -9, start again, ask for the last message. */
static void assert_kept(struct cluster_fixture *fixture)
{
    judge(fixture);
    node_kill(&fixture->node);
    node_start(&fixture->node);
    const json_t *result = json_client_command(fixture->bob, "/history 1");
    const json_t *message = json_array_get(json_object_get(result, "history"), 0);
    assert_int_equal(json_number(message, "number"), fixture->said);
    assert_int_equal(json_client_leave(fixture->ann), 0);
    assert_int_equal(json_client_leave(fixture->bob), 0);
    cluster_fixture_stop(fixture);
}

#define DISK_TEST(name) CLUSTER_TEST_ON(name, begin, assert_kept)

static void ignore_file_size_signal(void *context)
{
    (void)context;
    (void)signal(SIGXFSZ, SIG_IGN); /* writing then fails with EFBIG */
}

static void limit_files(struct cluster_fixture *fixture, rlim_t bytes)
{
    const struct rlimit limit = {.rlim_cur = bytes, .rlim_max = RLIM_INFINITY};
    process_group_note(fixture->group, "files may have %lld bytes", (long long)bytes);
    assert_int_equal(prlimit(process_id(fixture->node.process), RLIMIT_FSIZE, &limit, NULL), 0);
}

DISK_TEST(test_disk__files_cannot_grow)
{
    fixture->node.prepare = ignore_file_size_signal;
    open_lobby(fixture);
    for (unsigned i = 0; i < 3; i++) {
        eve_succeeds(fixture);
        limit_files(fixture, FILE_BYTES);
        assert_nothing_goes(fixture);
        limit_files(fixture, RLIM_INFINITY);
        assert_all_goes(fixture);
    }
}

/* Killed while the disk is full, and started again on the full disk: what was acknowledged is
 * there once there is room. */
DISK_TEST(test_disk__killed_while_files_cannot_grow)
{
    fixture->node.prepare = ignore_file_size_signal;
    open_lobby(fixture);
    limit_files(fixture, FILE_BYTES);
    assert_nothing_goes(fixture);
    node_kill(&fixture->node);
    sp_close(&eve.peer);
    node_start(&fixture->node);
    eve.peer = node_open_peer(&fixture->node);
    assert_all_goes(fixture);
}

DISK_TEST(test_disk__full)
{
    const char *disk = small_disk_mount(fixture->group, 8);
    if (disk == NULL)
        CLUSTER_FIXTURE_SKIP(fixture, "cannot mount a small disk (%s): skipped\n", strerror(errno));
    fixture->node.data_dir = disk;
    fixture->node.options[0] = "--log_segment_bytes=65536"; /* soon full */
    open_lobby(fixture);
    for (unsigned i = 0; i < 3; i++) {
        small_disk_fill(fixture->group, disk);
        /* The segment of the log has room that was allocated before. */
        uint64_t until_ms = process_group_now_ms() + PROCESS_GROUP_PATIENCE_MS;
        while (eve_sends(fixture, eve.request + 1, NULL) == STATUS_OK) {
            assert_true(process_group_now_ms() < until_ms);
            eve.request++;
            eve.raw_sent++;
        }
        PROCESS_GROUP_WAIT(fixture->group,
                           json_client_messages(fixture->bob) == fixture->said + eve.raw_sent);
        assert_nothing_goes(fixture);
        small_disk_make_room(fixture->group, disk);
        assert_all_goes(fixture);
    }
}

/* Every commit that is hit is answered UNAVAILABLE; those before and after are good. */
DISK_TEST(test_disk__sync_fails)
{
    if (!node_can_inject(fixture->group))
        CLUSTER_FIXTURE_SKIP(fixture, "strace is not to be had here: skipped\n");
    node_inject(&fixture->node, "fdatasync:error=EIO:when=40..46");
    open_silent_lobby(fixture);
    unsigned refused = 0;
    for (unsigned i = 0; i < 400; i++) {
        say(fixture, 1);
        enum status status = eve_sends(fixture, eve.request + 1, NULL);
        if (status == STATUS_OK) {
            eve.request++;
            eve.raw_sent++;
        } else {
            assert_int_equal(status, STATUS_UNAVAILABLE);
            refused++;
        }
        if (refused > 0 && status == STATUS_OK)
            break; /* the disk is well again */
    }
    assert_true(refused > 0);
    PROCESS_GROUP_WAIT(fixture->group, process_logged(fixture->node.process, "rolled_back"));
    assert_all_goes(fixture);
    node_inject(&fixture->node, NULL);
}
