/* SPDX-License-Identifier: MIT */
#include "base/log.h"
#include "server/mailbox.h"
#include "support/desk.h"
#include "support/fake_call.h"
#include "support/inbox.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define PLENTY 1000000

/* Ann and bob in the lobby, each with a mailbox, in memory. */
struct fixture {
    struct desk desk;
    uint64_t ann;
    uint64_t bob;
    struct inbox of_ann;
    struct inbox of_bob;
};

static void begin_with(struct fixture *f, const struct chat_limits *limits)
{
    desk_init(&f->desk, NULL);
    if (limits != NULL)
        f->desk.limits = *limits;
    desk_open(&f->desk);
    assert_true(desk_register(&f->desk, "ann"));
    assert_true(desk_register(&f->desk, "bob"));
    f->ann = desk_login(&f->desk, "ann");
    f->bob = desk_login(&f->desk, "bob");
    assert_true(desk_join(&f->desk, f->ann, "lobby"));
    assert_true(desk_join(&f->desk, f->bob, "lobby"));
    assert_int_equal(desk_turn(&f->desk), OK);
    inbox_init(&f->of_ann, &f->desk, f->ann);
    inbox_init(&f->of_bob, &f->desk, f->bob);
}

static void begin(struct fixture *f)
{
    begin_with(f, NULL);
}

static void end(struct fixture *f)
{
    desk_close(&f->desk);
    inbox_release(&f->of_ann);
    inbox_release(&f->of_bob);
}

/* Streams from where the log is now. */
static void open_here(struct fixture *f, struct inbox *inbox, uint32_t credits)
{
    inbox_open_at(inbox, ledger_committed(f->desk.ledger), credits);
    desk_settle(&f->desk);
    inbox_clear(inbox);
}

static struct mailroom_figures figures(struct fixture *f)
{
    struct mailroom_figures figures;
    mailroom_figures(f->desk.mailroom, &figures);
    return figures;
}

/* Sends texts "first" .. and commits; each turn delivers. */
static void send_numbers(struct fixture *f, unsigned first, unsigned count, unsigned in_a_turn)
{
    for (unsigned i = 0; i < count; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%u", first + i);
        assert_true(desk_send(&f->desk, f->ann, "lobby", text));
        if ((i + 1) % in_a_turn == 0)
            assert_int_equal(desk_turn(&f->desk), OK);
    }
    assert_int_equal(desk_turn(&f->desk), OK);
}

/* That the messages first, first + 1, ... came, each once and in order, and nothing else kept. */
static void assert_numbers(const struct inbox *inbox, unsigned first, unsigned count)
{
    unsigned next = first;
    for (size_t i = 0; i < inbox->count; i++) {
        if (inbox->got[i].seq == 0)
            continue;
        assert_int_equal(inbox->got[i].kind, JACKDAW__EVENT__KIND__MESSAGE);
        assert_int_equal(strtoul(inbox->got[i].text, NULL, 10), next);
        next++;
    }
    assert_int_equal(next, first + count);
}

/* ---- live ---- */

static void test_mailroom_deliver__live_to_every_member_after_the_commit(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_ann, 10);
    open_here(&f, &f.of_bob, 10);
    uint64_t reads = figures(&f).store_reads;
    assert_true(desk_send(&f.desk, f.ann, "lobby", "hello"));
    mailroom_deliver(f.desk.mailroom);
    assert_int_equal(f.of_bob.pages, 0); /* not committed */
    assert_int_equal(desk_turn(&f.desk), OK);
    assert_int_equal(f.of_ann.count, 1);
    assert_int_equal(f.of_bob.count, 1);
    const struct got *got = &f.of_bob.got[0];
    assert_int_equal(got->kind, JACKDAW__EVENT__KIND__MESSAGE);
    assert_string_equal(got->text, "hello");
    assert_string_equal(got->room, "lobby");
    assert_string_equal(got->from, "ann");
    assert_int_equal(got->number, 1);
    assert_int_equal(got->seq, ledger_committed(f.desk.ledger).seq);
    assert_int_equal(f.of_bob.cursor.seq, got->seq);
    assert_int_equal(figures(&f).store_reads, reads);
    end(&f);
}

static void test_mailroom_deliver__one_page_for_what_came_in_a_turn(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_bob, 10);
    send_numbers(&f, 0, 100, PLENTY);
    assert_int_equal(f.of_bob.pages, 1);
    assert_numbers(&f.of_bob, 0, 100);
    end(&f);
}

