/* SPDX-License-Identifier: MIT */
#include "base/log.h"
#include "server/subscription.h"
#include "support/core_fixture.h"
#include "support/fake_call.h"
#include "support/stream_recorder.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLENTY 1000000

/* Ann and bob in the lobby, each with a subscription, in memory. */
struct fixture {
    struct core_fixture core;
    uint64_t ann;
    uint64_t bob;
    struct stream_recorder of_ann;
    struct stream_recorder of_bob;
    struct stream_recorder third; /* of the test; core NULL: unused */
};

static void begin_with(struct fixture *f, const struct chat_limits *limits)
{
    *f = (struct fixture){.ann = 0};
    core_fixture_init(&f->core, NULL);
    if (limits != NULL)
        f->core.limits = *limits;
    core_fixture_open(&f->core);
    f->ann = core_fixture_person(&f->core, "ann");
    f->bob = core_fixture_person(&f->core, "bob");
    assert_int_equal(core_fixture_turn(&f->core), OK);
    recorder_init(&f->of_ann, &f->core, f->ann);
    recorder_init(&f->of_bob, &f->core, f->bob);
}

static void begin(struct fixture *f)
{
    begin_with(f, NULL);
}

static void end(struct fixture *f)
{
    core_fixture_close(&f->core);
    recorder_release(&f->of_ann);
    recorder_release(&f->of_bob);
    if (f->third.core != NULL)
        recorder_release(&f->third);
}

/* Streams from where the log is now. */
static void open_here(struct fixture *f, struct stream_recorder *recorder, uint32_t credits)
{
    recorder_open_at(recorder, commit_log_committed(f->core.commit_log), credits);
    core_fixture_settle(&f->core);
    recorder_clear(recorder);
}

static struct subscriptions_stats stats(struct fixture *f)
{
    struct subscriptions_stats stats;
    subscriptions_stats(f->core.subscriptions, &stats);
    return stats;
}

/* Sends texts "first" .. and commits; each turn delivers. */
static void send_numbers(struct fixture *f, unsigned first, unsigned count, unsigned in_a_turn)
{
    for (unsigned i = 0; i < count; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%u", first + i);
        assert_true(core_fixture_send(&f->core, f->ann, "lobby", text));
        if ((i + 1) % in_a_turn == 0)
            assert_int_equal(core_fixture_turn(&f->core), OK);
    }
    assert_int_equal(core_fixture_turn(&f->core), OK);
}

/* That the messages first, first + 1, ... came, each once and in order, and nothing else kept. */
static void assert_numbers(const struct stream_recorder *recorder, unsigned first, unsigned count)
{
    unsigned next = first;
    for (size_t i = 0; i < recorder->count; i++) {
        if (recorder->got[i].seq == 0)
            continue;
        assert_int_equal(recorder->got[i].kind, JACKDAW__EVENT__KIND__MESSAGE);
        assert_int_equal(strtoul(recorder->got[i].text, NULL, 10), next);
        next++;
    }
    assert_int_equal(next, first + count);
}

TEST_WITHIN(test_subscriptions_deliver__live_to_every_member_after_the_commit)
{
    open_here(f, &f->of_ann, 10);
    open_here(f, &f->of_bob, 10);
    uint64_t reads = stats(f).store_reads;
    assert_true(core_fixture_send(&f->core, f->ann, "lobby", "hello"));
    subscriptions_deliver(f->core.subscriptions);
    assert_int_equal(f->of_bob.pages, 0); /* not committed */
    assert_int_equal(core_fixture_turn(&f->core), OK);
    assert_int_equal(f->of_ann.count, 1);
    assert_int_equal(f->of_bob.count, 1);
    const struct event_record *got = &f->of_bob.got[0];
    assert_int_equal(got->kind, JACKDAW__EVENT__KIND__MESSAGE);
    assert_string_equal(got->text, "hello");
    assert_string_equal(got->room, "lobby");
    assert_string_equal(got->from, "ann");
    assert_int_equal(got->number, 1);
    assert_int_equal(got->seq, commit_log_committed(f->core.commit_log).seq);
    assert_int_equal(f->of_bob.cursor.seq, got->seq);
    assert_int_equal(stats(f).store_reads, reads);
}

TEST_WITHIN(test_subscriptions_deliver__one_page_for_what_came_in_a_turn)
{
    open_here(f, &f->of_bob, 10);
    send_numbers(f, 0, 100, PLENTY);
    assert_int_equal(f->of_bob.pages, 1);
    assert_numbers(&f->of_bob, 0, 100);
}

