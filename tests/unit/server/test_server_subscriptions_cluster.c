/* SPDX-License-Identifier: MIT */
/* Subscriptions on a server among others: there is always something that is not committed yet, masters
 * come and go, and people are told. */
#include "base/log.h"
#include "server/subscriptions.h"
#include "support/core_fixture.h"
#include "support/fake_call.h"
#include "support/folder.h"
#include "support/stream_recorder.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MASTER "192.0.2.7:2625"
#define SENTENCE "server 3 is away; 2 of 3 servers" /* as much of it as an inbox keeps */

struct fixture {
    struct core_fixture core;
    char *folder; /* NULL: in memory */
    uint64_t ann;
    uint64_t bob;
    struct stream_recorder of_bob;
};

static void begin_in(struct fixture *f, char *folder)
{
    f->folder = folder;
    core_fixture_init(&f->core, folder);
    core_fixture_open(&f->core);
    f->ann = core_fixture_person(&f->core, "ann");
    f->bob = core_fixture_person(&f->core, "bob");
    assert_int_equal(core_fixture_turn(&f->core), OK);
    recorder_init(&f->of_bob, &f->core, f->bob);
}

static void begin(struct fixture *f)
{
    begin_in(f, NULL);
}

static void end(struct fixture *f)
{
    core_fixture_close(&f->core);
    recorder_release(&f->of_bob);
    if (f->folder != NULL)
        folder_remove(f->folder);
}

static void say(struct fixture *f, unsigned number)
{
    char text[16];
    (void)snprintf(text, sizeof text, "%u", number);
    assert_true(core_fixture_send(&f->core, f->ann, "lobby", text));
}

/* How many of the messages 0, 1, ... have come, each once and in order. */
static unsigned count_numbers(const struct stream_recorder *recorder)
{
    unsigned next = 0;
    for (size_t i = 0; i < recorder->count; i++)
        if (recorder->got[i].kind == JACKDAW__EVENT__KIND__MESSAGE)
            assert_int_equal(strtoul(recorder->got[i].text, NULL, 10), next++);
    return next;
}

static unsigned count_notices(const struct stream_recorder *recorder)
{
    unsigned count = 0;
    for (size_t i = 0; i < recorder->count; i++) {
        if (recorder->got[i].kind != JACKDAW__EVENT__KIND__NOTICE)
            continue;
        assert_int_equal(recorder->got[i].seq, 0);
        assert_memory_equal(recorder->got[i].text, SENTENCE, sizeof recorder->got[i].text - 1);
        count++;
    }
    return count;
}

/* The state as applied is never committed when streams are looked at. */
static void check_no_starvation(struct fixture *f)
{
    unsigned said = 0;
    for (; said < 3 * SUBSCRIPTION_EVENTS_MAX; said++)
        say(f, said);
    assert_int_equal(core_fixture_commit(&f->core), OK);
    recorder_open_at(&f->of_bob, (struct log_position){0, 0}, 1000000);
    unsigned had = 0;
    for (unsigned round = 0; had < 3 * SUBSCRIPTION_EVENTS_MAX; round++) {
        assert_true(round < 5000);
        core_fixture_run(&f->core);
        say(f, said++);
        assert_true(commit_log_committed(f->core.commit_log).seq <
                    commit_log_applied(f->core.commit_log).seq);
        subscriptions_deliver(f->core.subscriptions);
        assert_int_equal(core_fixture_commit(&f->core), OK);
        if (f->core.reader != NULL)
            task_queue_wait(f->core.queue, 10);
        had = count_numbers(&f->of_bob);
    }
    core_fixture_settle(&f->core);
    assert_int_equal(count_numbers(&f->of_bob), said);
}

TEST_WITHIN(test_subscriptions_deliver__behind_while_others_never_stop)
{
    check_no_starvation(f);
}

TEST(test_subscriptions_deliver__behind_with_a_reader_of_its_own)
{
    struct fixture f;
    begin_in(&f, folder_new());
    check_no_starvation(&f);
    end(&f);
}

/* What is read is what was applied when the reading began: not before that is committed. */
TEST_WITHIN(test_subscriptions_deliver__reads_nothing_uncommitted)
{
    say(f, 0);
    assert_int_equal(core_fixture_commit(&f->core), OK);
    say(f, 1);
    recorder_open_at(&f->of_bob, (struct log_position){0, 0}, 100);
    for (int i = 0; i < 3; i++) {
        subscriptions_deliver(f->core.subscriptions);
        core_fixture_run(&f->core);
    }
    assert_int_equal(f->of_bob.count, 0);
    assert_int_equal(core_fixture_commit(&f->core), OK);
    core_fixture_settle(&f->core);
    assert_int_equal(count_numbers(&f->of_bob), 2);
}

