/* SPDX-License-Identifier: MIT */
/* Receiving: the cursor, pages that get lost, rewinding, long polls, credits. */
#include "client/client_internal.h"

#include "client_fixture.h"
#include "rpc/protocol.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void say_many(struct client_fixture *f, size_t first, size_t count)
{
    for (size_t i = first; i < first + count; i++) {
        char text[FAKE_TEXT_SIZE];
        (void)snprintf(text, sizeof text, "m%zu", i);
        fake_say(&f->cluster, "lobby", "bob", text);
    }
}

static uint64_t cursor_of(struct client_fixture *f)
{
    return client_fixture_view(f).seq;
}

/* Many times more pages than credits, in one stream. */
CLIENT_TEST(test_receive__streams_with_credits, client_fixture_new(1))
{
    f->cluster.page_events = 1;
    say_many(f, 0, 10); /* undelivered when we log in */
    client_fixture_enter(f, 1);
    CLIENT_FIXTURE_WAIT(f, f->event_count == 10);
    for (size_t i = 10; i < 500; i += 10) {
        say_many(f, i, 10);
        CLIENT_FIXTURE_WAIT(f, f->event_count == i + 10);
    }
    say_many(f, 500, 1000);
    CLIENT_FIXTURE_WAIT(f, f->event_count == 1500);
    client_fixture_check_told(f, "m", 1500);
    assert_int_equal(f->cluster.receives_seen, 1);
    assert_int_equal(cursor_of(f), 1500);
    assert_int_equal(client_fixture_stats(f).received, 1500);
}

CLIENT_TEST(test_receive__long_polls, client_fixture_new(1))
{
    f->servers[0].long_poll = true;
    client_fixture_enter(f, 1);
    for (size_t i = 0; i < 100; i += 10) {
        say_many(f, i, 10);
        CLIENT_FIXTURE_WAIT(f, f->event_count == i + 10);
    }
    client_fixture_check_told(f, "m", 100);
    CLIENT_FIXTURE_WAIT(f, f->cluster.receives_seen >= 21); /* pages of five, and one that waits */
    client_fixture_settle(f);
    assert_int_equal(f->cluster.receives_seen, 21);
}

LOGGED_IN_TEST(test_receive__lost_page_is_fetched_again)
{
    say_many(f, 0, 20);
    CLIENT_FIXTURE_WAIT(f, f->event_count == 20);
    f->servers[0].lose_pages = 2;
    say_many(f, 20, 10);
    client_fixture_settle(f);
    assert_int_equal(f->event_count, 20);
    say_many(f, 30, 10); /* shows that something is missing */
    CLIENT_FIXTURE_WAIT(f, f->event_count == 40);
    client_fixture_check_told(f, "m", 40);
    assert_int_equal(client_fixture_stats(f).gaps, 1);
    assert_int_equal(f->cluster.receives_seen, 2);
}

/* Nothing comes after the lost page: the server's count of what is undelivered tells. */
LOGGED_IN_TEST(test_receive__lost_last_page_is_noticed)
{
    CLIENT_FIXTURE_WAIT(f, f->cluster.receives_seen == 1);
    client_fixture_settle(f);
    f->servers[0].lose_pages = 1;
    say_many(f, 0, 3);
    client_fixture_settle(f);
    for (size_t beats = 1; beats <= 2; beats++) {
        assert_int_equal(f->event_count, 0);
        client_fixture_advance(f, CLIENT_HEARTBEAT_MS);
        CLIENT_FIXTURE_WAIT(f, f->cluster.heartbeats_seen == beats);
        client_fixture_settle(f);
    }
    CLIENT_FIXTURE_WAIT(f, f->event_count == 3);
    client_fixture_check_told(f, "m", 3);
}

/* A stream that was restarted has two heartbeats, too, to bring its first page. */
LOGGED_IN_TEST(test_receive__a_restarted_stream_gets_time)
{
    CLIENT_FIXTURE_WAIT(f, f->cluster.receives_seen == 1);
    client_fixture_settle(f);
    f->servers[0].lose_pages = 2;
    say_many(f, 0, 3);
    client_fixture_settle(f);
    for (size_t beats = 1; beats <= 4; beats++) {
        assert_int_equal(f->event_count, 0);
        client_fixture_advance(f, CLIENT_HEARTBEAT_MS);
        CLIENT_FIXTURE_WAIT(f, f->cluster.heartbeats_seen == beats);
        client_fixture_settle(f);
        assert_int_equal(f->cluster.receives_seen, 1 + beats / 2);
    }
    CLIENT_FIXTURE_WAIT(f, f->event_count == 3);
    client_fixture_check_told(f, "m", 3);
}