static void test_mailroom_deliver__stops_where_credit_ends(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_bob, 2);
    send_numbers(&f, 0, 5, 1);
    assert_int_equal(f.of_bob.pages, 2);
    assert_numbers(&f.of_bob, 0, 2);
    fake_call_credit(f.of_bob.call, 1);
    assert_int_equal(desk_turn(&f.desk), OK);
    assert_int_equal(f.of_bob.pages, 3);
    assert_numbers(&f.of_bob, 0, 5);
    end(&f);
}

static void test_mailroom_deliver__cursor_passes_what_others_did(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_bob, 10);
    assert_true(desk_join(&f.desk, f.ann, "attic"));
    for (int i = 0; i < 20; i++)
        assert_true(desk_send(&f.desk, f.ann, "attic", "x"));
    assert_true(desk_send(&f.desk, f.ann, "lobby", "0"));
    for (int i = 0; i < 20; i++)
        assert_true(desk_send(&f.desk, f.ann, "attic", "x"));
    assert_int_equal(desk_turn(&f.desk), OK);
    assert_numbers(&f.of_bob, 0, 1);
    assert_int_equal(f.of_bob.cursor.seq, ledger_committed(f.desk.ledger).seq);
    end(&f);
}

static void test_mailroom_deliver__direct_conversation_as_each_side_sees_it(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    uint64_t second = desk_login(&f.desk, "bob");
    struct inbox of_second;
    inbox_init(&of_second, &f.desk, second);
    assert_int_equal(desk_turn(&f.desk), OK);
    open_here(&f, &f.of_ann, 10);
    open_here(&f, &f.of_bob, 10);
    open_here(&f, &of_second, 10);
    assert_true(desk_send(&f.desk, f.ann, "@bob", "psst"));
    assert_int_equal(desk_turn(&f.desk), OK);
    assert_int_equal(f.of_ann.count, 1);
    assert_string_equal(f.of_ann.got[0].room, "@bob");
    assert_int_equal(f.of_bob.count, 1);
    assert_string_equal(f.of_bob.got[0].room, "@ann");
    assert_int_equal(of_second.count, 1);
    assert_string_equal(of_second.got[0].room, "@ann");
    end(&f);
    inbox_release(&of_second);
}

static void test_mailroom_event__ephemeral_ones_come_and_are_not_kept(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_ann, 10);
    open_here(&f, &f.of_bob, 10);
    desk_typing(&f.desk, f.ann, "lobby");
    assert_int_equal(desk_turn(&f.desk), OK);
    assert_int_equal(f.of_ann.count, 0);
    assert_int_equal(f.of_bob.count, 1);
    assert_int_equal(f.of_bob.got[0].kind, JACKDAW__EVENT__KIND__TYPING);
    assert_int_equal(f.of_bob.got[0].seq, 0);
    /* Not before what it came after, even where that waits for a commit. */
    send_numbers(&f, 0, 1, PLENTY);
    assert_true(desk_send(&f.desk, f.ann, "lobby", "1"));
    desk_typing(&f.desk, f.ann, "lobby");
    mailroom_deliver(f.desk.mailroom);
    assert_numbers(&f.of_bob, 0, 1);
    assert_int_equal(f.of_bob.count, 2);
    assert_int_equal(desk_turn(&f.desk), OK);
    assert_int_equal(f.of_bob.got[f.of_bob.count - 1].kind, JACKDAW__EVENT__KIND__TYPING);
    /* Read again, they are gone. */
    inbox_clear(&f.of_bob);
    inbox_open_at(&f.of_bob, (struct position){0, 0}, 10);
    desk_settle(&f.desk);
    assert_int_equal(inbox_kept(&f.of_bob), f.of_bob.count);
    end(&f);
}

/* ---- the bounds of a page ---- */

static void test_mailroom_deliver__page_has_so_many_events(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_bob, 10);
    send_numbers(&f, 0, CHAT_PAGE_EVENTS * 2 + 1, PLENTY);
    assert_int_equal(f.of_bob.pages, 3);
    assert_int_equal(f.of_bob.largest_page, CHAT_PAGE_EVENTS);
    assert_numbers(&f.of_bob, 0, CHAT_PAGE_EVENTS * 2 + 1);
    end(&f);
}

