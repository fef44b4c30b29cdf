/* SPDX-License-Identifier: MIT */
/* What a device reads after having been away: pages, bounds, undelivered counts, cursors:
 * src/chat/reader.c, delivery.c. */
#include "chat_fixture.h"
#include "support/folder.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin(struct chat_fixture *f)
{
    chat_fixture_open_with(f, 7, NULL, "alice bob");
}

static struct chat_page read_once(struct chat_fixture *f, struct chat_session *session,
                                  uint64_t after, uint64_t until)
{
    struct chat_call call = chat_fixture_call(f, session);
    struct chat_plan *plan;
    struct chat_page page;
    assert_int_equal(chat_plan_receive(f->chat, &call, after, until, &plan), OK);
    assert_int_equal(chat_read(plan, f->store, call.arena, &page), OK);
    return page;
}

/* Checks that the session reads the events that it saw live, from one of them on. Returns the number of pages. */
static size_t check_reads_what_it_saw(struct chat_fixture *f, struct chat_session *session,
                                      uint64_t after)
{
    struct event_copy *seen;
    size_t count, pages, at = 0;
    chat_fixture_read(f, session, after, &seen, &count, &pages);
    for (size_t i = 0; i < f->seen_count; i++) {
        const struct event_copy *live = &f->seen[i];
        if (live->session != chat_session_id(session) || live->event.position.seq <= after)
            continue;
        assert_true(at < count);
        const struct chat_event *read = &seen[at++].event;
        assert_int_equal(read->kind, live->event.kind);
        assert_int_equal(read->position.seq, live->event.position.seq);
        assert_int_equal(read->position.epoch, live->event.position.epoch);
        assert_int_equal(read->room, live->event.room);
        assert_int_equal(read->account, live->event.account);
        assert_int_equal(read->subject, live->event.subject);
        assert_int_equal(read->number, live->event.number);
        assert_int_equal(read->session, live->event.session);
        assert_int_equal(read->request, live->event.request);
        assert_int_equal(read->time_ms, live->event.time_ms);
        assert_string_equal(read->text, live->event.text);
    }
    assert_int_equal(at, count);
    chat_fixture_free_seen(seen, count);
    return pages;
}

CHAT_TEST(test_receive__merges_conversations_in_order)
{
    char room[16];
    for (int i = 0; i < 10; i++) {
        snprintf(room, sizeof room, "room%d", i);
        chat_fixture_join(f, alice(f), room, 0);
        chat_fixture_join(f, bob(f), room, 0);
    }
    for (int i = 0; i < 100; i++) {
        snprintf(room, sizeof room, "room%d", i * 7 % 10);
        chat_fixture_send(f, alice(f), i % 3 ? room : "@bob", "text", 0);
    }
    assert_int_equal(check_reads_what_it_saw(f, bob(f), 0), 1);
    check_reads_what_it_saw(f, bob(f), f->seq - 50);
    check_reads_what_it_saw(f, bob(f), f->seq);
    check_reads_what_it_saw(f, alice(f), 0);
}

CHAT_TEST(test_receive__a_page_holds_so_many_events)
{
    chat_fixture_join(f, alice(f), "one", 0);
    chat_fixture_join(f, alice(f), "two", 0);
    uint64_t start = f->seq;
    for (int i = 0; i < 256; i++)
        chat_fixture_send(f, alice(f), i % 5 ? "one" : "two", "x", 0);
    struct chat_page page = read_once(f, alice(f), start, f->seq);
    assert_int_equal(page.count, 256);
    assert_false(page.more);
    assert_int_equal(page.next.seq, f->seq);
    chat_fixture_send(f, alice(f), "one", "x", 0);
    page = read_once(f, alice(f), start, f->seq);
    assert_int_equal(page.count, 256);
    assert_true(page.more);
    assert_int_equal(page.next.seq, f->seq - 1);
    page = read_once(f, alice(f), page.next.seq, f->seq);
    assert_int_equal(page.count, 1);
    assert_false(page.more);
    assert_int_equal(check_reads_what_it_saw(f, alice(f), start), 2);
}