/* The log was cut short at 10 and written again, with what was lost handed over. */
LOGGED_IN_TEST(test_receive__rewound)
{
    say_many(f, 0, 15);
    CLIENT_FIXTURE_WAIT(f, f->event_count == 15);
    assert_int_equal(cursor_of(f), 15);

    fake_server_kill(&f->servers[0]);
    struct fake_message lost[5];
    memcpy(lost, &f->cluster.messages[10], sizeof lost);
    f->cluster.message_count = 10;
    f->cluster.seq = 10;
    f->cluster.epoch += 65536;
    fake_say(&f->cluster, "lobby", "bob", "m15");
    for (size_t i = 0; i < 5; i++)
        fake_repeat(&f->cluster, &lost[i]);
    fake_say(&f->cluster, "lobby", "bob", "m16");
    f->servers[0].rewind_seq = 10;
    fake_server_start(&f->servers[0], &f->cluster);
    CLIENT_FIXTURE_WAIT(f, cursor_of(f) == 17);
    client_fixture_check_told(f, "m", 17);
    assert_int_equal(client_fixture_stats(f).duplicates, 5);
    assert_int_equal(client_fixture_stats(f).gaps, 0);
}

static void check_cursor_history(struct client_fixture *f, const uint64_t *expected, size_t count)
{
    size_t beats = f->cluster.heartbeats_seen;
    client_fixture_settle(f);
    client_fixture_advance(f, CLIENT_HEARTBEAT_MS);
    CLIENT_FIXTURE_WAIT(f, f->cluster.heartbeats_seen > beats);
    assert_int_equal(f->cluster.cursor_history_count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(f->cluster.cursor_history[i].epoch >> 16, expected[2 * i]);
        assert_int_equal(f->cluster.cursor_history[i].seq, expected[2 * i + 1]);
    }
}

/* For each earlier epoch the last position received in it, newest first; sent with heartbeats and
 * with every new stream. */
LOGGED_IN_TEST(test_receive__leaves_a_trail)
{
    say_many(f, 0, 3);
    CLIENT_FIXTURE_WAIT(f, f->event_count == 3);
    check_cursor_history(f, NULL, 0);
    f->cluster.epoch += 65536; /* 2 */
    say_many(f, 3, 2);
    CLIENT_FIXTURE_WAIT(f, f->event_count == 5);
    check_cursor_history(f, (uint64_t[]){1, 3}, 1);
    f->cluster.epoch += 65536; /* 3, and in the same page 5 */
    say_many(f, 5, 1);
    f->cluster.epoch += 2 * 65536;
    say_many(f, 6, 2);
    CLIENT_FIXTURE_WAIT(f, f->event_count == 8);
    check_cursor_history(f, (uint64_t[]){3, 6, 2, 5, 1, 3}, 3);
    f->cluster.cursor_history_count = 0;
    size_t receives = f->cluster.receives_seen;
    fake_server_kill(&f->servers[0]);
    fake_server_start(&f->servers[0], &f->cluster);
    CLIENT_FIXTURE_WAIT(f, f->cluster.receives_seen > receives);
    assert_int_equal(f->cluster.cursor_history_count, 3);
}

LOGGED_IN_TEST(test_receive__trail_is_bounded)
{
    for (size_t i = 0; i < 20; i++) {
        say_many(f, i, 1);
        f->cluster.epoch += 65536;
    }
    CLIENT_FIXTURE_WAIT(f, f->event_count == 20);
    uint64_t expected[2 * CLIENT_CURSOR_HISTORY_MAX];
    for (size_t i = 0; i < CLIENT_CURSOR_HISTORY_MAX; i++)
        expected[2 * i] = expected[2 * i + 1] = 19 - i;
    check_cursor_history(f, expected, CLIENT_CURSOR_HISTORY_MAX);
}

LOGGED_IN_TEST(test_receive__rewinding_shortens_the_trail)
{
    for (size_t i = 0; i < 4; i++) { /* epochs 1 to 4, two messages each */
        say_many(f, 2 * i, 2);
        f->cluster.epoch += 65536;
    }
    CLIENT_FIXTURE_WAIT(f, f->event_count == 8);
    check_cursor_history(f, (uint64_t[]){3, 6, 2, 4, 1, 2}, 3);
    size_t status_count = f->status_count;
    fake_server_kill(&f->servers[0]);
    fake_forget(&f->cluster, 3, 0, 0); /* the common place is in epoch 2 */
    f->servers[0].rewind_seq = 3;
    fake_server_start(&f->servers[0], &f->cluster);
    CLIENT_FIXTURE_WAIT(f, cursor_of(f) == 3);
    assert_true(f->status_count > status_count);
    assert_non_null(strstr(f->status, "after a partition"));
    check_cursor_history(f, (uint64_t[]){1, 2}, 1);
    say_many(f, 8, 1);
    CLIENT_FIXTURE_WAIT(f, f->event_count == 9);
    check_cursor_history(f, (uint64_t[]){2, 3, 1, 2}, 2);
    client_fixture_check_told(f, "m", 9);
}