static void test_mailroom_deliver__page_has_so_many_bytes(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_bob, 20);
    char text[10001];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    for (unsigned i = 0; i < 30; i++) {
        (void)snprintf(text, 4, "%u", i);
        text[strlen(text)] = ' ';
        assert_true(desk_send(&f.desk, f.ann, "lobby", text));
    }
    assert_int_equal(desk_turn(&f.desk), OK);
    assert_numbers(&f.of_bob, 0, 30);
    assert_int_equal(f.of_bob.pages, 5); /* 7 of 10,000 bytes pass 65,536 */
    assert_int_equal(f.of_bob.largest_page, 7);
    end(&f);
}

/* Ann owns so many rooms that bob is in too; when she deletes her account, each has two events, all
 * of one position. */
static void share_rooms(struct fixture *f, unsigned rooms)
{
    for (unsigned i = 0; i < rooms; i++) {
        char room[16];
        (void)snprintf(room, sizeof room, "room%u", i);
        assert_true(desk_join(&f->desk, f->ann, room));
        assert_true(desk_join(&f->desk, f->bob, room));
    }
    assert_int_equal(desk_turn(&f->desk), OK);
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
        assert_true(desk_send(&f.desk, f.bob, "lobby", "before"));
    assert_true(desk_delete(&f.desk, f.ann));
    uint64_t seq = ledger_applied(f.desk.ledger).seq;
    for (unsigned i = 0; i < 200; i++)
        assert_true(desk_send(&f.desk, f.bob, "lobby", "behind"));
    assert_int_equal(desk_turn(&f.desk), OK);
    fake_call_credit(f.of_bob.call, 10);
    desk_settle(&f.desk);
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

static void test_mailroom_deliver__page_never_splits_a_position(void **state)
{
    (void)state;
    delete_amid_messages(300, 20);
}

static void test_mailroom_deliver__position_with_more_events_than_a_mailbox_holds(void **state)
{
    (void)state;
    delete_amid_messages(MAILBOX_EVENTS_MAX * 2 / 3, 20);
}

/* The first events of a position fit, the next ones do not: what is read again begins with it. */
static void test_mailroom_deliver__overflow_amid_the_events_of_a_position(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_ann, 2);
    send_numbers(&f, 0, 2, 1); /* no credit is left */
    inbox_clear(&f.of_ann);
    send_numbers(&f, 2, MAILBOX_EVENTS_MAX - 1, PLENTY);
    assert_true(desk_join(&f.desk, f.ann, "attic")); /* JOINED fits, OWNER does not */
    assert_true(desk_send(&f.desk, f.ann, "attic", "done"));
    assert_int_equal(desk_turn(&f.desk), OK);
    fake_call_credit(f.of_ann.call, 100);
    desk_settle(&f.desk);
    assert_int_equal(inbox_kept(&f.of_ann), MAILBOX_EVENTS_MAX - 1 + 3);
    assert_int_equal(f.of_ann.got[f.of_ann.count - 3].kind, JACKDAW__EVENT__KIND__JOINED);
    assert_int_equal(f.of_ann.got[f.of_ann.count - 2].kind, JACKDAW__EVENT__KIND__OWNER);
    assert_string_equal(f.of_ann.got[f.of_ann.count - 1].text, "done");
    end(&f);
}

/* ---- falling behind ---- */

static void test_mailroom_deliver__slow_session_gets_all_from_the_store(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_bob, 2);
    uint64_t reads = figures(&f).store_reads;
    send_numbers(&f, 0, 5000, 7);
    assert_int_equal(f.of_bob.pages, 2);
    assert_int_equal(figures(&f).store_reads, reads); /* not before it is ready */
    while (f.of_bob.count < 5000) {
        size_t before = f.of_bob.count;
        fake_call_credit(f.of_bob.call, 1);
        desk_settle(&f.desk);
        assert_true(f.of_bob.count > before);
    }
    assert_numbers(&f.of_bob, 0, 5000);
    assert_true(figures(&f).store_reads > reads);
    /* And is live again. */
    reads = figures(&f).store_reads;
    fake_call_credit(f.of_bob.call, 1);
    send_numbers(&f, 5000, 1, 1);
    assert_numbers(&f.of_bob, 0, 5001);
    assert_int_equal(figures(&f).store_reads, reads);
    end(&f);
}

