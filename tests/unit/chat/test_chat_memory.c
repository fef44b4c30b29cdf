/* SPDX-License-Identifier: MIT */
/* Every allocation of src/chat fails once: the error comes back, and nothing has changed. */
#include "chat/chat_internal.h"

#include "chat_fixture.h"
#include "support/faulty_alloc.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin(struct chat_fixture *f)
{
    chat_fixture_open(f, 9, NULL);
}

static void end(struct chat_fixture *f)
{
    faulty_alloc_disarm();
    chat_fixture_close(f);
}

/* Something of everything. */
static void live(struct chat_fixture *f)
{
    static const char *const names[] = {"alice", "bob", "carol", "dave"};
    struct chat_session *people[4];
    for (size_t i = 0; i < 4; i++)
        people[i] = chat_fixture_person(f, names[i]);
    chat_fixture_device(f, "alice", "second");
    for (int i = 0; i < 12; i++) {
        char room[16];
        snprintf(room, sizeof room, "room%d", i);
        chat_fixture_join(f, people[i % 4], room, 0);
        chat_fixture_join(f, people[(i + 1) % 4], room, 0);
        chat_fixture_send(f, people[i % 4], room, "hello", 0);
    }
    chat_fixture_join_private(f, people[0], "secret");
    chat_fixture_invite(f, people[0], "secret", "bob");
    chat_fixture_join(f, people[1], "secret", 0);
    chat_fixture_topic(f, people[0], "secret", "topic");
    chat_fixture_send(f, people[0], "@bob", "psst", 0);
    chat_fixture_send(f, people[0], "@alice", "note", 0);
    chat_fixture_send(f, people[2], "nowhere", "refused", 0);
    chat_fixture_join(f, people[0], "secret", 0);
    chat_fixture_kick(f, people[0], "secret", "bob", false);
    chat_fixture_kick(f, people[0], "secret", "carol", true);
    chat_fixture_leave(f, people[0], "secret");
    chat_fixture_leave(f, people[1], "room0");
    chat_note_delivered(f->chat, people[3], f->seq);
    chat_fixture_deliver(f);
    chat_fixture_logout(f, chat_fixture_session(f, "second"), f->seq);
    chat_fixture_new_epoch(f);
    chat_fixture_delete(f, people[3], true);
    f->monotonic_ms += 100000;
    chat_fixture_login(f, "alice", "second");
    chat_fixture_login(f, "alice", "third");
}

/* The observer would allocate too. */
static void be_blind(struct chat_fixture *f)
{
    f->chat->observer = (struct chat_observer){.event = NULL};
}

static void reload(struct chat_fixture *f)
{
    struct error_text why;
    store_rollback(f->store);
    assert_int_equal(chat_reload(f->chat, &why), OK);
}

/* Applies the delta with the first, second, third ... allocation failing, until none is left. */
static unsigned long apply_with_failures(struct chat_fixture *f, const Jackdaw__Delta *delta)
{
    char *portrait = chat_fixture_portrait(f);
    char *rows = chat_fixture_rows(f);
    struct log_position position = {f->epoch, f->seq + 1};
    unsigned long k = 1;
    for (;; k++) {
        assert_int_equal(store_begin(f->store), OK);
        faulty_alloc_arm(k);
        enum error error = chat_apply(f->chat, delta, position);
        bool failed = faulty_alloc_disarm();
        assert_int_equal(error, failed ? ERROR_NO_MEMORY : OK);
        reload(f);
        chat_fixture_check_unchanged(f, portrait, rows);
        if (!failed)
            break;
    }
    free(portrait);
    free(rows);
    return k - 1;
}

TEST_ON(test_apply__every_allocation_fails, struct chat_fixture, begin, end)
{
    struct chat_fixture life;
    unsigned long failures = 0;
    chat_fixture_open(&life, 9, NULL);
    live(&life);
    be_blind(f);
    for (size_t i = 1; i < life.deltas_count; i++) {
        f->epoch = life.deltas[i].position.epoch;
        if (life.deltas[i].bytes == NULL) {
            assert_int_equal(chat_fixture_pass(f), OK);
            continue;
        }
        Jackdaw__Delta *delta = chat_fixture_unpack(&life.deltas[i]);
        failures += apply_with_failures(f, delta);
        assert_int_equal(chat_fixture_apply(f, delta), OK);
        jackdaw__delta__free_unpacked(delta, NULL);
    }
    assert_true(failures > 100);
    char *rows = chat_fixture_rows(&life);
    char *rows_now = chat_fixture_rows(f);
    assert_string_equal(rows_now, rows);
    free(rows);
    free(rows_now);
    chat_fixture_close(&life);
}

