/* SPDX-License-Identifier: MIT */
/* Every allocation of src/chat fails once: the error comes back, and nothing has changed. */
#include "chat/chat_internal.h"

#include "chat_world.h"
#include "support/faulty_alloc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int open_world(void **state)
{
    struct world *world = malloc(sizeof *world);
    world_open(world, 9, NULL);
    *state = world;
    return 0;
}

static int close_world(void **state)
{
    faulty_alloc_disarm();
    world_close(*state);
    free(*state);
    return 0;
}

/* Something of everything. */
static void live(struct world *world)
{
    static const char *const names[] = {"alice", "bob", "carol", "dave"};
    struct chat_session *people[4];
    for (size_t i = 0; i < 4; i++)
        people[i] = world_person(world, names[i]);
    world_device(world, "alice", "second");
    for (int i = 0; i < 12; i++) {
        char room[16];
        snprintf(room, sizeof room, "room%d", i);
        world_join(world, people[i % 4], room, 0);
        world_join(world, people[(i + 1) % 4], room, 0);
        world_send(world, people[i % 4], room, "hello", 0);
    }
    world_join_private(world, people[0], "secret");
    world_invite(world, people[0], "secret", "bob");
    world_join(world, people[1], "secret", 0);
    world_topic(world, people[0], "secret", "topic");
    world_send(world, people[0], "@bob", "psst", 0);
    world_send(world, people[0], "@alice", "note", 0);
    world_send(world, people[2], "nowhere", "refused", 0);
    world_join(world, people[0], "secret", 0);
    world_kick(world, people[0], "secret", "bob", false);
    world_kick(world, people[0], "secret", "carol", true);
    world_leave(world, people[0], "secret");
    world_leave(world, people[1], "room0");
    chat_note_delivered(world->chat, people[3], world->seq);
    world_deliver(world);
    world_logout(world, world_session(world, "second"), world->seq);
    world_new_reign(world);
    world_delete(world, people[3], true);
    world->monotonic_ms += 100000;
    world_login(world, "alice", "second");
    world_login(world, "alice", "third");
}

/* The observer would allocate too. */
static void be_blind(struct world *world)
{
    world->chat->observer = (struct chat_observer){.event = NULL};
}

static void reload(struct world *world)
{
    struct error_text why;
    store_rollback(world->store);
    assert_int_equal(chat_reload(world->chat, &why), OK);
}

static void assert_same(struct world *world, const char *portrait, const char *rows)
{
    char *portrait_now = world_portrait(world);
    char *rows_now = world_rows(world);
    assert_string_equal(portrait_now, portrait);
    assert_string_equal(rows_now, rows);
    free(portrait_now);
    free(rows_now);
}

/* Applies the delta with the first, second, third ... allocation failing, until none is left. */
static unsigned long apply_with_failures(struct world *world, const Jackdaw__Delta *delta)
{
    char *portrait = world_portrait(world);
    char *rows = world_rows(world);
    struct position position = {world->epoch, world->seq + 1};
    unsigned long k = 1;
    for (;; k++) {
        assert_int_equal(store_begin(world->store), OK);
        faulty_alloc_arm(k);
        enum error error = chat_apply(world->chat, delta, position);
        bool failed = faulty_alloc_disarm();
        assert_int_equal(error, failed ? ERROR_NO_MEMORY : OK);
        reload(world);
        assert_same(world, portrait, rows);
        if (!failed)
            break;
    }
    free(portrait);
    free(rows);
    return k - 1;
}

static void test_apply__every_allocation_fails(void **state)
{
    struct world *world = *state;
    struct world life;
    unsigned long failures = 0;
    world_open(&life, 9, NULL);
    live(&life);
    be_blind(world);
    for (size_t i = 1; i < life.deltas_count; i++) {
        world->epoch = life.deltas[i].position.epoch;
        if (life.deltas[i].bytes == NULL) {
            assert_int_equal(world_pass(world), OK);
            continue;
        }
        Jackdaw__Delta *delta =
            jackdaw__delta__unpack(NULL, life.deltas[i].size, life.deltas[i].bytes);
        failures += apply_with_failures(world, delta);
        assert_int_equal(world_apply(world, delta), OK);
        jackdaw__delta__free_unpacked(delta, NULL);
    }
    assert_true(failures > 100);
    char *rows = world_rows(&life);
    char *rows_now = world_rows(world);
    assert_string_equal(rows_now, rows);
    free(rows);
    free(rows_now);
    world_close(&life);
}

static void test_open__every_allocation_fails(void **state)
{
    struct world *world = *state;
    live(world);
    for (unsigned long k = 1;; k++) {
        struct chat *chat = NULL;
        struct error_text why = {.text = ""};
        faulty_alloc_arm(k);
        enum error error =
            chat_open(&chat, world->store, &world->limits, NULL, world->monotonic_ms, &why);
        if (!faulty_alloc_disarm()) {
            assert_int_equal(error, OK);
            chat_close(chat);
            return;
        }
        assert_int_equal(error, ERROR_NO_MEMORY);
        assert_null(chat);
        assert_true(why.text[0] != '\0');
    }
}

