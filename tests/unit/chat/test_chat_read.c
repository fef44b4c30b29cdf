/* SPDX-License-Identifier: MIT */
/* What a device reads after having been away: pages, bounds, undelivered counts, cursors:
 * src/chat/receive.c, read.c, delivered.c. */
#include "chat_fixture.h"
#include "support/folder.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int open_chat_fixture(void **state)
{
    struct chat_fixture *fixture = malloc(sizeof *fixture);
    chat_fixture_open(fixture, 7, NULL);
    chat_fixture_person(fixture, "alice");
    chat_fixture_person(fixture, "bob");
    *state = fixture;
    return 0;
}

static int close_chat_fixture(void **state)
{
    chat_fixture_close(*state);
    free(*state);
    return 0;
}

static struct chat_session *alice(struct chat_fixture *fixture)
{
    return chat_fixture_session(fixture, "alice");
}

static struct chat_session *bob(struct chat_fixture *fixture)
{
    return chat_fixture_session(fixture, "bob");
}

static struct chat_page read_once(struct chat_fixture *fixture, struct chat_session *session,
                                  uint64_t after, uint64_t until)
{
    struct chat_call call = chat_fixture_call(fixture, session);
    struct chat_plan *plan;
    struct chat_page page;
    assert_int_equal(chat_plan_receive(fixture->chat, &call, after, until, &plan), OK);
    assert_int_equal(chat_read(plan, fixture->store, call.arena, &page), OK);
    return page;
}