static void test_mailroom_event__mailbox_has_a_bound_in_bytes(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_bob, 2);
    send_numbers(&f, 0, 2, 1);
    uint64_t reads = figures(&f).store_reads;
    static char text[16001];
    memset(text, ' ', sizeof text - 1);
    unsigned count = MAILBOX_BYTES_MAX / 16000 + 10; /* far from so many events */
    for (unsigned i = 2; i < count; i++) {
        text[0] = (char)('0' + i / 100);
        text[1] = (char)('0' + i / 10 % 10);
        text[2] = (char)('0' + i % 10);
        assert_true(desk_send(&f.desk, f.ann, "lobby", text));
    }
    assert_int_equal(desk_turn(&f.desk), OK);
    fake_call_credit(f.of_bob.call, 1000);
    desk_settle(&f.desk);
    assert_true(figures(&f).store_reads > reads);
    assert_numbers(&f.of_bob, 0, count);
    end(&f);
}

/* The store was read, but what was read is not there yet: what comes meanwhile is for later. */
static void begin_reading(struct fixture *f)
{
    begin(f);
    send_numbers(f, 0, 10, 1);
    struct position start = ledger_committed(f->desk.ledger);
    start.seq -= 10;
    inbox_open_at(&f->of_bob, start, 100);
    mailroom_deliver(f->desk.mailroom);
    assert_int_equal(figures(f).reading, 1);
}

static void send_while_reading(struct fixture *f, unsigned first, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        char text[16];
        (void)snprintf(text, sizeof text, "%u", first + i);
        assert_true(desk_send(&f->desk, f->ann, "lobby", text));
        assert_int_equal(desk_commit(&f->desk), OK);
        mailroom_deliver(f->desk.mailroom);
    }
}

static void test_mailroom_deliver__what_comes_while_reading_comes_after(void **state)
{
    (void)state;
    struct fixture f;
    begin_reading(&f);
    send_while_reading(&f, 10, 5);
    assert_int_equal(f.of_bob.pages, 0);
    desk_settle(&f.desk);
    assert_numbers(&f.of_bob, 0, 15);
    assert_int_equal(figures(&f).store_reads, 1);
    end(&f);
}

static void test_mailroom_deliver__overflow_while_reading(void **state)
{
    (void)state;
    struct fixture f;
    begin_reading(&f);
    send_while_reading(&f, 10, MAILBOX_EVENTS_MAX + 100);
    desk_settle(&f.desk);
    assert_numbers(&f.of_bob, 0, MAILBOX_EVENTS_MAX + 110);
    assert_true(figures(&f).store_reads > 1);
    end(&f);
}

static void test_mailroom_receive__new_stream_while_reading(void **state)
{
    (void)state;
    struct fixture f;
    begin_reading(&f);
    struct position start = f.of_bob.cursor;
    for (int i = 0; i < 20; i++) {
        inbox_open_at(&f.of_bob, start, 100);
        mailroom_deliver(f.desk.mailroom);
    }
    send_while_reading(&f, 10, 3);
    desk_settle(&f.desk);
    assert_numbers(&f.of_bob, 0, 13);
    end(&f);
}

static void test_mailroom_receive__disconnected_while_reading(void **state)
{
    (void)state;
    struct fixture f;
    begin_reading(&f);
    inbox_disconnect(&f.of_bob);
    send_while_reading(&f, 10, 3);
    desk_settle(&f.desk);
    inbox_open(&f.of_bob, 100);
    desk_settle(&f.desk);
    assert_numbers(&f.of_bob, 0, 13);
    end(&f);
}

static void test_mailroom_session_ended__while_reading(void **state)
{
    (void)state;
    struct fixture f;
    begin_reading(&f);
    assert_true(desk_logout(&f.desk, f.bob));
    assert_true(inbox_is_open(&f.of_bob)); /* not committed */
    desk_settle(&f.desk);
    assert_int_equal(inbox_take_end(&f.of_bob), STATUS_UNAUTHENTICATED);
    assert_int_equal(f.of_bob.count, 0);
    assert_int_equal(figures(&f).mailboxes, 0);
    end(&f);
}

/* More sessions are behind than may read at a time; each has its turn. */
static void test_mailroom_deliver__many_sessions_read_at_once(void **state)
{
    (void)state;
    enum { SESSIONS = 400 };
    struct fixture f;
    begin(&f);
    static struct inbox inboxes[SESSIONS];
    for (unsigned i = 0; i < SESSIONS; i++) {
        char name[16];
        (void)snprintf(name, sizeof name, "user%u", i);
        assert_true(desk_register(&f.desk, name));
        inbox_init(&inboxes[i], &f.desk, desk_login(&f.desk, name));
        assert_true(desk_join(&f.desk, inboxes[i].session, "lobby"));
        assert_int_equal(desk_turn(&f.desk), OK);
    }
    struct position start = ledger_committed(f.desk.ledger);
    send_numbers(&f, 0, 3, 1);
    for (unsigned i = 0; i < SESSIONS; i++)
        inbox_open_at(&inboxes[i], start, 10);
    mailroom_deliver(f.desk.mailroom);
    assert_in_range(figures(&f).reading, 1, 256);
    desk_settle(&f.desk);
    for (unsigned i = 0; i < SESSIONS; i++)
        assert_numbers(&inboxes[i], 0, 3);
    end(&f);
    for (unsigned i = 0; i < SESSIONS; i++)
        inbox_release(&inboxes[i]);
}

