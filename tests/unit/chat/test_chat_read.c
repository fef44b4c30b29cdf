/* SPDX-License-Identifier: MIT */
/* What a device reads after having been away: pages, bounds, undelivered counts, cursors:
 * src/chat/receive.c, read.c, delivered.c. */
#include "chat_world.h"
#include "support/folder.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int open_world(void **state)
{
    struct world *world = malloc(sizeof *world);
    world_open(world, 7, NULL);
    world_person(world, "alice");
    world_person(world, "bob");
    *state = world;
    return 0;
}

static int close_world(void **state)
{
    world_close(*state);
    free(*state);
    return 0;
}

static struct chat_session *alice(struct world *world)
{
    return world_session(world, "alice");
}

static struct chat_session *bob(struct world *world)
{
    return world_session(world, "bob");
}

static struct chat_page read_once(struct world *world, struct chat_session *session, uint64_t after,
                                  uint64_t until)
{
    struct chat_call call = world_call(world, session);
    struct chat_plan *plan;
    struct chat_page page;
    assert_int_equal(chat_plan_receive(world->chat, &call, after, until, &plan), OK);
    assert_int_equal(chat_read(plan, world->store, call.arena, &page), OK);
    return page;
}

/* What was read is what was seen live by the session, from one of its events on. */
static void assert_reads_what_it_saw(struct world *world, struct chat_session *session,
                                     uint64_t after, size_t *pages)
{
    struct seen *seen;
    size_t count, at = 0;
    world_read(world, session, after, &seen, &count, pages);
    for (size_t i = 0; i < world->seen_count; i++) {
        const struct seen *live = &world->seen[i];
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
    world_free_seen(seen, count);
}

static void test_receive__merges_conversations_in_order(void **state)
{
    struct world *world = *state;
    size_t pages;
    char room[16];
    for (int i = 0; i < 10; i++) {
        snprintf(room, sizeof room, "room%d", i);
        world_join(world, alice(world), room, 0);
        world_join(world, bob(world), room, 0);
    }
    for (int i = 0; i < 100; i++) {
        snprintf(room, sizeof room, "room%d", i * 7 % 10);
        world_send(world, alice(world), i % 3 ? room : "@bob", "text", 0);
    }
    assert_reads_what_it_saw(world, bob(world), 0, &pages);
    assert_int_equal(pages, 1);
    assert_reads_what_it_saw(world, bob(world), world->seq - 50, &pages);
    assert_reads_what_it_saw(world, bob(world), world->seq, &pages);
    assert_reads_what_it_saw(world, alice(world), 0, &pages);
}

static void test_receive__a_page_holds_so_many_events(void **state)
{
    struct world *world = *state;
    world_join(world, alice(world), "one", 0);
    world_join(world, alice(world), "two", 0);
    uint64_t start = world->seq;
    for (int i = 0; i < 256; i++)
        world_send(world, alice(world), i % 5 ? "one" : "two", "x", 0);
    struct chat_page page = read_once(world, alice(world), start, world->seq);
    assert_int_equal(page.count, 256);
    assert_false(page.more);
    assert_int_equal(page.next.seq, world->seq);
    world_send(world, alice(world), "one", "x", 0);
    page = read_once(world, alice(world), start, world->seq);
    assert_int_equal(page.count, 256);
    assert_true(page.more);
    assert_int_equal(page.next.seq, world->seq - 1);
    page = read_once(world, alice(world), page.next.seq, world->seq);
    assert_int_equal(page.count, 1);
    assert_false(page.more);
    size_t pages;
    assert_reads_what_it_saw(world, alice(world), start, &pages);
    assert_int_equal(pages, 2);
}

static void test_receive__a_page_holds_so_many_bytes(void **state)
{
    struct world *world = *state;
    static char text[10001];
    memset(text, 'x', sizeof text - 1);
    size_t pages;
    world_join(world, alice(world), "one", 0);
    world_join(world, alice(world), "two", 0);
    uint64_t start = world->seq;
    for (int i = 0; i < 20; i++)
        world_send(world, alice(world), i % 2 ? "one" : "two", text, 0);
    struct chat_page page = read_once(world, alice(world), start, world->seq);
    assert_int_equal(page.count, 7); /* the seventh passes 65536 */
    assert_true(page.more);
    assert_reads_what_it_saw(world, alice(world), start, &pages);
    assert_int_equal(pages, 3);
}

static void test_receive__one_event_larger_than_a_page(void **state)
{
    struct world *world = *state;
    size_t pages;
    world->limits.message_bytes = 1048576;
    world_reopen(world);
    char *text = malloc(1048577);
    memset(text, 'x', 1048576);
    text[1048576] = '\0';
    uint64_t start = world->seq;
    for (int i = 0; i < 3; i++)
        assert_int_equal(world_send(world, alice(world), "@bob", text, 0).status, STATUS_OK);
    free(text);
    assert_reads_what_it_saw(world, bob(world), start, &pages);
    assert_int_equal(pages, 3);
}

static void test_receive__until(void **state)
{
    struct world *world = *state;
    world_join(world, alice(world), "one", 0);
    uint64_t start = world->seq;
    for (int i = 0; i < 10; i++)
        world_send(world, alice(world), "one", "x", 0);
    struct chat_page page = read_once(world, alice(world), start, start + 4);
    assert_int_equal(page.count, 4);
    assert_false(page.more);
    assert_int_equal(page.next.seq, start + 4);
    page = read_once(world, alice(world), start + 4, start + 4);
    assert_int_equal(page.count, 0);
    assert_int_equal(page.next.seq, start + 4);
    page = read_once(world, alice(world), start + 6, start + 4); /* never back */
    assert_int_equal(page.count, 0);
    assert_int_equal(page.next.seq, start + 6);
}

static void test_receive__nothing_for_somebody_new(void **state)
{
    struct world *world = *state;
    struct chat_page page = read_once(world, alice(world), 0, world->seq);
    assert_int_equal(page.count, 0);
    assert_int_equal(page.next.seq, world->seq);
    assert_int_equal(page.next.epoch, world->epoch);
}

static void test_receive__a_delta_is_never_cut_in_two(void **state)
{
    struct world *world = *state;
    size_t pages;
    char room[16];
    struct chat_session *carol = world_person(world, "carol");
    for (int i = 0; i < 150; i++) {
        snprintf(room, sizeof room, "r%d", i);
        world_join(world, carol, room, 0);
        world_join(world, alice(world), room, 0);
    }
    uint64_t start = world->seq;
    for (int i = 0; i < 200; i++)
        world_send(world, alice(world), "r7", "x", 0);
    world_delete(world, carol, true); /* REMOVED and OWNER in 150 rooms: 300 events of one delta */
    for (int i = 0; i < 200; i++)
        world_send(world, alice(world), "r8", "x", 0);
    struct chat_page page = read_once(world, alice(world), start, world->seq);
    assert_int_equal(page.count, 200);
    page = read_once(world, alice(world), page.next.seq, world->seq);
    assert_int_equal(page.count, 300);
    assert_true(page.more);
    assert_reads_what_it_saw(world, alice(world), start, &pages);
    assert_int_equal(pages, 3);
}

static void test_receive__nor_within_one_room(void **state)
{
    struct world *world = *state;
    for (int messages = 253; messages <= 256; messages++) {
        world_join(world, alice(world), "one", 0);
        world_join(world, bob(world), "one", 0);
        uint64_t start = world->seq;
        for (int i = 0; i < messages; i++)
            world_send(world, alice(world), "one", "x", 0);
        world_leave(world, alice(world), "one"); /* LEFT and OWNER */
        world_send(world, bob(world), "one", "x", 0);
        struct chat_page page = read_once(world, bob(world), start, world->seq);
        size_t first = messages == 253 ? 256 : messages == 254 ? 256 : (size_t)messages;
        assert_int_equal(page.count, first);
        assert_int_equal(page.more, messages != 253);
        page = read_once(world, bob(world), page.next.seq, world->seq);
        assert_int_equal(page.count, (size_t)messages + 3 - first);
        assert_false(page.more);
        world_leave(world, bob(world), "one");
    }
}

static void test_receive__epochs_of_several_reigns(void **state)
{
    struct world *world = *state;
    size_t pages;
    world_join(world, alice(world), "one", 0);
    for (int i = 0; i < 5; i++) {
        world_send(world, alice(world), "one", "x", 0);
        world_new_reign(world);
        world_send(world, alice(world), "one", "y", 0);
        world_send(world, alice(world), "one", "z", 0);
    }
    assert_reads_what_it_saw(world, alice(world), 0, &pages);
    for (uint64_t after = 0; after <= world->seq; after++)
        for (uint64_t until = after; until <= world->seq; until++) {
            struct chat_page page = read_once(world, alice(world), after, until);
            assert_int_equal(page.next.seq, until);
            assert_int_equal(page.next.epoch, store_epoch_at(world->store, until));
            for (size_t i = 0; i < page.count; i++)
                assert_int_equal(page.events[i].position.epoch,
                                 store_epoch_at(world->store, page.events[i].position.seq));
        }
}

static void test_receive__by_a_reader_that_knows_fewer_reigns(void **state)
{
    (void)state;
    struct world world;
    struct store *reader;
    struct error_text why = {.text = ""};
    char *folder = folder_new();
    world_open(&world, 7, folder);
    world_person(&world, "alice");
    world_join(&world, alice(&world), "one", 0);
    if (store_open_reader(&reader, world.store, &why) != OK)
        fail_msg("%s", why.text);
    uint64_t start = world.seq;
    for (int i = 0; i < 3; i++) {
        world_new_reign(&world);
        world_send(&world, alice(&world), "one", "x", 0);
    }
    struct chat_call call = world_call(&world, alice(&world));
    struct chat_plan *plan;
    struct chat_page page;
    assert_int_equal(chat_plan_receive(world.chat, &call, start, world.seq, &plan), OK);
    assert_int_equal(chat_read(plan, reader, call.arena, &page), OK);
    assert_int_equal(page.count, 3);
    assert_int_equal(page.next.epoch, world.epoch);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(page.events[i].position.epoch,
                         store_epoch_at(world.store, page.events[i].position.seq));
    assert_int_equal(chat_plan_history(world.chat, &call, "one", 0, 0, &plan), OK);
    assert_int_equal(chat_read(plan, reader, call.arena, &page), OK);
    Jackdaw__Event event;
    assert_int_equal(chat_event_fill(world.chat, &page.events[2], 0, call.arena, &event), OK);
    assert_int_equal(event.epoch, world.epoch);
    store_close(reader);
    world_close(&world);
    folder_remove(folder);
}

static void test_receive__invitations_of_others_do_not_fill_a_page(void **state)
{
    struct world *world = *state;
    char name[32];
    world_join(world, alice(world), "one", 0);
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "guest%d", i);
        world_register(world, name);
        world_invite(world, alice(world), "one", name);
    }
    world_send(world, alice(world), "one", "behind them", 0);
    assert_string_equal(world_reads(world, alice(world), 0),
                        "JOINED one alice; OWNER one alice; MESSAGE one alice behind them");
}