/* What was read is what was seen live by the session, from one of its events on. */
static void assert_reads_what_it_saw(struct chat_fixture *fixture, struct chat_session *session,
                                     uint64_t after, size_t *pages)
{
    struct event_copy *seen;
    size_t count, at = 0;
    chat_fixture_read(fixture, session, after, &seen, &count, pages);
    for (size_t i = 0; i < fixture->seen_count; i++) {
        const struct event_copy *live = &fixture->seen[i];
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
}

TEST_WITH(test_receive__merges_conversations_in_order, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    size_t pages;
    char room[16];
    for (int i = 0; i < 10; i++) {
        snprintf(room, sizeof room, "room%d", i);
        chat_fixture_join(fixture, alice(fixture), room, 0);
        chat_fixture_join(fixture, bob(fixture), room, 0);
    }
    for (int i = 0; i < 100; i++) {
        snprintf(room, sizeof room, "room%d", i * 7 % 10);
        chat_fixture_send(fixture, alice(fixture), i % 3 ? room : "@bob", "text", 0);
    }
    assert_reads_what_it_saw(fixture, bob(fixture), 0, &pages);
    assert_int_equal(pages, 1);
    assert_reads_what_it_saw(fixture, bob(fixture), fixture->seq - 50, &pages);
    assert_reads_what_it_saw(fixture, bob(fixture), fixture->seq, &pages);
    assert_reads_what_it_saw(fixture, alice(fixture), 0, &pages);
}

TEST_WITH(test_receive__a_page_holds_so_many_events, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_join(fixture, alice(fixture), "one", 0);
    chat_fixture_join(fixture, alice(fixture), "two", 0);
    uint64_t start = fixture->seq;
    for (int i = 0; i < 256; i++)
        chat_fixture_send(fixture, alice(fixture), i % 5 ? "one" : "two", "x", 0);
    struct chat_page page = read_once(fixture, alice(fixture), start, fixture->seq);
    assert_int_equal(page.count, 256);
    assert_false(page.more);
    assert_int_equal(page.next.seq, fixture->seq);
    chat_fixture_send(fixture, alice(fixture), "one", "x", 0);
    page = read_once(fixture, alice(fixture), start, fixture->seq);
    assert_int_equal(page.count, 256);
    assert_true(page.more);
    assert_int_equal(page.next.seq, fixture->seq - 1);
    page = read_once(fixture, alice(fixture), page.next.seq, fixture->seq);
    assert_int_equal(page.count, 1);
    assert_false(page.more);
    size_t pages;
    assert_reads_what_it_saw(fixture, alice(fixture), start, &pages);
    assert_int_equal(pages, 2);
}

TEST_WITH(test_receive__a_page_holds_so_many_bytes, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    static char text[10001];
    memset(text, 'x', sizeof text - 1);
    size_t pages;
    chat_fixture_join(fixture, alice(fixture), "one", 0);
    chat_fixture_join(fixture, alice(fixture), "two", 0);
    uint64_t start = fixture->seq;
    for (int i = 0; i < 20; i++)
        chat_fixture_send(fixture, alice(fixture), i % 2 ? "one" : "two", text, 0);
    struct chat_page page = read_once(fixture, alice(fixture), start, fixture->seq);
    assert_int_equal(page.count, 7); /* the seventh passes 65536 */
    assert_true(page.more);
    assert_reads_what_it_saw(fixture, alice(fixture), start, &pages);
    assert_int_equal(pages, 3);
}

TEST_WITH(test_receive__one_event_larger_than_a_page, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    size_t pages;
    fixture->limits.message_bytes = 1048576;
    chat_fixture_reopen(fixture);
    char *text = malloc(1048577);
    memset(text, 'x', 1048576);
    text[1048576] = '\0';
    uint64_t start = fixture->seq;
    for (int i = 0; i < 3; i++)
        assert_int_equal(chat_fixture_send(fixture, alice(fixture), "@bob", text, 0).status,
                         STATUS_OK);
    free(text);
    assert_reads_what_it_saw(fixture, bob(fixture), start, &pages);
    assert_int_equal(pages, 3);
}

TEST_WITH(test_receive__until, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_join(fixture, alice(fixture), "one", 0);
    uint64_t start = fixture->seq;
    for (int i = 0; i < 10; i++)
        chat_fixture_send(fixture, alice(fixture), "one", "x", 0);
    struct chat_page page = read_once(fixture, alice(fixture), start, start + 4);
    assert_int_equal(page.count, 4);
    assert_false(page.more);
    assert_int_equal(page.next.seq, start + 4);
    page = read_once(fixture, alice(fixture), start + 4, start + 4);
    assert_int_equal(page.count, 0);
    assert_int_equal(page.next.seq, start + 4);
    page = read_once(fixture, alice(fixture), start + 6, start + 4); /* never back */
    assert_int_equal(page.count, 0);
    assert_int_equal(page.next.seq, start + 6);
}

TEST_WITH(test_receive__nothing_for_somebody_new, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct chat_page page = read_once(fixture, alice(fixture), 0, fixture->seq);
    assert_int_equal(page.count, 0);
    assert_int_equal(page.next.seq, fixture->seq);
    assert_int_equal(page.next.epoch, fixture->epoch);
}

TEST_WITH(test_receive__a_delta_is_never_cut_in_two, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    size_t pages;
    char room[16];
    struct chat_session *carol = chat_fixture_person(fixture, "carol");
    for (int i = 0; i < 150; i++) {
        snprintf(room, sizeof room, "r%d", i);
        chat_fixture_join(fixture, carol, room, 0);
        chat_fixture_join(fixture, alice(fixture), room, 0);
    }
    uint64_t start = fixture->seq;
    for (int i = 0; i < 200; i++)
        chat_fixture_send(fixture, alice(fixture), "r7", "x", 0);
    chat_fixture_delete(fixture, carol,
                        true); /* REMOVED and OWNER in 150 rooms: 300 events of one delta */
    for (int i = 0; i < 200; i++)
        chat_fixture_send(fixture, alice(fixture), "r8", "x", 0);
    struct chat_page page = read_once(fixture, alice(fixture), start, fixture->seq);
    assert_int_equal(page.count, 200);
    page = read_once(fixture, alice(fixture), page.next.seq, fixture->seq);
    assert_int_equal(page.count, 300);
    assert_true(page.more);
    assert_reads_what_it_saw(fixture, alice(fixture), start, &pages);
    assert_int_equal(pages, 3);
}

TEST_WITH(test_receive__nor_within_one_room, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    for (int messages = 253; messages <= 256; messages++) {
        chat_fixture_join(fixture, alice(fixture), "one", 0);
        chat_fixture_join(fixture, bob(fixture), "one", 0);
        uint64_t start = fixture->seq;
        for (int i = 0; i < messages; i++)
            chat_fixture_send(fixture, alice(fixture), "one", "x", 0);
        chat_fixture_leave(fixture, alice(fixture), "one"); /* LEFT and OWNER */
        chat_fixture_send(fixture, bob(fixture), "one", "x", 0);
        struct chat_page page = read_once(fixture, bob(fixture), start, fixture->seq);
        size_t first = messages == 253 ? 256 : messages == 254 ? 256 : (size_t)messages;
        assert_int_equal(page.count, first);
        assert_int_equal(page.more, messages != 253);
        page = read_once(fixture, bob(fixture), page.next.seq, fixture->seq);
        assert_int_equal(page.count, (size_t)messages + 3 - first);
        assert_false(page.more);
        chat_fixture_leave(fixture, bob(fixture), "one");
    }
}

TEST_WITH(test_receive__epochs_of_several_epoch_starts, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    size_t pages;
    chat_fixture_join(fixture, alice(fixture), "one", 0);
    for (int i = 0; i < 5; i++) {
        chat_fixture_send(fixture, alice(fixture), "one", "x", 0);
        chat_fixture_new_epoch(fixture);
        chat_fixture_send(fixture, alice(fixture), "one", "y", 0);
        chat_fixture_send(fixture, alice(fixture), "one", "z", 0);
    }
    assert_reads_what_it_saw(fixture, alice(fixture), 0, &pages);
    for (uint64_t after = 0; after <= fixture->seq; after++)
        for (uint64_t until = after; until <= fixture->seq; until++) {
            struct chat_page page = read_once(fixture, alice(fixture), after, until);
            assert_int_equal(page.next.seq, until);
            assert_int_equal(page.next.epoch, store_epoch_at(fixture->store, until));
            for (size_t i = 0; i < page.count; i++)
                assert_int_equal(page.events[i].position.epoch,
                                 store_epoch_at(fixture->store, page.events[i].position.seq));
        }
}

TEST(test_receive__by_a_reader_that_knows_fewer_epoch_starts)
{
    struct chat_fixture fixture;
    struct store *reader;
    struct error_text why = {.text = ""};
    char *folder = folder_new();
    chat_fixture_open(&fixture, 7, folder);
    chat_fixture_person(&fixture, "alice");
    chat_fixture_join(&fixture, alice(&fixture), "one", 0);
    if (store_open_reader(&reader, fixture.store, &why) != OK)
        fail_msg("%s", why.text);
    uint64_t start = fixture.seq;
    for (int i = 0; i < 3; i++) {
        chat_fixture_new_epoch(&fixture);
        chat_fixture_send(&fixture, alice(&fixture), "one", "x", 0);
    }
    struct chat_call call = chat_fixture_call(&fixture, alice(&fixture));
    struct chat_plan *plan;
    struct chat_page page;
    assert_int_equal(chat_plan_receive(fixture.chat, &call, start, fixture.seq, &plan), OK);
    assert_int_equal(chat_read(plan, reader, call.arena, &page), OK);
    assert_int_equal(page.count, 3);
    assert_int_equal(page.next.epoch, fixture.epoch);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(page.events[i].position.epoch,
                         store_epoch_at(fixture.store, page.events[i].position.seq));
    assert_int_equal(chat_plan_history(fixture.chat, &call, "one", 0, 0, &plan), OK);
    assert_int_equal(chat_read(plan, reader, call.arena, &page), OK);
    Jackdaw__Event event;
    assert_int_equal(chat_event_fill(fixture.chat, &page.events[2], 0, call.arena, &event), OK);
    assert_int_equal(event.epoch, fixture.epoch);
    store_close(reader);
    chat_fixture_close(&fixture);
    folder_remove(folder);
}

TEST_WITH(test_receive__invitations_of_others_do_not_fill_a_page, open_chat_fixture,
          close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    char name[32];
    chat_fixture_join(fixture, alice(fixture), "one", 0);
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "guest%d", i);
        chat_fixture_register(fixture, name);
        chat_fixture_invite(fixture, alice(fixture), "one", name);
    }
    chat_fixture_send(fixture, alice(fixture), "one", "behind them", 0);
    assert_string_equal(chat_fixture_reads(fixture, alice(fixture), 0),
                        "JOINED one alice; OWNER one alice; MESSAGE one alice behind them");
}