/* A long split: everything since comes again, in another order, with news in between. */
CLIENT_TEST(test_receive__rewound_far, client_fixture_new(1))
{
    enum { LOST = 6000, NEWS = 500 };
    f->cluster.page_events = 16;
    client_fixture_enter(f, 1);
    say_many(f, 0, 10 + LOST);
    fake_happen(&f->cluster, JACKDAW__EVENT__KIND__JOINED, "eve");
    CLIENT_FIXTURE_WAIT(f, f->event_count == 11 + LOST);
    fake_server_kill(&f->servers[0]);
    struct fake_message *lost = calloc(LOST + 1, sizeof *lost);
    memcpy(lost, &f->cluster.messages[10], (LOST + 1) * sizeof *lost);
    fake_forget(&f->cluster, 10, 0, 0);
    f->cluster.said = 10 + LOST;
    say_many(f, 10 + LOST, NEWS);
    for (size_t i = 0; i <= LOST; i++)
        fake_repeat(&f->cluster, &lost[i]);
    free(lost);
    fake_happen(&f->cluster, JACKDAW__EVENT__KIND__JOINED, "kim");
    f->servers[0].rewind_seq = 10;
    fake_server_start(&f->servers[0], &f->cluster);
    CLIENT_FIXTURE_WAIT(f, cursor_of(f) == 10 + NEWS + LOST + 2);
    assert_int_equal(f->event_count, 10 + LOST + 1 + NEWS + 1);
    for (size_t i = 0; i < NEWS; i++) {
        char text[FAKE_TEXT_SIZE];
        (void)snprintf(text, sizeof text, "m%zu", 10 + LOST + i);
        assert_string_equal(f->events[11 + LOST + i].text, text);
    }
    assert_int_equal(client_fixture_stats(f).duplicates, LOST + 1);
}

/* What one person was told is no duplicate for the next. */
LOGGED_IN_TEST(test_receive__another_account_starts_afresh)
{
    say_many(f, 0, 5);
    CLIENT_FIXTURE_WAIT(f, f->event_count == 5);
    client_fixture_ask(f, &(struct client_request){.call = CLIENT_LOGOUT});
    client_fixture_ask_login(f, "kim", CLIENT_ACCOUNT_NEW, false);
    CLIENT_FIXTURE_WAIT(f, f->event_count == 10);
    assert_string_equal(f->events[5].text, "m0");
}

/* Connections come and go, pages too; each message is told once, in order. */
LOGGED_IN_TEST(test_receive__over_many_connections)
{
    uint64_t cursor = 0;
    for (size_t round = 0; round < 10; round++) {
        say_many(f, round * 50, 50);
        f->servers[0].lose_pages = round % 3;
        for (int i = 0; i < 3; i++) {
            client_fixture_turn(f);
            assert_true(cursor_of(f) >= cursor);
            cursor = cursor_of(f);
        }
        fake_server_kill(&f->servers[0]);
        client_fixture_settle(f);
        fake_server_start(&f->servers[0], &f->cluster);
        client_fixture_advance(f, 100);
    }
    f->servers[0].lose_pages = 0;
    CLIENT_FIXTURE_WAIT(f, f->event_count == 500);
    client_fixture_check_told(f, "m", 500);
}

/* A server whose pages never fit is asked again, but not in a storm. */
LOGGED_IN_TEST(test_receive__nonsense_is_not_followed)
{
    say_many(f, 0, 5);
    CLIENT_FIXTURE_WAIT(f, f->event_count == 5);
    for (int i = 0; i < 100; i++) {
        f->servers[0].lose_pages = 1; /* the first of every stream */
        say_many(f, 5 + (size_t)i * 10, 10);
        client_fixture_pass(f, 5);
    }
    assert_in_range(f->cluster.receives_seen, 2, 30);
    assert_int_equal(f->event_count, 5);
    assert_int_equal(cursor_of(f), 5);
    f->servers[0].lose_pages = 0;
    client_fixture_advance(f, CLIENT_RETRY_MAX_MS);
    CLIENT_FIXTURE_WAIT(f, f->event_count == 1005);
    client_fixture_check_told(f, "m", 1005);
}

CLIENT_TEST(test_receive__refused_is_tried_again_slowly, client_fixture_new(1))
{
    f->cluster.order =
        (struct fake_order){FAKE_FAIL, .method = "Receive", .fail_status = STATUS_UNIMPLEMENTED};
    client_fixture_enter(f, 1);
    for (int i = 0; i < 60; i++) {
        client_fixture_pass(f, 1000);
    }
    assert_in_range(f->cluster.receives_seen, 20, 60);
    say_many(f, 0, 5);
    fake_order(&f->cluster, NULL, FAKE_OBEY);
    client_fixture_advance(f, CLIENT_RETRY_MAX_MS);
    CLIENT_FIXTURE_WAIT(f, f->event_count == 5);
}
