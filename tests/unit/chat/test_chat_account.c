/* SPDX-License-Identifier: MIT */
/* Registering, login, logout, deletion: src/chat/account.c, session.c. */
#include "chat/password.h"
#include "chat_fixture.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int open_chat_fixture(void **state)
{
    struct chat_fixture *fixture = malloc(sizeof *fixture);
    chat_fixture_open(fixture, 1, NULL);
    *state = fixture;
    return 0;
}

static int close_chat_fixture(void **state)
{
    chat_fixture_close(*state);
    free(*state);
    return 0;
}

#define NONCE "0123456789abcdef"

static Jackdaw__RegisterRequest register_request(const char *name, const char *password)
{
    Jackdaw__RegisterRequest request = JACKDAW__REGISTER_REQUEST__INIT;
    request.name = (char *)name;
    request.password = (char *)password;
    request.nonce = (ProtobufCBinaryData){.len = 16, .data = (uint8_t *)NONCE};
    return request;
}

static enum status check(struct chat_fixture *fixture, const Jackdaw__RegisterRequest *request)
{
    struct chat_call call = chat_fixture_call(fixture, NULL);
    enum chat_decision decision = chat_check_register(fixture->chat, &call, request);
    assert_int_equal(call.retry_ms, 0);
    return decision == CHAT_REFUSE ? call.status : STATUS_OK;
}

TEST_WITH(test_register__makes_an_account, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    assert_int_equal(chat_fixture_register(fixture, "Alice").status, STATUS_OK);
    assert_int_equal(chat_fixture_login(fixture, "alice", "a").status, STATUS_OK);
    assert_string_equal(chat_session_name(chat_fixture_session(fixture, "a")), "Alice");
}

TEST_WITH(test_register__a_leading_at_sign_is_not_part_of_the_name, open_chat_fixture,
          close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    assert_int_equal(chat_fixture_register(fixture, "@Alice").status, STATUS_OK);
    assert_int_equal(chat_fixture_login(fixture, "@ALICE", "a").status, STATUS_OK);
}

TEST_WITH(test_register__name_taken_in_any_form, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    assert_int_equal(chat_fixture_register(fixture, "Zoe\xCC\x88").status, STATUS_OK);
    assert_int_equal(chat_fixture_register(fixture, "zo\xC3\x8B").status, STATUS_ALREADY_EXISTS);
    struct answer answer = chat_fixture_register(fixture, "ZO\xC3\x8B");
    assert_int_equal(answer.status, STATUS_ALREADY_EXISTS);
    assert_string_equal(answer.text, "The name Zo\xC3\xAB is taken; choose another one.");
}

TEST_WITH(test_register__refuses_what_breaks_a_rule, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    Jackdaw__RegisterRequest request = register_request("", "p");
    assert_int_equal(check(fixture, &request), STATUS_INVALID_ARGUMENT);
    request = register_request("a b", "p");
    assert_int_equal(check(fixture, &request), STATUS_INVALID_ARGUMENT);
    request = register_request("alice", "");
    assert_int_equal(check(fixture, &request), STATUS_INVALID_ARGUMENT);
    char password[258];
    memset(password, 'p', sizeof password);
    password[256] = '\0';
    request = register_request("alice", password);
    assert_int_equal(check(fixture, &request), STATUS_OK);
    password[256] = 'p';
    password[257] = '\0';
    assert_int_equal(check(fixture, &request), STATUS_INVALID_ARGUMENT);
    request = register_request("alice", "p");
    request.nonce.len = 15;
    assert_int_equal(check(fixture, &request), STATUS_INVALID_ARGUMENT);
}

TEST_WITH(test_register__same_nonce_is_the_same_request, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    Jackdaw__RegisterRequest request = register_request("Alice", "p");
    struct chat_call call = chat_fixture_call(fixture, NULL);
    assert_int_equal(chat_propose_register(fixture->chat, &call, &request, "h"), CHAT_PROPOSE);
    assert_string_equal(call.text, "Alice");
    assert_int_equal(chat_fixture_apply(fixture, call.delta), OK);
    chat_fixture_reopen(fixture);
    request.name = "ALICE";
    call = chat_fixture_call(fixture, NULL);
    assert_int_equal(chat_check_register(fixture->chat, &call, &request), CHAT_ANSWER);
    assert_string_equal(call.text, "Alice");
    call = chat_fixture_call(fixture, NULL);
    assert_int_equal(chat_propose_register(fixture->chat, &call, &request, "h"), CHAT_ANSWER);
    request.nonce.data = (uint8_t *)"another nonce...";
    assert_int_equal(check(fixture, &request), STATUS_ALREADY_EXISTS);
}