CHAT_TEST(test_receive__a_page_holds_so_many_bytes)
{
    static char text[10001];
    memset(text, 'x', sizeof text - 1);
    chat_fixture_join(f, alice(f), "one", 0);
    chat_fixture_join(f, alice(f), "two", 0);
    uint64_t start = f->seq;
    for (int i = 0; i < 20; i++)
        chat_fixture_send(f, alice(f), i % 2 ? "one" : "two", text, 0);
    struct chat_page page = read_once(f, alice(f), start, f->seq);
    assert_int_equal(page.count, 7); /* the seventh passes 65536 */
    assert_true(page.more);
    assert_int_equal(check_reads_what_it_saw(f, alice(f), start), 3);
}

CHAT_TEST(test_receive__one_event_larger_than_a_page)
{
    f->limits.message_bytes = 1048576;
    chat_fixture_reopen(f);
    char *text = malloc(1048577);
    memset(text, 'x', 1048576);
    text[1048576] = '\0';
    uint64_t start = f->seq;
    for (int i = 0; i < 3; i++)
        assert_ok(chat_fixture_send(f, alice(f), "@bob", text, 0));
    free(text);
    assert_int_equal(check_reads_what_it_saw(f, bob(f), start), 3);
}

CHAT_TEST(test_receive__until)
{
    chat_fixture_join(f, alice(f), "one", 0);
    uint64_t start = f->seq;
    for (int i = 0; i < 10; i++)
        chat_fixture_send(f, alice(f), "one", "x", 0);
    struct chat_page page = read_once(f, alice(f), start, start + 4);
    assert_int_equal(page.count, 4);
    assert_false(page.more);
    assert_int_equal(page.next.seq, start + 4);
    page = read_once(f, alice(f), start + 4, start + 4);
    assert_int_equal(page.count, 0);
    assert_int_equal(page.next.seq, start + 4);
    page = read_once(f, alice(f), start + 6, start + 4); /* never back */
    assert_int_equal(page.count, 0);
    assert_int_equal(page.next.seq, start + 6);
}

CHAT_TEST(test_receive__nothing_for_somebody_new)
{
    struct chat_page page = read_once(f, alice(f), 0, f->seq);
    assert_int_equal(page.count, 0);
    assert_int_equal(page.next.seq, f->seq);
    assert_int_equal(page.next.epoch, f->epoch);
}

CHAT_TEST(test_receive__a_delta_is_never_cut_in_two)
{
    char room[16];
    struct chat_session *carol = chat_fixture_person(f, "carol");
    for (int i = 0; i < 150; i++) {
        snprintf(room, sizeof room, "r%d", i);
        chat_fixture_join(f, carol, room, 0);
        chat_fixture_join(f, alice(f), room, 0);
    }
    uint64_t start = f->seq;
    for (int i = 0; i < 200; i++)
        chat_fixture_send(f, alice(f), "r7", "x", 0);
    chat_fixture_delete(f, carol,
                        true); /* REMOVED and OWNER in 150 rooms: 300 events of one delta */
    for (int i = 0; i < 200; i++)
        chat_fixture_send(f, alice(f), "r8", "x", 0);
    struct chat_page page = read_once(f, alice(f), start, f->seq);
    assert_int_equal(page.count, 200);
    page = read_once(f, alice(f), page.next.seq, f->seq);
    assert_int_equal(page.count, 300);
    assert_true(page.more);
    assert_int_equal(check_reads_what_it_saw(f, alice(f), start), 3);
}

CHAT_TEST(test_receive__nor_within_one_room)
{
    for (int messages = 253; messages <= 256; messages++) {
        chat_fixture_join(f, alice(f), "one", 0);
        chat_fixture_join(f, bob(f), "one", 0);
        uint64_t start = f->seq;
        for (int i = 0; i < messages; i++)
            chat_fixture_send(f, alice(f), "one", "x", 0);
        chat_fixture_leave(f, alice(f), "one"); /* LEFT and OWNER */
        chat_fixture_send(f, bob(f), "one", "x", 0);
        struct chat_page page = read_once(f, bob(f), start, f->seq);
        size_t first = messages == 253 ? 256 : messages == 254 ? 256 : (size_t)messages;
        assert_int_equal(page.count, first);
        assert_int_equal(page.more, messages != 253);
        page = read_once(f, bob(f), page.next.seq, f->seq);
        assert_int_equal(page.count, (size_t)messages + 3 - first);
        assert_false(page.more);
        chat_fixture_leave(f, bob(f), "one");
    }
}