TEST_WITHIN(test_subscriptions_deliver__stops_where_credit_ends)
{
    open_here(f, &f->of_bob, 2);
    send_numbers(f, 0, 5, 1);
    assert_int_equal(f->of_bob.pages, 2);
    assert_numbers(&f->of_bob, 0, 2);
    fake_call_credit(f->of_bob.call, 1);
    assert_int_equal(core_fixture_turn(&f->core), OK);
    assert_int_equal(f->of_bob.pages, 3);
    assert_numbers(&f->of_bob, 0, 5);
}

TEST_WITHIN(test_subscriptions_deliver__cursor_passes_what_others_did)
{
    open_here(f, &f->of_bob, 10);
    assert_true(core_fixture_join(&f->core, f->ann, "attic"));
    for (int i = 0; i < 20; i++)
        assert_true(core_fixture_send(&f->core, f->ann, "attic", "x"));
    assert_true(core_fixture_send(&f->core, f->ann, "lobby", "0"));
    for (int i = 0; i < 20; i++)
        assert_true(core_fixture_send(&f->core, f->ann, "attic", "x"));
    assert_int_equal(core_fixture_turn(&f->core), OK);
    assert_numbers(&f->of_bob, 0, 1);
    assert_int_equal(f->of_bob.cursor.seq, commit_log_committed(f->core.commit_log).seq);
}

TEST_WITHIN(test_subscriptions_deliver__direct_conversation_as_each_side_sees_it)
{
    recorder_init(&f->third, &f->core, core_fixture_login(&f->core, "bob"));
    assert_int_equal(core_fixture_turn(&f->core), OK);
    open_here(f, &f->of_ann, 10);
    open_here(f, &f->of_bob, 10);
    open_here(f, &f->third, 10);
    assert_true(core_fixture_send(&f->core, f->ann, "@bob", "psst"));
    assert_int_equal(core_fixture_turn(&f->core), OK);
    assert_int_equal(f->of_ann.count, 1);
    assert_string_equal(f->of_ann.got[0].room, "@bob");
    assert_int_equal(f->of_bob.count, 1);
    assert_string_equal(f->of_bob.got[0].room, "@ann");
    assert_int_equal(f->third.count, 1);
    assert_string_equal(f->third.got[0].room, "@ann");
}

TEST_WITHIN(test_subscriptions_event__ephemeral_ones_come_and_are_not_kept)
{
    open_here(f, &f->of_ann, 10);
    open_here(f, &f->of_bob, 10);
    core_fixture_typing(&f->core, f->ann, "lobby");
    assert_int_equal(core_fixture_turn(&f->core), OK);
    assert_int_equal(f->of_ann.count, 0);
    assert_int_equal(f->of_bob.count, 1);
    assert_int_equal(f->of_bob.got[0].kind, JACKDAW__EVENT__KIND__TYPING);
    assert_int_equal(f->of_bob.got[0].seq, 0);
    /* Not before what it came after, even where that waits for a commit. */
    send_numbers(f, 0, 1, PLENTY);
    assert_true(core_fixture_send(&f->core, f->ann, "lobby", "1"));
    core_fixture_typing(&f->core, f->ann, "lobby");
    subscriptions_deliver(f->core.subscriptions);
    assert_numbers(&f->of_bob, 0, 1);
    assert_int_equal(f->of_bob.count, 2);
    assert_int_equal(core_fixture_turn(&f->core), OK);
    assert_int_equal(f->of_bob.got[f->of_bob.count - 1].kind, JACKDAW__EVENT__KIND__TYPING);
    /* Read again, they are gone. */
    recorder_clear(&f->of_bob);
    recorder_open_at(&f->of_bob, (struct log_position){0, 0}, 10);
    core_fixture_settle(&f->core);
    assert_int_equal(recorder_kept(&f->of_bob), f->of_bob.count);
}

TEST_WITHIN(test_subscriptions_deliver__page_has_so_many_events)
{
    open_here(f, &f->of_bob, 10);
    send_numbers(f, 0, CHAT_PAGE_EVENTS * 2 + 1, PLENTY);
    assert_int_equal(f->of_bob.pages, 3);
    assert_int_equal(f->of_bob.largest_page, CHAT_PAGE_EVENTS);
    assert_numbers(&f->of_bob, 0, CHAT_PAGE_EVENTS * 2 + 1);
}