/* ---- undelivered ---- */

static uint64_t undelivered(struct world *world, struct chat_session *session, const char *room,
                            size_t *conversations)
{
    struct chat_call call = world_call(world, session);
    Jackdaw__HeartbeatRequest request = JACKDAW__HEARTBEAT_REQUEST__INIT;
    Jackdaw__HeartbeatReply reply = JACKDAW__HEARTBEAT_REPLY__INIT;
    assert_int_equal(chat_answer_heartbeat(world->chat, &call, &request, &reply), OK);
    *conversations = reply.n_undelivered;
    for (size_t i = 0; i < reply.n_undelivered; i++)
        if (strcmp(reply.undelivered[i]->room, room) == 0)
            return reply.undelivered[i]->messages;
    return 0;
}

static void test_undelivered__counts_messages_since_the_cursor(void **state)
{
    struct world *world = *state;
    size_t conversations;
    world_join(world, alice(world), "one", 0);
    world_send(world, alice(world), "one", "before", 0);
    world_join(world, bob(world), "one", 0);
    assert_int_equal(undelivered(world, bob(world), "one", &conversations), 0);
    assert_int_equal(conversations, 0);
    uint64_t seqs[10];
    for (int i = 0; i < 10; i++) {
        world_send(world, alice(world), "one", "x", 0);
        seqs[i] = world->seq;
        world_topic(world, alice(world), "one", i % 2 ? "a" : "b");
    }
    world_send(world, alice(world), "@bob", "x", 0);
    assert_int_equal(undelivered(world, bob(world), "one", &conversations), 10);
    assert_int_equal(conversations, 2);
    for (int i = 0; i < 10; i++) {
        chat_note_delivered(world->chat, bob(world), seqs[i]);
        assert_int_equal(undelivered(world, bob(world), "one", &conversations), (uint64_t)(9 - i));
    }
    assert_int_equal(undelivered(world, bob(world), "@alice", &conversations), 1);
    assert_int_equal(conversations, 1);
    chat_note_delivered(world->chat, bob(world), world->seq);
    assert_int_equal(undelivered(world, bob(world), "@alice", &conversations), 0);
    assert_int_equal(conversations, 0);
}