CHAT_TEST(test_receive__epochs_of_several_epoch_starts)
{
    chat_fixture_join(f, alice(f), "one", 0);
    for (int i = 0; i < 5; i++) {
        chat_fixture_send(f, alice(f), "one", "x", 0);
        chat_fixture_new_epoch(f);
        chat_fixture_send(f, alice(f), "one", "y", 0);
        chat_fixture_send(f, alice(f), "one", "z", 0);
    }
    check_reads_what_it_saw(f, alice(f), 0);
    for (uint64_t after = 0; after <= f->seq; after++)
        for (uint64_t until = after; until <= f->seq; until++) {
            struct chat_page page = read_once(f, alice(f), after, until);
            assert_int_equal(page.next.seq, until);
            assert_int_equal(page.next.epoch, store_epoch_at(f->store, until));
            for (size_t i = 0; i < page.count; i++)
                assert_int_equal(page.events[i].position.epoch,
                                 store_epoch_at(f->store, page.events[i].position.seq));
        }
}

TEST(test_receive__by_a_reader_that_knows_fewer_epoch_starts)
{
    struct chat_fixture f;
    struct store *reader;
    struct error_text why = {.text = ""};
    char *folder = folder_new();
    chat_fixture_open(&f, 7, folder);
    chat_fixture_person(&f, "alice");
    chat_fixture_join(&f, alice(&f), "one", 0);
    if (store_open_reader(&reader, f.store, &why) != OK)
        fail_msg("%s", why.text);
    uint64_t start = f.seq;
    for (int i = 0; i < 3; i++) {
        chat_fixture_new_epoch(&f);
        chat_fixture_send(&f, alice(&f), "one", "x", 0);
    }
    struct chat_call call = chat_fixture_call(&f, alice(&f));
    struct chat_plan *plan;
    struct chat_page page;
    assert_int_equal(chat_plan_receive(f.chat, &call, start, f.seq, &plan), OK);
    assert_int_equal(chat_read(plan, reader, call.arena, &page), OK);
    assert_int_equal(page.count, 3);
    assert_int_equal(page.next.epoch, f.epoch);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(page.events[i].position.epoch,
                         store_epoch_at(f.store, page.events[i].position.seq));
    assert_int_equal(chat_plan_history(f.chat, &call, "one", 0, 0, &plan), OK);
    assert_int_equal(chat_read(plan, reader, call.arena, &page), OK);
    Jackdaw__Event event;
    assert_int_equal(chat_event_fill(f.chat, &page.events[2], 0, call.arena, &event), OK);
    assert_int_equal(event.epoch, f.epoch);
    store_close(reader);
    chat_fixture_close(&f);
    folder_remove(folder);
}

CHAT_TEST(test_receive__invitations_of_others_do_not_fill_a_page)
{
    char name[32];
    chat_fixture_join(f, alice(f), "one", 0);
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "guest%d", i);
        chat_fixture_register(f, name);
        chat_fixture_invite(f, alice(f), "one", name);
    }
    chat_fixture_send(f, alice(f), "one", "behind them", 0);
    assert_reads(f, alice(f), 0,
                 "JOINED one alice; OWNER one alice; MESSAGE one alice behind them");
}

static uint64_t undelivered(struct chat_fixture *f, struct chat_session *session, const char *room,
                            size_t *conversations)
{
    struct chat_call call = chat_fixture_call(f, session);
    Jackdaw__HeartbeatRequest request = JACKDAW__HEARTBEAT_REQUEST__INIT;
    Jackdaw__HeartbeatReply reply = JACKDAW__HEARTBEAT_REPLY__INIT;
    assert_int_equal(chat_answer_heartbeat(f->chat, &call, &request, &reply), OK);
    *conversations = reply.n_undelivered;
    for (size_t i = 0; i < reply.n_undelivered; i++)
        if (strcmp(reply.undelivered[i]->room, room) == 0)
            return reply.undelivered[i]->messages;
    return 0;
}