TEST_WITHIN(test_subscriptions_deliver__page_has_so_many_bytes)
{
    open_here(f, &f->of_bob, 20);
    char text[10001];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (unsigned i = 0; i < 30; i++) {
        (void)snprintf(text, 4, "%u", i);
        text[strlen(text)] = ' ';
        assert_true(core_fixture_send(&f->core, f->ann, "lobby", text));
    }
    assert_int_equal(core_fixture_turn(&f->core), OK);
    assert_numbers(&f->of_bob, 0, 30);
    assert_int_equal(f->of_bob.pages, 5); /* 7 of 10,000 bytes pass 65,536 */
    assert_int_equal(f->of_bob.largest_page, 7);
}

/* Ann owns so many rooms that bob is in too; when she deletes her account, each has two events, all
 * of one position. */
static void share_rooms(struct fixture *f, unsigned rooms)
{
    for (unsigned i = 0; i < rooms; i++) {
        char room[16];
        (void)snprintf(room, sizeof room, "room%u", i);
        assert_true(core_fixture_join(&f->core, f->ann, room));
        assert_true(core_fixture_join(&f->core, f->bob, room));
    }
    assert_int_equal(core_fixture_turn(&f->core), OK);
}

static void delete_amid_messages(unsigned rooms, uint32_t credits)
{
    struct fixture f;
    struct chat_limits limits;
    chat_limits_default(&limits);
    limits.requests_per_second = 0;
    limits.rooms_per_account = 4096;
    begin_with(&f, &limits);
    share_rooms(&f, rooms);
    open_here(&f, &f.of_bob, credits);
    for (unsigned i = 0; i < 200; i++)
        assert_true(core_fixture_send(&f.core, f.bob, "lobby", "before"));
    assert_true(core_fixture_delete(&f.core, f.ann));
    uint64_t seq = commit_log_applied(f.core.commit_log).seq;
    for (unsigned i = 0; i < 200; i++)
        assert_true(core_fixture_send(&f.core, f.bob, "lobby", "behind"));
    assert_int_equal(core_fixture_turn(&f.core), OK);
    fake_call_credit(f.of_bob.call, 10);
    core_fixture_settle(&f.core);
    size_t of_deletion = 0;
    size_t messages = 0;
    for (size_t i = 0; i < f.of_bob.count; i++) {
        of_deletion += f.of_bob.got[i].seq == seq;
        messages += f.of_bob.got[i].kind == JACKDAW__EVENT__KIND__MESSAGE;
    }
    assert_int_equal(messages, 400);
    assert_int_equal(of_deletion, 2 * (rooms + 1));        /* the lobby, too */
    assert_true(f.of_bob.largest_page >= 2 * (rooms + 1)); /* inbox checks that none is split */
    end(&f);
}

TEST(test_subscriptions_deliver__page_never_splits_a_position)
{
    delete_amid_messages(300, 20);
}

TEST(test_subscriptions_deliver__position_with_more_events_than_a_subscription_holds)
{
    delete_amid_messages(SUBSCRIPTION_EVENTS_MAX * 2 / 3, 20);
}

/* The first events of a position fit, the next ones do not: what is read again begins with it. */
TEST_WITHIN(test_subscriptions_deliver__overflow_amid_the_events_of_a_position)
{
    open_here(f, &f->of_ann, 2);
    send_numbers(f, 0, 2, 1); /* no credit is left */
    recorder_clear(&f->of_ann);
    send_numbers(f, 2, SUBSCRIPTION_EVENTS_MAX - 1, PLENTY);
    assert_true(core_fixture_join(&f->core, f->ann, "attic")); /* JOIN_REPLY fits, OWNER does not */
    assert_true(core_fixture_send(&f->core, f->ann, "attic", "done"));
    assert_int_equal(core_fixture_turn(&f->core), OK);
    fake_call_credit(f->of_ann.call, 100);
    core_fixture_settle(&f->core);
    assert_int_equal(recorder_kept(&f->of_ann), SUBSCRIPTION_EVENTS_MAX - 1 + 3);
    assert_int_equal(f->of_ann.got[f->of_ann.count - 3].kind, JACKDAW__EVENT__KIND__JOINED);
    assert_int_equal(f->of_ann.got[f->of_ann.count - 2].kind, JACKDAW__EVENT__KIND__OWNER);
    assert_string_equal(f->of_ann.got[f->of_ann.count - 1].text, "done");
}