/* ---- where a stream goes on ---- */

static void test_mailroom_receive__at_the_end_needs_no_reading(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_bob, 10);
    assert_int_equal(f.of_bob.pages, 0);
    assert_int_equal(figures(&f).store_reads, 0);
    send_numbers(&f, 0, 1, 1);
    assert_numbers(&f.of_bob, 0, 1);
    end(&f);
}

static void test_mailroom_receive__equal_cursor_goes_on_with_what_is_held(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_bob, 10);
    send_numbers(&f, 0, 3, 1);
    inbox_disconnect(&f.of_bob);
    uint64_t reads = figures(&f).store_reads;
    send_numbers(&f, 3, 3, 1);
    inbox_open(&f.of_bob, 10);
    assert_int_equal(desk_turn(&f.desk), OK);
    assert_numbers(&f.of_bob, 0, 6);
    assert_int_equal(figures(&f).store_reads, reads);
    assert_int_equal(f.of_bob.rewinds, 0);
    end(&f);
}

static void test_mailroom_receive__newer_cursor_skips_what_is_held(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_bob, 10);
    inbox_disconnect(&f.of_bob);
    struct position start = ledger_committed(f.desk.ledger);
    send_numbers(&f, 0, 6, 1);
    start.seq += 4; /* received through another server, say */
    inbox_open_at(&f.of_bob, start, 10);
    assert_int_equal(desk_turn(&f.desk), OK);
    assert_numbers(&f.of_bob, 4, 2);
    end(&f);
}

static void test_mailroom_receive__older_cursor_gets_it_again(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    struct position start = ledger_committed(f.desk.ledger);
    open_here(&f, &f.of_bob, 10);
    f.of_bob.losing = true;
    send_numbers(&f, 0, 4, 1);
    inbox_disconnect(&f.of_bob);
    send_numbers(&f, 4, 2, 1);
    inbox_open_at(&f.of_bob, start, 10);
    desk_settle(&f.desk);
    assert_numbers(&f.of_bob, 0, 6);
    assert_int_equal(f.of_bob.rewinds, 0);
    end(&f);
}

static void test_mailroom_receive__from_nothing_gets_all_since_joining(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    send_numbers(&f, 0, 4, 1);
    inbox_open_at(&f.of_bob, (struct position){0, 0}, 10);
    desk_settle(&f.desk);
    assert_int_equal(f.of_bob.rewinds, 0);
    assert_int_equal(inbox_kept(&f.of_bob), 5); /* bob's own coming in and the messages */
    assert_int_equal(f.of_bob.got[0].kind, JACKDAW__EVENT__KIND__JOINED);
    end(&f);
}

static void check_rewound(struct fixture *f, struct position asked, uint64_t common)
{
    inbox_open_at(&f->of_bob, asked, 10);
    desk_settle(&f->desk);
    assert_int_equal(f->of_bob.rewinds, 1);
    assert_true(f->of_bob.pages >= 1); /* told at once, even where there is no event */
    assert_true(f->of_bob.cursor.seq >= common);
    struct position last = ledger_committed(f->desk.ledger);
    if (common == last.seq)
        assert_int_equal(f->of_bob.cursor.epoch, last.epoch);
    inbox_clear(&f->of_bob);
    send_numbers(f, 0, 2, 1);
    if (common == last.seq)
        assert_numbers(&f->of_bob, 0, 2);
    inbox_clear(&f->of_bob);
}

static void test_mailroom_receive__position_of_no_log_of_ours_is_rewound(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    struct position last = ledger_committed(f.desk.ledger);
    check_rewound(&f, (struct position){last.epoch, last.seq + 100}, last.seq);
    last = ledger_committed(f.desk.ledger);
    check_rewound(&f, (struct position){last.epoch, UINT64_MAX}, last.seq);
    check_rewound(&f, (struct position){0, last.seq}, 0);
    check_rewound(&f, (struct position){last.epoch + 65536, last.seq}, 0);
    check_rewound(&f, (struct position){UINT64_MAX, UINT64_MAX}, 0);
    end(&f);
}