TEST_WITHIN(test_subscriptions_deliver__the_gate_never_opens)
{
    say(f, 0);
    assert_int_equal(core_fixture_commit(&f->core), OK);
    say(f, 1);
    recorder_open_at(&f->of_bob, (struct log_position){0, 0}, 100);
    subscriptions_deliver(f->core.subscriptions); /* waits for what is undone now */
    core_fixture_break(&f->core);
    say(f, 1);
    assert_int_equal(core_fixture_commit(&f->core), OK);
    core_fixture_settle(&f->core);
    assert_int_equal(count_numbers(&f->of_bob), 2);
}

/* A server that has started again has its log, and knows of nothing in it that it is committed. */
TEST_WITHIN(test_subscriptions_receive__not_known_as_committed_is_not_told_again)
{
    say(f, 0);
    assert_int_equal(core_fixture_turn(&f->core), OK);
    struct log_position last = commit_log_applied(f->core.commit_log);
    f->core.is_awaited = true;
    commit_log_commit(f->core.commit_log, 0);
    recorder_open_at(&f->of_bob, last, 100);
    core_fixture_settle(&f->core);
    say(f, 0);
    core_fixture_settle(&f->core);
    assert_int_equal(f->of_bob.pages, 0);
    commit_log_commit(f->core.commit_log, commit_log_applied(f->core.commit_log).seq);
    core_fixture_settle(&f->core);
    assert_int_equal(count_numbers(&f->of_bob), 1);
    assert_int_equal(f->of_bob.rewinds, 0);
}

TEST_WITHIN(test_subscriptions_rolled_back__resets_a_cursor_of_what_is_undone)
{
    struct log_position kept = commit_log_committed(f->core.commit_log);
    say(f, 9);
    say(f, 9);
    recorder_open_at(&f->of_bob, commit_log_applied(f->core.commit_log), 100);
    core_fixture_break(&f->core);
    subscriptions_deliver(f->core.subscriptions);
    assert_int_equal(f->of_bob.rewinds, 1);
    assert_int_equal(f->of_bob.cursor.seq, kept.seq);
    assert_int_equal(f->of_bob.cursor.epoch, kept.epoch);
    for (unsigned i = 0; i < 3; i++)
        say(f, i);
    core_fixture_settle(&f->core);
    assert_int_equal(count_numbers(&f->of_bob), 3);
    assert_int_equal(f->of_bob.rewinds, 1);
}

TEST_WITHIN(test_subscriptions_close_all__names_the_master)
{
    recorder_open(&f->of_bob, 100);
    core_fixture_settle(&f->core);
    commit_log_set_epoch(f->core.commit_log, 0);
    subscriptions_close_all(f->core.subscriptions, "another server is the master now", MASTER);
    assert_string_equal(f->of_bob.call->master, MASTER);
    assert_int_equal(recorder_take_end(&f->of_bob), STATUS_UNAVAILABLE);
    struct subscriptions_stats stats;
    subscriptions_stats(f->core.subscriptions, &stats);
    assert_int_equal(stats.items, 0);
    assert_int_equal(stats.streams, 0);
}

TEST_WITHIN(test_subscriptions_close_all__nobody_knows_the_master)
{
    recorder_open(&f->of_bob, 100);
    subscriptions_close_all(f->core.subscriptions, "another server is the master now", NULL);
    assert_string_equal(f->of_bob.call->master, "");
    assert_int_equal(recorder_take_end(&f->of_bob), STATUS_UNAVAILABLE);
}

/* It was the master, another one did, and it is the master again: bob comes back and has missed nothing. */
TEST_WITHIN(test_subscriptions_close_all__with_a_reading_under_way)
{
    say(f, 0);
    assert_int_equal(core_fixture_commit(&f->core), OK);
    say(f, 1);
    struct log_position start = {0, 0};
    recorder_open_at(&f->of_bob, start, 100);
    subscriptions_deliver(f->core.subscriptions);
    uint64_t epoch = f->core.epoch;
    subscriptions_close_all(f->core.subscriptions, "another server is the master now", MASTER);
    (void)recorder_take_end(&f->of_bob);
    assert_int_equal(core_fixture_commit(&f->core), OK); /* the commit waiter opens for nobody */
    commit_log_set_epoch(f->core.commit_log, 0);
    commit_log_set_epoch(f->core.commit_log, epoch);
    core_fixture_settle(&f->core);
    assert_int_equal(f->of_bob.count, 0);
    recorder_open_at(&f->of_bob, start, 100);
    core_fixture_settle(&f->core);
    assert_int_equal(count_numbers(&f->of_bob), 2);
}