TEST_ON(test_open__every_allocation_fails, struct chat_fixture, begin, end)
{
    live(f);
    for (unsigned long k = 1;; k++) {
        struct chat *chat = NULL;
        struct error_text why = {.text = ""};
        faulty_alloc_arm(k);
        enum error error = chat_open(&chat, f->store, &f->limits, NULL, f->monotonic_ms, &why);
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

TEST_ON(test_reload__a_failed_one_can_be_closed_or_tried_again, struct chat_fixture, begin, end)
{
    live(f);
    char *portrait = chat_fixture_portrait(f);
    for (unsigned long k = 1;; k++) {
        struct error_text why;
        faulty_alloc_arm(k);
        enum error error = chat_reload(f->chat, &why);
        if (!faulty_alloc_disarm())
            break;
        assert_int_equal(error, ERROR_NO_MEMORY);
    }
    char *again = chat_fixture_portrait(f);
    assert_string_equal(again, portrait);
    free(again);
    free(portrait);
}

typedef enum chat_decision proposal(struct chat_fixture *f, struct chat_call *call);

/* A function that proposes the session's next request; set assigns to the fields of r. */
#define PROPOSAL(name, type, constant, verb, set)                                            \
    static enum chat_decision propose_##name(struct chat_fixture *f, struct chat_call *call) \
    {                                                                                        \
        Jackdaw__##type##Request r = JACKDAW__##constant##_REQUEST__INIT;                    \
        r.request = chat_fixture_next(call->session);                                        \
        (void)(set);                                                                         \
        return chat_propose_##verb(f->chat, call, &r);                                       \
    }
PROPOSAL(send, Send, SEND, send, (r.to = "@carol", r.text = "hello"))
PROPOSAL(join, JoinRoom, JOIN_ROOM, join, r.room = "new")
PROPOSAL(again, JoinRoom, JOIN_ROOM, join, r.room = "room1")
PROPOSAL(topic, SetTopic, SET_TOPIC, topic, (r.room = "room1", r.topic = "other"))
PROPOSAL(invite, Invite, INVITE, invite, (r.room = "room1", r.name = "alice"))
PROPOSAL(logout, Logout, LOGOUT, logout, 0)

static enum chat_decision propose_delete(struct chat_fixture *f, struct chat_call *call)
{
    Jackdaw__DeleteAccountRequest request = JACKDAW__DELETE_ACCOUNT_REQUEST__INIT;
    request.request = chat_fixture_next(call->session);
    const char *hash = NULL;
    enum chat_decision decision = chat_check_delete(f->chat, call, &request, &hash);
    if (decision != CHAT_PROPOSE)
        return decision;
    return chat_propose_delete(f->chat, call, &request, true);
}

static enum chat_decision propose_register(struct chat_fixture *f, struct chat_call *call)
{
    Jackdaw__RegisterRequest request = JACKDAW__REGISTER_REQUEST__INIT;
    request.name = "zoe";
    request.password = "p";
    request.nonce = (ProtobufCBinaryData){.len = 16, .data = (uint8_t *)"0123456789abcdef"};
    return chat_propose_register(f->chat, call, &request, "hash");
}

static enum chat_decision propose_login(struct chat_fixture *f, struct chat_call *call)
{
    uint8_t token[32] = {7};
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    request.name = "carol";
    request.token = (ProtobufCBinaryData){.len = 32, .data = token};
    const char *hash = NULL;
    enum chat_decision decision = chat_check_login(f->chat, call, &request, &hash);
    if (decision != CHAT_PROPOSE)
        return decision;
    return chat_propose_login(f->chat, call, &request, true);
}

TEST_ON(test_propose__every_allocation_fails, struct chat_fixture, begin, end)
{
    static proposal *const proposals[] = {
        propose_send,   propose_join,   propose_again,    propose_topic, propose_invite,
        propose_logout, propose_delete, propose_register, propose_login,
    };
    live(f);
    for (size_t i = 0; i < sizeof proposals / sizeof proposals[0]; i++)
        for (unsigned long k = 1;; k++) {
            struct chat_call call = chat_fixture_call(f, chat_fixture_device(f, "carol", "carol"));
            arena_init(&f->arena, 1 << 20);
            faulty_alloc_arm(k);
            enum chat_decision decision = proposals[i](f, &call);
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

typedef enum error answering(struct chat_fixture *f, struct chat_call *call);

static enum error answer_login(struct chat_fixture *f, struct chat_call *call)
{
    Jackdaw__LoginReply reply = JACKDAW__LOGIN_REPLY__INIT;
    return chat_answer_login(f->chat, call, &reply);
}

/* A function that makes a reply; set assigns to the fields of r. */
#define ANSWER(name, type, constant, set)                                           \
    static enum error answer_##name(struct chat_fixture *f, struct chat_call *call) \
    {                                                                               \
        Jackdaw__##type##Request r = JACKDAW__##constant##_REQUEST__INIT;           \
        Jackdaw__##type##Reply reply = JACKDAW__##constant##_REPLY__INIT;           \
        (void)(set);                                                                \
        return chat_answer_##name(f->chat, call, &r, &reply);                       \
    }
ANSWER(heartbeat, Heartbeat, HEARTBEAT, 0)
ANSWER(accounts, ListAccounts, LIST_ACCOUNTS, 0)
ANSWER(rooms, ListRooms, LIST_ROOMS, r.joined = true)
ANSWER(members, ListMembers, LIST_MEMBERS, r.room = "room1")
ANSWER(delete, DeleteAccount, DELETE_ACCOUNT, 0)

static enum error answer_receive(struct chat_fixture *f, struct chat_call *call)
{
    struct chat_plan *plan;
    struct chat_page page;
    enum error error = chat_plan_receive(f->chat, call, 0, f->seq, &plan);
    if (error == OK)
        error = chat_read(plan, f->store, call->arena, &page);
    for (size_t i = 0; error == OK && i < page.count; i++) {
        Jackdaw__Event event;
        error = chat_event_fill(f->chat, &page.events[i], chat_session_account(call->session),
                                call->arena, &event);
    }
    return error;
}

static enum error answer_history(struct chat_fixture *f, struct chat_call *call)
{
    struct chat_plan *plan;
    struct chat_page page;
    enum error error = chat_plan_history(f->chat, call, "room1", 0, 0, &plan);
    return error != OK ? error : chat_read(plan, f->store, call->arena, &page);
}

TEST_ON(test_answer__every_allocation_fails, struct chat_fixture, begin, end)
{
    static answering *const answers[] = {
        answer_login,   answer_heartbeat, answer_accounts, answer_rooms,
        answer_members, answer_receive,   answer_history,  answer_delete,
    };
    live(f);
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++)
        for (unsigned long k = 1;; k++) {
            struct chat_call call = chat_fixture_call(f, chat_fixture_device(f, "carol", "carol"));
            faulty_alloc_arm(k);
            enum error error = answers[i](f, &call);
            if (!faulty_alloc_disarm()) {
                assert_int_equal(error, OK);
                break;
            }
            assert_int_equal(error, ERROR_NO_MEMORY);
        }
}

/* The same with an arena whose budget ends ever later: that is how a request is bounded. */
TEST_ON(test_answer__every_budget_is_too_small_for_a_while, struct chat_fixture, begin, end)
{
    static answering *const answers[] = {answer_login, answer_receive, answer_rooms, answer_members,
                                         answer_accounts};
    live(f);
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        enum error error = ERROR_NO_MEMORY;
        for (size_t budget = 0; error != OK; budget += 16) {
            struct chat_call call = chat_fixture_call(f, chat_fixture_device(f, "carol", "carol"));
            struct arena arena;
            arena_init(&arena, budget);
            call.arena = &arena;
            error = answers[i](f, &call);
            assert_true(error == OK || error == ERROR_NO_MEMORY);
            arena_clear(&arena);
        }
    }
}