/* ---- the life of streams ---- */

static void test_mailroom_receive__replaces_the_stream_before(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_bob, 10);
    struct inbox second;
    inbox_init(&second, &f.desk, f.bob);
    inbox_open_at(&second, f.of_bob.cursor, 10);
    assert_int_equal(inbox_take_end(&f.of_bob), STATUS_ABORTED);
    send_numbers(&f, 0, 3, 1);
    assert_numbers(&second, 0, 3);
    assert_int_equal(figures(&f).streams, 1);
    end(&f);
    inbox_release(&second);
}

static void test_mailroom_receive__long_poll_ends_with_its_page(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    struct position start = ledger_committed(f.desk.ledger);
    inbox_open_at(&f.of_bob, start, 1);
    desk_settle(&f.desk);
    assert_true(inbox_is_open(&f.of_bob));
    send_numbers(&f, 0, 1, 1);
    assert_int_equal(inbox_take_end(&f.of_bob), STATUS_OK);
    send_numbers(&f, 1, 3, 1);
    inbox_open(&f.of_bob, 1);
    assert_int_equal(desk_turn(&f.desk), OK);
    assert_int_equal(inbox_take_end(&f.of_bob), STATUS_OK);
    assert_int_equal(f.of_bob.pages, 2);
    assert_numbers(&f.of_bob, 0, 4);
    assert_int_equal(figures(&f).streams, 0);
    end(&f);
}

static void test_mailroom_receive__long_polls_catch_up_page_by_page(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    struct position start = ledger_committed(f.desk.ledger);
    send_numbers(&f, 0, 1000, 50);
    f.of_bob.cursor = start;
    for (int i = 0; i < 4; i++) {
        inbox_open(&f.of_bob, 1);
        desk_settle(&f.desk);
        assert_int_equal(inbox_take_end(&f.of_bob), STATUS_OK);
    }
    assert_numbers(&f.of_bob, 0, 1000);
    end(&f);
}

static void test_mailroom__cancelled_stream_ends_and_loses_nothing(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_bob, 10);
    fake_call_cancel(f.of_bob.call);
    assert_int_equal(inbox_take_end(&f.of_bob), STATUS_CANCELLED);
    assert_int_equal(figures(&f).streams, 0);
    send_numbers(&f, 0, 3, 1);
    inbox_open(&f.of_bob, 10);
    assert_int_equal(desk_turn(&f.desk), OK);
    assert_numbers(&f.of_bob, 0, 3);
    end(&f);
}

static void test_mailroom_hang_up__ends_every_stream(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_ann, 10);
    open_here(&f, &f.of_bob, 1);
    mailroom_hang_up(f.desk.mailroom, "closing");
    assert_int_equal(inbox_take_end(&f.of_ann), STATUS_UNAVAILABLE);
    assert_int_equal(inbox_take_end(&f.of_bob), STATUS_UNAVAILABLE);
    send_numbers(&f, 0, 3, 1);
    end(&f);
}

static void test_mailroom_tidy__what_nobody_fetches_is_read_again(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_bob, 10);
    open_here(&f, &f.of_ann, 10);
    inbox_disconnect(&f.of_bob);
    mailroom_tidy(f.desk.mailroom, 0, 10000); /* notes the time */
    send_numbers(&f, 0, 3, 1);
    uint64_t reads = figures(&f).store_reads;
    mailroom_tidy(f.desk.mailroom, 10000, 40000); /* not older than that */
    mailroom_tidy(f.desk.mailroom, 10001, 40001);
    send_numbers(&f, 3, 3, 1);
    inbox_open(&f.of_bob, 10);
    desk_settle(&f.desk);
    assert_numbers(&f.of_bob, 0, 6);
    assert_int_equal(figures(&f).store_reads, reads + 1);
    assert_numbers(&f.of_ann, 0, 6);
    end(&f);
}

/* ---- sessions that end ---- */

