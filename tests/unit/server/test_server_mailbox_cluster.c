/* SPDX-License-Identifier: MIT */
/* Mailboxes on a server among others: there is always something that is not committed yet, masters
 * come and go, and people are told. */
#include "base/log.h"
#include "server/mailbox.h"
#include "support/desk.h"
#include "support/fake_call.h"
#include "support/folder.h"
#include "support/inbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define MASTER "192.0.2.7:2625"
#define SENTENCE "server 3 is away; 2 of 3 servers" /* as much of it as an inbox keeps */

struct fixture {
    struct desk desk;
    char *folder; /* NULL: in memory */
    uint64_t ann;
    uint64_t bob;
    struct inbox of_bob;
};

static void begin_in(struct fixture *f, char *folder)
{
    f->folder = folder;
    desk_init(&f->desk, folder);
    desk_open(&f->desk);
    assert_true(desk_register(&f->desk, "ann"));
    assert_true(desk_register(&f->desk, "bob"));
    f->ann = desk_login(&f->desk, "ann");
    f->bob = desk_login(&f->desk, "bob");
    assert_true(desk_join(&f->desk, f->ann, "lobby"));
    assert_true(desk_join(&f->desk, f->bob, "lobby"));
    assert_int_equal(desk_turn(&f->desk), OK);
    inbox_init(&f->of_bob, &f->desk, f->bob);
}

static void begin(struct fixture *f)
{
    begin_in(f, NULL);
}

static void end(struct fixture *f)
{
    desk_close(&f->desk);
    inbox_release(&f->of_bob);
    if (f->folder != NULL)
        folder_remove(f->folder);
}

static void say(struct fixture *f, unsigned number)
{
    char text[16];
    (void)snprintf(text, sizeof text, "%u", number);
    assert_true(desk_send(&f->desk, f->ann, "lobby", text));
}

/* How many of the messages 0, 1, ... have come, each once and in order. */
static unsigned count_numbers(const struct inbox *inbox)
{
    unsigned next = 0;
    for (size_t i = 0; i < inbox->count; i++)
        if (inbox->got[i].kind == JACKDAW__EVENT__KIND__MESSAGE)
            assert_int_equal(strtoul(inbox->got[i].text, NULL, 10), next++);
    return next;
}

static unsigned count_notices(const struct inbox *inbox)
{
    unsigned count = 0;
    for (size_t i = 0; i < inbox->count; i++) {
        if (inbox->got[i].kind != JACKDAW__EVENT__KIND__NOTICE)
            continue;
        assert_int_equal(inbox->got[i].seq, 0);
        assert_memory_equal(inbox->got[i].text, SENTENCE, sizeof inbox->got[i].text - 1);
        count++;
    }
    return count;
}

/* ---- behind, while others never stop ---- */

/* The state as applied is never committed when streams are looked at. */
static void check_no_starvation(struct fixture *f)
{
    unsigned said = 0;
    for (; said < 3 * MAILBOX_EVENTS_MAX; said++)
        say(f, said);
    assert_int_equal(desk_commit(&f->desk), OK);
    inbox_open_at(&f->of_bob, (struct position){0, 0}, 1000000);
    unsigned had = 0;
    for (unsigned round = 0; had < 3 * MAILBOX_EVENTS_MAX; round++) {
        assert_true(round < 5000);
        desk_run(&f->desk);
        say(f, said++);
        assert_true(ledger_committed(f->desk.ledger).seq < ledger_applied(f->desk.ledger).seq);
        mailroom_deliver(f->desk.mailroom);
        assert_int_equal(desk_commit(&f->desk), OK);
        if (f->desk.reader != NULL)
            task_queue_wait(f->desk.queue, 10);
        had = count_numbers(&f->of_bob);
    }
    desk_settle(&f->desk);
    assert_int_equal(count_numbers(&f->of_bob), said);
}

static void test_mailroom_deliver__behind_while_others_never_stop(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    check_no_starvation(&f);
    end(&f);
}

static void test_mailroom_deliver__behind_with_a_reader_of_its_own(void **state)
{
    (void)state;
    struct fixture f;
    begin_in(&f, folder_new());
    check_no_starvation(&f);
    end(&f);
}