static void test_reload__a_failed_one_can_be_closed_or_tried_again(void **state)
{
    struct world *world = *state;
    live(world);
    char *portrait = world_portrait(world);
    for (unsigned long k = 1;; k++) {
        struct error_text why;
        faulty_alloc_arm(k);
        enum error error = chat_reload(world->chat, &why);
        if (!faulty_alloc_disarm())
            break;
        assert_int_equal(error, ERROR_NO_MEMORY);
    }
    char *again = world_portrait(world);
    assert_string_equal(again, portrait);
    free(again);
    free(portrait);
}

/* ---- proposing and answering ---- */

typedef enum chat_decision proposal(struct world *world, struct chat_call *call);

static enum chat_decision propose_send(struct world *world, struct chat_call *call)
{
    Jackdaw__SendRequest request = JACKDAW__SEND_REQUEST__INIT;
    request.request = world_next(call->session);
    request.to = "@carol";
    request.text = "hello";
    return chat_propose_send(world->chat, call, &request);
}

static enum chat_decision propose_join(struct world *world, struct chat_call *call)
{
    Jackdaw__JoinRoomRequest request = JACKDAW__JOIN_ROOM_REQUEST__INIT;
    request.request = world_next(call->session);
    request.room = "new";
    return chat_propose_join(world->chat, call, &request);
}

static enum chat_decision propose_again(struct world *world, struct chat_call *call)
{
    Jackdaw__JoinRoomRequest request = JACKDAW__JOIN_ROOM_REQUEST__INIT;
    request.request = world_next(call->session);
    request.room = "room1";
    return chat_propose_join(world->chat, call, &request);
}

static enum chat_decision propose_topic(struct world *world, struct chat_call *call)
{
    Jackdaw__SetTopicRequest request = JACKDAW__SET_TOPIC_REQUEST__INIT;
    request.request = world_next(call->session);
    request.room = "room1";
    request.topic = "other";
    return chat_propose_topic(world->chat, call, &request);
}

static enum chat_decision propose_invite(struct world *world, struct chat_call *call)
{
    Jackdaw__InviteRequest request = JACKDAW__INVITE_REQUEST__INIT;
    request.request = world_next(call->session);
    request.room = "room1";
    request.name = "alice";
    return chat_propose_invite(world->chat, call, &request);
}

static enum chat_decision propose_logout(struct world *world, struct chat_call *call)
{
    Jackdaw__LogoutRequest request = JACKDAW__LOGOUT_REQUEST__INIT;
    request.request = world_next(call->session);
    return chat_propose_logout(world->chat, call, &request);
}

static enum chat_decision propose_delete(struct world *world, struct chat_call *call)
{
    Jackdaw__DeleteAccountRequest request = JACKDAW__DELETE_ACCOUNT_REQUEST__INIT;
    request.request = world_next(call->session);
    const char *hash = NULL;
    enum chat_decision decision = chat_check_delete(world->chat, call, &request, &hash);
    if (decision != CHAT_PROPOSE)
        return decision;
    return chat_propose_delete(world->chat, call, &request, true);
}

static enum chat_decision propose_register(struct world *world, struct chat_call *call)
{
    Jackdaw__RegisterRequest request = JACKDAW__REGISTER_REQUEST__INIT;
    request.name = "zoe";
    request.password = "p";
    request.nonce = (ProtobufCBinaryData){.len = 16, .data = (uint8_t *)"0123456789abcdef"};
    return chat_propose_register(world->chat, call, &request, "hash");
}

static enum chat_decision propose_login(struct world *world, struct chat_call *call)
{
    uint8_t token[32] = {7};
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    request.name = "carol";
    request.token = (ProtobufCBinaryData){.len = 32, .data = token};
    const char *hash = NULL;
    enum chat_decision decision = chat_check_login(world->chat, call, &request, &hash);
    if (decision != CHAT_PROPOSE)
        return decision;
    return chat_propose_login(world->chat, call, &request, true);
}

static void test_propose__every_allocation_fails(void **state)
{
    static proposal *const proposals[] = {
        propose_send,   propose_join,   propose_again,    propose_topic, propose_invite,
        propose_logout, propose_delete, propose_register, propose_login,
    };
    struct world *world = *state;
    live(world);
    for (size_t i = 0; i < sizeof proposals / sizeof proposals[0]; i++)
        for (unsigned long k = 1;; k++) {
            struct chat_call call = world_call(world, world_device(world, "carol", "carol"));
            arena_init(&world->arena, 1 << 20);
            faulty_alloc_arm(k);
            enum chat_decision decision = proposals[i](world, &call);
            if (!faulty_alloc_disarm()) {
                if (decision != CHAT_PROPOSE)
                    fail_msg("proposal %zu: %s", i, call.text);
                break;
            }
            assert_int_equal(decision, CHAT_REFUSE);
            assert_int_equal(call.status, STATUS_RESOURCE_EXHAUSTED);
            assert_true(call.retry_ms > 0);
            assert_null(call.delta);
        }
}

