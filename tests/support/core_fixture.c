/* SPDX-License-Identifier: MIT */
#include "support/core_fixture.h"

#include "base/clock.h"
#include "support/test.h"

#define PATIENCE_MS 60000

uint64_t core_fixture_random(struct core_fixture *core)
{
    uint64_t z = (core->random += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static void fill_random(void *context, void *bytes, size_t size)
{
    for (size_t at = 0; at < size; at++)
        ((uint8_t *)bytes)[at] = (uint8_t)core_fixture_random(context);
}

static void on_event(void *context, const struct chat_event *event)
{
    struct core_fixture *core = context;
    if (core->event != NULL)
        core->event(core, event);
    subscriptions_event(core->subscriptions, event);
}

static void on_session_ended(void *context, struct chat_session *session)
{
    struct core_fixture *core = context;
    if (core->session_ended != NULL)
        core->session_ended(core, chat_session_id(session));
    subscriptions_session_ended(core->subscriptions, session);
}

static void on_reloaded(void *context, struct log_position position)
{
    struct core_fixture *core = context;
    core->rollbacks++;
    if (core->rolled_back != NULL)
        core->rolled_back(core);
    subscriptions_rolled_back(core->subscriptions, position);
}

void core_fixture_init(struct core_fixture *core, const char *folder)
{
    *core = (struct core_fixture){.folder = folder, .node_id = 1, .random = 1};
    core->wall_ms = UINT64_C(1790000000000);
    core->now_ms = 1000;
    chat_limits_default(&core->limits);
    core->limits.requests_per_second = 0;
}

static void check(enum error error, const struct error_text *why)
{
    if (error != OK)
        fail_msg("%s: %s", error_name(error), why->text);
}

static void open_store(struct core_fixture *core)
{
    struct error_text why = {.text = ""};
    check(store_open(&core->store,
                     &(struct store_options){.folder = core->folder,
                                             .node_id = core->node_id,
                                             .replay_bytes = 1}, /* synced at once */
                     &why),
          &why);
    if (core->folder == NULL)
        return;
    check(store_open_reader(&core->reader_store, core->store, &why), &why);
    check(worker_start(&core->reader), &why);
    if (core->has_disk)
        check(worker_start(&core->disk), &why);
}

/* A cluster of one, where others are not awaited: what is on the disk is committed. */
static void take_events(struct core_fixture *core)
{
    struct commit_log_event event;
    while (commit_log_next_event(core->commit_log, &event)) {
        if (event.kind == COMMIT_LOG_DURABLE && !core->is_awaited)
            commit_log_commit(core->commit_log, event.position.seq);
        if (event.kind == COMMIT_LOG_FAILED) {
            core->written = event.error;
            core->failures++;
        }
        if (core->commit_log_event != NULL)
            core->commit_log_event(core, &event);
    }
}

void core_fixture_write(struct core_fixture *core)
{
    struct commit_log_batch batch;
    if (commit_log_seal(core->commit_log, &batch) && !core->refuses) {
        uint64_t last = commit_log_applied(core->commit_log).seq;
        struct log_entry entry = {
            .kind = LOG_ENTRY_CHAT,
            .epoch = core->epoch,
            .first_seq = last - batch.count + 1,
            .last_seq = last,
            .bytes = batch.bytes,
            .size = batch.size,
        };
        core->written = commit_log_append(core->commit_log, &entry);
    }
    commit_log_write(core->commit_log);
    take_events(core);
}

enum error core_fixture_commit(struct core_fixture *core)
{
    core->written = OK;
    core_fixture_write(core);
    while (!commit_log_is_free(core->commit_log)) {
        task_queue_wait(core->queue, 100);
        core_fixture_run(core);
    }
    return core->written;
}

static void begin_epoch(struct core_fixture *core)
{
    struct log_position last = commit_log_applied(core->commit_log);
    commit_log_commit(core->commit_log, last.seq);
    core->epoch = ((last.epoch >> 16) + 1) << 16 | core->node_id;
    static const uint8_t members[] = {1, 0};
    struct log_entry entry = {
        .kind = LOG_ENTRY_MEMBERS,
        .epoch = core->epoch,
        .first_seq = last.seq + 1,
        .last_seq = last.seq + 1,
        .bytes = members,
        .size = sizeof members,
    };
    assert_int_equal(commit_log_append(core->commit_log, &entry), OK);
    assert_true(commit_log_catch_up(core->commit_log));
    assert_int_equal(core_fixture_commit(core), OK);
    commit_log_set_epoch(core->commit_log, core->epoch);
}

void core_fixture_open(struct core_fixture *core)
{
    struct error_text why = {.text = ""};
    check(task_queue_new(&core->queue), &why);
    open_store(core);
    struct commit_log_options commit_log_options = {
        .store = core->store,
        .queue = core->queue,
        .disk = core->disk,
        .projector = core->projector,
    };
    check(commit_log_new(&core->commit_log, &commit_log_options), &why);
    struct subscriptions_options options = {
        .commit_log = core->commit_log,
        .store = core->store,
        .reader_store = core->reader_store,
        .reader = core->reader,
        .queue = core->queue,
    };
    check(subscriptions_new(&core->subscriptions, &options), &why);
    struct chat_observer observer = {.context = core,
                                     .event = on_event,
                                     .session_ended = on_session_ended,
                                     .reloaded = on_reloaded};
    check(chat_open(&core->chat, core->store, &core->limits, &observer, core->now_ms, &why), &why);
    struct chat_random random = {.context = core, .fill = fill_random};
    chat_set_random(core->chat, &random);
    subscriptions_attach(core->subscriptions, core->chat);
    check(commit_log_attach(core->commit_log, core->chat, &why), &why);
    if (!core->follows)
        begin_epoch(core);
    arena_init(&core->arena, 4u * 1024u * 1024u);
}

void core_fixture_close(struct core_fixture *core)
{
    worker_stop(core->reader);
    core_fixture_run(core);
    (void)core_fixture_commit(core);
    worker_stop(core->disk);
    core_fixture_run(core);
    subscriptions_close_all(core->subscriptions, "the server is closing", NULL);
    commit_log_free(core->commit_log);
    subscriptions_free(core->subscriptions);
    chat_close(core->chat);
    store_close(core->reader_store);
    store_close(core->store);
    task_queue_free(core->queue);
    arena_clear(&core->arena);
    core->reader = NULL;
    core->disk = NULL;
    core->reader_store = NULL;
}

void core_fixture_run(struct core_fixture *core)
{
    (void)task_queue_run(core->queue, SIZE_MAX);
    take_events(core);
}

enum error core_fixture_turn(struct core_fixture *core)
{
    core_fixture_run(core);
    enum error error = core_fixture_commit(core);
    subscriptions_deliver(core->subscriptions);
    return error;
}

void core_fixture_settle(struct core_fixture *core)
{
    uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
    struct subscriptions_stats before;
    struct subscriptions_stats after;
    unsigned quiet = 0;
    subscriptions_stats(core->subscriptions, &before);
    while (quiet < 3) {
        assert_true(clock_monotonic_ms() < until_ms);
        if (core->reader != NULL && before.reading > 0)
            task_queue_wait(core->queue, 100);
        (void)core_fixture_turn(core);
        subscriptions_stats(core->subscriptions, &after);
        bool still = after.reading == 0 && after.pages_sent == before.pages_sent &&
                     after.store_reads == before.store_reads;
        quiet = still ? quiet + 1 : 0;
        before = after;
    }
}

static struct chat_call begin(struct core_fixture *core, uint64_t session)
{
    arena_clear(&core->arena);
    core->error = OK;
    struct chat_call call = {
        .time_ms = core->wall_ms, .monotonic_ms = core->now_ms, .arena = &core->arena};
    if (session != 0)
        call.session = chat_find_session(core->chat, session);
    return call;
}

static bool propose(struct core_fixture *core, struct chat_call *call, enum chat_decision decision)
{
    if (decision != CHAT_PROPOSE)
        return false;
    core->error = commit_log_propose(core->commit_log, call->delta);
    take_events(core);
    return core->error == OK;
}

bool core_fixture_register(struct core_fixture *core, const char *name)
{
    struct chat_call call = begin(core, 0);
    Jackdaw__RegisterRequest request = JACKDAW__REGISTER_REQUEST__INIT;
    uint8_t nonce[STORE_NONCE_BYTES];
    fill_random(core, nonce, sizeof nonce);
    request.name = (char *)name;
    request.password = (char *)"secret";
    request.nonce.data = nonce;
    request.nonce.len = sizeof nonce;
    return propose(core, &call, chat_propose_register(core->chat, &call, &request, "no hash"));
}

uint64_t core_fixture_login(struct core_fixture *core, const char *name)
{
    struct chat_call call = begin(core, 0);
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    uint8_t token[CHAT_TOKEN_BYTES];
    fill_random(core, token, sizeof token);
    request.name = (char *)name;
    request.password = (char *)"secret";
    request.token.data = token;
    request.token.len = sizeof token;
    const char *hash;
    if (chat_check_login(core->chat, &call, &request, &hash) != CHAT_PROPOSE ||
        !propose(core, &call, chat_propose_login(core->chat, &call, &request, true)))
        return 0;
    return call.delta->session_started->session;
}

/* A numbered request of the session; 0 where it has ended. */
#define NUMBERED(core, session, type, constant)                             \
    struct chat_call call = begin((core), (session));                       \
    Jackdaw__##type##Request request = JACKDAW__##constant##_REQUEST__INIT; \
    if (call.session == NULL)                                               \
        return false;                                                       \
    request.request = chat_session_last_request(call.session) + 1

bool core_fixture_logout(struct core_fixture *core, uint64_t session)
{
    NUMBERED(core, session, Logout, LOGOUT);
    return propose(core, &call, chat_propose_logout(core->chat, &call, &request));
}

bool core_fixture_delete(struct core_fixture *core, uint64_t session)
{
    NUMBERED(core, session, DeleteAccount, DELETE_ACCOUNT);
    return propose(core, &call, chat_propose_delete(core->chat, &call, &request, true));
}

static bool join(struct core_fixture *core, uint64_t session, const char *room, bool is_private)
{
    NUMBERED(core, session, JoinRoom, JOIN_ROOM);
    request.room = (char *)room;
    request.private_ = is_private;
    return propose(core, &call, chat_propose_join(core->chat, &call, &request));
}

bool core_fixture_join(struct core_fixture *core, uint64_t session, const char *room)
{
    return join(core, session, room, false);
}

bool core_fixture_join_private(struct core_fixture *core, uint64_t session, const char *room)
{
    return join(core, session, room, true);
}

bool core_fixture_leave(struct core_fixture *core, uint64_t session, const char *room)
{
    NUMBERED(core, session, LeaveRoom, LEAVE_ROOM);
    request.room = (char *)room;
    return propose(core, &call, chat_propose_leave(core->chat, &call, &request));
}

bool core_fixture_invite(struct core_fixture *core, uint64_t session, const char *room,
                         const char *name)
{
    NUMBERED(core, session, Invite, INVITE);
    request.room = (char *)room;
    request.name = (char *)name;
    return propose(core, &call, chat_propose_invite(core->chat, &call, &request));
}

bool core_fixture_kick(struct core_fixture *core, uint64_t session, const char *room,
                       const char *name, bool ban)
{
    NUMBERED(core, session, Kick, KICK);
    request.room = (char *)room;
    request.name = (char *)name;
    request.ban = ban;
    return propose(core, &call, chat_propose_kick(core->chat, &call, &request));
}

bool core_fixture_topic(struct core_fixture *core, uint64_t session, const char *room,
                        const char *topic)
{
    NUMBERED(core, session, SetTopic, SET_TOPIC);
    request.room = (char *)room;
    request.topic = (char *)topic;
    return propose(core, &call, chat_propose_topic(core->chat, &call, &request));
}

bool core_fixture_send(struct core_fixture *core, uint64_t session, const char *to,
                       const char *text)
{
    NUMBERED(core, session, Send, SEND);
    request.to = (char *)to;
    request.text = (char *)text;
    return propose(core, &call, chat_propose_send(core->chat, &call, &request));
}

uint64_t core_fixture_person(struct core_fixture *core, const char *name)
{
    assert_true(core_fixture_register(core, name));
    uint64_t session = core_fixture_login(core, name);
    assert_true(core_fixture_join(core, session, "lobby"));
    return session;
}

void core_fixture_typing(struct core_fixture *core, uint64_t session, const char *room)
{
    struct chat_call call = begin(core, session);
    Jackdaw__SetTypingRequest request = JACKDAW__SET_TYPING_REQUEST__INIT;
    if (call.session == NULL)
        return;
    request.room = (char *)room;
    request.typing = true;
    (void)chat_set_typing(core->chat, &call, &request);
}

void core_fixture_break(struct core_fixture *core)
{
    arena_clear(&core->arena);
    Jackdaw__SessionEnded ended = JACKDAW__SESSION_ENDED__INIT;
    ended.session = 1; /* nobody's */
    Jackdaw__Delta delta = JACKDAW__DELTA__INIT;
    delta.time_ms = core->wall_ms;
    delta.change_case = JACKDAW__DELTA__CHANGE_SESSION_ENDED;
    delta.session_ended = &ended;
    assert_int_equal(commit_log_propose(core->commit_log, &delta), ERROR_CORRUPT);
    take_events(core);
}