CHAT_TEST(test_undelivered__counts_messages_since_the_cursor)
{
    size_t conversations;
    chat_fixture_join(f, alice(f), "one", 0);
    chat_fixture_send(f, alice(f), "one", "before", 0);
    chat_fixture_join(f, bob(f), "one", 0);
    assert_int_equal(undelivered(f, bob(f), "one", &conversations), 0);
    assert_int_equal(conversations, 0);
    uint64_t seqs[10];
    for (int i = 0; i < 10; i++) {
        chat_fixture_send(f, alice(f), "one", "x", 0);
        seqs[i] = f->seq;
        chat_fixture_topic(f, alice(f), "one", i % 2 ? "a" : "b");
    }
    chat_fixture_send(f, alice(f), "@bob", "x", 0);
    assert_int_equal(undelivered(f, bob(f), "one", &conversations), 10);
    assert_int_equal(conversations, 2);
    for (int i = 0; i < 10; i++) {
        chat_note_delivered(f->chat, bob(f), seqs[i]);
        assert_int_equal(undelivered(f, bob(f), "one", &conversations), (uint64_t)(9 - i));
    }
    assert_int_equal(undelivered(f, bob(f), "@alice", &conversations), 1);
    assert_int_equal(conversations, 1);
    chat_note_delivered(f->chat, bob(f), f->seq);
    assert_int_equal(undelivered(f, bob(f), "@alice", &conversations), 0);
    assert_int_equal(conversations, 0);
}

CHAT_TEST(test_undelivered__is_kept_by_a_delta)
{
    size_t conversations;
    chat_fixture_send(f, alice(f), "@bob", "one", 0);
    chat_note_delivered(f->chat, bob(f), f->seq);
    assert_true(chat_fixture_deliver(f));
    assert_false(chat_fixture_deliver(f));
    chat_fixture_send(f, alice(f), "@bob", "two", 0);
    chat_fixture_reopen(f);
    assert_int_equal(undelivered(f, bob(f), "@alice", &conversations), 1);
}

CHAT_TEST(test_undelivered__a_heartbeat_tells_how_far_the_device_is)
{
    chat_fixture_send(f, alice(f), "@bob", "one", 0);
    Jackdaw__HeartbeatRequest request = JACKDAW__HEARTBEAT_REQUEST__INIT;
    Jackdaw__HeartbeatReply reply = JACKDAW__HEARTBEAT_REPLY__INIT;
    Jackdaw__Position after = JACKDAW__POSITION__INIT;
    after.epoch = f->epoch;
    after.seq = f->seq;
    request.after = &after;
    struct chat_call call = chat_fixture_call(f, bob(f));
    call.committed_seq = f->seq - 1;
    assert_int_equal(chat_answer_heartbeat(f->chat, &call, &request, &reply), OK);
    assert_int_equal(reply.n_undelivered, 0);
    assert_int_equal(reply.time_ms, f->time_ms);
    assert_int_equal(reply.position->seq, f->seq - 1);
    assert_int_equal(reply.position->epoch, f->epoch);
    assert_true(chat_fixture_deliver(f));
}

CHAT_TEST(test_undelivered__many_accounts_in_parts)
{
    char name[16];
    f->limits.sessions_per_account = 1;
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "n%d", i);
        chat_note_delivered(f->chat, chat_fixture_person(f, name), f->seq);
    }
    assert_true(chat_fixture_deliver(f));
    assert_true(chat_fixture_deliver(f));
    assert_false(chat_fixture_deliver(f));
    chat_fixture_check_reopens(f);
}

CHAT_TEST(test_undelivered__of_very_many_conversations)
{
    char name[16];
    size_t conversations;
    for (int i = 0; i < CHAT_LIST_MAX + 1; i++) {
        snprintf(name, sizeof name, "n%d", i);
        chat_fixture_send(f, chat_fixture_person(f, name), "@bob", "x", 0);
    }
    undelivered(f, bob(f), "", &conversations);
    assert_int_equal(conversations, CHAT_LIST_MAX);
    Jackdaw__DeleteAccountRequest request = JACKDAW__DELETE_ACCOUNT_REQUEST__INIT;
    Jackdaw__DeleteAccountReply reply = JACKDAW__DELETE_ACCOUNT_REPLY__INIT;
    struct chat_call call = chat_fixture_call(f, bob(f));
    assert_int_equal(chat_answer_delete(f->chat, &call, &request, &reply), OK);
    assert_int_equal(reply.undelivered_total, CHAT_LIST_MAX + 1);
    assert_int_equal(reply.n_undelivered, CHAT_PAGE_EVENTS);
}