typedef enum error answering(struct world *world, struct chat_call *call);

static enum error answer_login(struct world *world, struct chat_call *call)
{
    Jackdaw__LoginReply reply = JACKDAW__LOGIN_REPLY__INIT;
    return chat_answer_login(world->chat, call, &reply);
}

static enum error answer_heartbeat(struct world *world, struct chat_call *call)
{
    Jackdaw__HeartbeatRequest request = JACKDAW__HEARTBEAT_REQUEST__INIT;
    Jackdaw__HeartbeatReply reply = JACKDAW__HEARTBEAT_REPLY__INIT;
    return chat_answer_heartbeat(world->chat, call, &request, &reply);
}

static enum error answer_accounts(struct world *world, struct chat_call *call)
{
    Jackdaw__ListAccountsRequest request = JACKDAW__LIST_ACCOUNTS_REQUEST__INIT;
    Jackdaw__ListAccountsReply reply = JACKDAW__LIST_ACCOUNTS_REPLY__INIT;
    return chat_answer_accounts(world->chat, call, &request, &reply);
}

static enum error answer_rooms(struct world *world, struct chat_call *call)
{
    Jackdaw__ListRoomsRequest request = JACKDAW__LIST_ROOMS_REQUEST__INIT;
    Jackdaw__ListRoomsReply reply = JACKDAW__LIST_ROOMS_REPLY__INIT;
    request.joined = true;
    return chat_answer_rooms(world->chat, call, &request, &reply);
}

static enum error answer_members(struct world *world, struct chat_call *call)
{
    Jackdaw__ListMembersRequest request = JACKDAW__LIST_MEMBERS_REQUEST__INIT;
    Jackdaw__ListMembersReply reply = JACKDAW__LIST_MEMBERS_REPLY__INIT;
    request.room = "room1";
    return chat_answer_members(world->chat, call, &request, &reply);
}

static enum error answer_receive(struct world *world, struct chat_call *call)
{
    struct chat_plan *plan;
    struct chat_page page;
    enum error error = chat_plan_receive(world->chat, call, 0, world->seq, &plan);
    if (error == OK)
        error = chat_read(plan, world->store, call->arena, &page);
    for (size_t i = 0; error == OK && i < page.count; i++) {
        Jackdaw__Event event;
        error = chat_event_fill(world->chat, &page.events[i], chat_session_account(call->session),
                                call->arena, &event);
    }
    return error;
}

static enum error answer_history(struct world *world, struct chat_call *call)
{
    struct chat_plan *plan;
    struct chat_page page;
    enum error error = chat_plan_history(world->chat, call, "room1", 0, 0, &plan);
    return error != OK ? error : chat_read(plan, world->store, call->arena, &page);
}

static enum error answer_delete(struct world *world, struct chat_call *call)
{
    Jackdaw__DeleteAccountRequest request = JACKDAW__DELETE_ACCOUNT_REQUEST__INIT;
    Jackdaw__DeleteAccountReply reply = JACKDAW__DELETE_ACCOUNT_REPLY__INIT;
    return chat_answer_delete(world->chat, call, &request, &reply);
}

static void test_answer__every_allocation_fails(void **state)
{
    static answering *const answers[] = {
        answer_login,   answer_heartbeat, answer_accounts, answer_rooms,
        answer_members, answer_receive,   answer_history,  answer_delete,
    };
    struct world *world = *state;
    live(world);
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++)
        for (unsigned long k = 1;; k++) {
            struct chat_call call = world_call(world, world_device(world, "carol", "carol"));
            faulty_alloc_arm(k);
            enum error error = answers[i](world, &call);
            if (!faulty_alloc_disarm()) {
                assert_int_equal(error, OK);
                break;
            }
            assert_int_equal(error, ERROR_NO_MEMORY);
        }
}

/* The same with an arena whose budget ends ever later: that is how a request is bounded. */
static void test_answer__every_budget_is_too_small_for_a_while(void **state)
{
    static answering *const answers[] = {answer_login, answer_receive, answer_rooms, answer_members,
                                         answer_accounts};
    struct world *world = *state;
    live(world);
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        enum error error = ERROR_NO_MEMORY;
        for (size_t budget = 0; error != OK; budget += 16) {
            struct chat_call call = world_call(world, world_device(world, "carol", "carol"));
            struct arena arena;
            arena_init(&arena, budget);
            call.arena = &arena;
            error = answers[i](world, &call);
            assert_true(error == OK || error == ERROR_NO_MEMORY);
            arena_clear(&arena);
        }
    }
}

#define WORLD_TEST(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_apply__every_allocation_fails),
        WORLD_TEST(test_open__every_allocation_fails),
        WORLD_TEST(test_reload__a_failed_one_can_be_closed_or_tried_again),
        WORLD_TEST(test_propose__every_allocation_fails),
        WORLD_TEST(test_answer__every_allocation_fails),
        WORLD_TEST(test_answer__every_budget_is_too_small_for_a_while),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