static void test_mailroom_session_ended__stream_is_told_when_it_is_committed(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_bob, 10);
    open_here(&f, &f.of_ann, 10);
    assert_true(desk_logout(&f.desk, f.bob));
    mailroom_deliver(f.desk.mailroom);
    assert_true(inbox_is_open(&f.of_bob));
    fake_call_credit(f.of_bob.call, 5); /* nobody minds */
    assert_int_equal(desk_turn(&f.desk), OK);
    assert_int_equal(inbox_take_end(&f.of_bob), STATUS_UNAUTHENTICATED);
    assert_int_equal(figures(&f).mailboxes, 1);
    send_numbers(&f, 0, 2, 1);
    assert_numbers(&f.of_ann, 0, 2);
    end(&f);
}

static void test_mailroom_session_ended__peer_goes_before_the_commit(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_bob, 10);
    assert_true(desk_logout(&f.desk, f.bob));
    fake_call_cancel(f.of_bob.call);
    assert_int_equal(desk_turn(&f.desk), OK);
    (void)inbox_take_end(&f.of_bob);
    end(&f);
}

static void test_mailroom_session_ended__undone_it_goes_on(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_bob, 10);
    assert_true(desk_logout(&f.desk, f.bob));
    desk_break(&f.desk);
    /* Not "log in again": the session is still there. */
    assert_int_equal(inbox_take_end(&f.of_bob), STATUS_UNAVAILABLE);
    send_numbers(&f, 0, 2, 1);
    inbox_open(&f.of_bob, 10);
    desk_settle(&f.desk);
    assert_numbers(&f.of_bob, 0, 2);
    end(&f);
}

static void test_mailroom_session_ended__account_deleted_and_device_replaced(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_bob, 10);
    open_here(&f, &f.of_ann, 10);
    assert_true(desk_delete(&f.desk, f.ann));
    assert_int_equal(desk_turn(&f.desk), OK);
    assert_int_equal(inbox_take_end(&f.of_ann), STATUS_UNAUTHENTICATED);
    /* Two newer devices of bob, while the first was not heard for a minute. */
    f.desk.now_ms += 61000;
    assert_int_not_equal(desk_login(&f.desk, "bob"), 0);
    assert_int_not_equal(desk_login(&f.desk, "bob"), 0);
    assert_int_equal(desk_turn(&f.desk), OK);
    assert_int_equal(inbox_take_end(&f.of_bob), STATUS_UNAUTHENTICATED);
    assert_int_equal(figures(&f).mailboxes, 0);
    end(&f);
}

/* ---- rolling back ---- */

static void test_mailroom_rolled_back__nothing_undone_is_delivered(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_bob, 10);
    send_numbers(&f, 0, 2, 1);
    assert_true(desk_send(&f.desk, f.ann, "lobby", "never"));
    desk_typing(&f.desk, f.ann, "lobby");
    desk_break(&f.desk);
    desk_settle(&f.desk);
    assert_numbers(&f.of_bob, 0, 2);
    assert_true(inbox_is_open(&f.of_bob));
    send_numbers(&f, 2, 2, 1);
    desk_settle(&f.desk);
    assert_numbers(&f.of_bob, 0, 4);
    end(&f);
}

static void test_mailroom_rolled_back__what_was_committed_is_still_delivered(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_bob, 2);
    send_numbers(&f, 0, 10, 1); /* eight of them wait for credit */
    assert_true(desk_send(&f.desk, f.ann, "lobby", "never"));
    desk_break(&f.desk);
    send_numbers(&f, 10, 5, 1);
    fake_call_credit(f.of_bob.call, 20);
    desk_settle(&f.desk);
    assert_numbers(&f.of_bob, 0, 15);
    end(&f);
}

static void test_mailroom_rolled_back__while_reading(void **state)
{
    (void)state;
    struct fixture f;
    begin_reading(&f);
    send_while_reading(&f, 10, 2);
    assert_true(desk_send(&f.desk, f.ann, "lobby", "never"));
    desk_break(&f.desk);
    mailroom_deliver(f.desk.mailroom);
    send_while_reading(&f, 12, 2);
    desk_settle(&f.desk);
    assert_numbers(&f.of_bob, 0, 14);
    end(&f);
}

static void test_mailroom_rolled_back__login_undone_with_its_stream(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    uint64_t session = desk_login(&f.desk, "bob");
    struct inbox third;
    inbox_init(&third, &f.desk, session);
    inbox_open_at(&third, ledger_committed(f.desk.ledger), 10);
    assert_true(desk_send(&f.desk, f.ann, "lobby", "never"));
    desk_break(&f.desk);
    assert_int_equal(inbox_take_end(&third), STATUS_UNAUTHENTICATED);
    assert_int_equal(third.count, 0);
    assert_int_equal(figures(&f).mailboxes, 0);
    desk_settle(&f.desk);
    end(&f);
    inbox_release(&third);
}

