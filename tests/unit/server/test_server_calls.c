/* SPDX-License-Identifier: MIT */
/* Every call of the Chat service over the wire: what it answers, and each way it refuses. */
#include "base/clock.h"
#include "base/log.h"
#include "rpc/protocol.h"
#include "server/core.h"
#include "support/folder.h"
#include "support/live_server.h"
#include "support/test.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct fixture {
    char *folder;
    struct live_server *live;
    struct device ann;
    struct device bob;
    struct answer answer;
};

static void begin_with(struct fixture *f, const char *const *options)
{
    *f = (struct fixture){.folder = folder_new()};
    f->live = live_server_start(f->folder, options);
    device_enter(&f->ann, f->live, "ann", NULL);
    device_enter(&f->bob, f->live, "bob", NULL);
}

static void begin(struct fixture *f)
{
    begin_with(f, NULL);
}

static void end(struct fixture *f)
{
    answer_clear(&f->answer);
    device_close(&f->ann);
    device_close(&f->bob);
    live_server_stop(f->live);
    folder_remove(f->folder);
}

/* The whole server on the same folder again. */
static void restart(struct fixture *f)
{
    live_server_stop(f->live);
    f->live = live_server_start(f->folder, NULL);
    device_reopen(&f->ann, f->live);
    device_reopen(&f->bob, f->live);
}

static void expect_status(const struct answer *answer, enum status expected, const char *call)
{
    if (answer->status != expected)
        fail_msg("%s: %s instead of %s (%s)", call, status_name(answer->status),
                 status_name(expected), answer->message);
    if (expected != STATUS_OK)
        assert_true(strlen(answer->message) > 0);
}