TEST_WITHIN(test_subscriptions_deliver__slow_session_gets_all_from_the_store)
{
    open_here(f, &f->of_bob, 2);
    uint64_t reads = stats(f).store_reads;
    send_numbers(f, 0, 5000, 7);
    assert_int_equal(f->of_bob.pages, 2);
    assert_int_equal(stats(f).store_reads, reads); /* not before it is ready */
    while (f->of_bob.count < 5000) {
        size_t before = f->of_bob.count;
        fake_call_credit(f->of_bob.call, 1);
        core_fixture_settle(&f->core);
        assert_true(f->of_bob.count > before);
    }
    assert_numbers(&f->of_bob, 0, 5000);
    assert_true(stats(f).store_reads > reads);
    /* And is live again. */
    reads = stats(f).store_reads;
    fake_call_credit(f->of_bob.call, 1);
    send_numbers(f, 5000, 1, 1);
    assert_numbers(&f->of_bob, 0, 5001);
    assert_int_equal(stats(f).store_reads, reads);
}

TEST_WITHIN(test_subscriptions_event__subscription_has_a_bound_in_bytes)
{
    open_here(f, &f->of_bob, 2);
    send_numbers(f, 0, 2, 1);
    uint64_t reads = stats(f).store_reads;
    static char text[16001];
    memset(text, ' ', sizeof text - 1);
    unsigned count = SUBSCRIPTION_BYTES_MAX / 16000 + 10; /* far from so many events */
    for (unsigned i = 2; i < count; i++) {
        text[0] = (char)('0' + i / 100);
        text[1] = (char)('0' + i / 10 % 10);
        text[2] = (char)('0' + i % 10);
        assert_true(core_fixture_send(&f->core, f->ann, "lobby", text));
    }
    assert_int_equal(core_fixture_turn(&f->core), OK);
    fake_call_credit(f->of_bob.call, 1000);
    core_fixture_settle(&f->core);
    assert_true(stats(f).store_reads > reads);
    assert_numbers(&f->of_bob, 0, count);
}

/* The store was read, but what was read is not there yet: what comes meanwhile is for later. */
static void begin_reading(struct fixture *f)
{
    begin(f);
    send_numbers(f, 0, 10, 1);
    struct log_position start = commit_log_committed(f->core.commit_log);
    start.seq -= 10;
    recorder_open_at(&f->of_bob, start, 100);
    subscriptions_deliver(f->core.subscriptions);
    assert_int_equal(stats(f).reading, 1);
}

static void send_while_reading(struct fixture *f, unsigned first, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%u", first + i);
        assert_true(core_fixture_send(&f->core, f->ann, "lobby", text));
        assert_int_equal(core_fixture_commit(&f->core), OK);
        subscriptions_deliver(f->core.subscriptions);
    }
}

TEST_WITHIN_ON(test_subscriptions_deliver__what_comes_while_reading_comes_after, begin_reading, end)
{
    send_while_reading(f, 10, 5);
    assert_int_equal(f->of_bob.pages, 0);
    core_fixture_settle(&f->core);
    assert_numbers(&f->of_bob, 0, 15);
    assert_int_equal(stats(f).store_reads, 1);
}

TEST_WITHIN_ON(test_subscriptions_deliver__overflow_while_reading, begin_reading, end)
{
    send_while_reading(f, 10, SUBSCRIPTION_EVENTS_MAX + 100);
    core_fixture_settle(&f->core);
    assert_numbers(&f->of_bob, 0, SUBSCRIPTION_EVENTS_MAX + 110);
    assert_true(stats(f).store_reads > 1);
}

TEST_WITHIN_ON(test_subscriptions_receive__new_stream_while_reading, begin_reading, end)
{
    struct log_position start = f->of_bob.cursor;
    for (int i = 0; i < 20; i++) {
        recorder_open_at(&f->of_bob, start, 100);
        subscriptions_deliver(f->core.subscriptions);
    }
    send_while_reading(f, 10, 3);
    core_fixture_settle(&f->core);
    assert_numbers(&f->of_bob, 0, 13);
}

TEST_WITHIN_ON(test_subscriptions_receive__disconnected_while_reading, begin_reading, end)
{
    recorder_disconnect(&f->of_bob);
    send_while_reading(f, 10, 3);
    core_fixture_settle(&f->core);
    recorder_open(&f->of_bob, 100);
    core_fixture_settle(&f->core);
    assert_numbers(&f->of_bob, 0, 13);
}