/* A mailbox that waits must not keep the core awake: nothing is dirty without something to do. */
static void test_mailroom_deliver__nothing_to_do_costs_nothing(void **state)
{
    (void)state;
    struct fixture f;
    begin(&f);
    open_here(&f, &f.of_bob, 2);
    send_numbers(&f, 0, 3000, 10); /* far behind, and no credit */
    desk_settle(&f.desk);
    struct mailroom_figures before = figures(&f);
    for (int i = 0; i < 100; i++)
        mailroom_deliver(f.desk.mailroom);
    struct mailroom_figures after = figures(&f);
    assert_memory_equal(&before, &after, sizeof before);
    end(&f);
}

int main(void)
{
    log_configure(LOG_SILENT, LOG_TEXT);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mailroom_deliver__live_to_every_member_after_the_commit),
        cmocka_unit_test(test_mailroom_deliver__one_page_for_what_came_in_a_turn),
        cmocka_unit_test(test_mailroom_deliver__stops_where_credit_ends),
        cmocka_unit_test(test_mailroom_deliver__cursor_passes_what_others_did),
        cmocka_unit_test(test_mailroom_deliver__direct_conversation_as_each_side_sees_it),
        cmocka_unit_test(test_mailroom_event__ephemeral_ones_come_and_are_not_kept),
        cmocka_unit_test(test_mailroom_deliver__page_has_so_many_events),
        cmocka_unit_test(test_mailroom_deliver__page_has_so_many_bytes),
        cmocka_unit_test(test_mailroom_deliver__page_never_splits_a_position),
        cmocka_unit_test(test_mailroom_deliver__position_with_more_events_than_a_mailbox_holds),
        cmocka_unit_test(test_mailroom_deliver__overflow_amid_the_events_of_a_position),
        cmocka_unit_test(test_mailroom_deliver__slow_session_gets_all_from_the_store),
        cmocka_unit_test(test_mailroom_event__mailbox_has_a_bound_in_bytes),
        cmocka_unit_test(test_mailroom_deliver__what_comes_while_reading_comes_after),
        cmocka_unit_test(test_mailroom_deliver__overflow_while_reading),
        cmocka_unit_test(test_mailroom_receive__new_stream_while_reading),
        cmocka_unit_test(test_mailroom_receive__disconnected_while_reading),
        cmocka_unit_test(test_mailroom_session_ended__while_reading),
        cmocka_unit_test(test_mailroom_deliver__many_sessions_read_at_once),
        cmocka_unit_test(test_mailroom_receive__at_the_end_needs_no_reading),
        cmocka_unit_test(test_mailroom_receive__equal_cursor_goes_on_with_what_is_held),
        cmocka_unit_test(test_mailroom_receive__newer_cursor_skips_what_is_held),
        cmocka_unit_test(test_mailroom_receive__older_cursor_gets_it_again),
        cmocka_unit_test(test_mailroom_receive__from_nothing_gets_all_since_joining),
        cmocka_unit_test(test_mailroom_receive__position_of_no_log_of_ours_is_rewound),
        cmocka_unit_test(test_mailroom_receive__replaces_the_stream_before),
        cmocka_unit_test(test_mailroom_receive__long_poll_ends_with_its_page),
        cmocka_unit_test(test_mailroom_receive__long_polls_catch_up_page_by_page),
        cmocka_unit_test(test_mailroom__cancelled_stream_ends_and_loses_nothing),
        cmocka_unit_test(test_mailroom_hang_up__ends_every_stream),
        cmocka_unit_test(test_mailroom_tidy__what_nobody_fetches_is_read_again),
        cmocka_unit_test(test_mailroom_session_ended__stream_is_told_when_it_is_committed),
        cmocka_unit_test(test_mailroom_session_ended__peer_goes_before_the_commit),
        cmocka_unit_test(test_mailroom_session_ended__undone_it_goes_on),
        cmocka_unit_test(test_mailroom_session_ended__account_deleted_and_device_replaced),
        cmocka_unit_test(test_mailroom_rolled_back__nothing_undone_is_delivered),
        cmocka_unit_test(test_mailroom_rolled_back__what_was_committed_is_still_delivered),
        cmocka_unit_test(test_mailroom_rolled_back__while_reading),
        cmocka_unit_test(test_mailroom_rolled_back__login_undone_with_its_stream),
        cmocka_unit_test(test_mailroom_deliver__nothing_to_do_costs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