TEST_WITH(test_register__name_taken_while_hashing, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    Jackdaw__RegisterRequest request = register_request("alice", "p");
    assert_int_equal(check(fixture, &request), STATUS_OK);
    assert_int_equal(chat_fixture_register(fixture, "alice").status, STATUS_OK);
    struct chat_call call = chat_fixture_call(fixture, NULL);
    assert_int_equal(chat_propose_register(fixture->chat, &call, &request, "h"), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_ALREADY_EXISTS);
}

/* ---- login ---- */

TEST_WITH(test_login__unknown_name_and_wrong_password_look_alike, open_chat_fixture,
          close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_register(fixture, "alice");
    struct answer unknown = chat_fixture_login(fixture, "nobody", "t");
    assert_int_equal(unknown.status, STATUS_UNAUTHENTICATED);
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    uint8_t token[32] = {1};
    request.name = "alice";
    request.token = (ProtobufCBinaryData){.len = 32, .data = token};
    struct chat_call call = chat_fixture_call(fixture, NULL);
    const char *hash = NULL;
    assert_int_equal(chat_check_login(fixture->chat, &call, &request, &hash), CHAT_PROPOSE);
    assert_string_equal(hash, "hash of password");
    assert_int_equal(chat_propose_login(fixture->chat, &call, &request, false), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_UNAUTHENTICATED);
    assert_string_equal(call.text, unknown.text);
}

TEST_WITH(test_login__nobodys_hash_costs_as_much_as_any, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    uint8_t token[32] = {1};
    request.name = "nobody";
    request.token = (ProtobufCBinaryData){.len = 32, .data = token};
    struct chat_call call = chat_fixture_call(fixture, NULL);
    const char *hash = NULL;
    assert_int_equal(chat_check_login(fixture->chat, &call, &request, &hash), CHAT_PROPOSE);
    char real[PASSWORD_HASH_SIZE];
    assert_int_equal(password_hash("p", PASSWORD_COST_INTERACTIVE, real), OK);
    const char *end = strrchr(hash, '$');
    size_t costs = (size_t)(strstr(hash, "p=1$") - hash) + 4;
    assert_memory_equal(hash, real, costs);
    assert_int_equal(strlen(end), strlen(strrchr(real, '$')));
    assert_int_equal(strlen(hash), strlen(real));
    assert_false(password_verify("p", hash));
}

TEST_WITH(test_login__bad_token_or_device, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_register(fixture, "alice");
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    uint8_t token[33] = {1};
    request.name = "alice";
    const char *hash = NULL;
    static const size_t sizes[] = {0, 31, 33};
    for (size_t i = 0; i < 3; i++) {
        request.token = (ProtobufCBinaryData){.len = sizes[i], .data = token};
        struct chat_call call = chat_fixture_call(fixture, NULL);
        assert_int_equal(chat_check_login(fixture->chat, &call, &request, &hash), CHAT_REFUSE);
        assert_int_equal(call.status, STATUS_INVALID_ARGUMENT);
    }
    request.token.len = 32;
    char device[66];
    memset(device, 'd', sizeof device);
    device[64] = '\0';
    request.device = device;
    struct chat_call call = chat_fixture_call(fixture, NULL);
    assert_int_equal(chat_check_login(fixture->chat, &call, &request, &hash), CHAT_PROPOSE);
    device[64] = 'd';
    device[65] = '\0';
    assert_int_equal(chat_check_login(fixture->chat, &call, &request, &hash), CHAT_REFUSE);
    request.device = "a\nb";
    assert_int_equal(chat_check_login(fixture->chat, &call, &request, &hash), CHAT_REFUSE);
    request.device = "a\xE2\x80\xAE"
                     "b"; /* U+202E */
    assert_int_equal(chat_check_login(fixture->chat, &call, &request, &hash), CHAT_REFUSE);
    request.device = "\xFF";
    assert_int_equal(chat_check_login(fixture->chat, &call, &request, &hash), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_INVALID_ARGUMENT);
}