/* ---- undelivered ---- */

static uint64_t undelivered(struct chat_fixture *fixture, struct chat_session *session,
                            const char *room, size_t *conversations)
{
    struct chat_call call = chat_fixture_call(fixture, session);
    Jackdaw__HeartbeatRequest request = JACKDAW__HEARTBEAT_REQUEST__INIT;
    Jackdaw__HeartbeatReply reply = JACKDAW__HEARTBEAT_REPLY__INIT;
    assert_int_equal(chat_answer_heartbeat(fixture->chat, &call, &request, &reply), OK);
    *conversations = reply.n_undelivered;
    for (size_t i = 0; i < reply.n_undelivered; i++)
        if (strcmp(reply.undelivered[i]->room, room) == 0)
            return reply.undelivered[i]->messages;
    return 0;
}

TEST_WITH(test_undelivered__counts_messages_since_the_cursor, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    size_t conversations;
    chat_fixture_join(fixture, alice(fixture), "one", 0);
    chat_fixture_send(fixture, alice(fixture), "one", "before", 0);
    chat_fixture_join(fixture, bob(fixture), "one", 0);
    assert_int_equal(undelivered(fixture, bob(fixture), "one", &conversations), 0);
    assert_int_equal(conversations, 0);
    uint64_t seqs[10];
    for (int i = 0; i < 10; i++) {
        chat_fixture_send(fixture, alice(fixture), "one", "x", 0);
        seqs[i] = fixture->seq;
        chat_fixture_topic(fixture, alice(fixture), "one", i % 2 ? "a" : "b");
    }
    chat_fixture_send(fixture, alice(fixture), "@bob", "x", 0);
    assert_int_equal(undelivered(fixture, bob(fixture), "one", &conversations), 10);
    assert_int_equal(conversations, 2);
    for (int i = 0; i < 10; i++) {
        chat_note_delivered(fixture->chat, bob(fixture), seqs[i]);
        assert_int_equal(undelivered(fixture, bob(fixture), "one", &conversations),
                         (uint64_t)(9 - i));
    }
    assert_int_equal(undelivered(fixture, bob(fixture), "@alice", &conversations), 1);
    assert_int_equal(conversations, 1);
    chat_note_delivered(fixture->chat, bob(fixture), fixture->seq);
    assert_int_equal(undelivered(fixture, bob(fixture), "@alice", &conversations), 0);
    assert_int_equal(conversations, 0);
}