TEST_WITHIN_ON(test_subscriptions_session_ended__while_reading, begin_reading, end)
{
    assert_true(core_fixture_logout(&f->core, f->bob));
    assert_true(recorder_is_open(&f->of_bob)); /* not committed */
    core_fixture_settle(&f->core);
    assert_int_equal(recorder_take_end(&f->of_bob), STATUS_UNAUTHENTICATED);
    assert_int_equal(f->of_bob.count, 0);
    assert_int_equal(stats(f).items, 0);
}

/* More sessions are behind than may read at a time; each has its turn. */
TEST(test_subscriptions_deliver__many_sessions_read_at_once)
{
    enum { SESSIONS = 400 };
    struct fixture f;
    begin(&f);
    static struct stream_recorder inboxes[SESSIONS];
    for (unsigned i = 0; i < SESSIONS; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "user%u", i);
        assert_true(core_fixture_register(&f.core, name));
        recorder_init(&inboxes[i], &f.core, core_fixture_login(&f.core, name));
        assert_true(core_fixture_join(&f.core, inboxes[i].session, "lobby"));
        assert_int_equal(core_fixture_turn(&f.core), OK);
    }
    struct log_position start = commit_log_committed(f.core.commit_log);
    send_numbers(&f, 0, 3, 1);
    for (unsigned i = 0; i < SESSIONS; i++)
        recorder_open_at(&inboxes[i], start, 10);
    subscriptions_deliver(f.core.subscriptions);
    assert_in_range(stats(&f).reading, 1, 256);
    core_fixture_settle(&f.core);
    for (unsigned i = 0; i < SESSIONS; i++)
        assert_numbers(&inboxes[i], 0, 3);
    end(&f);
    for (unsigned i = 0; i < SESSIONS; i++)
        recorder_release(&inboxes[i]);
}

TEST_WITHIN(test_subscriptions_receive__at_the_end_needs_no_reading)
{
    open_here(f, &f->of_bob, 10);
    assert_int_equal(f->of_bob.pages, 0);
    assert_int_equal(stats(f).store_reads, 0);
    send_numbers(f, 0, 1, 1);
    assert_numbers(&f->of_bob, 0, 1);
}

TEST_WITHIN(test_subscriptions_receive__equal_cursor_goes_on_with_what_is_held)
{
    open_here(f, &f->of_bob, 10);
    send_numbers(f, 0, 3, 1);
    recorder_disconnect(&f->of_bob);
    uint64_t reads = stats(f).store_reads;
    send_numbers(f, 3, 3, 1);
    recorder_open(&f->of_bob, 10);
    assert_int_equal(core_fixture_turn(&f->core), OK);
    assert_numbers(&f->of_bob, 0, 6);
    assert_int_equal(stats(f).store_reads, reads);
    assert_int_equal(f->of_bob.rewinds, 0);
}

TEST_WITHIN(test_subscriptions_receive__newer_cursor_skips_what_is_held)
{
    open_here(f, &f->of_bob, 10);
    recorder_disconnect(&f->of_bob);
    struct log_position start = commit_log_committed(f->core.commit_log);
    send_numbers(f, 0, 6, 1);
    start.seq += 4; /* received through another server, say */
    recorder_open_at(&f->of_bob, start, 10);
    assert_int_equal(core_fixture_turn(&f->core), OK);
    assert_numbers(&f->of_bob, 4, 2);
}

TEST_WITHIN(test_subscriptions_receive__older_cursor_gets_it_again)
{
    struct log_position start = commit_log_committed(f->core.commit_log);
    open_here(f, &f->of_bob, 10);
    f->of_bob.losing = true;
    send_numbers(f, 0, 4, 1);
    recorder_disconnect(&f->of_bob);
    send_numbers(f, 4, 2, 1);
    recorder_open_at(&f->of_bob, start, 10);
    core_fixture_settle(&f->core);
    assert_numbers(&f->of_bob, 0, 6);
    assert_int_equal(f->of_bob.rewinds, 0);
}