static void test_undelivered__is_kept_by_a_delta(void **state)
{
    struct world *world = *state;
    size_t conversations;
    world_send(world, alice(world), "@bob", "one", 0);
    chat_note_delivered(world->chat, bob(world), world->seq);
    assert_true(world_deliver(world));
    assert_false(world_deliver(world));
    world_send(world, alice(world), "@bob", "two", 0);
    world_reopen(world);
    assert_int_equal(undelivered(world, bob(world), "@alice", &conversations), 1);
}

static void test_undelivered__a_heartbeat_tells_how_far_the_device_is(void **state)
{
    struct world *world = *state;
    world_send(world, alice(world), "@bob", "one", 0);
    Jackdaw__HeartbeatRequest request = JACKDAW__HEARTBEAT_REQUEST__INIT;
    Jackdaw__HeartbeatReply reply = JACKDAW__HEARTBEAT_REPLY__INIT;
    Jackdaw__Position after = JACKDAW__POSITION__INIT;
    after.epoch = world->epoch;
    after.seq = world->seq;
    request.after = &after;
    struct chat_call call = world_call(world, bob(world));
    call.committed_seq = world->seq - 1;
    assert_int_equal(chat_answer_heartbeat(world->chat, &call, &request, &reply), OK);
    assert_int_equal(reply.n_undelivered, 0);
    assert_int_equal(reply.time_ms, world->time_ms);
    assert_int_equal(reply.position->seq, world->seq - 1);
    assert_int_equal(reply.position->epoch, world->epoch);
    assert_true(world_deliver(world));
}