static void tell(struct fixture *f)
{
    subscriptions_notice(f->core.subscriptions, SENTENCE " have everything", f->core.wall_ms);
}

TEST_WITHIN(test_subscriptions_notice__once_to_every_stream)
{
    tell(f); /* to nobody */
    recorder_open_at(&f->of_bob, commit_log_committed(f->core.commit_log), 100);
    core_fixture_settle(&f->core);
    assert_int_equal(count_notices(&f->of_bob), 0);
    tell(f);
    core_fixture_settle(&f->core);
    assert_int_equal(count_notices(&f->of_bob), 1);
    uint64_t cursor = f->of_bob.cursor.seq;
    say(f, 0);
    core_fixture_settle(&f->core);
    assert_int_equal(f->of_bob.cursor.seq, cursor + 1);
    recorder_disconnect(&f->of_bob);
    tell(f); /* away: it is not kept */
    recorder_open(&f->of_bob, 100);
    core_fixture_settle(&f->core);
    assert_int_equal(count_notices(&f->of_bob), 1);
    assert_int_equal(count_numbers(&f->of_bob), 1);
}

TEST_WITHIN(test_subscriptions_notice__to_one_that_is_behind)
{
    for (unsigned i = 0; i < 300; i++)
        say(f, i);
    assert_int_equal(core_fixture_commit(&f->core), OK);
    recorder_open_at(&f->of_bob, (struct log_position){0, 0}, 100);
    tell(f); /* behind */
    subscriptions_deliver(f->core.subscriptions);
    tell(f); /* reading */
    say(f, 300);
    tell(f);
    core_fixture_settle(&f->core);
    assert_int_equal(count_notices(&f->of_bob), 3);
    assert_int_equal(count_numbers(&f->of_bob), 301);
}

TEST_WITHIN(test_subscriptions_notice__a_full_subscription_takes_no_more)
{
    recorder_open_at(&f->of_bob, commit_log_committed(f->core.commit_log), 2);
    core_fixture_settle(&f->core);
    fake_call_credit(f->of_bob.call, 0);
    for (unsigned i = 0; i < 5; i++) { /* uses its credit */
        say(f, i);
        assert_int_equal(core_fixture_turn(&f->core), OK);
    }
    for (unsigned i = 0; i < 2 * SUBSCRIPTION_EVENTS_MAX; i++)
        tell(f);
    fake_call_credit(f->of_bob.call, 1000);
    core_fixture_settle(&f->core);
    assert_int_equal(count_numbers(&f->of_bob), 5);
    assert_true(count_notices(&f->of_bob) <= SUBSCRIPTION_EVENTS_MAX);
}

TEST_WITHIN(test_subscriptions_set_failover_notice__each_session_when_it_comes)
{
    say(f, 0);
    assert_int_equal(core_fixture_commit(&f->core), OK);
    subscriptions_set_failover_notice(f->core.subscriptions, SENTENCE " have", 1);
    subscriptions_set_failover_notice(f->core.subscriptions, SENTENCE " have everything", 2);
    recorder_open_at(&f->of_bob, (struct log_position){0, 0}, 100);
    core_fixture_settle(&f->core);
    assert_int_equal(count_notices(&f->of_bob), 1);
    assert_int_equal(count_numbers(&f->of_bob), 1);
    recorder_disconnect(&f->of_bob);
    recorder_open(&f->of_bob, 100);
    core_fixture_settle(&f->core);
    assert_int_equal(count_notices(&f->of_bob), 1); /* once */
    recorder_disconnect(&f->of_bob);
    subscriptions_close_all(f->core.subscriptions, "gone", NULL);
    subscriptions_set_failover_notice(f->core.subscriptions, NULL, 0);
    recorder_open(&f->of_bob, 100);
    core_fixture_settle(&f->core);
    assert_int_equal(count_notices(&f->of_bob), 1);
}

TEST_PREPARE()
{
    log_configure(LOG_SILENT, LOG_TEXT);
    return 0;
}