TEST_WITH(test_login__repeated_is_the_same_session, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    uint64_t id = chat_session_id(chat_fixture_person(fixture, "alice"));
    chat_fixture_reopen(fixture);
    struct answer answer = chat_fixture_login(fixture, "alice", "alice");
    assert_int_equal(answer.status, STATUS_OK);
    assert_false(answer.applied);
    assert_int_equal(chat_session_id(chat_fixture_session(fixture, "alice")), id);
}

TEST_WITH(test_login__somebody_elses_token, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_person(fixture, "alice");
    chat_fixture_register(fixture, "bob");
    assert_int_equal(chat_fixture_login(fixture, "bob", "alice").status, STATUS_INVALID_ARGUMENT);
}

TEST_WITH(test_login__a_third_device_is_refused, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_register(fixture, "alice");
    chat_fixture_device(fixture, "alice", "one");
    chat_fixture_device(fixture, "alice", "two");
    fixture->monotonic_ms += 59999;
    struct answer answer = chat_fixture_login(fixture, "alice", "three");
    assert_int_equal(answer.status, STATUS_RESOURCE_EXHAUSTED);
    assert_string_equal(answer.text, "2 devices are logged in already; log out on one of them, "
                                     "replace one, or wait until one of them has been silent for "
                                     "60 s.");
    assert_int_equal(answer.retry_ms, 1);
    assert_null(chat_fixture_session(fixture, "three"));
}