static void test_undelivered__many_accounts_in_parts(void **state)
{
    struct world *world = *state;
    char name[16];
    world->limits.sessions_per_account = 1;
    for (int i = 0; i < 300; i++) {
        snprintf(name, sizeof name, "n%d", i);
        chat_note_delivered(world->chat, world_person(world, name), world->seq);
    }
    assert_true(world_deliver(world));
    assert_true(world_deliver(world));
    assert_false(world_deliver(world));
    char *before = world_portrait(world);
    world_reopen(world);
    char *after = world_portrait(world);
    assert_string_equal(before, after);
    free(before);
    free(after);
}

static void test_undelivered__of_very_many_conversations(void **state)
{
    struct world *world = *state;
    char name[16];
    size_t conversations;
    for (int i = 0; i < CHAT_LIST_MAX + 1; i++) {
        snprintf(name, sizeof name, "n%d", i);
        world_send(world, world_person(world, name), "@bob", "x", 0);
    }
    undelivered(world, bob(world), "", &conversations);
    assert_int_equal(conversations, CHAT_LIST_MAX);
    Jackdaw__DeleteAccountRequest request = JACKDAW__DELETE_ACCOUNT_REQUEST__INIT;
    Jackdaw__DeleteAccountReply reply = JACKDAW__DELETE_ACCOUNT_REPLY__INIT;
    struct chat_call call = world_call(world, bob(world));
    assert_int_equal(chat_answer_delete(world->chat, &call, &request, &reply), OK);
    assert_int_equal(reply.undelivered_total, CHAT_LIST_MAX + 1);
    assert_int_equal(reply.n_undelivered, CHAT_PAGE_EVENTS);
}

/* ---- cursors ---- */

static uint64_t common(struct world *world, uint64_t epoch, uint64_t seq)
{
    struct position position = {epoch, seq};
    return chat_common_seq(world->chat, &position, 1);
}

static void test_common_seq(void **state)
{
    struct world *world = *state;
    uint64_t first = world->epoch;
    for (int i = 0; i < 5; i++)
        world_send(world, alice(world), "@bob", "x", 0);
    uint64_t end = world->seq;
    world->epoch += 2 << 16; /* a reign that left nothing here lies between */
    world_new_reign(world);
    uint64_t second = world->epoch;
    world_send(world, alice(world), "@bob", "x", 0);
    assert_int_equal(common(world, 0, 0), 0);
    assert_int_equal(common(world, 0, 5), 0);
    assert_int_equal(common(world, first, 3), 3);
    assert_int_equal(common(world, first, end), end);
    assert_int_equal(common(world, first, end + 1), end);
    assert_int_equal(common(world, first, UINT64_MAX), end);
    assert_int_equal(common(world, second, end + 1), end + 1);
    assert_int_equal(common(world, second, world->seq), world->seq);
    assert_int_equal(common(world, second, world->seq + 1), world->seq);
    assert_int_equal(common(world, first + (1 << 16), end), 0); /* unknown: says nothing */
    assert_int_equal(common(world, second + (1 << 16), world->seq), 0);
    assert_int_equal(common(world, 1, 5), 0);
    assert_int_equal(chat_common_seq(world->chat, NULL, 0), 0);
}