TEST_WITHIN(test_subscriptions_receive__from_nothing_gets_all_since_joining)
{
    send_numbers(f, 0, 4, 1);
    recorder_open_at(&f->of_bob, (struct log_position){0, 0}, 10);
    core_fixture_settle(&f->core);
    assert_int_equal(f->of_bob.rewinds, 0);
    assert_int_equal(recorder_kept(&f->of_bob), 5); /* bob's own coming in and the messages */
    assert_int_equal(f->of_bob.got[0].kind, JACKDAW__EVENT__KIND__JOINED);
}

static void check_cursor_reset(struct fixture *f, struct log_position asked, uint64_t common)
{
    recorder_open_at(&f->of_bob, asked, 10);
    core_fixture_settle(&f->core);
    assert_int_equal(f->of_bob.rewinds, 1);
    assert_true(f->of_bob.pages >= 1); /* told at once, even where there is no event */
    assert_true(f->of_bob.cursor.seq >= common);
    struct log_position last = commit_log_committed(f->core.commit_log);
    if (common == last.seq)
        assert_int_equal(f->of_bob.cursor.epoch, last.epoch);
    recorder_clear(&f->of_bob);
    send_numbers(f, 0, 2, 1);
    if (common == last.seq)
        assert_numbers(&f->of_bob, 0, 2);
    recorder_clear(&f->of_bob);
}

TEST_WITHIN(test_subscriptions_receive__position_of_no_log_of_ours_is_rewound)
{
    struct log_position last = commit_log_committed(f->core.commit_log);
    check_cursor_reset(f, (struct log_position){last.epoch, last.seq + 100}, last.seq);
    last = commit_log_committed(f->core.commit_log);
    check_cursor_reset(f, (struct log_position){last.epoch, UINT64_MAX}, last.seq);
    check_cursor_reset(f, (struct log_position){0, last.seq}, 0);
    check_cursor_reset(f, (struct log_position){last.epoch + 65536, last.seq}, 0);
    check_cursor_reset(f, (struct log_position){UINT64_MAX, UINT64_MAX}, 0);
}

TEST_WITHIN(test_subscriptions_receive__replaces_the_stream_before)
{
    open_here(f, &f->of_bob, 10);
    recorder_init(&f->third, &f->core, f->bob);
    recorder_open_at(&f->third, f->of_bob.cursor, 10);
    assert_int_equal(recorder_take_end(&f->of_bob), STATUS_ABORTED);
    send_numbers(f, 0, 3, 1);
    assert_numbers(&f->third, 0, 3);
    assert_int_equal(stats(f).streams, 1);
}

TEST_WITHIN(test_subscriptions_receive__long_poll_ends_with_its_page)
{
    struct log_position start = commit_log_committed(f->core.commit_log);
    recorder_open_at(&f->of_bob, start, 1);
    core_fixture_settle(&f->core);
    assert_true(recorder_is_open(&f->of_bob));
    send_numbers(f, 0, 1, 1);
    assert_int_equal(recorder_take_end(&f->of_bob), STATUS_OK);
    send_numbers(f, 1, 3, 1);
    recorder_open(&f->of_bob, 1);
    assert_int_equal(core_fixture_turn(&f->core), OK);
    assert_int_equal(recorder_take_end(&f->of_bob), STATUS_OK);
    assert_int_equal(f->of_bob.pages, 2);
    assert_numbers(&f->of_bob, 0, 4);
    assert_int_equal(stats(f).streams, 0);
}

TEST_WITHIN(test_subscriptions_receive__long_polls_catch_up_page_by_page)
{
    struct log_position start = commit_log_committed(f->core.commit_log);
    send_numbers(f, 0, 1000, 50);
    f->of_bob.cursor = start;
    for (int i = 0; i < 4; i++) {
        recorder_open(&f->of_bob, 1);
        core_fixture_settle(&f->core);
        assert_int_equal(recorder_take_end(&f->of_bob), STATUS_OK);
    }
    assert_numbers(&f->of_bob, 0, 1000);
}

TEST_WITHIN(test_subscriptions__cancelled_stream_ends_and_loses_nothing)
{
    open_here(f, &f->of_bob, 10);
    fake_call_cancel(f->of_bob.call);
    assert_int_equal(recorder_take_end(&f->of_bob), STATUS_CANCELLED);
    assert_int_equal(stats(f).streams, 0);
    send_numbers(f, 0, 3, 1);
    recorder_open(&f->of_bob, 10);
    assert_int_equal(core_fixture_turn(&f->core), OK);
    assert_numbers(&f->of_bob, 0, 3);
}

