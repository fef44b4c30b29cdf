/* SPDX-License-Identifier: MIT */
/* Registering, login, logout, deletion: src/chat/account.c, session.c. */
#include "chat/password.h"
#include "chat_fixture.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin(struct chat_fixture *f)
{
    chat_fixture_open(f, 1, NULL);
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

static Jackdaw__LoginRequest login_request(const char *name)
{
    static uint8_t token[CHAT_TOKEN_BYTES] = {1};
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    request.name = (char *)name;
    request.token = (ProtobufCBinaryData){.len = sizeof token, .data = token};
    return request;
}

static enum status check(struct chat_fixture *f, const Jackdaw__RegisterRequest *request)
{
    struct chat_call call = chat_fixture_call(f, NULL);
    enum chat_decision decision = chat_check_register(f->chat, &call, request);
    assert_int_equal(call.retry_ms, 0);
    return decision == CHAT_REFUSE ? call.status : STATUS_OK;
}

CHAT_TEST(test_register__makes_an_account)
{
    assert_ok(chat_fixture_register(f, "Alice"));
    assert_ok(chat_fixture_login(f, "alice", "a"));
    assert_string_equal(chat_session_name(chat_fixture_session(f, "a")), "Alice");
}

CHAT_TEST(test_register__a_leading_at_sign_is_not_part_of_the_name)
{
    assert_ok(chat_fixture_register(f, "@Alice"));
    assert_ok(chat_fixture_login(f, "@ALICE", "a"));
}

CHAT_TEST(test_register__name_taken_in_any_form)
{
    assert_ok(chat_fixture_register(f, "Zoe\xCC\x88"));
    assert_status(chat_fixture_register(f, "zo\xC3\x8B"), STATUS_ALREADY_EXISTS);
    struct answer answer = chat_fixture_register(f, "ZO\xC3\x8B");
    assert_int_equal(answer.status, STATUS_ALREADY_EXISTS);
    assert_string_equal(answer.text, "The name Zo\xC3\xAB is taken; choose another one.");
}

CHAT_TEST(test_register__refuses_what_breaks_a_rule)
{
    Jackdaw__RegisterRequest request = register_request("", "p");
    assert_int_equal(check(f, &request), STATUS_INVALID_ARGUMENT);
    request = register_request("a b", "p");
    assert_int_equal(check(f, &request), STATUS_INVALID_ARGUMENT);
    request = register_request("alice", "");
    assert_int_equal(check(f, &request), STATUS_INVALID_ARGUMENT);
    char password[258];
    memset(password, 'p', sizeof password);
    password[256] = '\0';
    request = register_request("alice", password);
    assert_int_equal(check(f, &request), STATUS_OK);
    password[256] = 'p';
    password[257] = '\0';
    assert_int_equal(check(f, &request), STATUS_INVALID_ARGUMENT);
    request = register_request("alice", "p");
    request.nonce.len = 15;
    assert_int_equal(check(f, &request), STATUS_INVALID_ARGUMENT);
}

CHAT_TEST(test_register__same_nonce_is_the_same_request)
{
    Jackdaw__RegisterRequest request = register_request("Alice", "p");
    struct chat_call call = chat_fixture_call(f, NULL);
    assert_int_equal(chat_propose_register(f->chat, &call, &request, "h"), CHAT_PROPOSE);
    assert_string_equal(call.text, "Alice");
    assert_int_equal(chat_fixture_apply(f, call.delta), OK);
    chat_fixture_reopen(f);
    request.name = "ALICE";
    call = chat_fixture_call(f, NULL);
    assert_int_equal(chat_check_register(f->chat, &call, &request), CHAT_ANSWER);
    assert_string_equal(call.text, "Alice");
    call = chat_fixture_call(f, NULL);
    assert_int_equal(chat_propose_register(f->chat, &call, &request, "h"), CHAT_ANSWER);
    request.nonce.data = (uint8_t *)"another nonce...";
    assert_int_equal(check(f, &request), STATUS_ALREADY_EXISTS);
}

CHAT_TEST(test_register__name_taken_while_hashing)
{
    Jackdaw__RegisterRequest request = register_request("alice", "p");
    assert_int_equal(check(f, &request), STATUS_OK);
    assert_ok(chat_fixture_register(f, "alice"));
    struct chat_call call = chat_fixture_call(f, NULL);
    assert_int_equal(chat_propose_register(f->chat, &call, &request, "h"), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_ALREADY_EXISTS);
}

CHAT_TEST(test_login__unknown_name_and_wrong_password_look_alike)
{
    chat_fixture_register(f, "alice");
    struct answer unknown = chat_fixture_login(f, "nobody", "t");
    assert_int_equal(unknown.status, STATUS_UNAUTHENTICATED);
    Jackdaw__LoginRequest request = login_request("alice");
    struct chat_call call = chat_fixture_call(f, NULL);
    const char *hash = NULL;
    assert_int_equal(chat_check_login(f->chat, &call, &request, &hash), CHAT_PROPOSE);
    assert_string_equal(hash, "hash of password");
    assert_int_equal(chat_propose_login(f->chat, &call, &request, false), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_UNAUTHENTICATED);
    assert_string_equal(call.text, unknown.text);
}

CHAT_TEST(test_login__nobodys_hash_costs_as_much_as_any)
{
    Jackdaw__LoginRequest request = login_request("nobody");
    struct chat_call call = chat_fixture_call(f, NULL);
    const char *hash = NULL;
    assert_int_equal(chat_check_login(f->chat, &call, &request, &hash), CHAT_PROPOSE);
    char real[PASSWORD_HASH_SIZE];
    assert_int_equal(password_hash("p", PASSWORD_COST_INTERACTIVE, real), OK);
    const char *end = strrchr(hash, '$');
    size_t costs = (size_t)(strstr(hash, "p=1$") - hash) + 4;
    assert_memory_equal(hash, real, costs);
    assert_int_equal(strlen(end), strlen(strrchr(real, '$')));
    assert_int_equal(strlen(hash), strlen(real));
    assert_false(password_verify("p", hash));
}

CHAT_TEST(test_login__bad_token_or_device)
{
    chat_fixture_register(f, "alice");
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    uint8_t token[33] = {1};
    request.name = "alice";
    const char *hash = NULL;
    static const size_t sizes[] = {0, 31, 33};
    for (size_t i = 0; i < 3; i++) {
        request.token = (ProtobufCBinaryData){.len = sizes[i], .data = token};
        struct chat_call call = chat_fixture_call(f, NULL);
        assert_int_equal(chat_check_login(f->chat, &call, &request, &hash), CHAT_REFUSE);
        assert_int_equal(call.status, STATUS_INVALID_ARGUMENT);
    }
    request.token.len = 32;
    char device[66];
    memset(device, 'd', sizeof device);
    device[64] = '\0';
    request.device = device;
    struct chat_call call = chat_fixture_call(f, NULL);
    assert_int_equal(chat_check_login(f->chat, &call, &request, &hash), CHAT_PROPOSE);
    device[64] = 'd';
    device[65] = '\0';
    assert_int_equal(chat_check_login(f->chat, &call, &request, &hash), CHAT_REFUSE);
    request.device = "a\nb";
    assert_int_equal(chat_check_login(f->chat, &call, &request, &hash), CHAT_REFUSE);
    request.device = "a\u202Eb"; /* U+202E */
    assert_int_equal(chat_check_login(f->chat, &call, &request, &hash), CHAT_REFUSE);
    request.device = "\xFF";
    assert_int_equal(chat_check_login(f->chat, &call, &request, &hash), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_INVALID_ARGUMENT);
}

CHAT_TEST(test_login__repeated_is_the_same_session)
{
    uint64_t id = chat_session_id(chat_fixture_person(f, "alice"));
    chat_fixture_reopen(f);
    struct answer answer = chat_fixture_login(f, "alice", "alice");
    assert_int_equal(answer.status, STATUS_OK);
    assert_false(answer.applied);
    assert_int_equal(chat_session_id(chat_fixture_session(f, "alice")), id);
}

CHAT_TEST(test_login__somebody_elses_token)
{
    chat_fixture_person(f, "alice");
    chat_fixture_register(f, "bob");
    assert_status(chat_fixture_login(f, "bob", "alice"), STATUS_INVALID_ARGUMENT);
}

/* alice is logged in on the devices "one" and "two", as many as there may be. */
static void log_in_twice(struct chat_fixture *f)
{
    chat_fixture_register(f, "alice");
    chat_fixture_device(f, "alice", "one");
    chat_fixture_device(f, "alice", "two");
}

CHAT_TEST(test_login__a_third_device_is_refused)
{
    log_in_twice(f);
    f->monotonic_ms += 59999;
    struct answer answer = chat_fixture_login(f, "alice", "three");
    assert_int_equal(answer.status, STATUS_RESOURCE_EXHAUSTED);
    assert_string_equal(answer.text, "2 devices are logged in already; log out on one of them, "
                                     "replace one, or wait until one of them has been silent for "
                                     "60 s.");
    assert_int_equal(answer.retry_ms, 1);
    assert_null(chat_fixture_session(f, "three"));
}

/* retry_ms is when the first of the devices may be silent. */
CHAT_TEST(test_login__tells_when_a_device_may_make_room)
{
    chat_fixture_register(f, "alice");
    chat_fixture_device(f, "alice", "one");
    f->monotonic_ms += 20000;
    chat_fixture_device(f, "alice", "two");
    f->monotonic_ms += 10000;
    struct answer answer = chat_fixture_login(f, "alice", "three");
    assert_int_equal(answer.status, STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(answer.retry_ms, 30000);
    /* A device that was in a tunnel meanwhile keeps its place. */
    chat_touch(f->chat, chat_fixture_session(f, "one"), f->monotonic_ms, f->time_ms);
    assert_int_equal(chat_fixture_login(f, "alice", "three").retry_ms, 50000);
    f->monotonic_ms += 50000;
    assert_ok(chat_fixture_login(f, "alice", "three"));
    assert_null(chat_fixture_session(f, "two"));
}

static struct chat_call login(struct chat_fixture *f, const char *token,
                              Jackdaw__LoginRequest *request, enum chat_decision expected)
{
    uint8_t bytes[CHAT_TOKEN_BYTES] = {0};
    const char *hash;
    (void)snprintf((char *)bytes, sizeof bytes, "%s", token);
    request->name = (char *)"alice";
    request->token.len = sizeof bytes;
    request->token.data = bytes;
    struct chat_call call = chat_fixture_call(f, NULL);
    assert_int_equal(chat_check_login(f->chat, &call, request, &hash), CHAT_PROPOSE);
    assert_int_equal(chat_propose_login(f->chat, &call, request, true), expected);
    return call;
}

CHAT_TEST(test_login__shows_the_devices_to_choose_from)
{
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    chat_fixture_register(f, "alice");
    request.choose = true;
    (void)login(f, "first", &request, CHAT_PROPOSE); /* there is place: nothing to choose */
    chat_fixture_device(f, "alice", "one");
    uint64_t one_ms = f->time_ms;
    f->monotonic_ms += 5000;
    f->time_ms += 5000;
    chat_fixture_device(f, "alice", "two");
    f->monotonic_ms += 1000;
    struct chat_call call = login(f, "three", &request, CHAT_ANSWER);
    assert_null(call.session);
    Jackdaw__LoginReply reply = JACKDAW__LOGIN_REPLY__INIT;
    assert_int_equal(chat_answer_devices(f->chat, &call, &reply), OK);
    assert_int_equal(reply.session, 0);
    assert_string_equal(reply.name, "alice");
    assert_int_equal(reply.n_devices, 2);
    const Jackdaw__Device *one = reply.devices[1]; /* the newest is first */
    assert_int_equal(one->session, chat_session_id(chat_fixture_session(f, "one")));
    assert_string_equal(one->name, "terminal");
    assert_int_equal(one->started_ms, one_ms);
    assert_int_equal(one->silent_ms, 6000);
    assert_int_equal(reply.devices[0]->silent_ms, 1000);
    assert_int_equal(reply.retry_ms, 54000);
}

/* The one that was named ends, though it is not silent, and no other. */
CHAT_TEST(test_login__replaces_the_device_named)
{
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    chat_fixture_person(f, "bob");
    log_in_twice(f);
    request.choose = true;
    request.replaces = chat_session_id(chat_fixture_session(f, "bob"));
    struct chat_call call = login(f, "three", &request, CHAT_REFUSE); /* somebody else's */
    assert_int_equal(call.status, STATUS_RESOURCE_EXHAUSTED);
    request.replaces = chat_session_id(chat_fixture_session(f, "two"));
    call = login(f, "three", &request, CHAT_PROPOSE);
    assert_int_equal(call.delta->session_started->n_replaces, 1);
    assert_int_equal(call.delta->session_started->replaces[0], request.replaces);
    (void)chat_fixture_logout(f, chat_fixture_session(f, "one"), 0);
    call = login(f, "three", &request, CHAT_PROPOSE); /* there is place now */
    assert_int_equal(call.delta->session_started->n_replaces, 0);
}

CHAT_TEST(test_login__a_silent_device_makes_room)
{
    log_in_twice(f);
    f->monotonic_ms += 59999;
    chat_touch(f->chat, chat_fixture_session(f, "two"), f->monotonic_ms, f->time_ms);
    f->monotonic_ms += 1;
    assert_ok(chat_fixture_login(f, "alice", "three"));
    assert_null(chat_fixture_session(f, "one"));
    assert_non_null(chat_fixture_session(f, "two"));
    assert_non_null(chat_fixture_session(f, "three"));
    assert_int_equal(f->ended, 1);
    assert_status(chat_fixture_login(f, "alice", "four"), STATUS_RESOURCE_EXHAUSTED);
}

CHAT_TEST(test_login__the_longest_silent_goes_first)
{
    log_in_twice(f);
    f->monotonic_ms += 10;
    chat_touch(f->chat, chat_fixture_session(f, "one"), f->monotonic_ms, f->time_ms);
    f->monotonic_ms += 100000;
    assert_ok(chat_fixture_login(f, "alice", "three"));
    assert_non_null(chat_fixture_session(f, "one"));
    assert_null(chat_fixture_session(f, "two"));
}

CHAT_TEST(test_login__a_lowered_limit_replaces_as_many_as_needed)
{
    f->limits.sessions_per_account = 5;
    chat_fixture_reopen(f);
    chat_fixture_register(f, "alice");
    for (const char *token = "12345"; *token != '\0'; token++)
        chat_fixture_device(f, "alice", (char[]){*token, '\0'});
    f->limits.sessions_per_account = 2;
    chat_fixture_reopen(f);
    assert_status(chat_fixture_login(f, "alice", "six"), STATUS_RESOURCE_EXHAUSTED);
    f->monotonic_ms += 60000;
    chat_touch(f->chat, chat_fixture_session(f, "3"), f->monotonic_ms, f->time_ms);
    assert_ok(chat_fixture_login(f, "alice", "six"));
    assert_int_equal(f->ended, 4);
    assert_non_null(chat_fixture_session(f, "3"));
    assert_non_null(chat_fixture_session(f, "six"));
}

CHAT_TEST(test_login__not_into_an_account_that_took_the_name_since)
{
    struct chat_session *old = chat_fixture_person(f, "alice");
    Jackdaw__LoginRequest request = login_request("alice");
    struct chat_call check = chat_fixture_call(f, NULL);
    const char *hash = NULL;
    assert_int_equal(chat_check_login(f->chat, &check, &request, &hash), CHAT_PROPOSE);
    uint64_t account = check.account;
    assert_ok(chat_fixture_delete(f, old, true));
    assert_ok(chat_fixture_register(f, "alice"));
    struct chat_call call = chat_fixture_call(f, NULL);
    call.account = account;
    assert_int_equal(chat_propose_login(f->chat, &call, &request, true), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_UNAUTHENTICATED);
}

CHAT_TEST(test_login__answer_tells_what_is_waiting)
{
    struct chat_session *alice = chat_fixture_person(f, "alice");
    struct chat_session *bob = chat_fixture_person(f, "bob");
    chat_fixture_join(f, alice, "general", 0);
    chat_fixture_join(f, bob, "general", 0);
    chat_fixture_join(f, bob, "other", 0);
    uint64_t seen = f->seq;
    chat_note_delivered(f->chat, bob, seen);
    chat_fixture_send(f, alice, "general", "one", 0);
    chat_fixture_send(f, alice, "general", "two", 0);
    chat_fixture_send(f, alice, "@bob", "three", 0);
    chat_fixture_send(f, bob, "other", "mine", 0);
    struct chat_session *second = chat_fixture_device(f, "bob", "second");
    Jackdaw__LoginReply reply = chat_fixture_login_reply(f, second);
    assert_int_equal(reply.session, chat_session_id(second));
    assert_string_equal(reply.name, "bob");
    assert_int_equal(reply.sessions, 2);
    assert_int_equal(reply.position->seq, seen);
    assert_int_equal(reply.position->epoch, f->epoch);
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

CHAT_TEST(test_logout__ends_the_session_and_keeps_what_it_received)
{
    struct chat_session *alice = chat_fixture_person(f, "alice");
    chat_fixture_join(f, alice, "general", 0);
    chat_fixture_send(f, alice, "general", "one", 0);
    uint64_t seq = f->seq;
    assert_ok(chat_fixture_logout(f, alice, seq));
    assert_null(chat_fixture_session(f, "alice"));
    assert_int_equal(f->ended, 1);
    alice = chat_fixture_device(f, "alice", "again");
    assert_int_not_equal(chat_session_last_request(alice), 1);
    Jackdaw__LoginReply reply = chat_fixture_login_reply(f, alice);
    assert_int_equal(reply.position->seq, seq);
    assert_int_equal(reply.n_undelivered, 0);
}

CHAT_TEST(test_logout__a_cursor_from_the_future_is_cut)
{
    struct chat_session *alice = chat_fixture_person(f, "alice");
    uint64_t seq = f->seq;
    assert_ok(chat_fixture_logout(f, alice, UINT64_MAX));
    alice = chat_fixture_device(f, "alice", "again");
    Jackdaw__LoginReply reply = chat_fixture_login_reply(f, alice);
    assert_int_equal(reply.position->seq, seq);
}

CHAT_TEST(test_logout__without_a_cursor)
{
    struct chat_session *alice = chat_fixture_person(f, "alice");
    Jackdaw__LogoutRequest request = JACKDAW__LOGOUT_REQUEST__INIT;
    request.request = 1;
    struct chat_call call = chat_fixture_call(f, alice);
    assert_int_equal(chat_propose_logout(f->chat, &call, &request), CHAT_PROPOSE);
    assert_int_equal(chat_fixture_apply(f, call.delta), OK);
    assert_null(chat_fixture_session(f, "alice"));
}

CHAT_TEST(test_delete__wrong_password_is_remembered)
{
    struct chat_session *alice = chat_fixture_person(f, "alice");
    struct answer answer = chat_fixture_delete(f, alice, false);
    assert_int_equal(answer.status, STATUS_PERMISSION_DENIED);
    assert_true(answer.applied);
    assert_int_equal(chat_session_last_request(alice), 1);
    assert_ok(chat_fixture_delete(f, alice, true));
}

CHAT_TEST(test_delete__refused_while_another_device_is_logged_in)
{
    struct chat_session *alice = chat_fixture_person(f, "alice");
    chat_fixture_device(f, "alice", "second");
    struct answer answer = chat_fixture_delete(f, alice, true);
    assert_int_equal(answer.status, STATUS_FAILED_PRECONDITION);
    f->monotonic_ms += 60000;
    chat_touch(f->chat, alice, f->monotonic_ms, f->time_ms);
    assert_ok(chat_fixture_delete(f, alice, true));
    assert_null(chat_fixture_session(f, "second"));
    assert_int_equal(f->ended, 2);
}

CHAT_TEST(test_delete__messages_stay_under_a_tombstone)
{
    struct chat_session *alice = chat_fixture_person(f, "alice");
    struct chat_session *bob = chat_fixture_person(f, "bob");
    chat_fixture_join(f, alice, "general", 0);
    chat_fixture_join(f, bob, "general", 0);
    chat_fixture_send(f, alice, "general", "hi", 0);
    chat_fixture_send(f, alice, "@bob", "psst", 0);
    uint64_t id = chat_session_account(alice);
    assert_ok(chat_fixture_delete(f, alice, true));
    char expected[400];
    char tombstone[64];
    snprintf(tombstone, sizeof tombstone, "deleted:%06x", (unsigned)(id & 0xFFFFFF));
    snprintf(expected, sizeof expected,
             "JOINED general bob; MESSAGE general %s hi; MESSAGE @%s %s psst; ", tombstone,
             tombstone, tombstone);
    const char *story = chat_fixture_reads(f, bob, 0);
    assert_memory_equal(story, expected, strlen(expected));
    assert_non_null(strstr(story, "OWNER general bob"));
    assert_members(f, bob, "general", "bob*");
    assert_status(chat_fixture_login(f, "alice", "x"), STATUS_UNAUTHENTICATED);
    assert_status(chat_fixture_register(f, tombstone), STATUS_INVALID_ARGUMENT);
    assert_ok(chat_fixture_register(f, "alice"));
    assert_ok(chat_fixture_send(f, bob, "@alice", "who are you", 0));
    char to[80];
    snprintf(to, sizeof to, "@%s", tombstone);
    assert_status(chat_fixture_send(f, bob, to, "hello?", 0), STATUS_FAILED_PRECONDITION);
    assert_members(f, bob, to, "bob");
    chat_fixture_reopen(f);
    assert_members(f, bob = chat_fixture_session(f, "bob"), to, "bob");
}

CHAT_TEST(test_delete__hands_over_what_was_undelivered)
{
    struct chat_session *alice = chat_fixture_person(f, "alice");
    struct chat_session *bob = chat_fixture_person(f, "bob");
    chat_fixture_send(f, bob, "@alice", "read", 0);
    uint64_t seq = f->seq;
    for (int i = 0; i < 300; i++)
        chat_fixture_send(f, bob, "@alice", "unread", 0);
    Jackdaw__DeleteAccountRequest request = JACKDAW__DELETE_ACCOUNT_REQUEST__INIT;
    Jackdaw__Position after = JACKDAW__POSITION__INIT;
    after.epoch = f->epoch;
    after.seq = seq;
    request.request = 1;
    request.after = &after;
    struct chat_call call = chat_fixture_call(f, alice);
    assert_int_equal(chat_propose_delete(f->chat, &call, &request, true), CHAT_PROPOSE);
    Jackdaw__Delta *delta = call.delta;
    Jackdaw__DeleteAccountReply reply = JACKDAW__DELETE_ACCOUNT_REPLY__INIT;
    assert_int_equal(chat_answer_delete(f->chat, &call, &request, &reply), OK);
    assert_ptr_equal(call.delta, delta); /* still there to be applied */
    assert_int_equal(chat_fixture_apply(f, delta), OK);
    assert_int_equal(reply.undelivered_total, 300);
    assert_int_equal(reply.n_undelivered, CHAT_PAGE_EVENTS);
    assert_string_equal(reply.undelivered[0]->text, "unread");
    assert_string_equal(reply.undelivered[0]->room, "@bob");
    assert_int_equal(reply.undelivered[0]->number, 2);
}

CHAT_TEST(test_delete__both_sides_of_a_conversation)
{
    struct chat_session *alice = chat_fixture_person(f, "alice");
    struct chat_session *bob = chat_fixture_person(f, "bob");
    chat_fixture_send(f, alice, "@bob", "hi", 0);
    chat_fixture_send(f, alice, "@alice", "note to self", 0);
    assert_ok(chat_fixture_delete(f, alice, true));
    assert_ok(chat_fixture_delete(f, bob, true));
    chat_fixture_reopen(f);
    char *portrait = chat_fixture_portrait(f);
    assert_null(strstr(portrait, "room"));
    assert_null(strstr(portrait, "account"));
    free(portrait);
}

CHAT_TEST(test_delete__nothing_personal_is_left_in_the_row)
{
    struct chat_session *alice = chat_fixture_person(f, "alice");
    chat_fixture_delete(f, alice, true);
    char *rows = chat_fixture_rows(f);
    assert_null(strstr(rows, "alice"));
    assert_null(strstr(rows, "hash of password"));
    assert_non_null(strstr(rows, "deleted:"));
    free(rows);
}

CHAT_TEST(test_authenticate__wrong_tokens)
{
    chat_fixture_person(f, "alice");
    uint8_t token[64] = "alice";
    assert_non_null(chat_authenticate(f->chat, token, 32));
    assert_null(chat_authenticate(f->chat, token, 31));
    assert_null(chat_authenticate(f->chat, token, 33));
    assert_null(chat_authenticate(f->chat, token, 0));
    assert_null(chat_authenticate(f->chat, NULL, 0));
    assert_null(chat_authenticate(f->chat, NULL, 32));
    token[31] ^= 1;
    assert_null(chat_authenticate(f->chat, token, 32));
    assert_null(chat_find_session(f->chat, 0));
    assert_null(chat_find_session(f->chat, 12345));
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
