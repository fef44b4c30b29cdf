/* SPDX-License-Identifier: MIT */
/* Registering, login, logout, deletion: src/chat/account.c, session.c. */
#include "chat/password.h"
#include "chat_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static int open_world(void **state)
{
    struct world *world = malloc(sizeof *world);
    world_open(world, 1, NULL);
    *state = world;
    return 0;
}

static int close_world(void **state)
{
    world_close(*state);
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

static enum status check(struct world *world, const Jackdaw__RegisterRequest *request)
{
    struct chat_call call = world_call(world, NULL);
    enum chat_decision decision = chat_check_register(world->chat, &call, request);
    assert_int_equal(call.retry_ms, 0);
    return decision == CHAT_REFUSE ? call.status : STATUS_OK;
}

static void test_register__makes_an_account(void **state)
{
    struct world *world = *state;
    assert_int_equal(world_register(world, "Alice").status, STATUS_OK);
    assert_int_equal(world_login(world, "alice", "a").status, STATUS_OK);
    assert_string_equal(chat_session_name(world_session(world, "a")), "Alice");
}

static void test_register__a_leading_at_sign_is_not_part_of_the_name(void **state)
{
    struct world *world = *state;
    assert_int_equal(world_register(world, "@Alice").status, STATUS_OK);
    assert_int_equal(world_login(world, "@ALICE", "a").status, STATUS_OK);
}

static void test_register__name_taken_in_any_form(void **state)
{
    struct world *world = *state;
    assert_int_equal(world_register(world, "Zoe\xCC\x88").status, STATUS_OK);
    assert_int_equal(world_register(world, "zo\xC3\x8B").status, STATUS_ALREADY_EXISTS);
    struct answer answer = world_register(world, "ZO\xC3\x8B");
    assert_int_equal(answer.status, STATUS_ALREADY_EXISTS);
    assert_string_equal(answer.text, "The name Zo\xC3\xAB is taken; choose another one.");
}

static void test_register__refuses_what_breaks_a_rule(void **state)
{
    struct world *world = *state;
    Jackdaw__RegisterRequest request = register_request("", "p");
    assert_int_equal(check(world, &request), STATUS_INVALID_ARGUMENT);
    request = register_request("a b", "p");
    assert_int_equal(check(world, &request), STATUS_INVALID_ARGUMENT);
    request = register_request("alice", "");
    assert_int_equal(check(world, &request), STATUS_INVALID_ARGUMENT);
    char password[258];
    memset(password, 'p', sizeof password);
    password[256] = '\0';
    request = register_request("alice", password);
    assert_int_equal(check(world, &request), STATUS_OK);
    password[256] = 'p';
    password[257] = '\0';
    assert_int_equal(check(world, &request), STATUS_INVALID_ARGUMENT);
    request = register_request("alice", "p");
    request.nonce.len = 15;
    assert_int_equal(check(world, &request), STATUS_INVALID_ARGUMENT);
}

static void test_register__same_nonce_is_the_same_request(void **state)
{
    struct world *world = *state;
    Jackdaw__RegisterRequest request = register_request("Alice", "p");
    struct chat_call call = world_call(world, NULL);
    assert_int_equal(chat_propose_register(world->chat, &call, &request, "h"), CHAT_PROPOSE);
    assert_string_equal(call.text, "Alice");
    assert_int_equal(world_apply(world, call.delta), OK);
    world_reopen(world);
    request.name = "ALICE";
    call = world_call(world, NULL);
    assert_int_equal(chat_check_register(world->chat, &call, &request), CHAT_ANSWER);
    assert_string_equal(call.text, "Alice");
    call = world_call(world, NULL);
    assert_int_equal(chat_propose_register(world->chat, &call, &request, "h"), CHAT_ANSWER);
    request.nonce.data = (uint8_t *)"another nonce...";
    assert_int_equal(check(world, &request), STATUS_ALREADY_EXISTS);
}

static void test_register__name_taken_while_hashing(void **state)
{
    struct world *world = *state;
    Jackdaw__RegisterRequest request = register_request("alice", "p");
    assert_int_equal(check(world, &request), STATUS_OK);
    assert_int_equal(world_register(world, "alice").status, STATUS_OK);
    struct chat_call call = world_call(world, NULL);
    assert_int_equal(chat_propose_register(world->chat, &call, &request, "h"), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_ALREADY_EXISTS);
}

/* ---- login ---- */

static void test_login__unknown_name_and_wrong_password_look_alike(void **state)
{
    struct world *world = *state;
    world_register(world, "alice");
    struct answer unknown = world_login(world, "nobody", "t");
    assert_int_equal(unknown.status, STATUS_UNAUTHENTICATED);
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    uint8_t token[32] = {1};
    request.name = "alice";
    request.token = (ProtobufCBinaryData){.len = 32, .data = token};
    struct chat_call call = world_call(world, NULL);
    const char *hash = NULL;
    assert_int_equal(chat_check_login(world->chat, &call, &request, &hash), CHAT_PROPOSE);
    assert_string_equal(hash, "hash of password");
    assert_int_equal(chat_propose_login(world->chat, &call, &request, false), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_UNAUTHENTICATED);
    assert_string_equal(call.text, unknown.text);
}

static void test_login__nobodys_hash_costs_as_much_as_any(void **state)
{
    struct world *world = *state;
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    uint8_t token[32] = {1};
    request.name = "nobody";
    request.token = (ProtobufCBinaryData){.len = 32, .data = token};
    struct chat_call call = world_call(world, NULL);
    const char *hash = NULL;
    assert_int_equal(chat_check_login(world->chat, &call, &request, &hash), CHAT_PROPOSE);
    char real[PASSWORD_HASH_SIZE];
    assert_int_equal(password_hash("p", PASSWORD_COST_INTERACTIVE, real), OK);
    const char *end = strrchr(hash, '$');
    size_t costs = (size_t)(strstr(hash, "p=1$") - hash) + 4;
    assert_memory_equal(hash, real, costs);
    assert_int_equal(strlen(end), strlen(strrchr(real, '$')));
    assert_int_equal(strlen(hash), strlen(real));
    assert_false(password_verify("p", hash));
}

static void test_login__bad_token_or_device(void **state)
{
    struct world *world = *state;
    world_register(world, "alice");
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    uint8_t token[33] = {1};
    request.name = "alice";
    const char *hash = NULL;
    static const size_t sizes[] = {0, 31, 33};
    for (size_t i = 0; i < 3; i++) {
        request.token = (ProtobufCBinaryData){.len = sizes[i], .data = token};
        struct chat_call call = world_call(world, NULL);
        assert_int_equal(chat_check_login(world->chat, &call, &request, &hash), CHAT_REFUSE);
        assert_int_equal(call.status, STATUS_INVALID_ARGUMENT);
    }
    request.token.len = 32;
    char device[66];
    memset(device, 'd', sizeof device);
    device[64] = '\0';
    request.device = device;
    struct chat_call call = world_call(world, NULL);
    assert_int_equal(chat_check_login(world->chat, &call, &request, &hash), CHAT_PROPOSE);
    device[64] = 'd';
    device[65] = '\0';
    assert_int_equal(chat_check_login(world->chat, &call, &request, &hash), CHAT_REFUSE);
    request.device = "a\nb";
    assert_int_equal(chat_check_login(world->chat, &call, &request, &hash), CHAT_REFUSE);
    request.device = "a\xE2\x80\xAE"
                     "b"; /* U+202E */
    assert_int_equal(chat_check_login(world->chat, &call, &request, &hash), CHAT_REFUSE);
    request.device = "\xFF";
    assert_int_equal(chat_check_login(world->chat, &call, &request, &hash), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_INVALID_ARGUMENT);
}

static void test_login__repeated_is_the_same_session(void **state)
{
    struct world *world = *state;
    uint64_t id = chat_session_id(world_person(world, "alice"));
    world_reopen(world);
    struct answer answer = world_login(world, "alice", "alice");
    assert_int_equal(answer.status, STATUS_OK);
    assert_false(answer.applied);
    assert_int_equal(chat_session_id(world_session(world, "alice")), id);
}

static void test_login__somebody_elses_token(void **state)
{
    struct world *world = *state;
    world_person(world, "alice");
    world_register(world, "bob");
    assert_int_equal(world_login(world, "bob", "alice").status, STATUS_INVALID_ARGUMENT);
}

static void test_login__a_third_device_is_refused(void **state)
{
    struct world *world = *state;
    world_register(world, "alice");
    world_device(world, "alice", "one");
    world_device(world, "alice", "two");
    world->monotonic_ms += 59999;
    struct answer answer = world_login(world, "alice", "three");
    assert_int_equal(answer.status, STATUS_RESOURCE_EXHAUSTED);
    assert_string_equal(answer.text, "2 devices are logged in already; log out on one of them, "
                                     "replace one, or wait until one of them has been silent for "
                                     "60 s.");
    assert_int_equal(answer.retry_ms, 1);
    assert_null(world_session(world, "three"));
}

/* retry_ms is when the first of the devices may be silent. */
static void test_login__tells_when_a_device_may_make_room(void **state)
{
    struct world *world = *state;
    world_register(world, "alice");
    world_device(world, "alice", "one");
    world->monotonic_ms += 20000;
    world_device(world, "alice", "two");
    world->monotonic_ms += 10000;
    struct answer answer = world_login(world, "alice", "three");
    assert_int_equal(answer.status, STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(answer.retry_ms, 30000);
    /* A device that was in a tunnel meanwhile keeps its place. */
    chat_touch(world->chat, world_session(world, "one"), world->monotonic_ms, world->time_ms);
    assert_int_equal(world_login(world, "alice", "three").retry_ms, 50000);
    world->monotonic_ms += 50000;
    assert_int_equal(world_login(world, "alice", "three").status, STATUS_OK);
    assert_null(world_session(world, "two"));
}

static struct chat_call login(struct world *world, const char *token,
                              Jackdaw__LoginRequest *request, enum chat_decision expected)
{
    uint8_t bytes[CHAT_TOKEN_BYTES] = {0};
    const char *hash;
    (void)snprintf((char *)bytes, sizeof bytes, "%s", token);
    request->name = (char *)"alice";
    request->token.len = sizeof bytes;
    request->token.data = bytes;
    struct chat_call call = world_call(world, NULL);
    assert_int_equal(chat_check_login(world->chat, &call, request, &hash), CHAT_PROPOSE);
    assert_int_equal(chat_propose_login(world->chat, &call, request, true), expected);
    return call;
}

static void test_login__shows_the_devices_to_choose_from(void **state)
{
    struct world *world = *state;
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    world_register(world, "alice");
    request.choose = true;
    (void)login(world, "first", &request, CHAT_PROPOSE); /* there is place: nothing to choose */
    world_device(world, "alice", "one");
    uint64_t one_ms = world->time_ms;
    world->monotonic_ms += 5000;
    world->time_ms += 5000;
    world_device(world, "alice", "two");
    world->monotonic_ms += 1000;
    struct chat_call call = login(world, "three", &request, CHAT_ANSWER);
    assert_null(call.session);
    Jackdaw__LoginReply reply = JACKDAW__LOGIN_REPLY__INIT;
    assert_int_equal(chat_answer_devices(world->chat, &call, &reply), OK);
    assert_int_equal(reply.session, 0);
    assert_string_equal(reply.name, "alice");
    assert_int_equal(reply.n_devices, 2);
    const Jackdaw__Device *one = reply.devices[1]; /* the newest is first */
    assert_int_equal(one->session, chat_session_id(world_session(world, "one")));
    assert_string_equal(one->name, "terminal");
    assert_int_equal(one->started_ms, one_ms);
    assert_int_equal(one->silent_ms, 6000);
    assert_int_equal(reply.devices[0]->silent_ms, 1000);
    assert_int_equal(reply.retry_ms, 54000);
}

/* The one that was named ends, though it is not silent, and no other. */
static void test_login__replaces_the_device_named(void **state)
{
    struct world *world = *state;
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    world_person(world, "bob");
    world_register(world, "alice");
    world_device(world, "alice", "one");
    world_device(world, "alice", "two");
    request.choose = true;
    request.replaces = chat_session_id(world_session(world, "bob"));
    struct chat_call call = login(world, "three", &request, CHAT_REFUSE); /* somebody else's */
    assert_int_equal(call.status, STATUS_RESOURCE_EXHAUSTED);
    request.replaces = chat_session_id(world_session(world, "two"));
    call = login(world, "three", &request, CHAT_PROPOSE);
    assert_int_equal(call.delta->session_started->n_replaces, 1);
    assert_int_equal(call.delta->session_started->replaces[0], request.replaces);
    (void)world_logout(world, world_session(world, "one"), 0);
    call = login(world, "three", &request, CHAT_PROPOSE); /* there is place now */
    assert_int_equal(call.delta->session_started->n_replaces, 0);
}

static void test_login__a_silent_device_makes_room(void **state)
{
    struct world *world = *state;
    world_register(world, "alice");
    world_device(world, "alice", "one");
    world_device(world, "alice", "two");
    world->monotonic_ms += 59999;
    chat_touch(world->chat, world_session(world, "two"), world->monotonic_ms, world->time_ms);
    world->monotonic_ms += 1;
    assert_int_equal(world_login(world, "alice", "three").status, STATUS_OK);
    assert_null(world_session(world, "one"));
    assert_non_null(world_session(world, "two"));
    assert_non_null(world_session(world, "three"));
    assert_int_equal(world->ended, 1);
    assert_int_equal(world_login(world, "alice", "four").status, STATUS_RESOURCE_EXHAUSTED);
}

static void test_login__the_longest_silent_goes_first(void **state)
{
    struct world *world = *state;
    world_register(world, "alice");
    world_device(world, "alice", "one");
    world_device(world, "alice", "two");
    world->monotonic_ms += 10;
    chat_touch(world->chat, world_session(world, "one"), world->monotonic_ms, world->time_ms);
    world->monotonic_ms += 100000;
    assert_int_equal(world_login(world, "alice", "three").status, STATUS_OK);
    assert_non_null(world_session(world, "one"));
    assert_null(world_session(world, "two"));
}

static void test_login__a_lowered_limit_replaces_as_many_as_needed(void **state)
{
    struct world *world = *state;
    world->limits.sessions_per_account = 5;
    world_reopen(world);
    world_register(world, "alice");
    for (const char *token = "12345"; *token != '\0'; token++)
        world_device(world, "alice", (char[]){*token, '\0'});
    world->limits.sessions_per_account = 2;
    world_reopen(world);
    assert_int_equal(world_login(world, "alice", "six").status, STATUS_RESOURCE_EXHAUSTED);
    world->monotonic_ms += 60000;
    chat_touch(world->chat, world_session(world, "3"), world->monotonic_ms, world->time_ms);
    assert_int_equal(world_login(world, "alice", "six").status, STATUS_OK);
    assert_int_equal(world->ended, 4);
    assert_non_null(world_session(world, "3"));
    assert_non_null(world_session(world, "six"));
}

static void test_login__not_into_an_account_that_took_the_name_since(void **state)
{
    struct world *world = *state;
    struct chat_session *old = world_person(world, "alice");
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    uint8_t token[32] = {1};
    request.name = "alice";
    request.token = (ProtobufCBinaryData){.len = 32, .data = token};
    struct chat_call check = world_call(world, NULL);
    const char *hash = NULL;
    assert_int_equal(chat_check_login(world->chat, &check, &request, &hash), CHAT_PROPOSE);
    uint64_t account = check.account;
    assert_int_equal(world_delete(world, old, true).status, STATUS_OK);
    assert_int_equal(world_register(world, "alice").status, STATUS_OK);
    struct chat_call call = world_call(world, NULL);
    call.account = account;
    assert_int_equal(chat_propose_login(world->chat, &call, &request, true), CHAT_REFUSE);
    assert_int_equal(call.status, STATUS_UNAUTHENTICATED);
}

static void test_login__answer_tells_what_is_waiting(void **state)
{
    struct world *world = *state;
    struct chat_session *alice = world_person(world, "alice");
    struct chat_session *bob = world_person(world, "bob");
    world_join(world, alice, "general", 0);
    world_join(world, bob, "general", 0);
    world_join(world, bob, "other", 0);
    uint64_t seen = world->seq;
    chat_note_delivered(world->chat, bob, seen);
    world_send(world, alice, "general", "one", 0);
    world_send(world, alice, "general", "two", 0);
    world_send(world, alice, "@bob", "three", 0);
    world_send(world, bob, "other", "mine", 0);
    struct chat_session *second = world_device(world, "bob", "second");
    struct chat_call call = world_call(world, second);
    Jackdaw__LoginReply reply = JACKDAW__LOGIN_REPLY__INIT;
    assert_int_equal(chat_answer_login(world->chat, &call, &reply), OK);
    assert_int_equal(reply.session, chat_session_id(second));
    assert_string_equal(reply.name, "bob");
    assert_int_equal(reply.sessions, 2);
    assert_int_equal(reply.position->seq, seen);
    assert_int_equal(reply.position->epoch, world->epoch);
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

static void test_logout__ends_the_session_and_keeps_what_it_received(void **state)
{
    struct world *world = *state;
    struct chat_session *alice = world_person(world, "alice");
    world_join(world, alice, "general", 0);
    world_send(world, alice, "general", "one", 0);
    uint64_t seq = world->seq;
    assert_int_equal(world_logout(world, alice, seq).status, STATUS_OK);
    assert_null(world_session(world, "alice"));
    assert_int_equal(world->ended, 1);
    alice = world_device(world, "alice", "again");
    assert_int_not_equal(chat_session_last_request(alice), 1);
    struct chat_call call = world_call(world, alice);
    Jackdaw__LoginReply reply = JACKDAW__LOGIN_REPLY__INIT;
    assert_int_equal(chat_answer_login(world->chat, &call, &reply), OK);
    assert_int_equal(reply.position->seq, seq);
    assert_int_equal(reply.n_undelivered, 0);
}

static void test_logout__a_cursor_from_the_future_is_cut(void **state)
{
    struct world *world = *state;
    struct chat_session *alice = world_person(world, "alice");
    uint64_t seq = world->seq;
    assert_int_equal(world_logout(world, alice, UINT64_MAX).status, STATUS_OK);
    alice = world_device(world, "alice", "again");
    struct chat_call call = world_call(world, alice);
    Jackdaw__LoginReply reply = JACKDAW__LOGIN_REPLY__INIT;
    assert_int_equal(chat_answer_login(world->chat, &call, &reply), OK);
    assert_int_equal(reply.position->seq, seq);
}

static void test_logout__without_a_cursor(void **state)
{
    struct world *world = *state;
    struct chat_session *alice = world_person(world, "alice");
    Jackdaw__LogoutRequest request = JACKDAW__LOGOUT_REQUEST__INIT;
    request.request = 1;
    struct chat_call call = world_call(world, alice);
    assert_int_equal(chat_propose_logout(world->chat, &call, &request), CHAT_PROPOSE);
    assert_int_equal(world_apply(world, call.delta), OK);
    assert_null(world_session(world, "alice"));
}

/* ---- deletion ---- */

static void test_delete__wrong_password_is_remembered(void **state)
{
    struct world *world = *state;
    struct chat_session *alice = world_person(world, "alice");
    struct answer answer = world_delete(world, alice, false);
    assert_int_equal(answer.status, STATUS_PERMISSION_DENIED);
    assert_true(answer.applied);
    assert_int_equal(chat_session_last_request(alice), 1);
    assert_int_equal(world_delete(world, alice, true).status, STATUS_OK);
}

static void test_delete__refused_while_another_device_is_logged_in(void **state)
{
    struct world *world = *state;
    struct chat_session *alice = world_person(world, "alice");
    world_device(world, "alice", "second");
    struct answer answer = world_delete(world, alice, true);
    assert_int_equal(answer.status, STATUS_FAILED_PRECONDITION);
    world->monotonic_ms += 60000;
    chat_touch(world->chat, alice, world->monotonic_ms, world->time_ms);
    assert_int_equal(world_delete(world, alice, true).status, STATUS_OK);
    assert_null(world_session(world, "second"));
    assert_int_equal(world->ended, 2);
}

static void test_delete__messages_stay_under_a_tombstone(void **state)
{
    struct world *world = *state;
    struct chat_session *alice = world_person(world, "alice");
    struct chat_session *bob = world_person(world, "bob");
    world_join(world, alice, "general", 0);
    world_join(world, bob, "general", 0);
    world_send(world, alice, "general", "hi", 0);
    world_send(world, alice, "@bob", "psst", 0);
    uint64_t id = chat_session_account(alice);
    assert_int_equal(world_delete(world, alice, true).status, STATUS_OK);
    char expected[400];
    char tombstone[64];
    snprintf(tombstone, sizeof tombstone, "deleted:%06x", (unsigned)(id & 0xFFFFFF));
    snprintf(expected, sizeof expected,
             "JOINED general bob; MESSAGE general %s hi; MESSAGE @%s %s psst; ", tombstone,
             tombstone, tombstone);
    const char *story = world_reads(world, bob, 0);
    assert_memory_equal(story, expected, strlen(expected));
    assert_non_null(strstr(story, "OWNER general bob"));
    assert_string_equal(world_members(world, bob, "general"), "bob*");
    assert_int_equal(world_login(world, "alice", "x").status, STATUS_UNAUTHENTICATED);
    assert_int_equal(world_register(world, tombstone).status, STATUS_INVALID_ARGUMENT);
    assert_int_equal(world_register(world, "alice").status, STATUS_OK);
    assert_int_equal(world_send(world, bob, "@alice", "who are you", 0).status, STATUS_OK);
    char to[80];
    snprintf(to, sizeof to, "@%s", tombstone);
    assert_int_equal(world_send(world, bob, to, "hello?", 0).status, STATUS_FAILED_PRECONDITION);
    assert_string_equal(world_members(world, bob, to), "bob");
    world_reopen(world);
    assert_string_equal(world_members(world, bob = world_session(world, "bob"), to), "bob");
}

static void test_delete__hands_over_what_was_undelivered(void **state)
{
    struct world *world = *state;
    struct chat_session *alice = world_person(world, "alice");
    struct chat_session *bob = world_person(world, "bob");
    world_send(world, bob, "@alice", "read", 0);
    uint64_t seq = world->seq;
    for (int i = 0; i < 300; i++)
        world_send(world, bob, "@alice", "unread", 0);
    Jackdaw__DeleteAccountRequest request = JACKDAW__DELETE_ACCOUNT_REQUEST__INIT;
    Jackdaw__Position after = JACKDAW__POSITION__INIT;
    after.epoch = world->epoch;
    after.seq = seq;
    request.request = 1;
    request.after = &after;
    struct chat_call call = world_call(world, alice);
    assert_int_equal(chat_propose_delete(world->chat, &call, &request, true), CHAT_PROPOSE);
    Jackdaw__Delta *delta = call.delta;
    Jackdaw__DeleteAccountReply reply = JACKDAW__DELETE_ACCOUNT_REPLY__INIT;
    assert_int_equal(chat_answer_delete(world->chat, &call, &request, &reply), OK);
    assert_ptr_equal(call.delta, delta); /* still there to be applied */
    assert_int_equal(world_apply(world, delta), OK);
    assert_int_equal(reply.undelivered_total, 300);
    assert_int_equal(reply.n_undelivered, CHAT_PAGE_EVENTS);
    assert_string_equal(reply.undelivered[0]->text, "unread");
    assert_string_equal(reply.undelivered[0]->room, "@bob");
    assert_int_equal(reply.undelivered[0]->number, 2);
}

static void test_delete__both_sides_of_a_conversation(void **state)
{
    struct world *world = *state;
    struct chat_session *alice = world_person(world, "alice");
    struct chat_session *bob = world_person(world, "bob");
    world_send(world, alice, "@bob", "hi", 0);
    world_send(world, alice, "@alice", "note to self", 0);
    assert_int_equal(world_delete(world, alice, true).status, STATUS_OK);
    assert_int_equal(world_delete(world, bob, true).status, STATUS_OK);
    world_reopen(world);
    char *portrait = world_portrait(world);
    assert_null(strstr(portrait, "room"));
    assert_null(strstr(portrait, "account"));
    free(portrait);
}

static void test_delete__nothing_personal_is_left_in_the_row(void **state)
{
    struct world *world = *state;
    struct chat_session *alice = world_person(world, "alice");
    world_delete(world, alice, true);
    char *rows = world_rows(world);
    assert_null(strstr(rows, "alice"));
    assert_null(strstr(rows, "hash of password"));
    assert_non_null(strstr(rows, "deleted:"));
    free(rows);
}

/* ---- tokens and passwords ---- */

static void test_authenticate__wrong_tokens(void **state)
{
    struct world *world = *state;
    world_person(world, "alice");
    uint8_t token[64] = "alice";
    assert_non_null(chat_authenticate(world->chat, token, 32));
    assert_null(chat_authenticate(world->chat, token, 31));
    assert_null(chat_authenticate(world->chat, token, 33));
    assert_null(chat_authenticate(world->chat, token, 0));
    assert_null(chat_authenticate(world->chat, NULL, 0));
    assert_null(chat_authenticate(world->chat, NULL, 32));
    token[31] ^= 1;
    assert_null(chat_authenticate(world->chat, token, 32));
    assert_null(chat_find_session(world->chat, 0));
    assert_null(chat_find_session(world->chat, 12345));
}

static void test_password__hash_and_verify(void **state)
{
    (void)state;
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

static void test_password__malformed_hashes(void **state)
{
    (void)state;
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

#define WORLD_TEST(test) cmocka_unit_test_setup_teardown(test, open_world, close_world)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_register__makes_an_account),
        WORLD_TEST(test_register__a_leading_at_sign_is_not_part_of_the_name),
        WORLD_TEST(test_register__name_taken_in_any_form),
        WORLD_TEST(test_register__refuses_what_breaks_a_rule),
        WORLD_TEST(test_register__same_nonce_is_the_same_request),
        WORLD_TEST(test_register__name_taken_while_hashing),
        WORLD_TEST(test_login__unknown_name_and_wrong_password_look_alike),
        WORLD_TEST(test_login__nobodys_hash_costs_as_much_as_any),
        WORLD_TEST(test_login__bad_token_or_device),
        WORLD_TEST(test_login__repeated_is_the_same_session),
        WORLD_TEST(test_login__somebody_elses_token),
        WORLD_TEST(test_login__a_third_device_is_refused),
        WORLD_TEST(test_login__tells_when_a_device_may_make_room),
        WORLD_TEST(test_login__shows_the_devices_to_choose_from),
        WORLD_TEST(test_login__replaces_the_device_named),
        WORLD_TEST(test_login__a_silent_device_makes_room),
        WORLD_TEST(test_login__the_longest_silent_goes_first),
        WORLD_TEST(test_login__a_lowered_limit_replaces_as_many_as_needed),
        WORLD_TEST(test_login__not_into_an_account_that_took_the_name_since),
        WORLD_TEST(test_login__answer_tells_what_is_waiting),
        WORLD_TEST(test_logout__ends_the_session_and_keeps_what_it_received),
        WORLD_TEST(test_logout__a_cursor_from_the_future_is_cut),
        WORLD_TEST(test_logout__without_a_cursor),
        WORLD_TEST(test_delete__wrong_password_is_remembered),
        WORLD_TEST(test_delete__refused_while_another_device_is_logged_in),
        WORLD_TEST(test_delete__messages_stay_under_a_tombstone),
        WORLD_TEST(test_delete__hands_over_what_was_undelivered),
        WORLD_TEST(test_delete__both_sides_of_a_conversation),
        WORLD_TEST(test_delete__nothing_personal_is_left_in_the_row),
        WORLD_TEST(test_authenticate__wrong_tokens),
        cmocka_unit_test(test_password__hash_and_verify),
        cmocka_unit_test(test_password__malformed_hashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