TEST_WITHIN(test_subscriptions_hang_up__ends_every_stream)
{
    open_here(f, &f->of_ann, 10);
    open_here(f, &f->of_bob, 1);
    subscriptions_end_all(f->core.subscriptions, "closing");
    assert_int_equal(recorder_take_end(&f->of_ann), STATUS_UNAVAILABLE);
    assert_int_equal(recorder_take_end(&f->of_bob), STATUS_UNAVAILABLE);
    send_numbers(f, 0, 3, 1);
}

TEST_WITHIN(test_subscriptions_tidy__what_nobody_fetches_is_read_again)
{
    open_here(f, &f->of_bob, 10);
    open_here(f, &f->of_ann, 10);
    recorder_disconnect(&f->of_bob);
    subscriptions_tidy(f->core.subscriptions, 0, 10000); /* notes the time */
    send_numbers(f, 0, 3, 1);
    uint64_t reads = stats(f).store_reads;
    subscriptions_tidy(f->core.subscriptions, 10000, 40000); /* not older than that */
    subscriptions_tidy(f->core.subscriptions, 10001, 40001);
    send_numbers(f, 3, 3, 1);
    recorder_open(&f->of_bob, 10);
    core_fixture_settle(&f->core);
    assert_numbers(&f->of_bob, 0, 6);
    assert_int_equal(stats(f).store_reads, reads + 1);
    assert_numbers(&f->of_ann, 0, 6);
}

TEST_WITHIN(test_subscriptions_tidy__an_idle_one_has_no_ring)
{
    open_here(f, &f->of_bob, 10);
    const struct subscription *subscription =
        *chat_session_attachment(chat_find_session(f->core.chat, f->bob));
    send_numbers(f, 0, 1, 1);
    assert_true(subscription->queue.capacity > 0);
    subscriptions_tidy(f->core.subscriptions, 0, 10000);
    assert_int_equal(subscription->queue.capacity, 0);
    recorder_disconnect(&f->of_bob);
    send_numbers(f, 1, 1, 1);
    subscriptions_tidy(f->core.subscriptions, 0, 10000);
    assert_true(subscription->queue.capacity > 0); /* it has an event */
    recorder_open(&f->of_bob, 10);
    core_fixture_settle(&f->core);
    assert_numbers(&f->of_bob, 0, 2);
}

TEST_WITHIN(test_subscriptions_session_ended__stream_is_told_when_it_is_committed)
{
    open_here(f, &f->of_bob, 10);
    open_here(f, &f->of_ann, 10);
    assert_true(core_fixture_logout(&f->core, f->bob));
    subscriptions_deliver(f->core.subscriptions);
    assert_true(recorder_is_open(&f->of_bob));
    fake_call_credit(f->of_bob.call, 5); /* nobody minds */
    assert_int_equal(core_fixture_turn(&f->core), OK);
    assert_int_equal(recorder_take_end(&f->of_bob), STATUS_UNAUTHENTICATED);
    assert_int_equal(stats(f).items, 1);
    send_numbers(f, 0, 2, 1);
    assert_numbers(&f->of_ann, 0, 2);
}

/* On a slave: the client asks again, and hears from the master whether its session has ended. */
TEST_WITHIN(test_subscriptions_session_gone__the_client_asks_again)
{
    open_here(f, &f->of_bob, 10);
    subscriptions_session_gone(f->core.subscriptions, chat_find_session(f->core.chat, f->bob));
    assert_int_equal(recorder_take_end(&f->of_bob), STATUS_ABORTED);
    assert_int_equal(stats(f).items, 0);
    subscriptions_session_gone(f->core.subscriptions, chat_find_session(f->core.chat, f->bob));
    recorder_open(&f->of_bob, 10);
    send_numbers(f, 0, 2, 1);
    assert_numbers(&f->of_bob, 0, 2);
}

TEST_WITHIN(test_subscriptions_session_ended__peer_goes_before_the_commit)
{
    open_here(f, &f->of_bob, 10);
    assert_true(core_fixture_logout(&f->core, f->bob));
    fake_call_cancel(f->of_bob.call);
    assert_int_equal(core_fixture_turn(&f->core), OK);
    (void)recorder_take_end(&f->of_bob);
}