TEST_WITH(test_undelivered__is_kept_by_a_delta, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    size_t conversations;
    chat_fixture_send(fixture, alice(fixture), "@bob", "one", 0);
    chat_note_delivered(fixture->chat, bob(fixture), fixture->seq);
    assert_true(chat_fixture_deliver(fixture));
    assert_false(chat_fixture_deliver(fixture));
    chat_fixture_send(fixture, alice(fixture), "@bob", "two", 0);
    chat_fixture_reopen(fixture);
    assert_int_equal(undelivered(fixture, bob(fixture), "@alice", &conversations), 1);
}

TEST_WITH(test_undelivered__a_heartbeat_tells_how_far_the_device_is, open_chat_fixture,
          close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_send(fixture, alice(fixture), "@bob", "one", 0);
    Jackdaw__HeartbeatRequest request = JACKDAW__HEARTBEAT_REQUEST__INIT;
    Jackdaw__HeartbeatReply reply = JACKDAW__HEARTBEAT_REPLY__INIT;
    Jackdaw__Position after = JACKDAW__POSITION__INIT;
    after.epoch = fixture->epoch;
    after.seq = fixture->seq;
    request.after = &after;
    struct chat_call call = chat_fixture_call(fixture, bob(fixture));
    call.committed_seq = fixture->seq - 1;
    assert_int_equal(chat_answer_heartbeat(fixture->chat, &call, &request, &reply), OK);
    assert_int_equal(reply.n_undelivered, 0);
    assert_int_equal(reply.time_ms, fixture->time_ms);
    assert_int_equal(reply.position->seq, fixture->seq - 1);
    assert_int_equal(reply.position->epoch, fixture->epoch);
    assert_true(chat_fixture_deliver(fixture));
}

TEST_WITH(test_undelivered__many_accounts_in_parts, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    char name[16];
    fixture->limits.sessions_per_account = 1;
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "n%d", i);
        chat_note_delivered(fixture->chat, chat_fixture_person(fixture, name), fixture->seq);
    }
    assert_true(chat_fixture_deliver(fixture));
    assert_true(chat_fixture_deliver(fixture));
    assert_false(chat_fixture_deliver(fixture));
    char *before = chat_fixture_portrait(fixture);
    chat_fixture_reopen(fixture);
    char *after = chat_fixture_portrait(fixture);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

TEST_WITH(test_undelivered__of_very_many_conversations, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    char name[16];
    size_t conversations;
    for (int i = 0; i < CHAT_LIST_MAX + 1; i++) {
        snprintf(name, sizeof name, "n%d", i);
        chat_fixture_send(fixture, chat_fixture_person(fixture, name), "@bob", "x", 0);
    }
    undelivered(fixture, bob(fixture), "", &conversations);
    assert_int_equal(conversations, CHAT_LIST_MAX);
    Jackdaw__DeleteAccountRequest request = JACKDAW__DELETE_ACCOUNT_REQUEST__INIT;
    Jackdaw__DeleteAccountReply reply = JACKDAW__DELETE_ACCOUNT_REPLY__INIT;
    struct chat_call call = chat_fixture_call(fixture, bob(fixture));
    assert_int_equal(chat_answer_delete(fixture->chat, &call, &request, &reply), OK);
    assert_int_equal(reply.undelivered_total, CHAT_LIST_MAX + 1);
    assert_int_equal(reply.n_undelivered, CHAT_PAGE_EVENTS);
}