/* What is read is what was applied when the reading began: not before that is committed. */
static void test_mailroom_deliver__reads_nothing_uncommitted(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    say(&f, 0);
    assert_int_equal(desk_commit(&f.desk), OK);
    say(&f, 1);
    inbox_open_at(&f.of_bob, (struct position){0, 0}, 100);
    for (int i = 0; i < 3; i++) {
        mailroom_deliver(f.desk.mailroom);
        desk_run(&f.desk);
    }
    assert_int_equal(f.of_bob.count, 0);
    assert_int_equal(desk_commit(&f.desk), OK);
    desk_settle(&f.desk);
    assert_int_equal(count_numbers(&f.of_bob), 2);
    end(&f);
}

static void test_mailroom_deliver__the_gate_never_opens(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    say(&f, 0);
    assert_int_equal(desk_commit(&f.desk), OK);
    say(&f, 1);
    inbox_open_at(&f.of_bob, (struct position){0, 0}, 100);
    mailroom_deliver(f.desk.mailroom); /* waits for what is undone now */
    desk_break(&f.desk);
    say(&f, 1);
    assert_int_equal(desk_commit(&f.desk), OK);
    desk_settle(&f.desk);
    assert_int_equal(count_numbers(&f.of_bob), 2);
    end(&f);
}

/* ---- another server reigns ---- */

static void test_mailroom_close_all__names_the_master(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    inbox_open(&f.of_bob, 100);
    desk_settle(&f.desk);
    ledger_set_reign(f.desk.ledger, 0);
    mailroom_close_all(f.desk.mailroom, "another server is the master now", MASTER);
    assert_string_equal(f.of_bob.call->master, MASTER);
    assert_int_equal(inbox_take_end(&f.of_bob), STATUS_UNAVAILABLE);
    struct mailroom_figures figures;
    mailroom_figures(f.desk.mailroom, &figures);
    assert_int_equal(figures.mailboxes, 0);
    assert_int_equal(figures.streams, 0);
    end(&f);
}

static void test_mailroom_close_all__nobody_knows_the_master(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    inbox_open(&f.of_bob, 100);
    mailroom_close_all(f.desk.mailroom, "another server is the master now", NULL);
    assert_string_equal(f.of_bob.call->master, "");
    assert_int_equal(inbox_take_end(&f.of_bob), STATUS_UNAVAILABLE);
    end(&f);
}

/* It reigned, another one did, and it reigns again: bob comes back and has missed nothing. */
static void test_mailroom_close_all__with_a_reading_under_way(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    say(&f, 0);
    assert_int_equal(desk_commit(&f.desk), OK);
    say(&f, 1);
    struct position start = {0, 0};
    inbox_open_at(&f.of_bob, start, 100);
    mailroom_deliver(f.desk.mailroom);
    uint64_t epoch = f.desk.epoch;
    mailroom_close_all(f.desk.mailroom, "another server is the master now", MASTER);
    (void)inbox_take_end(&f.of_bob);
    assert_int_equal(desk_commit(&f.desk), OK); /* the gate opens for nobody */
    ledger_set_reign(f.desk.ledger, 0);
    ledger_set_reign(f.desk.ledger, epoch);
    desk_settle(&f.desk);
    assert_int_equal(f.of_bob.count, 0);
    inbox_open_at(&f.of_bob, start, 100);
    desk_settle(&f.desk);
    assert_int_equal(count_numbers(&f.of_bob), 2);
    end(&f);
}

/* ---- people are told ---- */

static void tell(struct fixture *f)
{
    mailroom_notice(f->desk.mailroom, SENTENCE " have everything", f->desk.wall_ms);
}