TEST_WITHIN(test_subscriptions_session_ended__undone_it_goes_on)
{
    open_here(f, &f->of_bob, 10);
    assert_true(core_fixture_logout(&f->core, f->bob));
    core_fixture_break(&f->core);
    /* Not "log in again": the session is still there. */
    assert_int_equal(recorder_take_end(&f->of_bob), STATUS_UNAVAILABLE);
    send_numbers(f, 0, 2, 1);
    recorder_open(&f->of_bob, 10);
    core_fixture_settle(&f->core);
    assert_numbers(&f->of_bob, 0, 2);
}

TEST_WITHIN(test_subscriptions_session_ended__account_deleted_and_device_replaced)
{
    open_here(f, &f->of_bob, 10);
    open_here(f, &f->of_ann, 10);
    assert_true(core_fixture_delete(&f->core, f->ann));
    assert_int_equal(core_fixture_turn(&f->core), OK);
    assert_int_equal(recorder_take_end(&f->of_ann), STATUS_UNAUTHENTICATED);
    /* Two newer devices of bob, while the first was not heard for a minute. */
    f->core.now_ms += 61000;
    assert_int_not_equal(core_fixture_login(&f->core, "bob"), 0);
    assert_int_not_equal(core_fixture_login(&f->core, "bob"), 0);
    assert_int_equal(core_fixture_turn(&f->core), OK);
    assert_int_equal(recorder_take_end(&f->of_bob), STATUS_UNAUTHENTICATED);
    assert_int_equal(stats(f).items, 0);
}

TEST_WITHIN(test_subscriptions_rolled_back__nothing_undone_is_delivered)
{
    open_here(f, &f->of_bob, 10);
    send_numbers(f, 0, 2, 1);
    assert_true(core_fixture_send(&f->core, f->ann, "lobby", "never"));
    core_fixture_typing(&f->core, f->ann, "lobby");
    core_fixture_break(&f->core);
    core_fixture_settle(&f->core);
    assert_numbers(&f->of_bob, 0, 2);
    assert_true(recorder_is_open(&f->of_bob));
    send_numbers(f, 2, 2, 1);
    core_fixture_settle(&f->core);
    assert_numbers(&f->of_bob, 0, 4);
}

TEST_WITHIN(test_subscriptions_rolled_back__what_was_committed_is_still_delivered)
{
    open_here(f, &f->of_bob, 2);
    send_numbers(f, 0, 10, 1); /* eight of them wait for credit */
    assert_true(core_fixture_send(&f->core, f->ann, "lobby", "never"));
    core_fixture_break(&f->core);
    send_numbers(f, 10, 5, 1);
    fake_call_credit(f->of_bob.call, 20);
    core_fixture_settle(&f->core);
    assert_numbers(&f->of_bob, 0, 15);
}

TEST_WITHIN_ON(test_subscriptions_rolled_back__while_reading, begin_reading, end)
{
    send_while_reading(f, 10, 2);
    assert_true(core_fixture_send(&f->core, f->ann, "lobby", "never"));
    core_fixture_break(&f->core);
    subscriptions_deliver(f->core.subscriptions);
    send_while_reading(f, 12, 2);
    core_fixture_settle(&f->core);
    assert_numbers(&f->of_bob, 0, 14);
}

TEST_WITHIN(test_subscriptions_rolled_back__login_undone_with_its_stream)
{
    recorder_init(&f->third, &f->core, core_fixture_login(&f->core, "bob"));
    recorder_open_at(&f->third, commit_log_committed(f->core.commit_log), 10);
    assert_true(core_fixture_send(&f->core, f->ann, "lobby", "never"));
    core_fixture_break(&f->core);
    assert_int_equal(recorder_take_end(&f->third), STATUS_UNAUTHENTICATED);
    assert_int_equal(f->third.count, 0);
    assert_int_equal(stats(f).items, 0);
    core_fixture_settle(&f->core);
}

/* A subscription that waits must not keep the core awake: nothing is dirty without something to do. */
TEST_WITHIN(test_subscriptions_deliver__nothing_to_do_costs_nothing)
{
    open_here(f, &f->of_bob, 2);
    send_numbers(f, 0, 3000, 10); /* far behind, and no credit */
    core_fixture_settle(&f->core);
    struct subscriptions_stats before = stats(f);
    for (int i = 0; i < 100; i++)
        subscriptions_deliver(f->core.subscriptions);
    struct subscriptions_stats after = stats(f);
    assert_memory_equal(&before, &after, sizeof before);
}

TEST_PREPARE()
{
    log_configure(LOG_SILENT, LOG_TEXT);
    return 0;
}
