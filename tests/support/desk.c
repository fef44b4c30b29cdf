/* SPDX-License-Identifier: MIT */
#include "support/desk.h"

#include "base/clock.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define PATIENCE_MS 30000

/* ---- life ---- */

uint64_t desk_random(struct desk *desk)
{
    uint64_t z = (desk->random += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void fill_random(void *context, void *bytes, size_t size)
{
    for (size_t at = 0; at < size; at++)
        ((uint8_t *)bytes)[at] = (uint8_t)desk_random(context);
}

static void on_event(void *context, const struct chat_event *event)
{
    struct desk *desk = context;
    if (desk->event != NULL)
        desk->event(desk, event);
    mailroom_event(desk->mailroom, event);
}

static void on_session_ended(void *context, struct chat_session *session)
{
    struct desk *desk = context;
    if (desk->session_ended != NULL)
        desk->session_ended(desk, chat_session_id(session));
    mailroom_session_ended(desk->mailroom, session);
}

static void on_rolled_back(void *context, struct position position)
{
    struct desk *desk = context;
    desk->rollbacks++;
    if (desk->rolled_back != NULL)
        desk->rolled_back(desk);
    mailroom_rolled_back(desk->mailroom, position);
}

void desk_init(struct desk *desk, const char *folder)
{
    *desk = (struct desk){.folder = folder, .node_id = 1, .random = 1};
    desk->wall_ms = UINT64_C(1790000000000);
    desk->now_ms = 1000;
    chat_limits_default(&desk->limits);
    desk->limits.requests_per_second = 0;
}

static void check(enum error error, const struct error_text *why)
{
    if (error != OK)
        fail_msg("%s: %s", error_name(error), why->text);
}

static void open_store(struct desk *desk)
{
    struct error_text why = {.text = ""};
    check(store_open(&desk->store,
                     &(struct store_options){.folder = desk->folder, .node_id = desk->node_id},
                     &why),
          &why);
    if (desk->folder == NULL)
        return;
    check(store_open_reader(&desk->reader_store, desk->store, &why), &why);
    check(worker_start(&desk->reader), &why);
    if (desk->has_disk)
        check(worker_start(&desk->disk), &why);
}

/* A cluster of one, where others are not awaited: what is on the disk is committed. */

static void on_propose(void *context, const uint8_t *bytes, size_t size, uint64_t count)
{
    struct desk *desk = context;
    if (desk->refuses)
        return;
    uint64_t last = ledger_applied(desk->ledger).seq;
    struct ledger_entry entry = {
        .kind = LOG_CHAT,
        .first = {.epoch = desk->epoch, .seq = last - count + 1},
        .last_seq = last,
        .bytes = bytes,
        .size = size,
    };
    desk->written = ledger_append(desk->ledger, &entry);
}

static void on_durable(void *context, struct position position)
{
    struct desk *desk = context;
    if (!desk->is_awaited)
        ledger_commit(desk->ledger, position.seq);
}

static void on_failed(void *context, enum error error)
{
    struct desk *desk = context;
    desk->written = error;
    desk->failures++;
    if (desk->failed != NULL)
        desk->failed(desk);
}

enum error desk_commit(struct desk *desk)
{
    desk->written = OK;
    ledger_write(desk->ledger);
    while (!ledger_is_free(desk->ledger)) {
        task_queue_wait(desk->queue, 100);
        desk_run(desk);
    }
    return desk->written;
}

static void begin_reign(struct desk *desk)
{
    struct position last = ledger_applied(desk->ledger);
    ledger_commit(desk->ledger, last.seq);
    desk->epoch = ((last.epoch >> 16) + 1) << 16 | desk->node_id;
    static const uint8_t members[] = {1, 0};
    struct ledger_entry entry = {
        .kind = LOG_MEMBERS,
        .first = {.epoch = desk->epoch, .seq = last.seq + 1},
        .last_seq = last.seq + 1,
        .bytes = members,
        .size = sizeof members,
    };
    assert_int_equal(ledger_append(desk->ledger, &entry), OK);
    assert_true(ledger_catch_up(desk->ledger));
    assert_int_equal(desk_commit(desk), OK);
    ledger_set_reign(desk->ledger, desk->epoch);
}

void desk_open(struct desk *desk)
{
    struct error_text why = {.text = ""};
    check(task_queue_new(&desk->queue), &why);
    open_store(desk);
    struct ledger_options ledger_options = {
        .store = desk->store,
        .queue = desk->queue,
        .disk = desk->disk,
        .driver = {.context = desk,
                   .propose = on_propose,
                   .durable = on_durable,
                   .failed = on_failed,
                   .rolled_back = on_rolled_back},
    };
    check(ledger_new(&desk->ledger, &ledger_options), &why);
    struct mailroom_options options = {
        .ledger = desk->ledger,
        .store = desk->store,
        .reader_store = desk->reader_store,
        .reader = desk->reader,
        .queue = desk->queue,
    };
    check(mailroom_new(&desk->mailroom, &options), &why);
    struct chat_observer observer = {
        .context = desk, .event = on_event, .session_ended = on_session_ended};
    check(chat_open(&desk->chat, desk->store, &desk->limits, &observer, desk->now_ms, &why), &why);
    struct chat_random random = {.context = desk, .fill = fill_random};
    chat_set_random(desk->chat, &random);
    mailroom_attach(desk->mailroom, desk->chat);
    ledger_attach(desk->ledger, desk->chat);
    if (!desk->follows)
        begin_reign(desk);
    arena_init(&desk->arena, 4u * 1024u * 1024u);
}

void desk_close(struct desk *desk)
{
    worker_stop(desk->reader);
    desk_run(desk);
    (void)desk_commit(desk);
    worker_stop(desk->disk);
    desk_run(desk);
    mailroom_close_all(desk->mailroom, "the server is closing", NULL);
    ledger_free(desk->ledger);
    mailroom_free(desk->mailroom);
    chat_close(desk->chat);
    store_close(desk->reader_store);
    store_close(desk->store);
    task_queue_free(desk->queue);
    arena_clear(&desk->arena);
    desk->reader = NULL;
    desk->disk = NULL;
    desk->reader_store = NULL;
}

void desk_run(struct desk *desk)
{
    (void)task_queue_run(desk->queue, SIZE_MAX);
}

enum error desk_turn(struct desk *desk)
{
    desk_run(desk);
    enum error error = desk_commit(desk);
    mailroom_deliver(desk->mailroom);
    return error;
}

void desk_settle(struct desk *desk)
{
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    struct mailroom_figures before;
    struct mailroom_figures after;
    unsigned quiet = 0;
    mailroom_figures(desk->mailroom, &before);
    while (quiet < 3) {
        assert_true(clock_monotonic_ms() < until_ms);
        if (desk->reader != NULL && before.reading > 0)
            task_queue_wait(desk->queue, 100);
        (void)desk_turn(desk);
        mailroom_figures(desk->mailroom, &after);
        bool still = after.reading == 0 && after.pages_sent == before.pages_sent &&
                     after.store_reads == before.store_reads;
        quiet = still ? quiet + 1 : 0;
        before = after;
    }
}

/* ---- people ---- */

static struct chat_call begin(struct desk *desk, uint64_t session)
{
    arena_clear(&desk->arena);
    desk->error = OK;
    struct chat_call call = {
        .time_ms = desk->wall_ms, .monotonic_ms = desk->now_ms, .arena = &desk->arena};
    if (session != 0)
        call.session = chat_find_session(desk->chat, session);
    return call;
}

static bool propose(struct desk *desk, struct chat_call *call, enum chat_decision decision)
{
    if (decision != CHAT_PROPOSE)
        return false;
    desk->error = ledger_propose(desk->ledger, call->delta);
    return desk->error == OK;
}

bool desk_register(struct desk *desk, const char *name)
{
    struct chat_call call = begin(desk, 0);
    Jackdaw__RegisterRequest request = JACKDAW__REGISTER_REQUEST__INIT;
    uint8_t nonce[STORE_NONCE_BYTES];
    fill_random(desk, nonce, sizeof nonce);
    request.name = (char *)name;
    request.password = (char *)"secret";
    request.nonce.data = nonce;
    request.nonce.len = sizeof nonce;
    return propose(desk, &call, chat_propose_register(desk->chat, &call, &request, "no hash"));
}

uint64_t desk_login(struct desk *desk, const char *name)
{
    struct chat_call call = begin(desk, 0);
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    uint8_t token[CHAT_TOKEN_BYTES];
    fill_random(desk, token, sizeof token);
    request.name = (char *)name;
    request.password = (char *)"secret";
    request.token.data = token;
    request.token.len = sizeof token;
    const char *hash;
    if (chat_check_login(desk->chat, &call, &request, &hash) != CHAT_PROPOSE ||
        !propose(desk, &call, chat_propose_login(desk->chat, &call, &request, true)))
        return 0;
    return call.delta->session_started->session;
}

/* A numbered request of the session; 0 where it has ended. */
#define NUMBERED(desk, session, type, constant)                             \
    struct chat_call call = begin((desk), (session));                       \
    Jackdaw__##type##Request request = JACKDAW__##constant##_REQUEST__INIT; \
    if (call.session == NULL)                                               \
        return false;                                                       \
    request.request = chat_session_last_request(call.session) + 1

bool desk_logout(struct desk *desk, uint64_t session)
{
    NUMBERED(desk, session, Logout, LOGOUT);
    return propose(desk, &call, chat_propose_logout(desk->chat, &call, &request));
}

bool desk_delete(struct desk *desk, uint64_t session)
{
    NUMBERED(desk, session, DeleteAccount, DELETE_ACCOUNT);
    return propose(desk, &call, chat_propose_delete(desk->chat, &call, &request, true));
}

static bool join(struct desk *desk, uint64_t session, const char *room, bool is_private)
{
    NUMBERED(desk, session, JoinRoom, JOIN_ROOM);
    request.room = (char *)room;
    request.private_ = is_private;
    return propose(desk, &call, chat_propose_join(desk->chat, &call, &request));
}

bool desk_join(struct desk *desk, uint64_t session, const char *room)
{
    return join(desk, session, room, false);
}

bool desk_join_private(struct desk *desk, uint64_t session, const char *room)
{
    return join(desk, session, room, true);
}

bool desk_leave(struct desk *desk, uint64_t session, const char *room)
{
    NUMBERED(desk, session, LeaveRoom, LEAVE_ROOM);
    request.room = (char *)room;
    return propose(desk, &call, chat_propose_leave(desk->chat, &call, &request));
}

bool desk_invite(struct desk *desk, uint64_t session, const char *room, const char *name)
{
    NUMBERED(desk, session, Invite, INVITE);
    request.room = (char *)room;
    request.name = (char *)name;
    return propose(desk, &call, chat_propose_invite(desk->chat, &call, &request));
}

bool desk_kick(struct desk *desk, uint64_t session, const char *room, const char *name, bool ban)
{
    NUMBERED(desk, session, Kick, KICK);
    request.room = (char *)room;
    request.name = (char *)name;
    request.ban = ban;
    return propose(desk, &call, chat_propose_kick(desk->chat, &call, &request));
}

bool desk_topic(struct desk *desk, uint64_t session, const char *room, const char *topic)
{
    NUMBERED(desk, session, SetTopic, SET_TOPIC);
    request.room = (char *)room;
    request.topic = (char *)topic;
    return propose(desk, &call, chat_propose_topic(desk->chat, &call, &request));
}

bool desk_send(struct desk *desk, uint64_t session, const char *to, const char *text)
{
    NUMBERED(desk, session, Send, SEND);
    request.to = (char *)to;
    request.text = (char *)text;
    return propose(desk, &call, chat_propose_send(desk->chat, &call, &request));
}

void desk_typing(struct desk *desk, uint64_t session, const char *room)
{
    struct chat_call call = begin(desk, session);
    Jackdaw__SetTypingRequest request = JACKDAW__SET_TYPING_REQUEST__INIT;
    if (call.session == NULL)
        return;
    request.room = (char *)room;
    request.typing = true;
    (void)chat_set_typing(desk->chat, &call, &request);
}

void desk_break(struct desk *desk)
{
    arena_clear(&desk->arena);
    Jackdaw__SessionEnded ended = JACKDAW__SESSION_ENDED__INIT;
    ended.session = 1; /* nobody's */
    Jackdaw__Delta delta = JACKDAW__DELTA__INIT;
    delta.time_ms = desk->wall_ms;
    delta.change_case = JACKDAW__DELTA__CHANGE_SESSION_ENDED;
    delta.session_ended = &ended;
    assert_int_equal(ledger_propose(desk->ledger, &delta), ERROR_CORRUPT);
}