static uint64_t common(struct chat_fixture *f, uint64_t epoch, uint64_t seq)
{
    struct log_position position = {epoch, seq};
    return chat_common_seq(f->chat, &position, 1);
}

CHAT_TEST(test_common_seq)
{
    uint64_t first = f->epoch;
    for (int i = 0; i < 5; i++)
        chat_fixture_send(f, alice(f), "@bob", "x", 0);
    uint64_t end = f->seq;
    f->epoch += 2 << 16; /* an epoch that left nothing here lies between */
    chat_fixture_new_epoch(f);
    uint64_t second = f->epoch;
    chat_fixture_send(f, alice(f), "@bob", "x", 0);
    assert_int_equal(common(f, 0, 0), 0);
    assert_int_equal(common(f, 0, 5), 0);
    assert_int_equal(common(f, first, 3), 3);
    assert_int_equal(common(f, first, end), end);
    assert_int_equal(common(f, first, end + 1), end);
    assert_int_equal(common(f, first, UINT64_MAX), end);
    assert_int_equal(common(f, second, end + 1), end + 1);
    assert_int_equal(common(f, second, f->seq), f->seq);
    assert_int_equal(common(f, second, f->seq + 1), f->seq);
    assert_int_equal(common(f, first + (1 << 16), end), 0); /* unknown: says nothing */
    assert_int_equal(common(f, second + (1 << 16), f->seq), 0);
    assert_int_equal(common(f, 1, 5), 0);
    assert_int_equal(chat_common_seq(f->chat, NULL, 0), 0);
}

/* first ... end, then `second` here; the client was in epochs that this server never heard of. */
CHAT_TEST(test_common_seq__of_a_trail)
{
    uint64_t first = f->epoch;
    chat_fixture_send(f, alice(f), "@bob", "x", 0);
    uint64_t end = f->seq;
    f->epoch += 4 << 16;
    chat_fixture_new_epoch(f);
    uint64_t lost = first + (1 << 16);
    struct log_position cursor_history[] = {{lost + (1 << 16), 90}, {lost, 80}, {first, end - 1}};
    assert_int_equal(chat_common_seq(f->chat, cursor_history, 3), end - 1);
    assert_int_equal(chat_common_seq(f->chat, cursor_history, 2), 0);
    cursor_history[2].seq = 70; /* it saw more of the first epoch than is here */
    assert_int_equal(chat_common_seq(f->chat, cursor_history, 3), end);
    cursor_history[0] = (struct log_position){f->epoch, f->seq}; /* the newest known decides */
    assert_int_equal(chat_common_seq(f->chat, cursor_history, 3), f->seq);
}

CHAT_TEST(test_common_seq_of__a_request)
{
    Jackdaw__Position after = JACKDAW__POSITION__INIT;
    Jackdaw__Position known = JACKDAW__POSITION__INIT;
    after.epoch = f->epoch + (1 << 16);
    after.seq = 100;
    known.epoch = f->epoch;
    known.seq = f->seq;
    Jackdaw__Position *cursor_history[CHAT_CURSOR_HISTORY_MAX + 1];
    for (size_t i = 0; i < CHAT_CURSOR_HISTORY_MAX; i++)
        cursor_history[i] = &after;
    cursor_history[CHAT_CURSOR_HISTORY_MAX] = &known;
    assert_int_equal(chat_common_seq_of(f->chat, &known, NULL, 0), f->seq);
    assert_int_equal(
        chat_common_seq_of(f->chat, &after, cursor_history + CHAT_CURSOR_HISTORY_MAX, 1), f->seq);
    assert_int_equal(chat_common_seq_of(f->chat, NULL, cursor_history + CHAT_CURSOR_HISTORY_MAX, 1),
                     f->seq);
    assert_int_equal(
        chat_common_seq_of(f->chat, &after, cursor_history, CHAT_CURSOR_HISTORY_MAX + 1), 0);
    assert_int_equal(chat_common_seq_of(f->chat, NULL, NULL, 0), 0);
    assert_true(chat_is_behind(f->chat, &after));
    assert_false(chat_is_behind(f->chat, &known));
    assert_false(chat_is_behind(f->chat, NULL));
}