/* ---- cursors ---- */

static uint64_t common(struct chat_fixture *fixture, uint64_t epoch, uint64_t seq)
{
    struct log_position position = {epoch, seq};
    return chat_common_seq(fixture->chat, &position, 1);
}

TEST_WITH(test_common_seq, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    uint64_t first = fixture->epoch;
    for (int i = 0; i < 5; i++)
        chat_fixture_send(fixture, alice(fixture), "@bob", "x", 0);
    uint64_t end = fixture->seq;
    fixture->epoch += 2 << 16; /* an epoch that left nothing here lies between */
    chat_fixture_new_epoch(fixture);
    uint64_t second = fixture->epoch;
    chat_fixture_send(fixture, alice(fixture), "@bob", "x", 0);
    assert_int_equal(common(fixture, 0, 0), 0);
    assert_int_equal(common(fixture, 0, 5), 0);
    assert_int_equal(common(fixture, first, 3), 3);
    assert_int_equal(common(fixture, first, end), end);
    assert_int_equal(common(fixture, first, end + 1), end);
    assert_int_equal(common(fixture, first, UINT64_MAX), end);
    assert_int_equal(common(fixture, second, end + 1), end + 1);
    assert_int_equal(common(fixture, second, fixture->seq), fixture->seq);
    assert_int_equal(common(fixture, second, fixture->seq + 1), fixture->seq);
    assert_int_equal(common(fixture, first + (1 << 16), end), 0); /* unknown: says nothing */
    assert_int_equal(common(fixture, second + (1 << 16), fixture->seq), 0);
    assert_int_equal(common(fixture, 1, 5), 0);
    assert_int_equal(chat_common_seq(fixture->chat, NULL, 0), 0);
}

/* first ... end, then `second` here; the client was in epochs that this server never heard of. */
TEST_WITH(test_common_seq__of_a_trail, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    uint64_t first = fixture->epoch;
    chat_fixture_send(fixture, alice(fixture), "@bob", "x", 0);
    uint64_t end = fixture->seq;
    fixture->epoch += 4 << 16;
    chat_fixture_new_epoch(fixture);
    uint64_t lost = first + (1 << 16);
    struct log_position cursor_history[] = {{lost + (1 << 16), 90}, {lost, 80}, {first, end - 1}};
    assert_int_equal(chat_common_seq(fixture->chat, cursor_history, 3), end - 1);
    assert_int_equal(chat_common_seq(fixture->chat, cursor_history, 2), 0);
    cursor_history[2].seq = 70; /* it saw more of the first epoch than is here */
    assert_int_equal(chat_common_seq(fixture->chat, cursor_history, 3), end);
    cursor_history[0] =
        (struct log_position){fixture->epoch, fixture->seq}; /* the newest known decides */
    assert_int_equal(chat_common_seq(fixture->chat, cursor_history, 3), fixture->seq);
}

TEST_WITH(test_common_seq_of__a_request, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    Jackdaw__Position after = JACKDAW__POSITION__INIT;
    Jackdaw__Position known = JACKDAW__POSITION__INIT;
    after.epoch = fixture->epoch + (1 << 16);
    after.seq = 100;
    known.epoch = fixture->epoch;
    known.seq = fixture->seq;
    Jackdaw__Position *cursor_history[CHAT_CURSOR_HISTORY_MAX + 1];
    for (size_t i = 0; i < CHAT_CURSOR_HISTORY_MAX; i++)
        cursor_history[i] = &after;
    cursor_history[CHAT_CURSOR_HISTORY_MAX] = &known;
    assert_int_equal(chat_common_seq_of(fixture->chat, &known, NULL, 0), fixture->seq);
    assert_int_equal(
        chat_common_seq_of(fixture->chat, &after, cursor_history + CHAT_CURSOR_HISTORY_MAX, 1),
        fixture->seq);
    assert_int_equal(
        chat_common_seq_of(fixture->chat, NULL, cursor_history + CHAT_CURSOR_HISTORY_MAX, 1),
        fixture->seq);
    assert_int_equal(
        chat_common_seq_of(fixture->chat, &after, cursor_history, CHAT_CURSOR_HISTORY_MAX + 1), 0);
    assert_int_equal(chat_common_seq_of(fixture->chat, NULL, NULL, 0), 0);
    assert_true(chat_is_behind(fixture->chat, &after));
    assert_false(chat_is_behind(fixture->chat, &known));
    assert_false(chat_is_behind(fixture->chat, NULL));
}