/* retry_ms is when the first of the devices may be silent. */
TEST_WITH(test_login__tells_when_a_device_may_make_room, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_register(fixture, "alice");
    chat_fixture_device(fixture, "alice", "one");
    fixture->monotonic_ms += 20000;
    chat_fixture_device(fixture, "alice", "two");
    fixture->monotonic_ms += 10000;
    struct answer answer = chat_fixture_login(fixture, "alice", "three");
    assert_int_equal(answer.status, STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(answer.retry_ms, 30000);
    /* A device that was in a tunnel meanwhile keeps its place. */
    chat_touch(fixture->chat, chat_fixture_session(fixture, "one"), fixture->monotonic_ms,
               fixture->time_ms);
    assert_int_equal(chat_fixture_login(fixture, "alice", "three").retry_ms, 50000);
    fixture->monotonic_ms += 50000;
    assert_int_equal(chat_fixture_login(fixture, "alice", "three").status, STATUS_OK);
    assert_null(chat_fixture_session(fixture, "two"));
}

static struct chat_call login(struct chat_fixture *fixture, const char *token,
                              Jackdaw__LoginRequest *request, enum chat_decision expected)
{
    uint8_t bytes[CHAT_TOKEN_BYTES] = {0};
    const char *hash;
    (void)snprintf((char *)bytes, sizeof bytes, "%s", token);
    request->name = (char *)"alice";
    request->token.len = sizeof bytes;
    request->token.data = bytes;
    struct chat_call call = chat_fixture_call(fixture, NULL);
    assert_int_equal(chat_check_login(fixture->chat, &call, request, &hash), CHAT_PROPOSE);
    assert_int_equal(chat_propose_login(fixture->chat, &call, request, true), expected);
    return call;
}

TEST_WITH(test_login__shows_the_devices_to_choose_from, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    chat_fixture_register(fixture, "alice");
    request.choose = true;
    (void)login(fixture, "first", &request, CHAT_PROPOSE); /* there is place: nothing to choose */
    chat_fixture_device(fixture, "alice", "one");
    uint64_t one_ms = fixture->time_ms;
    fixture->monotonic_ms += 5000;
    fixture->time_ms += 5000;
    chat_fixture_device(fixture, "alice", "two");
    fixture->monotonic_ms += 1000;
    struct chat_call call = login(fixture, "three", &request, CHAT_ANSWER);
    assert_null(call.session);
    Jackdaw__LoginReply reply = JACKDAW__LOGIN_REPLY__INIT;
    assert_int_equal(chat_answer_devices(fixture->chat, &call, &reply), OK);
    assert_int_equal(reply.session, 0);
    assert_string_equal(reply.name, "alice");
    assert_int_equal(reply.n_devices, 2);
    const Jackdaw__Device *one = reply.devices[1]; /* the newest is first */
    assert_int_equal(one->session, chat_session_id(chat_fixture_session(fixture, "one")));
    assert_string_equal(one->name, "terminal");
    assert_int_equal(one->started_ms, one_ms);
    assert_int_equal(one->silent_ms, 6000);
    assert_int_equal(reply.devices[0]->silent_ms, 1000);
    assert_int_equal(reply.retry_ms, 54000);
}

/* The one that was named ends, though it is not silent, and no other. */
TEST_WITH(test_login__replaces_the_device_named, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    chat_fixture_person(fixture, "bob");
    chat_fixture_register(fixture, "alice");
    chat_fixture_device(fixture, "alice", "one");
    chat_fixture_device(fixture, "alice", "two");
    request.choose = true;
    request.replaces = chat_session_id(chat_fixture_session(fixture, "bob"));
    struct chat_call call = login(fixture, "three", &request, CHAT_REFUSE); /* somebody else's */
    assert_int_equal(call.status, STATUS_RESOURCE_EXHAUSTED);
    request.replaces = chat_session_id(chat_fixture_session(fixture, "two"));
    call = login(fixture, "three", &request, CHAT_PROPOSE);
    assert_int_equal(call.delta->session_started->n_replaces, 1);
    assert_int_equal(call.delta->session_started->replaces[0], request.replaces);
    (void)chat_fixture_logout(fixture, chat_fixture_session(fixture, "one"), 0);
    call = login(fixture, "three", &request, CHAT_PROPOSE); /* there is place now */
    assert_int_equal(call.delta->session_started->n_replaces, 0);
}

TEST_WITH(test_login__a_silent_device_makes_room, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_register(fixture, "alice");
    chat_fixture_device(fixture, "alice", "one");
    chat_fixture_device(fixture, "alice", "two");
    fixture->monotonic_ms += 59999;
    chat_touch(fixture->chat, chat_fixture_session(fixture, "two"), fixture->monotonic_ms,
               fixture->time_ms);
    fixture->monotonic_ms += 1;
    assert_int_equal(chat_fixture_login(fixture, "alice", "three").status, STATUS_OK);
    assert_null(chat_fixture_session(fixture, "one"));
    assert_non_null(chat_fixture_session(fixture, "two"));
    assert_non_null(chat_fixture_session(fixture, "three"));
    assert_int_equal(fixture->ended, 1);
    assert_int_equal(chat_fixture_login(fixture, "alice", "four").status,
                     STATUS_RESOURCE_EXHAUSTED);
}

TEST_WITH(test_login__the_longest_silent_goes_first, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_register(fixture, "alice");
    chat_fixture_device(fixture, "alice", "one");
    chat_fixture_device(fixture, "alice", "two");
    fixture->monotonic_ms += 10;
    chat_touch(fixture->chat, chat_fixture_session(fixture, "one"), fixture->monotonic_ms,
               fixture->time_ms);
    fixture->monotonic_ms += 100000;
    assert_int_equal(chat_fixture_login(fixture, "alice", "three").status, STATUS_OK);
    assert_non_null(chat_fixture_session(fixture, "one"));
    assert_null(chat_fixture_session(fixture, "two"));
}

TEST_WITH(test_login__a_lowered_limit_replaces_as_many_as_needed, open_chat_fixture,
          close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    fixture->limits.sessions_per_account = 5;
    chat_fixture_reopen(fixture);
    chat_fixture_register(fixture, "alice");
    for (const char *token = "12345"; *token != '\0'; token++)
        chat_fixture_device(fixture, "alice", (char[]){*token, '\0'});
    fixture->limits.sessions_per_account = 2;
    chat_fixture_reopen(fixture);
    assert_int_equal(chat_fixture_login(fixture, "alice", "six").status, STATUS_RESOURCE_EXHAUSTED);
    fixture->monotonic_ms += 60000;
    chat_touch(fixture->chat, chat_fixture_session(fixture, "3"), fixture->monotonic_ms,
               fixture->time_ms);
    assert_int_equal(chat_fixture_login(fixture, "alice", "six").status, STATUS_OK);
    assert_int_equal(fixture->ended, 4);
    assert_non_null(chat_fixture_session(fixture, "3"));
    assert_non_null(chat_fixture_session(fixture, "six"));
}

TEST_WITH(test_login__not_into_an_account_that_took_the_name_since, open_chat_fixture,
          close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct chat_session *old = chat_fixture_person(fixture, "alice");
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    uint8_t token[32] = {1};
    request.name = "alice";
    request.token = (ProtobufCBinaryData){.len = 32, .data = token};
    struct chat_call check = chat_fixture_call(fixture, NULL);
    const char *hash = NULL;
    assert_int_equal(chat_check_login(fixture->chat, &check, &request, &hash), CHAT_PROPOSE);
    uint64_t account = check.account;
    assert_int_equal(chat_fixture_delete(fixture, old, true).status, STATUS_OK);
    assert_int_equal(chat_fixture_register(fixture, "alice").status, STATUS_OK);
    struct chat_call call = chat_fixture_call(fixture, NULL);
    call.account = account;
    assert_int_equal(chat_propose_login(fixture->chat, &call, &request, true), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_UNAUTHENTICATED);
}

TEST_WITH(test_login__answer_tells_what_is_waiting, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct chat_session *alice = chat_fixture_person(fixture, "alice");
    struct chat_session *bob = chat_fixture_person(fixture, "bob");
    chat_fixture_join(fixture, alice, "general", 0);
    chat_fixture_join(fixture, bob, "general", 0);
    chat_fixture_join(fixture, bob, "other", 0);
    uint64_t seen = fixture->seq;
    chat_note_delivered(fixture->chat, bob, seen);
    chat_fixture_send(fixture, alice, "general", "one", 0);
    chat_fixture_send(fixture, alice, "general", "two", 0);
    chat_fixture_send(fixture, alice, "@bob", "three", 0);
    chat_fixture_send(fixture, bob, "other", "mine", 0);
    struct chat_session *second = chat_fixture_device(fixture, "bob", "second");
    struct chat_call call = chat_fixture_call(fixture, second);
    Jackdaw__LoginReply reply = JACKDAW__LOGIN_REPLY__INIT;
    assert_int_equal(chat_answer_login(fixture->chat, &call, &reply), OK);
    assert_int_equal(reply.session, chat_session_id(second));
    assert_string_equal(reply.name, "bob");
    assert_int_equal(reply.sessions, 2);
    assert_int_equal(reply.position->seq, seen);
    assert_int_equal(reply.position->epoch, fixture->epoch);
    assert_int_equal(reply.n_rooms, 2);
    assert_int_equal(reply.n_undelivered, 3);
    uint64_t total = 0;
    for (size_t i = 0; i < reply.n_undelivered; i++) {
        total += reply.undelivered[i]->messages;
        if (strcmp(reply.undelivered[i]->room, "@alice") == 0)
            assert_int_equal(reply.undelivered[i]->messages, 1);
        if (strcmp(reply.undelivered[i]->room, "general") == 0)
            assert_int_equal(reply.undelivered[i]->messages, 2);
    }
    assert_int_equal(total, 4);
}

/* ---- logout ---- */

TEST_WITH(test_logout__ends_the_session_and_keeps_what_it_received, open_chat_fixture,
          close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct chat_session *alice = chat_fixture_person(fixture, "alice");
    chat_fixture_join(fixture, alice, "general", 0);
    chat_fixture_send(fixture, alice, "general", "one", 0);
    uint64_t seq = fixture->seq;
    assert_int_equal(chat_fixture_logout(fixture, alice, seq).status, STATUS_OK);
    assert_null(chat_fixture_session(fixture, "alice"));
    assert_int_equal(fixture->ended, 1);
    alice = chat_fixture_device(fixture, "alice", "again");
    assert_int_not_equal(chat_session_last_request(alice), 1);
    struct chat_call call = chat_fixture_call(fixture, alice);
    Jackdaw__LoginReply reply = JACKDAW__LOGIN_REPLY__INIT;
    assert_int_equal(chat_answer_login(fixture->chat, &call, &reply), OK);
    assert_int_equal(reply.position->seq, seq);
    assert_int_equal(reply.n_undelivered, 0);
}

TEST_WITH(test_logout__a_cursor_from_the_future_is_cut, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct chat_session *alice = chat_fixture_person(fixture, "alice");
    uint64_t seq = fixture->seq;
    assert_int_equal(chat_fixture_logout(fixture, alice, UINT64_MAX).status, STATUS_OK);
    alice = chat_fixture_device(fixture, "alice", "again");
    struct chat_call call = chat_fixture_call(fixture, alice);
    Jackdaw__LoginReply reply = JACKDAW__LOGIN_REPLY__INIT;
    assert_int_equal(chat_answer_login(fixture->chat, &call, &reply), OK);
    assert_int_equal(reply.position->seq, seq);
}

TEST_WITH(test_logout__without_a_cursor, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct chat_session *alice = chat_fixture_person(fixture, "alice");
    Jackdaw__LogoutRequest request = JACKDAW__LOGOUT_REQUEST__INIT;
    request.request = 1;
    struct chat_call call = chat_fixture_call(fixture, alice);
    assert_int_equal(chat_propose_logout(fixture->chat, &call, &request), CHAT_PROPOSE);
    assert_int_equal(chat_fixture_apply(fixture, call.delta), OK);
    assert_null(chat_fixture_session(fixture, "alice"));
}

/* ---- deletion ---- */

TEST_WITH(test_delete__wrong_password_is_remembered, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct chat_session *alice = chat_fixture_person(fixture, "alice");
    struct answer answer = chat_fixture_delete(fixture, alice, false);
    assert_int_equal(answer.status, STATUS_PERMISSION_DENIED);
    assert_true(answer.applied);
    assert_int_equal(chat_session_last_request(alice), 1);
    assert_int_equal(chat_fixture_delete(fixture, alice, true).status, STATUS_OK);
}

TEST_WITH(test_delete__refused_while_another_device_is_logged_in, open_chat_fixture,
          close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct chat_session *alice = chat_fixture_person(fixture, "alice");
    chat_fixture_device(fixture, "alice", "second");
    struct answer answer = chat_fixture_delete(fixture, alice, true);
    assert_int_equal(answer.status, STATUS_FAILED_PRECONDITION);
    fixture->monotonic_ms += 60000;
    chat_touch(fixture->chat, alice, fixture->monotonic_ms, fixture->time_ms);
    assert_int_equal(chat_fixture_delete(fixture, alice, true).status, STATUS_OK);
    assert_null(chat_fixture_session(fixture, "second"));
    assert_int_equal(fixture->ended, 2);
}

TEST_WITH(test_delete__messages_stay_under_a_tombstone, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct chat_session *alice = chat_fixture_person(fixture, "alice");
    struct chat_session *bob = chat_fixture_person(fixture, "bob");
    chat_fixture_join(fixture, alice, "general", 0);
    chat_fixture_join(fixture, bob, "general", 0);
    chat_fixture_send(fixture, alice, "general", "hi", 0);
    chat_fixture_send(fixture, alice, "@bob", "psst", 0);
    uint64_t id = chat_session_account(alice);
    assert_int_equal(chat_fixture_delete(fixture, alice, true).status, STATUS_OK);
    char expected[400];
    char tombstone[64];
    snprintf(tombstone, sizeof tombstone, "deleted:%06x", (unsigned)(id & 0xFFFFFF));
    snprintf(expected, sizeof expected,
             "JOINED general bob; MESSAGE general %s hi; MESSAGE @%s %s psst; ", tombstone,
             tombstone, tombstone);
    const char *story = chat_fixture_reads(fixture, bob, 0);
    assert_memory_equal(story, expected, strlen(expected));
    assert_non_null(strstr(story, "OWNER general bob"));
    assert_string_equal(chat_fixture_members(fixture, bob, "general"), "bob*");
    assert_int_equal(chat_fixture_login(fixture, "alice", "x").status, STATUS_UNAUTHENTICATED);
    assert_int_equal(chat_fixture_register(fixture, tombstone).status, STATUS_INVALID_ARGUMENT);
    assert_int_equal(chat_fixture_register(fixture, "alice").status, STATUS_OK);
    assert_int_equal(chat_fixture_send(fixture, bob, "@alice", "who are you", 0).status, STATUS_OK);
    char to[80];
    snprintf(to, sizeof to, "@%s", tombstone);
    assert_int_equal(chat_fixture_send(fixture, bob, to, "hello?", 0).status,
                     STATUS_FAILED_PRECONDITION);
    assert_string_equal(chat_fixture_members(fixture, bob, to), "bob");
    chat_fixture_reopen(fixture);
    assert_string_equal(
        chat_fixture_members(fixture, bob = chat_fixture_session(fixture, "bob"), to), "bob");
}

TEST_WITH(test_delete__hands_over_what_was_undelivered, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct chat_session *alice = chat_fixture_person(fixture, "alice");
    struct chat_session *bob = chat_fixture_person(fixture, "bob");
    chat_fixture_send(fixture, bob, "@alice", "read", 0);
    uint64_t seq = fixture->seq;
    for (int i = 0; i < 300; i++)
        chat_fixture_send(fixture, bob, "@alice", "unread", 0);
    Jackdaw__DeleteAccountRequest request = JACKDAW__DELETE_ACCOUNT_REQUEST__INIT;
    Jackdaw__Position after = JACKDAW__POSITION__INIT;
    after.epoch = fixture->epoch;
    after.seq = seq;
    request.request = 1;
    request.after = &after;
    struct chat_call call = chat_fixture_call(fixture, alice);
    assert_int_equal(chat_propose_delete(fixture->chat, &call, &request, true), CHAT_PROPOSE);
    Jackdaw__Delta *delta = call.delta;
    Jackdaw__DeleteAccountReply reply = JACKDAW__DELETE_ACCOUNT_REPLY__INIT;
    assert_int_equal(chat_answer_delete(fixture->chat, &call, &request, &reply), OK);
    assert_ptr_equal(call.delta, delta); /* still there to be applied */
    assert_int_equal(chat_fixture_apply(fixture, delta), OK);
    assert_int_equal(reply.undelivered_total, 300);
    assert_int_equal(reply.n_undelivered, CHAT_PAGE_EVENTS);
    assert_string_equal(reply.undelivered[0]->text, "unread");
    assert_string_equal(reply.undelivered[0]->room, "@bob");
    assert_int_equal(reply.undelivered[0]->number, 2);
}

TEST_WITH(test_delete__both_sides_of_a_conversation, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct chat_session *alice = chat_fixture_person(fixture, "alice");
    struct chat_session *bob = chat_fixture_person(fixture, "bob");
    chat_fixture_send(fixture, alice, "@bob", "hi", 0);
    chat_fixture_send(fixture, alice, "@alice", "note to self", 0);
    assert_int_equal(chat_fixture_delete(fixture, alice, true).status, STATUS_OK);
    assert_int_equal(chat_fixture_delete(fixture, bob, true).status, STATUS_OK);
    chat_fixture_reopen(fixture);
    char *portrait = chat_fixture_portrait(fixture);
    assert_null(strstr(portrait, "room"));
    assert_null(strstr(portrait, "account"));
    free(portrait);
}

TEST_WITH(test_delete__nothing_personal_is_left_in_the_row, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    struct chat_session *alice = chat_fixture_person(fixture, "alice");
    chat_fixture_delete(fixture, alice, true);
    char *rows = chat_fixture_rows(fixture);
    assert_null(strstr(rows, "alice"));
    assert_null(strstr(rows, "hash of password"));
    assert_non_null(strstr(rows, "deleted:"));
    free(rows);
}

/* ---- tokens and passwords ---- */

TEST_WITH(test_authenticate__wrong_tokens, open_chat_fixture, close_chat_fixture)
{
    struct chat_fixture *fixture = *state;
    chat_fixture_person(fixture, "alice");
    uint8_t token[64] = "alice";
    assert_non_null(chat_authenticate(fixture->chat, token, 32));
    assert_null(chat_authenticate(fixture->chat, token, 31));
    assert_null(chat_authenticate(fixture->chat, token, 33));
    assert_null(chat_authenticate(fixture->chat, token, 0));
    assert_null(chat_authenticate(fixture->chat, NULL, 0));
    assert_null(chat_authenticate(fixture->chat, NULL, 32));
    token[31] ^= 1;
    assert_null(chat_authenticate(fixture->chat, token, 32));
    assert_null(chat_find_session(fixture->chat, 0));
    assert_null(chat_find_session(fixture->chat, 12345));
}

TEST(test_password__hash_and_verify)
{
    char hash[PASSWORD_HASH_SIZE];
    assert_int_equal(password_hash("s3cret", PASSWORD_COST_MINIMAL, hash), OK);
    assert_memory_equal(hash, "$argon2id$", 10);
    assert_true(password_verify("s3cret", hash));
    assert_false(password_verify("s3creT", hash));
    assert_false(password_verify("", hash));
    char other[PASSWORD_HASH_SIZE];
    assert_int_equal(password_hash("s3cret", PASSWORD_COST_MINIMAL, other), OK);
    assert_string_not_equal(hash, other);
}

TEST(test_password__malformed_hashes)
{
    static const char *const hashes[] = {
        "",
        "x",
        "$argon2id$",
        "$argon2id$v=19$m=65536,t=2,p=1$",
        "$argon2id$v=19$m=9999999,t=2,p=1$a$a",
    };
    for (size_t i = 0; i < sizeof hashes / sizeof hashes[0]; i++)
        assert_false(password_verify("p", hashes[i]));
    char longer[1000];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_false(password_verify("p", longer));
}