/* first ... end, then `second` here; the client was in reigns that this server never heard of. */
static void test_common_seq__of_a_trail(void **state)
{
    struct world *world = *state;
    uint64_t first = world->epoch;
    world_send(world, alice(world), "@bob", "x", 0);
    uint64_t end = world->seq;
    world->epoch += 4 << 16;
    world_new_reign(world);
    uint64_t lost = first + (1 << 16);
    struct position trail[] = {{lost + (1 << 16), 90}, {lost, 80}, {first, end - 1}};
    assert_int_equal(chat_common_seq(world->chat, trail, 3), end - 1);
    assert_int_equal(chat_common_seq(world->chat, trail, 2), 0);
    trail[2].seq = 70; /* it saw more of the first reign than is here */
    assert_int_equal(chat_common_seq(world->chat, trail, 3), end);
    trail[0] = (struct position){world->epoch, world->seq}; /* the newest known decides */
    assert_int_equal(chat_common_seq(world->chat, trail, 3), world->seq);
}

static void test_common_seq_of__a_request(void **state)
{
    struct world *world = *state;
    Jackdaw__Position after = JACKDAW__POSITION__INIT;
    Jackdaw__Position known = JACKDAW__POSITION__INIT;
    after.epoch = world->epoch + (1 << 16);
    after.seq = 100;
    known.epoch = world->epoch;
    known.seq = world->seq;
    Jackdaw__Position *trail[CHAT_TRAIL_MAX + 1];
    for (size_t i = 0; i < CHAT_TRAIL_MAX; i++)
        trail[i] = &after;
    trail[CHAT_TRAIL_MAX] = &known;
    assert_int_equal(chat_common_seq_of(world->chat, &known, NULL, 0), world->seq);
    assert_int_equal(chat_common_seq_of(world->chat, &after, trail + CHAT_TRAIL_MAX, 1),
                     world->seq);
    assert_int_equal(chat_common_seq_of(world->chat, NULL, trail + CHAT_TRAIL_MAX, 1), world->seq);
    assert_int_equal(chat_common_seq_of(world->chat, &after, trail, CHAT_TRAIL_MAX + 1), 0);
    assert_int_equal(chat_common_seq_of(world->chat, NULL, NULL, 0), 0);
    assert_true(chat_is_behind(world->chat, &after));
    assert_false(chat_is_behind(world->chat, &known));
    assert_false(chat_is_behind(world->chat, NULL));
}

#define WORLD_TEST(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_receive__merges_conversations_in_order),
        WORLD_TEST(test_receive__a_page_holds_so_many_events),
        WORLD_TEST(test_receive__a_page_holds_so_many_bytes),
        WORLD_TEST(test_receive__one_event_larger_than_a_page),
        WORLD_TEST(test_receive__until),
        WORLD_TEST(test_receive__nothing_for_somebody_new),
        WORLD_TEST(test_receive__a_delta_is_never_cut_in_two),
        WORLD_TEST(test_receive__nor_within_one_room),
        WORLD_TEST(test_receive__epochs_of_several_reigns),
        cmocka_unit_test(test_receive__by_a_reader_that_knows_fewer_reigns),
        WORLD_TEST(test_receive__invitations_of_others_do_not_fill_a_page),
        WORLD_TEST(test_undelivered__counts_messages_since_the_cursor),
        WORLD_TEST(test_undelivered__is_kept_by_a_delta),
        WORLD_TEST(test_undelivered__a_heartbeat_tells_how_far_the_device_is),
        WORLD_TEST(test_undelivered__many_accounts_in_parts),
        WORLD_TEST(test_undelivered__of_very_many_conversations),
        WORLD_TEST(test_common_seq),
        WORLD_TEST(test_common_seq__of_a_trail),
        WORLD_TEST(test_common_seq_of__a_request),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