static void test_mailroom_notice__once_to_every_stream(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    tell(&f); /* to nobody */
    inbox_open_at(&f.of_bob, ledger_committed(f.desk.ledger), 100);
    desk_settle(&f.desk);
    assert_int_equal(count_notices(&f.of_bob), 0);
    tell(&f);
    desk_settle(&f.desk);
    assert_int_equal(count_notices(&f.of_bob), 1);
    uint64_t cursor = f.of_bob.cursor.seq;
    say(&f, 0);
    desk_settle(&f.desk);
    assert_int_equal(f.of_bob.cursor.seq, cursor + 1);
    inbox_disconnect(&f.of_bob);
    tell(&f); /* away: it is not kept */
    inbox_open(&f.of_bob, 100);
    desk_settle(&f.desk);
    assert_int_equal(count_notices(&f.of_bob), 1);
    assert_int_equal(count_numbers(&f.of_bob), 1);
    end(&f);
}

static void test_mailroom_notice__to_one_that_is_behind(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    for (unsigned i = 0; i < 300; i++)
        say(&f, i);
    assert_int_equal(desk_commit(&f.desk), OK);
    inbox_open_at(&f.of_bob, (struct position){0, 0}, 100);
    tell(&f); /* behind */
    mailroom_deliver(f.desk.mailroom);
    tell(&f); /* reading */
    say(&f, 300);
    tell(&f);
    desk_settle(&f.desk);
    assert_int_equal(count_notices(&f.of_bob), 3);
    assert_int_equal(count_numbers(&f.of_bob), 301);
    end(&f);
}

static void test_mailroom_notice__a_full_mailbox_takes_no_more(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    inbox_open_at(&f.of_bob, ledger_committed(f.desk.ledger), 2);
    desk_settle(&f.desk);
    fake_call_credit(f.of_bob.call, 0);
    for (unsigned i = 0; i < 5; i++) { /* uses its credit */
        say(&f, i);
        assert_int_equal(desk_turn(&f.desk), OK);
    }
    for (unsigned i = 0; i < 2 * MAILBOX_EVENTS_MAX; i++)
        tell(&f);
    fake_call_credit(f.of_bob.call, 1000);
    desk_settle(&f.desk);
    assert_int_equal(count_numbers(&f.of_bob), 5);
    assert_true(count_notices(&f.of_bob) <= MAILBOX_EVENTS_MAX);
    end(&f);
}

static void test_mailroom_greet__each_session_when_it_comes(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    say(&f, 0);
    assert_int_equal(desk_commit(&f.desk), OK);
    mailroom_greet(f.desk.mailroom, SENTENCE " have", 1);
    mailroom_greet(f.desk.mailroom, SENTENCE " have everything", 2);
    inbox_open_at(&f.of_bob, (struct position){0, 0}, 100);
    desk_settle(&f.desk);
    assert_int_equal(count_notices(&f.of_bob), 1);
    assert_int_equal(count_numbers(&f.of_bob), 1);
    inbox_disconnect(&f.of_bob);
    inbox_open(&f.of_bob, 100);
    desk_settle(&f.desk);
    assert_int_equal(count_notices(&f.of_bob), 1); /* once */
    inbox_disconnect(&f.of_bob);
    mailroom_close_all(f.desk.mailroom, "gone", NULL);
    mailroom_greet(f.desk.mailroom, NULL, 0);
    inbox_open(&f.of_bob, 100);
    desk_settle(&f.desk);
    assert_int_equal(count_notices(&f.of_bob), 1);
    end(&f);
}

int main(void)
{
    log_configure(LOG_SILENT, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mailroom_deliver__behind_while_others_never_stop),
        cmocka_unit_test(test_mailroom_deliver__behind_with_a_reader_of_its_own),
        cmocka_unit_test(test_mailroom_deliver__reads_nothing_uncommitted),
        cmocka_unit_test(test_mailroom_deliver__the_gate_never_opens),
        cmocka_unit_test(test_mailroom_close_all__names_the_master),
        cmocka_unit_test(test_mailroom_close_all__nobody_knows_the_master),
        cmocka_unit_test(test_mailroom_close_all__with_a_reading_under_way),
        cmocka_unit_test(test_mailroom_notice__once_to_every_stream),
        cmocka_unit_test(test_mailroom_notice__to_one_that_is_behind),
        cmocka_unit_test(test_mailroom_notice__a_full_mailbox_takes_no_more),
        cmocka_unit_test(test_mailroom_greet__each_session_when_it_comes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