/* Asks and compares the status; the reply stays in f->answer. */
#define EXPECT(f, device, expected, type, constant, set)         \
    do {                                                         \
        answer_clear(&(f)->answer);                              \
        ASK((device), &(f)->answer, #type, type, constant, set); \
        expect_status(&(f)->answer, (expected), #type);          \
    } while (0)

/* The same with the device's next request number. */
#define ACT(f, device, expected, type, constant, set) \
    EXPECT(f, device, expected, type, constant, (r.request = ++(device)->request, (set)))

#define REPLY(f, type) ((const Jackdaw__##type##Reply *)(f)->answer.reply)
#define TEXT(text) ((char *)(text))

static char *repeat(char *buffer, char letter, size_t count)
{
    memset(buffer, letter, count);
    buffer[count] = '\0';
    return buffer;
}

TEST(test_info__needs_no_session_and_tells_the_limits)
{
    struct fixture f;
    begin_with(&f,
               (const char *[]){"--max_sessions=3", "--history=7", "--rate_limit=500",
                                "--max_message_bytes=1000", "--advertise_host=chat.example", NULL});
    struct device nobody;
    device_open(&nobody, f.live);
    EXPECT(&f, &nobody, STATUS_OK, Info, INFO, (r.client = TEXT("test \x1b[2J \xff")));
    const Jackdaw__InfoReply *reply = REPLY(&f, Info);
    assert_true(reply->master);
    assert_int_equal(reply->server_id, 1);
    assert_int_equal(reply->limits->sessions_per_account, 3);
    assert_int_equal(reply->limits->history_on_join, 7);
    assert_int_equal(reply->limits->requests_per_second, 500);
    assert_int_equal(reply->limits->message_bytes, 1000);
    assert_int_equal(reply->limits->page_events, CHAT_PAGE_EVENTS);
    assert_int_equal(reply->n_servers, 1);
    char expected[64];
    (void)snprintf(expected, sizeof expected, "chat.example:%u",
                   (unsigned)live_server_address(f.live)->port);
    assert_string_equal(reply->servers[0], expected);
    assert_true(reply->position->seq >= 5);
    device_close(&nobody);
    end(&f);
}

TEST(test_info__every_interface_is_told_as_this_machines_own)
{
    char *folder = folder_new();
    struct live_server *live =
        live_server_start(folder, (const char *[]){"--client_address=0.0.0.0:0", NULL});
    struct device device;
    struct answer answer;
    device_open(&device, live);
    ASK(&device, &answer, "Info", Info, INFO, (r.client = TEXT("")));
    const Jackdaw__InfoReply *reply = (const Jackdaw__InfoReply *)answer.reply;
    assert_int_equal(reply->n_servers, 1);
    struct address told;
    assert_int_equal(address_parse(reply->servers[0], &told, NULL), OK);
    assert_string_not_equal(told.host, "");
    assert_string_not_equal(told.host, "0.0.0.0");
    assert_int_equal(told.port, live_server_address(live)->port);
    answer_clear(&answer);
    device_close(&device);
    live_server_stop(live);
    folder_remove(folder);
}

static bool needs_session(const char *method)
{
    return strcmp(method, "Info") != 0 && strcmp(method, "RegisterAccount") != 0 &&
           strcmp(method, "Login") != 0;
}

static void expect_unauthenticated(struct fixture *f, struct device *device, unsigned method)
{
    const ProtobufCMethodDescriptor *called = &jackdaw__chat__descriptor.methods[method];
    ProtobufCMessage *request = test_calloc(1, called->input->sizeof_message);
    called->input->message_init(request);
    answer_clear(&f->answer);
    ask(device, &f->answer, called->name, request);
    test_free(request);
    assert_int_equal(f->answer.status, STATUS_UNAUTHENTICATED);
    assert_int_equal(f->answer.retry_ms, 0);
}

TEST_F(test_every_call__without_a_valid_token)
{
    struct device nobody;
    device_open(&nobody, f->live);
    for (unsigned i = 0; i < jackdaw__chat__descriptor.n_methods; i++) {
        if (!needs_session(jackdaw__chat__descriptor.methods[i].name))
            continue;
        nobody.token_size = 0;
        expect_unauthenticated(f, &nobody, i);
        nobody.token_size = CHAT_TOKEN_BYTES; /* zeros */
        expect_unauthenticated(f, &nobody, i);
        memcpy(nobody.token, f->ann.token, sizeof nobody.token);
        nobody.token_size = CHAT_TOKEN_BYTES - 1;
        expect_unauthenticated(f, &nobody, i);
        nobody.token_size = CHAT_TOKEN_BYTES;
        nobody.token[31] ^= 1;
        expect_unauthenticated(f, &nobody, i);
        memset(nobody.token, 0, sizeof nobody.token);
    }
    device_close(&nobody);
}

static void expect_register(struct fixture *f, enum status expected, const char *name,
                            const char *password, uint8_t nonce_byte, size_t nonce_size)
{
    uint8_t nonce[64];
    memset(nonce, nonce_byte, sizeof nonce);
    answer_clear(&f->answer);
    ASK(&f->ann, &f->answer, "RegisterAccount", Register, REGISTER,
        (r.name = TEXT(name), r.password = TEXT(password), r.nonce.data = nonce,
         r.nonce.len = nonce_size));
    expect_status(&f->answer, expected, "RegisterAccount");
}

TEST_F(test_register)
{
    char long_text[300];
    expect_register(f, STATUS_OK, "Zoë", "pw", 1, 16);
    assert_string_equal(REPLY(f, Register)->name, "Zoë");
    /* The same request again, then the name by others. */
    expect_register(f, STATUS_OK, "Zoë", "pw", 1, 16);
    assert_string_equal(REPLY(f, Register)->name, "Zoë");
    expect_register(f, STATUS_OK, "ZOË", "pw", 1, 16);
    assert_string_equal(REPLY(f, Register)->name, "Zoë"); /* as it is shown */
    expect_register(f, STATUS_ALREADY_EXISTS, "Zoë", "pw", 2, 16);
    expect_register(f, STATUS_ALREADY_EXISTS, "zoË", "pw", 2, 16);
    expect_register(f, STATUS_INVALID_ARGUMENT, "", "pw", 3, 16);
    expect_register(f, STATUS_OK, repeat(long_text, 'a', 32), "pw", 4, 16);
    expect_register(f, STATUS_INVALID_ARGUMENT, repeat(long_text, 'a', 33), "pw", 5, 16);
    expect_register(f, STATUS_INVALID_ARGUMENT, "two words", "pw", 6, 16);
    expect_register(f, STATUS_INVALID_ARGUMENT, "bad\xff", "pw", 7, 16);
    expect_register(f, STATUS_INVALID_ARGUMENT, "cy", "", 8, 16);
    expect_register(f, STATUS_OK, "cy", repeat(long_text, 'p', 256), 9, 16);
    expect_register(f, STATUS_INVALID_ARGUMENT, "dee", repeat(long_text, 'p', 257), 10, 16);
    expect_register(f, STATUS_INVALID_ARGUMENT, "dee", "pw", 11, 15);
    expect_register(f, STATUS_INVALID_ARGUMENT, "dee", "pw", 12, 17);
    restart(f);
    expect_register(f, STATUS_OK, "Zoë", "pw", 1, 16);
    expect_register(f, STATUS_ALREADY_EXISTS, "Zoë", "pw", 2, 16);
}

TEST_F(test_register__one_name_by_many_at_once)
{
    enum { MANY = 20 };
    struct answer answers[MANY];
    uint8_t nonces[MANY][16];
    for (size_t i = 0; i < MANY; i++) {
        answers[i] = (struct answer){.context = NULL};
        memset(nonces[i], (int)i / 2, 16); /* each twice */
        Jackdaw__RegisterRequest request = JACKDAW__REGISTER_REQUEST__INIT;
        request.name = TEXT("contended");
        request.password = TEXT("pw");
        request.nonce.data = nonces[i];
        request.nonce.len = 16;
        ask_start(&f->ann, &answers[i], "RegisterAccount", &request.base, 0);
    }
    size_t registered = 0;
    for (size_t i = 0; i < MANY; i++) {
        answer_wait(&f->ann, &answers[i]);
        registered += answers[i].status == STATUS_OK;
        if (answers[i].status != STATUS_OK)
            assert_int_equal(answers[i].status, STATUS_ALREADY_EXISTS);
        answer_clear(&answers[i]);
    }
    assert_int_equal(registered, 2); /* one request and its retry */
}

static void expect_login(struct fixture *f, struct device *device, enum status expected,
                         const char *name, const char *password)
{
    EXPECT(f, device, expected, Login, LOGIN,
           (r.name = TEXT(name), r.password = TEXT(password), r.token.data = device->token,
            r.token.len = CHAT_TOKEN_BYTES, r.device = TEXT("phone")));
}

TEST_F(test_login__refusals)
{
    struct device device;
    device_open(&device, f->live);
    memset(device.token, 7, sizeof device.token);
    expect_login(f, &device, STATUS_UNAUTHENTICATED, "ann", "wrong");
    expect_login(f, &device, STATUS_UNAUTHENTICATED, "ann", "");
    expect_login(f, &device, STATUS_UNAUTHENTICATED, "nobody", DEVICE_PASSWORD);
    expect_login(f, &device, STATUS_UNAUTHENTICATED, "", DEVICE_PASSWORD);
    expect_login(f, &device, STATUS_UNAUTHENTICATED, "\xff\xfe", DEVICE_PASSWORD);
    memcpy(device.token, f->ann.token, sizeof device.token);
    expect_login(f, &device, STATUS_INVALID_ARGUMENT, "bob", DEVICE_PASSWORD);
    char name[100];
    EXPECT(f, &device, STATUS_INVALID_ARGUMENT, Login, LOGIN,
           (r.name = TEXT("ann"), r.password = TEXT(DEVICE_PASSWORD), r.token.data = device.token,
            r.token.len = 31));
    EXPECT(f, &device, STATUS_INVALID_ARGUMENT, Login, LOGIN,
           (r.name = TEXT("ann"), r.password = TEXT(DEVICE_PASSWORD), r.token.data = device.token,
            r.token.len = 32, r.device = repeat(name, 'd', 65)));
    device_close(&device);
}

TEST_F(test_login__same_token_same_session)
{
    uint64_t session = f->ann.session;
    for (int i = 0; i < 3; i++) {
        expect_login(f, &f->ann, STATUS_OK, i == 1 ? "ANN" : "ann", DEVICE_PASSWORD);
        assert_int_equal(REPLY(f, Login)->session, session);
        assert_int_equal(REPLY(f, Login)->sessions, 1);
        assert_string_equal(REPLY(f, Login)->name, "ann");
        if (i == 1)
            restart(f);
    }
    expect_login(f, &f->ann, STATUS_UNAUTHENTICATED, "ann", "wrong"); /* the token is no password */
}

TEST_F(test_login__third_device_is_refused)
{
    struct device second;
    struct device third;
    device_open(&second, f->live);
    device_open(&third, f->live);
    assert_int_equal(device_login(&second, "ann"), STATUS_OK);
    assert_int_equal(device_login(&third, "ann"), STATUS_RESOURCE_EXHAUSTED);
    EXPECT(f, &second, STATUS_OK, Logout, LOGOUT, (r.request = 1));
    assert_int_equal(device_login(&third, "ann"), STATUS_OK);
    EXPECT(f, &second, STATUS_UNAUTHENTICATED, Heartbeat, HEARTBEAT, (r.after = NULL));
    device_close(&second);
    device_close(&third);
}

TEST_F(test_logout)
{
    EXPECT(f, &f->ann, STATUS_INVALID_ARGUMENT, Logout, LOGOUT, (r.request = 0));
    EXPECT(f, &f->ann, STATUS_ABORTED, Logout, LOGOUT, (r.request = 2));
    assert_int_not_equal(f->answer.retry_ms, 0);
    assert_int_equal(device_join(&f->ann, "lobby"), STATUS_OK);
    /* A number that was another call's: nothing was logged out, and it must not seem so. */
    EXPECT(f, &f->ann, STATUS_INVALID_ARGUMENT, Logout, LOGOUT, (r.request = 1));
    EXPECT(f, &f->ann, STATUS_OK, Heartbeat, HEARTBEAT, (r.after = NULL));
    EXPECT(f, &f->ann, STATUS_OK, Logout, LOGOUT, (r.request = 2));
    EXPECT(f, &f->ann, STATUS_UNAUTHENTICATED, Logout, LOGOUT, (r.request = 2));
}

static void expect_delete(struct fixture *f, struct device *device, enum status expected,
                          uint64_t request, const char *password)
{
    EXPECT(f, device, expected, DeleteAccount, DELETE_ACCOUNT,
           (r.request = request, r.password = TEXT(password)));
}

TEST_F(test_delete_account__refusals)
{
    struct device second;
    device_open(&second, f->live);
    assert_int_equal(device_login(&second, "ann"), STATUS_OK);
    expect_delete(f, &f->ann, STATUS_INVALID_ARGUMENT, 0, DEVICE_PASSWORD);
    expect_delete(f, &f->ann, STATUS_ABORTED, 7, DEVICE_PASSWORD);
    expect_delete(f, &f->ann, STATUS_FAILED_PRECONDITION, 1, DEVICE_PASSWORD);
    EXPECT(f, &second, STATUS_OK, Logout, LOGOUT, (r.request = 1));
    /* The outcome of request 1 is remembered, whatever happened meanwhile. */
    expect_delete(f, &f->ann, STATUS_FAILED_PRECONDITION, 1, DEVICE_PASSWORD);
    expect_delete(f, &f->ann, STATUS_PERMISSION_DENIED, 2, "wrong");
    expect_delete(f, &f->ann, STATUS_PERMISSION_DENIED, 2, DEVICE_PASSWORD);
    f->ann.request = 2;
    assert_int_equal(device_join(&f->ann, "lobby"), STATUS_OK);
    /* A number that was another call's and went well: not deleted, and the server lives. */
    expect_delete(f, &f->ann, STATUS_INVALID_ARGUMENT, 3, DEVICE_PASSWORD);
    expect_delete(f, &f->ann, STATUS_OK, 4, DEVICE_PASSWORD);
    expect_delete(f, &f->ann, STATUS_UNAUTHENTICATED, 4, DEVICE_PASSWORD);
    device_close(&second);
}

/* Deletion takes a while (the password): a call with the same number overtakes it. */
static void delete_overtaken(const char *password)
{
    struct fixture f;
    begin(&f);
    assert_int_equal(device_join(&f.ann, "lobby"), STATUS_OK);
    struct answer deletion = {.context = NULL};
    struct answer sending = {.context = NULL};
    Jackdaw__DeleteAccountRequest delete_request = JACKDAW__DELETE_ACCOUNT_REQUEST__INIT;
    delete_request.request = 2;
    delete_request.password = TEXT(password);
    Jackdaw__SendRequest send_request = JACKDAW__SEND_REQUEST__INIT;
    send_request.request = 2;
    send_request.to = TEXT("lobby");
    send_request.text = TEXT("still here");
    ask_start(&f.ann, &deletion, "DeleteAccount", &delete_request.base, 0);
    ask_start(&f.ann, &sending, "Send", &send_request.base, 0);
    answer_wait(&f.ann, &deletion);
    answer_wait(&f.ann, &sending);
    assert_int_equal(sending.status, STATUS_OK);
    assert_int_equal(deletion.status, STATUS_INVALID_ARGUMENT);
    EXPECT(&f, &f.ann, STATUS_OK, Heartbeat, HEARTBEAT, (r.after = NULL));
    answer_clear(&deletion);
    answer_clear(&sending);
    end(&f);
}

TEST(test_delete_account__number_taken_meanwhile)
{
    delete_overtaken(DEVICE_PASSWORD);
    delete_overtaken("wrong");
}

TEST_F(test_delete_account__twice_at_once)
{
    struct answer answers[2] = {{.context = NULL}, {.context = NULL}};
    Jackdaw__DeleteAccountRequest request = JACKDAW__DELETE_ACCOUNT_REQUEST__INIT;
    request.request = 1;
    request.password = TEXT(DEVICE_PASSWORD);
    for (int i = 0; i < 2; i++)
        ask_start(&f->ann, &answers[i], "DeleteAccount", &request.base, 0);
    for (int i = 0; i < 2; i++)
        answer_wait(&f->ann, &answers[i]);
    assert_int_equal(answers[0].status, STATUS_OK);
    assert_int_equal(answers[1].status, STATUS_UNAUTHENTICATED);
    answer_clear(&answers[0]);
    answer_clear(&answers[1]);
}

TEST_F(test_delete_account__hands_over_what_was_undelivered)
{
    assert_int_equal(device_join(&f->ann, "lobby"), STATUS_OK);
    assert_int_equal(device_join(&f->bob, "lobby"), STATUS_OK);
    assert_int_equal(device_send(&f->bob, "lobby", "known"), STATUS_OK);
    EXPECT(f, &f->ann, STATUS_OK, Heartbeat, HEARTBEAT, (r.after = NULL));
    Jackdaw__Position known = *REPLY(f, Heartbeat)->position;
    EXPECT(f, &f->ann, STATUS_OK, Heartbeat, HEARTBEAT, (r.after = &known));
    assert_int_equal(REPLY(f, Heartbeat)->n_undelivered, 0);
    char text[20];
    for (int i = 0; i < 300; i++) {
        (void)snprintf(text, sizeof text, "%d", i);
        assert_int_equal(device_send(&f->bob, i < 299 ? "lobby" : "@ann", text), STATUS_OK);
    }
    expect_delete(f, &f->ann, STATUS_OK, f->ann.request + 1, DEVICE_PASSWORD);
    const Jackdaw__DeleteAccountReply *reply = REPLY(f, DeleteAccount);
    assert_int_equal(reply->undelivered_total, 300);
    assert_int_equal(reply->n_undelivered, CHAT_PAGE_EVENTS); /* the oldest */
    for (size_t i = 0; i < reply->n_undelivered; i++) {
        assert_int_equal(reply->undelivered[i]->kind, JACKDAW__EVENT__KIND__MESSAGE);
        assert_int_equal(strtoul(reply->undelivered[i]->text, NULL, 10), i);
        assert_string_equal(reply->undelivered[i]->from, "bob");
    }
    /* The name is free again, for somebody without these messages. */
    struct device other;
    device_open(&other, f->live);
    assert_int_equal(device_register(&other, "ann"), STATUS_OK);
    assert_int_equal(device_login(&other, "ann"), STATUS_OK);
    EXPECT(f, &other, STATUS_OK, Heartbeat, HEARTBEAT, (r.after = NULL));
    assert_int_equal(REPLY(f, Heartbeat)->n_undelivered, 0);
    device_close(&other);
}

TEST_F(test_list_accounts)
{
    EXPECT(f, &f->ann, STATUS_OK, ListAccounts, LIST_ACCOUNTS, (r.limit = 0));
    assert_int_equal(REPLY(f, ListAccounts)->n_accounts, 2);
    assert_string_equal(REPLY(f, ListAccounts)->accounts[0]->name, "ann");
    assert_true(REPLY(f, ListAccounts)->accounts[0]->online);
    EXPECT(f, &f->ann, STATUS_OK, ListAccounts, LIST_ACCOUNTS, (r.limit = 1));
    assert_int_equal(REPLY(f, ListAccounts)->n_accounts, 1);
    assert_true(REPLY(f, ListAccounts)->more);
    EXPECT(f, &f->ann, STATUS_OK, ListAccounts, LIST_ACCOUNTS,
           (r.after = TEXT("ann"), r.pattern = TEXT("?O*")));
    assert_int_equal(REPLY(f, ListAccounts)->n_accounts, 1);
    assert_string_equal(REPLY(f, ListAccounts)->accounts[0]->name, "bob");
    EXPECT(f, &f->ann, STATUS_INVALID_ARGUMENT, ListAccounts, LIST_ACCOUNTS, (r.limit = 1001));
}

TEST_F(test_heartbeat__counts_what_is_undelivered)
{
    assert_int_equal(device_join(&f->ann, "lobby"), STATUS_OK);
    assert_int_equal(device_join(&f->bob, "lobby"), STATUS_OK);
    for (int i = 0; i < 3; i++)
        assert_int_equal(device_send(&f->ann, "lobby", "x"), STATUS_OK);
    assert_int_equal(device_send(&f->ann, "@bob", "psst"), STATUS_OK);
    EXPECT(f, &f->bob, STATUS_OK, Heartbeat, HEARTBEAT, (r.after = NULL));
    const Jackdaw__HeartbeatReply *reply = REPLY(f, Heartbeat);
    assert_int_equal(reply->n_undelivered, 2);
    uint64_t total = reply->undelivered[0]->messages + reply->undelivered[1]->messages;
    assert_int_equal(total, 4);
    Jackdaw__Position after = *reply->position;
    /* A position of another log, or of the future, does not count. */
    Jackdaw__Position strange = after;
    strange.epoch += 65536;
    EXPECT(f, &f->bob, STATUS_OK, Heartbeat, HEARTBEAT, (r.after = &strange));
    assert_int_equal(REPLY(f, Heartbeat)->n_undelivered, 2);
    EXPECT(f, &f->bob, STATUS_OK, Heartbeat, HEARTBEAT, (r.after = &after));
    assert_int_equal(REPLY(f, Heartbeat)->n_undelivered, 0);
    restart(f);
    expect_login(f, &f->bob, STATUS_OK, "bob", DEVICE_PASSWORD);
    assert_in_range(REPLY(f, Login)->n_undelivered, 0, 2); /* written now and then, and on logout */
}

TEST_F(test_join_room)
{
    ACT(f, &f->ann, STATUS_OK, JoinRoom, JOIN_ROOM, (r.room = TEXT("#Lobby")));
    const Jackdaw__JoinRoomReply *reply = REPLY(f, JoinRoom);
    assert_string_equal(reply->room, "Lobby");
    assert_true(reply->created);
    assert_string_equal(reply->owner, "ann");
    assert_int_equal(reply->members, 1);
    assert_int_equal(reply->n_history, 0);
    char text[16];
    for (int i = 1; i <= 15; i++) {
        (void)snprintf(text, sizeof text, "%d", i);
        assert_int_equal(device_send(&f->ann, "lobby", text), STATUS_OK);
    }
    ACT(f, &f->bob, STATUS_OK, JoinRoom, JOIN_ROOM, (r.room = TEXT("lobby")));
    reply = REPLY(f, JoinRoom);
    assert_false(reply->created);
    assert_int_equal(reply->members, 2);
    assert_int_equal(reply->last_number, 15);
    assert_int_equal(reply->n_history, 10);
    for (size_t i = 0; i < 10; i++)
        assert_int_equal(reply->history[i]->number, 6 + i);
    /* The same request again has the same history: what was sent since comes as an event. */
    assert_int_equal(device_send(&f->ann, "lobby", "16"), STATUS_OK);
    EXPECT(f, &f->bob, STATUS_OK, JoinRoom, JOIN_ROOM,
           (r.request = f->bob.request, r.room = TEXT("lobby")));
    reply = REPLY(f, JoinRoom);
    assert_int_equal(reply->n_history, 10);
    assert_int_equal(reply->history[9]->number, 15);
    ACT(f, &f->bob, STATUS_OK, JoinRoom, JOIN_ROOM, (r.room = TEXT("lobby"))); /* in it already */
    ACT(f, &f->bob, STATUS_INVALID_ARGUMENT, JoinRoom, JOIN_ROOM, (r.room = TEXT("@ann")));
    ACT(f, &f->bob, STATUS_INVALID_ARGUMENT, JoinRoom, JOIN_ROOM, (r.room = TEXT("")));
    ACT(f, &f->bob, STATUS_INVALID_ARGUMENT, JoinRoom, JOIN_ROOM, (r.room = TEXT("\xc3\x28")));
}

/* The first answer again, also for one who has left since: it was OK. */
TEST_F(test_join_room__again_after_leaving)
{
    assert_int_equal(device_join(&f->bob, "lobby"), STATUS_OK);
    assert_int_equal(device_send(&f->bob, "lobby", "secret"), STATUS_OK);
    assert_int_equal(device_join(&f->ann, "lobby"), STATUS_OK);
    uint64_t request = f->ann.request;
    assert_int_equal(device_leave(&f->ann, "lobby"), STATUS_OK);
    EXPECT(f, &f->ann, STATUS_OK, JoinRoom, JOIN_ROOM,
           (r.request = request, r.room = TEXT("lobby")));
    assert_string_equal(REPLY(f, JoinRoom)->room, "lobby");
    assert_int_equal(REPLY(f, JoinRoom)->n_history, 0);
    /* Both at once: the join's history is read when the caller has left already. */
    struct answer joining = {.context = NULL};
    struct answer leaving = {.context = NULL};
    Jackdaw__JoinRoomRequest join = JACKDAW__JOIN_ROOM_REQUEST__INIT;
    join.request = ++f->ann.request;
    join.room = TEXT("lobby");
    Jackdaw__LeaveRoomRequest leave = JACKDAW__LEAVE_ROOM_REQUEST__INIT;
    leave.request = ++f->ann.request;
    leave.room = TEXT("lobby");
    ask_start(&f->ann, &joining, "JoinRoom", &join.base, 0);
    ask_start(&f->ann, &leaving, "LeaveRoom", &leave.base, 0);
    answer_wait(&f->ann, &joining);
    answer_wait(&f->ann, &leaving);
    assert_int_equal(joining.status, STATUS_OK);
    assert_int_equal(leaving.status, STATUS_OK);
    answer_clear(&joining);
    answer_clear(&leaving);
}

TEST_F(test_private_room__invite_kick_ban)
{
    ACT(f, &f->ann, STATUS_OK, JoinRoom, JOIN_ROOM, (r.room = TEXT("vault"), r.private_ = true));
    assert_true(REPLY(f, JoinRoom)->private_);
    assert_int_equal(device_join(&f->bob, "vault"), STATUS_PERMISSION_DENIED);
    EXPECT(f, &f->bob, STATUS_OK, ListRooms, LIST_ROOMS, (r.limit = 0));
    assert_int_equal(REPLY(f, ListRooms)->n_rooms, 0);
    EXPECT(f, &f->bob, STATUS_NOT_FOUND, ListMembers, LIST_MEMBERS, (r.room = TEXT("vault")));
    ACT(f, &f->bob, STATUS_NOT_FOUND, Invite, INVITE,
        (r.room = TEXT("vault"), r.name = TEXT("bob")));
    ACT(f, &f->ann, STATUS_NOT_FOUND, Invite, INVITE,
        (r.room = TEXT("vault"), r.name = TEXT("nobody")));
    ACT(f, &f->ann, STATUS_OK, Invite, INVITE, (r.room = TEXT("vault"), r.name = TEXT("bob")));
    assert_int_equal(device_join(&f->bob, "vault"), STATUS_OK);
    ACT(f, &f->ann, STATUS_ALREADY_EXISTS, Invite, INVITE,
        (r.room = TEXT("vault"), r.name = TEXT("bob")));
    ACT(f, &f->bob, STATUS_PERMISSION_DENIED, Kick, KICK,
        (r.room = TEXT("vault"), r.name = TEXT("ann")));
    ACT(f, &f->ann, STATUS_INVALID_ARGUMENT, Kick, KICK,
        (r.room = TEXT("vault"), r.name = TEXT("ann")));
    ACT(f, &f->ann, STATUS_OK, Kick, KICK,
        (r.room = TEXT("vault"), r.name = TEXT("bob"), r.ban = true));
    assert_int_equal(device_join(&f->bob, "vault"), STATUS_PERMISSION_DENIED);
    ACT(f, &f->ann, STATUS_NOT_FOUND, Kick, KICK, (r.room = TEXT("vault"), r.name = TEXT("bob")));
}

TEST_F(test_leave_topic_list)
{
    char topic[300];
    assert_int_equal(device_leave(&f->ann, "lobby"), STATUS_NOT_FOUND);
    assert_int_equal(device_join(&f->ann, "lobby"), STATUS_OK);
    assert_int_equal(device_leave(&f->bob, "lobby"), STATUS_PERMISSION_DENIED);
    ACT(f, &f->bob, STATUS_PERMISSION_DENIED, SetTopic, SET_TOPIC,
        (r.room = TEXT("lobby"), r.topic = TEXT("mine")));
    ACT(f, &f->ann, STATUS_OK, SetTopic, SET_TOPIC,
        (r.room = TEXT("lobby"), r.topic = repeat(topic, 't', 256)));
    ACT(f, &f->ann, STATUS_INVALID_ARGUMENT, SetTopic, SET_TOPIC,
        (r.room = TEXT("lobby"), r.topic = repeat(topic, 't', 257)));
    EXPECT(f, &f->bob, STATUS_OK, ListRooms, LIST_ROOMS, (r.pattern = TEXT("LOB*")));
    assert_int_equal(REPLY(f, ListRooms)->n_rooms, 1);
    assert_int_equal(strlen(REPLY(f, ListRooms)->rooms[0]->topic), 256);
    assert_false(REPLY(f, ListRooms)->rooms[0]->joined);
    EXPECT(f, &f->bob, STATUS_OK, ListRooms, LIST_ROOMS, (r.joined = true));
    assert_int_equal(REPLY(f, ListRooms)->n_rooms, 0);
    EXPECT(f, &f->ann, STATUS_OK, ListMembers, LIST_MEMBERS, (r.room = TEXT("lobby")));
    assert_int_equal(REPLY(f, ListMembers)->n_members, 1);
    assert_true(REPLY(f, ListMembers)->members[0]->owner);
    EXPECT(f, &f->ann, STATUS_INVALID_ARGUMENT, ListMembers, LIST_MEMBERS,
           (r.room = TEXT("lobby"), r.limit = 5000));
    EXPECT(f, &f->ann, STATUS_NOT_FOUND, ListMembers, LIST_MEMBERS, (r.room = TEXT("nowhere")));
    assert_int_equal(device_leave(&f->ann, "lobby"), STATUS_OK);
}

TEST_F(test_send__limits_from_both_sides)
{
    char *text = test_malloc(400000);
    assert_int_equal(device_join(&f->ann, "lobby"), STATUS_OK);
    assert_int_equal(device_send(&f->ann, "lobby", ""), STATUS_INVALID_ARGUMENT);
    assert_int_equal(device_send(&f->ann, "lobby", "x"), STATUS_OK);
    assert_int_equal(device_send(&f->ann, "lobby", repeat(text, 'x', 16384)), STATUS_OK);
    assert_int_equal(device_send(&f->ann, "lobby", repeat(text, 'x', 16385)),
                     STATUS_INVALID_ARGUMENT);
    assert_int_equal(device_send(&f->ann, "lobby", repeat(text, 'x', 200000)),
                     STATUS_INVALID_ARGUMENT);
    assert_int_equal(device_send(&f->ann, "lobby", repeat(text, 'x', 300000)),
                     STATUS_INVALID_ARGUMENT); /* over a frame: the channel says it */
    f->ann.request--;
    assert_int_equal(device_send(&f->ann, "lobby", "on"), STATUS_OK);
    test_free(text);
}

TEST(test_send__largest_message_that_can_be_allowed)
{
    struct fixture f;
    begin_with(&f, (const char *[]){"--max_message_bytes=131072", NULL});
    char *text = test_malloc(140000);
    assert_int_equal(device_join(&f.ann, "lobby"), STATUS_OK);
    for (int i = 0; i < 12; i++)
        assert_int_equal(device_send(&f.ann, "lobby", repeat(text, 'x', 131072)), STATUS_OK);
    assert_int_equal(device_send(&f.ann, "lobby", repeat(text, 'x', 131073)),
                     STATUS_INVALID_ARGUMENT);
    EXPECT(&f, &f.ann, STATUS_OK, History, HISTORY, (r.room = TEXT("lobby"), r.limit = 256));
    assert_in_range(REPLY(&f, History)->n_events, 1, 11);
    assert_true(REPLY(&f, History)->more);
    ACT(&f, &f.bob, STATUS_OK, JoinRoom, JOIN_ROOM, (r.room = TEXT("lobby")));
    assert_in_range(REPLY(&f, JoinRoom)->n_history, 1, 10);
    test_free(text);
    end(&f);
}

TEST_F(test_send__where_it_goes)
{
    assert_int_equal(device_send(&f->ann, "nowhere", "x"), STATUS_NOT_FOUND);
    assert_int_equal(device_send(&f->ann, "@nobody", "x"), STATUS_NOT_FOUND);
    assert_int_equal(device_send(&f->ann, "", "x"), STATUS_INVALID_ARGUMENT);
    assert_int_equal(device_join(&f->bob, "lobby"), STATUS_OK);
    assert_int_equal(device_send(&f->ann, "lobby", "x"), STATUS_PERMISSION_DENIED);
    ACT(f, &f->ann, STATUS_OK, Send, SEND, (r.to = TEXT("@BOB"), r.text = TEXT("psst")));
    assert_string_equal(REPLY(f, Send)->room, "@bob");
    assert_int_equal(REPLY(f, Send)->number, 1);
    assert_int_not_equal(REPLY(f, Send)->position->seq, 0);
    assert_int_not_equal(REPLY(f, Send)->position->epoch, 0);
    assert_int_not_equal(REPLY(f, Send)->time_ms, 0);
    assert_int_equal(device_send(&f->ann, "@ann", "note to self"), STATUS_OK);
}

TEST_F(test_request_numbers__each_is_carried_out_once)
{
    assert_int_equal(device_send(&f->ann, "lobby", "x"), STATUS_NOT_FOUND); /* request 1 */
    assert_int_equal(device_join(&f->ann, "lobby"), STATUS_OK);
    uint64_t number = 0;
    uint64_t seq = 0;
    uint64_t time_ms = 0;
    for (int i = 0; i < 4; i++) {
        EXPECT(f, &f->ann, STATUS_OK, Send, SEND,
               (r.request = 3, r.to = TEXT("lobby"), r.text = TEXT("once")));
        const Jackdaw__SendReply *reply = REPLY(f, Send);
        assert_int_equal(reply->number, 1);
        if (i > 0) {
            assert_int_equal(reply->number, number);
            assert_int_equal(reply->position->seq, seq);
            assert_int_equal(reply->time_ms, time_ms);
        }
        number = reply->number;
        seq = reply->position->seq;
        time_ms = reply->time_ms;
        /* A refusal stays one, though the room is there by now. */
        EXPECT(f, &f->ann, STATUS_NOT_FOUND, Send, SEND,
               (r.request = 1, r.to = TEXT("lobby"), r.text = TEXT("x")));
        EXPECT(f, &f->ann, STATUS_OK, JoinRoom, JOIN_ROOM, (r.request = 2, r.room = TEXT("lobby")));
        assert_true(REPLY(f, JoinRoom)->created);
        EXPECT(f, &f->ann, STATUS_ABORTED, Send, SEND,
               (r.request = 5, r.to = TEXT("lobby"), r.text = TEXT("too early")));
        assert_int_not_equal(f->answer.retry_ms, 0);
        EXPECT(f, &f->ann, STATUS_INVALID_ARGUMENT, Send, SEND,
               (r.request = 0, r.to = TEXT("lobby"), r.text = TEXT("no number")));
        if (i % 2 == 1)
            restart(f);
    }
    EXPECT(f, &f->ann, STATUS_OK, History, HISTORY, (r.room = TEXT("lobby")));
    assert_int_equal(REPLY(f, History)->n_events, 1);
}

TEST_F(test_request_numbers__window_of_outcomes)
{
    assert_int_equal(device_join(&f->ann, "lobby"), STATUS_OK);
    for (int i = 0; i < 256; i++)
        assert_int_equal(device_send(&f->ann, "lobby", "x"), STATUS_OK);
    /* 257 requests: the first one's outcome is forgotten, the second one's is not. */
    for (int i = 0; i < 2; i++) {
        EXPECT(f, &f->ann, STATUS_OUT_OF_RANGE, JoinRoom, JOIN_ROOM,
               (r.request = 1, r.room = TEXT("lobby")));
        assert_int_equal(f->answer.retry_ms, 0);
        EXPECT(f, &f->ann, STATUS_OK, Send, SEND,
               (r.request = 2, r.to = TEXT("lobby"), r.text = TEXT("x")));
        assert_int_equal(REPLY(f, Send)->number, 1);
        restart(f);
    }
}

TEST_F(test_history)
{
    assert_int_equal(device_join(&f->ann, "lobby"), STATUS_OK);
    for (int i = 0; i < 30; i++)
        assert_int_equal(device_send(&f->ann, "lobby", "x"), STATUS_OK);
    EXPECT(f, &f->ann, STATUS_OK, History, HISTORY, (r.room = TEXT("lobby")));
    assert_int_equal(REPLY(f, History)->n_events, 10);
    assert_int_equal(REPLY(f, History)->events[0]->number, 21);
    assert_int_not_equal(REPLY(f, History)->events[0]->epoch, 0);
    assert_true(REPLY(f, History)->more);
    EXPECT(f, &f->ann, STATUS_OK, History, HISTORY,
           (r.room = TEXT("lobby"), r.before = 21, r.limit = 256));
    assert_int_equal(REPLY(f, History)->n_events, 20);
    assert_false(REPLY(f, History)->more);
    EXPECT(f, &f->ann, STATUS_OK, History, HISTORY, (r.room = TEXT("lobby"), r.before = 1));
    assert_int_equal(REPLY(f, History)->n_events, 0);
    EXPECT(f, &f->ann, STATUS_OK, History, HISTORY,
           (r.room = TEXT("lobby"), r.before = UINT64_MAX, r.limit = 1));
    assert_int_equal(REPLY(f, History)->events[0]->number, 30);
    EXPECT(f, &f->ann, STATUS_INVALID_ARGUMENT, History, HISTORY,
           (r.room = TEXT("lobby"), r.limit = 257));
    EXPECT(f, &f->bob, STATUS_PERMISSION_DENIED, History, HISTORY, (r.room = TEXT("lobby")));
    EXPECT(f, &f->bob, STATUS_NOT_FOUND, History, HISTORY, (r.room = TEXT("none")));
    EXPECT(f, &f->ann, STATUS_OK, History, HISTORY, (r.room = TEXT("@bob")));
    assert_int_equal(REPLY(f, History)->n_events, 0);
    EXPECT(f, &f->ann, STATUS_OK, SetTyping, SET_TYPING, (r.room = TEXT("lobby"), r.typing = true));
    EXPECT(f, &f->bob, STATUS_PERMISSION_DENIED, SetTyping, SET_TYPING,
           (r.room = TEXT("lobby"), r.typing = true));
}

/* Waits for the answers and returns the count of RESOURCE_EXHAUSTED. All other answers must have
 * other_status. */
static size_t count_refused(struct device *device, struct answer *answers, size_t count,
                            enum status other_status)
{
    size_t refused = 0;
    for (size_t i = 0; i < count; i++) {
        answer_wait(device, &answers[i]);
        if (answers[i].status == STATUS_RESOURCE_EXHAUSTED) {
            assert_int_not_equal(answers[i].retry_ms, 0);
            refused++;
        } else {
            assert_int_equal(answers[i].status, other_status);
        }
        answer_clear(&answers[i]);
    }
    return refused;
}

/* The server takes all requests of one frame at one time, so that the limit does not depend on the speed of the
 * machine. */
TEST(test_rate_limit)
{
    enum { MANY = 100 };
    struct fixture f;
    begin_with(&f, (const char *[]){"--rate_limit=5", NULL});
    struct answer *answers = test_calloc(MANY, sizeof *answers);
    Jackdaw__ListRoomsRequest request = JACKDAW__LIST_ROOMS_REQUEST__INIT;
    request.limit = 1;
    for (size_t i = 0; i < MANY; i++)
        ask_start(&f.ann, &answers[i], "ListRooms", &request.base, 0);
    answer_wait(&f.ann, &answers[MANY - 1]);
    assert_int_equal(answers[MANY - 1].status, STATUS_RESOURCE_EXHAUSTED);
    assert_in_range(answers[MANY - 1].retry_ms, 1, 200);
    size_t refused = count_refused(&f.ann, answers, MANY, STATUS_OK);
    assert_true(refused <= MANY - 10); /* twice the rate at once */
    test_free(answers);
    EXPECT(&f, &f.bob, STATUS_OK, ListRooms, LIST_ROOMS, (r.limit = 1));
    /* Not an outcome: the same number may be sent again. */
    do {
        answer_clear(&f.answer);
        ASK(&f.ann, &f.answer, "JoinRoom", JoinRoom, JOIN_ROOM,
            (r.request = 1, r.room = TEXT("lobby")));
    } while (f.answer.status == STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(f.answer.status, STATUS_OK);
    end(&f);
}

static size_t count_ended(const struct answer *answers, size_t count)
{
    size_t ended = 0;
    for (size_t i = 0; i < count; i++)
        ended += answers[i].ended;
    return ended;
}

/* More replies than a server buffers for one connection: the test must not wait for all of them. */
TEST_F(test_history__so_many_at_once)
{
    enum { MORE = 2, MANY = HISTORY_READS_MAX + MORE };
    struct answer *answers = test_calloc(MANY, sizeof *answers);
    assert_int_equal(device_join(&f->ann, "lobby"), STATUS_OK);
    live_server_hold_reader(f->live);
    Jackdaw__HistoryRequest request = JACKDAW__HISTORY_REQUEST__INIT;
    request.room = TEXT("lobby");
    for (size_t i = 0; i < MANY; i++)
        ask_start(&f->ann, &answers[i], "History", &request.base, 0);
    DEVICE_WAIT(&f->ann, count_ended(answers, MANY) == MORE);
    device_reopen(&f->ann, f->live);
    assert_int_equal(count_refused(&f->ann, answers, MANY, STATUS_CANCELLED), MORE);
    live_server_release(f->live);
    do {
        answer_clear(&f->answer);
        ASK(&f->ann, &f->answer, "History", History, HISTORY, (r.room = TEXT("lobby")));
    } while (f->answer.status == STATUS_RESOURCE_EXHAUSTED);
    assert_int_equal(f->answer.status, STATUS_OK);
    test_free(answers);
}

TEST(test_login__so_many_at_once)
{
    enum { MANY = 200, AT_ONCE = 64 };
    struct fixture f;
    begin_with(&f, (const char *[]){"--max_sessions=64", NULL});
    struct answer *answers = test_calloc(MANY, sizeof *answers);
    uint8_t tokens[MANY][CHAT_TOKEN_BYTES];
    for (size_t i = 0; i < MANY; i++) {
        randombytes_buf(tokens[i], sizeof tokens[i]);
        Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
        request.name = TEXT("ann");
        request.password = TEXT("wrong");
        request.token.data = tokens[i];
        request.token.len = CHAT_TOKEN_BYTES;
        ask_start(&f.ann, &answers[i], "Login", &request.base, 0);
    }
    size_t refused = count_refused(&f.ann, answers, MANY, STATUS_UNAUTHENTICATED);
    /* One frame: they all came before the first was done, and the frame is within its bound. */
    assert_int_equal(refused, MANY - AT_ONCE);
    assert_int_equal(device_login(&f.bob, "bob"), STATUS_OK);
    test_free(answers);
    end(&f);
}

TEST_PREPARE()
{
    log_configure(LOG_SILENT, LOG_TEXT);
    rpc_init();
    return 0;
}
