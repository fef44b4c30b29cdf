/* SPDX-License-Identifier: MIT */
#include "chat/chat_internal.h"

#include "chat_fixture.h"
#include "support/test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ARENA_BYTES (64u << 20)

uint64_t chat_fixture_draw(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9E3779B97F4A7C15));
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ z >> 27) * UINT64_C(0x94D049BB133111EB);
    return z ^ z >> 31;
}

uint64_t chat_fixture_random(struct chat_fixture *fixture)
{
    return chat_fixture_draw(&fixture->random);
}

static void fill_random(void *context, void *bytes, size_t size)
{
    struct chat_fixture *fixture = context;
    uint64_t value = chat_fixture_random(fixture);
    assert_int_equal(size, sizeof value);
    memcpy(bytes, &value, size);
}

/* Room for one more; doubles when count is a power of two. */
static void *grow(void *items, size_t count, size_t size)
{
    if ((count & (count - 1)) != 0)
        return items;
    items = reallocarray(items, count == 0 ? 1 : count * 2, size);
    assert_non_null(items);
    return items;
}

struct collector {
    struct chat_fixture *fixture;
    const struct chat_event *event;
};

static void collect(void *context, struct chat_session *session)
{
    struct collector *collecting = context;
    struct chat_fixture *fixture = collecting->fixture;
    fixture->seen = grow(fixture->seen, fixture->seen_count, sizeof *fixture->seen);
    struct event_copy *seen = &fixture->seen[fixture->seen_count++];
    *seen = (struct event_copy){
        .session = chat_session_id(session),
        .account = chat_session_account(session),
        .event = *collecting->event,
    };
    seen->event.text = strdup(collecting->event->text);
}

static void on_event(void *context, const struct chat_event *event)
{
    struct collector collecting = {.fixture = context, .event = event};
    chat_each_recipient(collecting.fixture->chat, event, collect, &collecting);
}

static void on_session_ended(void *context, struct chat_session *session)
{
    struct chat_fixture *fixture = context;
    *chat_session_attachment(session) = NULL;
    fixture->ended++;
}

static void open_store(struct chat_fixture *fixture)
{
    struct error_text why = {.text = ""};
    struct store_options options = {.folder = fixture->folder, .node_id = 1};
    if (store_open(&fixture->store, &options, &why) != OK)
        fail_msg("%s", why.text);
}

static void open_chat(struct chat_fixture *fixture)
{
    struct error_text why = {.text = ""};
    const struct chat_observer observer = {
        .context = fixture, .event = on_event, .session_ended = on_session_ended};
    const struct chat_random random = {.context = fixture, .fill = fill_random};
    if (chat_open(&fixture->chat, fixture->store, &fixture->limits, &observer,
                  fixture->monotonic_ms, &why) != OK)
        fail_msg("%s", why.text);
    chat_set_random(fixture->chat, &random);
}

void chat_fixture_open(struct chat_fixture *fixture, uint64_t seed, char *folder)
{
    *fixture = (struct chat_fixture){
        .folder = folder, .random = seed, .time_ms = 1700000000000, .monotonic_ms = 1000000};
    chat_limits_default(&fixture->limits);
    arena_init(&fixture->arena, ARENA_BYTES);
    open_store(fixture);
    open_chat(fixture);
    chat_fixture_new_epoch(fixture);
}

/* Copies the first of the names; returns those behind it, NULL where there is none. */
static const char *next_name(const char *names, char name[static 32])
{
    size_t size = strcspn(names, " ");
    if (size == 0)
        return NULL;
    (void)snprintf(name, 32, "%.*s", (int)size, names);
    return names + size + (names[size] == ' ');
}

void chat_fixture_open_with(struct chat_fixture *fixture, uint64_t seed, char *folder,
                            const char *names)
{
    char name[32];
    chat_fixture_open(fixture, seed, folder);
    while ((names = next_name(names, name)) != NULL)
        chat_fixture_person(fixture, name);
}

void chat_fixture_close(struct chat_fixture *fixture)
{
    chat_close(fixture->chat);
    store_close(fixture->store);
    arena_clear(&fixture->arena);
    for (size_t i = 0; i < fixture->deltas_count; i++)
        free(fixture->deltas[i].bytes);
    free(fixture->deltas);
    chat_fixture_clear_seen(fixture);
}

void chat_fixture_reopen(struct chat_fixture *fixture)
{
    chat_close(fixture->chat);
    if (fixture->folder != NULL) {
        store_close(fixture->store);
        open_store(fixture);
    }
    open_chat(fixture);
}

static void record(struct chat_fixture *fixture, const Jackdaw__Delta *delta,
                   struct log_position position)
{
    fixture->deltas = grow(fixture->deltas, fixture->deltas_count, sizeof *fixture->deltas);
    struct delta_bytes *packed = &fixture->deltas[fixture->deltas_count++];
    *packed = (struct delta_bytes){.position = position};
    if (delta == NULL)
        return;
    packed->size = jackdaw__delta__get_packed_size(delta);
    packed->bytes = malloc(packed->size + 1);
    assert_non_null(packed->bytes);
    jackdaw__delta__pack(delta, packed->bytes);
}

static enum error append(struct chat_fixture *fixture, const Jackdaw__Delta *delta)
{
    Jackdaw__Batch batch = JACKDAW__BATCH__INIT;
    Jackdaw__Delta *deltas[] = {(Jackdaw__Delta *)delta};
    batch.epoch = fixture->epoch;
    batch.first_seq = fixture->seq + 1;
    batch.n_deltas = delta == NULL ? 0 : 1; /* NULL: the cluster's entry, not chat's */
    batch.deltas = deltas;
    size_t size = jackdaw__batch__get_packed_size(&batch);
    uint8_t *bytes = malloc(size);
    assert_non_null(bytes);
    jackdaw__batch__pack(&batch, bytes);
    enum error error = store_log_append(fixture->store, &(struct log_entry){
                                                            .epoch = fixture->epoch,
                                                            .first_seq = fixture->seq + 1,
                                                            .last_seq = fixture->seq + 1,
                                                            .bytes = bytes,
                                                            .size = size,
                                                        });
    free(bytes);
    return error;
}

enum error chat_fixture_apply(struct chat_fixture *fixture, const Jackdaw__Delta *delta)
{
    struct log_position position = {.epoch = fixture->epoch, .seq = fixture->seq + 1};
    assert_int_equal(store_begin(fixture->store), OK);
    enum error error = chat_apply(fixture->chat, delta, position);
    if (error == OK)
        error = append(fixture, delta);
    if (error == OK)
        error = store_commit(fixture->store);
    if (error != OK) {
        store_rollback(fixture->store);
        struct error_text why = {.text = ""};
        if (chat_reload(fixture->chat, &why) != OK)
            fail_msg("%s", why.text);
        return error;
    }
    record(fixture, delta, position);
    fixture->seq++;
    return OK;
}

static enum error pass(struct chat_fixture *fixture, struct log_position position)
{
    const struct epoch_start epoch_start = {.epoch = position.epoch, .first_seq = position.seq};
    enum error error = OK;
    if (store_epoch_at(fixture->store, fixture->seq) != position.epoch)
        error = store_add_epoch(fixture->store, epoch_start);
    if (error == OK)
        error = chat_pass(fixture->chat, position);
    return error == OK ? append(fixture, NULL) : error;
}

enum error chat_fixture_pass(struct chat_fixture *fixture)
{
    struct log_position position = {.epoch = fixture->epoch, .seq = fixture->seq + 1};
    assert_int_equal(store_begin(fixture->store), OK);
    enum error error = pass(fixture, position);
    if (error == OK)
        error = store_commit(fixture->store);
    if (error != OK) {
        store_rollback(fixture->store);
        return error;
    }
    record(fixture, NULL, position);
    fixture->seq++;
    return OK;
}

Jackdaw__Delta *chat_fixture_unpack(const struct delta_bytes *packed)
{
    Jackdaw__Delta *delta = jackdaw__delta__unpack(NULL, packed->size, packed->bytes);
    assert_non_null(delta);
    return delta;
}

void chat_fixture_replay(struct chat_fixture *to, const struct chat_fixture *from)
{
    for (size_t i = 1; i < from->deltas_count; i++) {
        to->epoch = from->deltas[i].position.epoch;
        if (from->deltas[i].bytes == NULL) {
            assert_int_equal(chat_fixture_pass(to), OK);
            continue;
        }
        Jackdaw__Delta *delta = chat_fixture_unpack(&from->deltas[i]);
        assert_int_equal(chat_fixture_apply(to, delta), OK);
        jackdaw__delta__free_unpacked(delta, NULL);
    }
}

void chat_fixture_new_epoch(struct chat_fixture *fixture)
{
    fixture->epoch = ((fixture->epoch >> 16) + 1) << 16 | 1;
    assert_int_equal(chat_fixture_pass(fixture), OK);
}

struct chat_call chat_fixture_call(struct chat_fixture *fixture, struct chat_session *session)
{
    arena_clear(&fixture->arena);
    return (struct chat_call){
        .session = session,
        .time_ms = fixture->time_ms,
        .monotonic_ms = fixture->monotonic_ms,
        .arena = &fixture->arena,
    };
}

static void take_refusal(struct answer *answer, const struct chat_call *call)
{
    answer->status = call->status;
    answer->retry_ms = call->retry_ms;
    answer->next_request = call->next_request;
    snprintf(answer->text, sizeof answer->text, "%s", call->text);
}

static void take_outcome(struct chat_fixture *fixture, struct chat_call *call, uint64_t session,
                         uint64_t request, struct answer *answer)
{
    const struct chat_session *now = chat_find_session(fixture->chat, session);
    if (now == NULL)
        return; /* the request ended it */
    assert_int_equal(chat_outcome_of(fixture->chat, now, request, call->arena, &answer->outcome),
                     OK);
    answer->status = answer->outcome.status;
    snprintf(answer->text, sizeof answer->text, "%s", answer->outcome.text);
}

struct answer chat_fixture_finish(struct chat_fixture *fixture, struct chat_call *call,
                                  uint64_t request, enum chat_decision decision)
{
    struct answer answer = {.status = STATUS_OK};
    if (decision == CHAT_REFUSE) {
        take_refusal(&answer, call);
        assert_int_not_equal(call->status, STATUS_OK);
        assert_true(strlen(call->text) > 10);
        if (chat_propose_refusal(fixture->chat, call, request) == CHAT_PROPOSE)
            decision = CHAT_PROPOSE;
    }
    if (decision == CHAT_REFUSE)
        return answer;
    uint64_t session = call->session->id;
    if (decision == CHAT_PROPOSE) {
        assert_int_equal(chat_fixture_apply(fixture, call->delta), OK);
        answer.applied = true;
        answer.position = (struct log_position){fixture->epoch, fixture->seq};
    }
    take_outcome(fixture, call, session, request, &answer);
    return answer;
}

struct answer chat_fixture_register(struct chat_fixture *fixture, const char *name)
{
    struct answer answer = {.status = STATUS_OK};
    Jackdaw__RegisterRequest request = JACKDAW__REGISTER_REQUEST__INIT;
    uint8_t nonce[16];
    for (size_t i = 0; i < sizeof nonce; i++)
        nonce[i] = (uint8_t)chat_fixture_random(fixture);
    request.name = (char *)name;
    request.password = "password";
    request.nonce = (ProtobufCBinaryData){.len = sizeof nonce, .data = nonce};
    struct chat_call call = chat_fixture_call(fixture, NULL);
    enum chat_decision decision = chat_check_register(fixture->chat, &call, &request);
    if (decision == CHAT_PROPOSE)
        decision = chat_propose_register(fixture->chat, &call, &request, "hash of password");
    if (decision == CHAT_REFUSE)
        take_refusal(&answer, &call);
    else
        assert_int_equal(chat_fixture_apply(fixture, call.delta), OK);
    answer.applied = decision == CHAT_PROPOSE;
    return answer;
}

static void make_token(const char *word, uint8_t token[static CHAT_TOKEN_BYTES])
{
    memset(token, 0, CHAT_TOKEN_BYTES);
    memcpy(token, word, strnlen(word, CHAT_TOKEN_BYTES));
}

struct answer chat_fixture_login(struct chat_fixture *fixture, const char *name, const char *token)
{
    struct answer answer = {.status = STATUS_OK};
    uint8_t bytes[CHAT_TOKEN_BYTES];
    make_token(token, bytes);
    Jackdaw__LoginRequest request = JACKDAW__LOGIN_REQUEST__INIT;
    request.name = (char *)name;
    request.password = "password";
    request.token = (ProtobufCBinaryData){.len = sizeof bytes, .data = bytes};
    request.device = "terminal";
    struct chat_call call = chat_fixture_call(fixture, NULL);
    const char *hash = NULL;
    enum chat_decision decision = chat_check_login(fixture->chat, &call, &request, &hash);
    if (decision == CHAT_PROPOSE)
        decision = chat_propose_login(fixture->chat, &call, &request,
                                      strcmp(hash, "hash of password") == 0);
    if (decision == CHAT_REFUSE)
        take_refusal(&answer, &call);
    if (decision == CHAT_PROPOSE) {
        assert_int_equal(chat_fixture_apply(fixture, call.delta), OK);
        answer.applied = true;
    }
    return answer;
}

struct chat_session *chat_fixture_session(struct chat_fixture *fixture, const char *token)
{
    uint8_t bytes[CHAT_TOKEN_BYTES];
    make_token(token, bytes);
    return chat_authenticate(fixture->chat, bytes, sizeof bytes);
}

struct chat_session *chat_fixture_device(struct chat_fixture *fixture, const char *name,
                                         const char *token)
{
    struct answer answer = chat_fixture_login(fixture, name, token);
    if (answer.status != STATUS_OK)
        fail_msg("login of %s: %s", name, answer.text);
    struct chat_session *session = chat_fixture_session(fixture, token);
    assert_non_null(session);
    return session;
}

struct chat_session *alice(struct chat_fixture *fixture)
{
    return chat_fixture_session(fixture, "alice");
}

struct chat_session *bob(struct chat_fixture *fixture)
{
    return chat_fixture_session(fixture, "bob");
}

struct chat_session *carol(struct chat_fixture *fixture)
{
    return chat_fixture_session(fixture, "carol");
}

struct chat_session *dave(struct chat_fixture *fixture)
{
    return chat_fixture_session(fixture, "dave");
}

struct chat_session *chat_fixture_person(struct chat_fixture *fixture, const char *name)
{
    struct answer answer = chat_fixture_register(fixture, name);
    if (answer.status != STATUS_OK && answer.status != STATUS_ALREADY_EXISTS)
        fail_msg("registering %s: %s", name, answer.text);
    return chat_fixture_device(fixture, name, name);
}

Jackdaw__LoginReply chat_fixture_login_reply(struct chat_fixture *fixture,
                                             struct chat_session *session)
{
    struct chat_call call = chat_fixture_call(fixture, session);
    Jackdaw__LoginReply reply = JACKDAW__LOGIN_REPLY__INIT;
    assert_int_equal(chat_answer_login(fixture->chat, &call, &reply), OK);
    return reply;
}

uint64_t chat_fixture_next(struct chat_session *session)
{
    return chat_session_last_request(session) + 1;
}

/* `request`: the session's request of this number; 0: its next one. */
#define NUMBERED(type, constant, number)                                    \
    Jackdaw__##type##Request request = JACKDAW__##constant##_REQUEST__INIT; \
    request.request = (number) != 0 ? (number) : chat_fixture_next(session)

/* Carries the request out and returns its answer. */
#define PROPOSE(verb)                                            \
    struct chat_call call = chat_fixture_call(fixture, session); \
    return chat_fixture_finish(fixture, &call, request.request,  \
                               chat_propose_##verb(fixture->chat, &call, &request))

struct answer chat_fixture_join(struct chat_fixture *fixture, struct chat_session *session,
                                const char *room, uint64_t number)
{
    NUMBERED(JoinRoom, JOIN_ROOM, number);
    request.room = (char *)room;
    PROPOSE(join);
}

void chat_fixture_all_join(struct chat_fixture *fixture, const char *room, const char *names)
{
    char name[32];
    while ((names = next_name(names, name)) != NULL)
        assert_ok(chat_fixture_join(fixture, chat_fixture_session(fixture, name), room, 0));
}

struct answer chat_fixture_join_private(struct chat_fixture *fixture, struct chat_session *session,
                                        const char *room)
{
    NUMBERED(JoinRoom, JOIN_ROOM, 0);
    request.room = (char *)room;
    request.private_ = true;
    PROPOSE(join);
}

struct answer chat_fixture_leave(struct chat_fixture *fixture, struct chat_session *session,
                                 const char *room)
{
    NUMBERED(LeaveRoom, LEAVE_ROOM, 0);
    request.room = (char *)room;
    PROPOSE(leave);
}

struct answer chat_fixture_topic(struct chat_fixture *fixture, struct chat_session *session,
                                 const char *room, const char *topic)
{
    NUMBERED(SetTopic, SET_TOPIC, 0);
    request.room = (char *)room;
    request.topic = (char *)topic;
    PROPOSE(topic);
}

struct answer chat_fixture_invite(struct chat_fixture *fixture, struct chat_session *session,
                                  const char *room, const char *name)
{
    NUMBERED(Invite, INVITE, 0);
    request.room = (char *)room;
    request.name = (char *)name;
    PROPOSE(invite);
}

struct answer chat_fixture_kick(struct chat_fixture *fixture, struct chat_session *session,
                                const char *room, const char *name, bool ban)
{
    NUMBERED(Kick, KICK, 0);
    request.room = (char *)room;
    request.name = (char *)name;
    request.ban = ban;
    PROPOSE(kick);
}

struct answer chat_fixture_send(struct chat_fixture *fixture, struct chat_session *session,
                                const char *to, const char *text, uint64_t number)
{
    NUMBERED(Send, SEND, number);
    request.to = (char *)to;
    request.text = (char *)text;
    PROPOSE(send);
}

struct answer chat_fixture_logout(struct chat_fixture *fixture, struct chat_session *session,
                                  uint64_t after_seq)
{
    NUMBERED(Logout, LOGOUT, 0);
    Jackdaw__Position after = JACKDAW__POSITION__INIT;
    after.epoch = fixture->epoch;
    after.seq = after_seq;
    request.after = &after;
    PROPOSE(logout);
}

struct answer chat_fixture_delete(struct chat_fixture *fixture, struct chat_session *session,
                                  bool verified)
{
    NUMBERED(DeleteAccount, DELETE_ACCOUNT, 0);
    request.password = "password";
    struct chat_call call = chat_fixture_call(fixture, session);
    const char *hash = NULL;
    enum chat_decision decision = chat_check_delete(fixture->chat, &call, &request, &hash);
    if (decision == CHAT_PROPOSE) {
        assert_string_equal(hash, "hash of password");
        decision = chat_propose_delete(fixture->chat, &call, &request, verified);
    }
    return chat_fixture_finish(fixture, &call, request.request, decision);
}

bool chat_fixture_deliver(struct chat_fixture *fixture)
{
    struct chat_call call = chat_fixture_call(fixture, NULL);
    if (!chat_propose_delivered(fixture->chat, &call))
        return false;
    assert_int_equal(chat_fixture_apply(fixture, call.delta), OK);
    return true;
}

void chat_fixture_free_seen(struct event_copy *seen, size_t count)
{
    for (size_t i = 0; i < count; i++)
        free((char *)seen[i].event.text);
    free(seen);
}

void chat_fixture_clear_seen(struct chat_fixture *fixture)
{
    chat_fixture_free_seen(fixture->seen, fixture->seen_count);
    fixture->seen = NULL;
    fixture->seen_count = 0;
}

void chat_fixture_read(struct chat_fixture *fixture, struct chat_session *session,
                       uint64_t after_seq, struct event_copy **seen, size_t *count, size_t *pages)
{
    *seen = NULL;
    *count = 0;
    *pages = 0;
    struct chat_page page = {.more = true};
    while (page.more) {
        struct chat_call call = chat_fixture_call(fixture, session);
        struct chat_plan *plan;
        assert_int_equal(chat_plan_receive(fixture->chat, &call, after_seq, fixture->seq, &plan),
                         OK);
        assert_int_equal(chat_read(plan, fixture->store, call.arena, &page), OK);
        *seen = reallocarray(*seen, *count + page.count + 1, sizeof **seen);
        for (size_t i = 0; i < page.count; i++) {
            const struct chat_event *event = &page.events[i];
            assert_true(event->position.seq > after_seq);
            assert_true(event->position.seq <= page.next.seq);
            assert_true(i == 0 || event[-1].position.seq <= event->position.seq);
            assert_int_equal(event->position.epoch,
                             store_epoch_at(fixture->store, event->position.seq));
            struct event_copy *one = &(*seen)[(*count)++];
            *one = (struct event_copy){.session = chat_session_id(session),
                                       .account = chat_session_account(session),
                                       .event = *event};
            one->event.text = strdup(event->text);
        }
        assert_true(!page.more || page.next.seq > after_seq);
        assert_true(page.more || page.next.seq == fixture->seq || page.next.seq == after_seq);
        assert_int_equal(page.next.epoch, store_epoch_at(fixture->store, page.next.seq));
        after_seq = page.next.seq;
        ++*pages;
    }
}

struct text {
    char *bytes;
    size_t size;
};

static void __attribute__((format(printf, 2, 3))) add(struct text *text, const char *format, ...)
{
    va_list arguments;
    char *more;
    va_start(arguments, format);
    int size = vasprintf(&more, format, arguments);
    va_end(arguments);
    assert_true(size >= 0);
    text->bytes = realloc(text->bytes, text->size + (size_t)size + 1);
    memcpy(text->bytes + text->size, more, (size_t)size + 1);
    text->size += (size_t)size;
    free(more);
}

static const char *keep(struct text text)
{
    static char *kept[8];
    static size_t next;
    char **slot = &kept[next++ % 8];
    free(*slot);
    *slot = text.bytes != NULL ? text.bytes : strdup("");
    return *slot;
}

static void add_event(struct chat_fixture *fixture, struct text *text,
                      const struct event_copy *seen)
{
    struct arena arena;
    arena_init(&arena, 65536);
    Jackdaw__Event event;
    assert_int_equal(chat_event_fill(fixture->chat, &seen->event, seen->account, &arena, &event),
                     OK);
    const ProtobufCEnumValue *kind =
        protobuf_c_enum_descriptor_get_value(&jackdaw__event__kind__descriptor, (int)event.kind);
    assert_non_null(kind);
    add(text, "%s%s", text->size > 0 ? "; " : "", kind->name);
    const char *parts[] = {event.room, event.from, event.subject, event.text};
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
        if (parts[i][0] != '\0')
            add(text, " %s", parts[i]);
    if (event.kind == JACKDAW__EVENT__KIND__PRESENCE || event.kind == JACKDAW__EVENT__KIND__TYPING)
        add(text, " %s", event.active ? "on" : "off");
    arena_clear(&arena);
}

static const char *tell(struct chat_fixture *fixture, struct chat_session *session, bool ephemeral)
{
    struct text text = {.bytes = NULL};
    for (size_t i = 0; i < fixture->seen_count; i++) {
        const struct event_copy *seen = &fixture->seen[i];
        if (seen->session == chat_session_id(session) &&
            (seen->event.position.seq == 0) == ephemeral)
            add_event(fixture, &text, seen);
    }
    return keep(text);
}

const char *chat_fixture_story(struct chat_fixture *fixture, struct chat_session *session)
{
    return tell(fixture, session, false);
}

const char *chat_fixture_whispers(struct chat_fixture *fixture, struct chat_session *session)
{
    return tell(fixture, session, true);
}

const char *chat_fixture_reads(struct chat_fixture *fixture, struct chat_session *session,
                               uint64_t after_seq)
{
    struct event_copy *seen;
    size_t count, pages;
    chat_fixture_read(fixture, session, after_seq, &seen, &count, &pages);
    struct text text = {.bytes = NULL};
    for (size_t i = 0; i < count; i++)
        add_event(fixture, &text, &seen[i]);
    chat_fixture_free_seen(seen, count);
    return keep(text);
}

const char *chat_fixture_members(struct chat_fixture *fixture, struct chat_session *session,
                                 const char *room)
{
    struct text text = {.bytes = NULL};
    struct chat_call call = chat_fixture_call(fixture, session);
    Jackdaw__ListMembersRequest request = JACKDAW__LIST_MEMBERS_REQUEST__INIT;
    Jackdaw__ListMembersReply reply = JACKDAW__LIST_MEMBERS_REPLY__INIT;
    request.room = (char *)room;
    request.limit = CHAT_LIST_MAX;
    assert_int_equal(chat_answer_members(fixture->chat, &call, &request, &reply), OK);
    if (call.status != STATUS_OK)
        add(&text, "%s", status_name(call.status));
    for (size_t i = 0; i < reply.n_members; i++)
        add(&text, "%s%s%s", i > 0 ? " " : "", reply.members[i]->name,
            reply.members[i]->owner ? "*" : "");
    return keep(text);
}

static void draw_undelivered(struct chat_fixture *fixture, struct text *text,
                             const struct account *account)
{
    Jackdaw__Undelivered **list;
    size_t count;
    uint64_t total;
    arena_clear(&fixture->arena);
    assert_int_equal(
        delivery_list_undelivered(fixture->chat, account, &fixture->arena, &list, &count, &total),
        OK);
    for (size_t i = 0; i < count; i++)
        add(text, "  undelivered %s %" PRIu64 "\n", list[i]->room, list[i]->messages);
}

static int compare_ids(const void *left, const void *right)
{
    uint64_t a = (*(struct chat_session *const *)left)->id;
    uint64_t b = (*(struct chat_session *const *)right)->id;
    return a < b ? -1 : a > b;
}

static void draw_sessions(struct text *text, const struct account *account)
{
    struct chat_session *sessions[64];
    size_t count = 0;
    for (struct chat_session *s = account->sessions; s != NULL; s = s->next_of_account)
        sessions[count++] = s;
    qsort(sessions, count, sizeof(void *), compare_ids);
    for (size_t i = 0; i < count; i++)
        add(text, "  session %" PRIx64 " last %" PRIu64 " token %02x%02x\n", sessions[i]->id,
            sessions[i]->last_request, sessions[i]->token_hash[0], sessions[i]->token_hash[31]);
}

static void draw_account(struct chat_fixture *fixture, struct text *text,
                         const struct account *account)
{
    add(text,
        "account %" PRIx64 " %s %s created %" PRIu64 " delivered %" PRIu64 " in %u former %u\n",
        account->id, account->name, account->folded, account->created_ms, account->delivered_seq,
        account->rooms_in, account->past_memberships);
    draw_sessions(text, account);
    draw_undelivered(fixture, text, account);
    for (uint32_t i = 0; i < account->memberships_count; i++) {
        const struct member *member = account->memberships[i];
        add(text, "  place %" PRIx64 " %s state %d since %" PRIu64 " until %" PRIu64 "\n",
            member->room->id, member->room->name, (int)member->state, member->since_seq,
            member->until_seq);
    }
}

static void draw_room(struct text *text, const struct room *room)
{
    add(text,
        "room %" PRIx64 " %s %s topic '%s' owner %" PRIx64 " private %d created %" PRIu64
        " number %" PRIu64 " seq %" PRIu64 " others %u banned %u:",
        room->id, room->name, room->folded, room->topic, room->owner, room->is_private,
        room->created_ms, room->last_number, room->last_seq, room->non_members_count, room->banned);
    for (size_t i = 0; i < room->members.count; i++)
        add(text, " %s", room->members.entries[i].folded);
    add(text, "\n");
}

static int compare_rooms(const void *left, const void *right)
{
    uint64_t a = (*(struct room *const *)left)->id;
    uint64_t b = (*(struct room *const *)right)->id;
    return a < b ? -1 : a > b;
}

char *chat_fixture_portrait(struct chat_fixture *fixture)
{
    struct text text = {.bytes = NULL};
    const struct state *state = &fixture->chat->state;
    add(&text, "last %" PRIu64 " epochs %zu\n", state->last.seq,
        store_epochs(fixture->store).count);
    for (size_t i = 0; i < state->accounts.count; i++)
        draw_account(fixture, &text, state->accounts.entries[i].item);
    for (size_t i = 0; i < state->rooms.count; i++)
        add(&text, "named %s\n", state->rooms.entries[i].folded);
    struct room *rooms[4096], *room, *next;
    size_t count = 0;
    HASH_ITER(by_id, state->rooms_by_id, room, next) {
        assert_true(count < 4096);
        rooms[count++] = room;
    }
    qsort(rooms, count, sizeof(void *), compare_rooms);
    for (size_t i = 0; i < count; i++)
        draw_room(&text, rooms[i]);
    return text.bytes;
}

struct rows {
    struct chat_fixture *fixture;
    struct text text;
};

static enum error add_account_row(void *context, const struct account_row *row)
{
    struct rows *rows = context;
    add(&rows->text,
        "account %" PRIx64 " %s %s %s %02x created %" PRIu64 " deleted %" PRIu64
        " delivered %" PRIu64 "\n",
        row->id, row->name, row->folded, row->password_hash, row->nonce[0], row->created_ms,
        row->deleted_ms, row->delivered_seq);
    return OK;
}

static enum error add_outcome_row(void *context, const struct outcome_row *row)
{
    struct rows *rows = context;
    add(&rows->text,
        "  outcome %" PRIu64 " status %u room %" PRIx64 " number %" PRIu64 " seq %" PRIu64
        " time %" PRIu64 " flags %u '%s'\n",
        row->request, row->status, row->room, row->number, row->seq, row->time_ms, row->flags,
        row->text);
    return OK;
}

struct session_ids {
    uint64_t ids[1024];
    uint64_t last[1024];
    size_t count;
    struct rows *rows;
};

static enum error add_session_row(void *context, const struct session_row *row)
{
    struct session_ids *sessions = context;
    add(&sessions->rows->text,
        "session %" PRIx64 " of %" PRIx64 " token %02x '%s' started %" PRIu64 " last %" PRIu64 "\n",
        row->id, row->account, row->token_hash[0], row->device, row->started_ms, row->last_request);
    assert_true(sessions->count < 1024);
    sessions->ids[sessions->count] = row->id;
    sessions->last[sessions->count++] = row->last_request;
    return OK;
}

static enum error add_event_row(void *context, const struct timeline_row *row)
{
    struct rows *rows = context;
    add(&rows->text,
        "  event %" PRIu64 " seq %" PRIu64 " kind %u %" PRIx64 " %" PRIx64 " %" PRIx64 ":%" PRIu64
        " time %" PRIu64 " '%.*s'\n",
        row->number, row->seq, row->kind, row->account, row->subject, row->session, row->request,
        row->time_ms, (int)row->text_size, row->text);
    return OK;
}

struct room_ids {
    uint64_t ids[4096];
    size_t count;
    struct rows *rows;
};

static enum error add_room_row(void *context, const struct room_row *row)
{
    struct room_ids *rooms = context;
    add(&rooms->rows->text,
        "room %" PRIx64 " %s %s '%s' owner %" PRIx64 " private %d %" PRIx64 " %" PRIx64
        " created %" PRIu64 " number %" PRIu64 " seq %" PRIu64 "\n",
        row->id, row->name, row->folded, row->topic, row->owner, row->is_private, row->direct_low,
        row->direct_high, row->created_ms, row->last_number, row->last_seq);
    assert_true(rooms->count < 4096);
    rooms->ids[rooms->count++] = row->id;
    return OK;
}

static enum error add_member_row(void *context, const struct member_row *row)
{
    struct rows *rows = context;
    add(&rows->text,
        "member %" PRIx64 " %" PRIx64 " state %d since %" PRIu64 " until %" PRIu64 "\n", row->room,
        row->account, (int)row->state, row->since_seq, row->until_seq);
    return OK;
}

static void add_epochs(struct rows *rows)
{
    struct epoch_history epochs = store_epochs(rows->fixture->store);
    for (size_t i = 0; i < epochs.count; i++)
        add(&rows->text, "epoch %" PRIx64 " from %" PRIu64 "\n", epochs.starts[i].epoch,
            epochs.starts[i].first_seq);
}

static void add_outcomes(struct rows *rows, const struct session_ids *sessions)
{
    for (size_t i = 0; i < sessions->count; i++)
        for (uint64_t request = 1; request <= sessions->last[i]; request++) {
            enum error error = store_get_outcome(rows->fixture->store, sessions->ids[i], request,
                                                 add_outcome_row, rows);
            bool is_kept = sessions->last[i] - request < STORE_OUTCOME_WINDOW;
            assert_int_equal(error, is_kept ? OK : ERROR_NOT_FOUND);
        }
}

char *chat_fixture_rows(struct chat_fixture *fixture)
{
    struct store *store = fixture->store;
    struct rows rows = {.fixture = fixture};
    struct session_ids *sessions = calloc(1, sizeof *sessions);
    struct room_ids *rooms = calloc(1, sizeof *rooms);
    sessions->rows = rooms->rows = &rows;
    add_epochs(&rows);
    assert_int_equal(store_each_account(store, add_account_row, &rows), OK);
    assert_int_equal(store_each_session(store, add_session_row, sessions), OK);
    add_outcomes(&rows, sessions);
    assert_int_equal(store_each_room(store, add_room_row, rooms), OK);
    assert_int_equal(store_each_member(store, add_member_row, &rows), OK);
    for (size_t i = 0; i < rooms->count; i++) {
        add(&rows.text, "timeline %" PRIx64 "\n", rooms->ids[i]);
        assert_int_equal(
            store_events_after(store, rooms->ids[i], 0, INT64_MAX, 1000000, add_event_row, &rows),
            OK);
    }
    free(sessions);
    free(rooms);
    return rows.text.bytes;
}

static void check_text(char *found, const char *expected)
{
    assert_string_equal(found, expected);
    free(found);
}

void chat_fixture_check_unchanged(struct chat_fixture *fixture, const char *portrait,
                                  const char *rows)
{
    check_text(chat_fixture_portrait(fixture), portrait);
    check_text(chat_fixture_rows(fixture), rows);
}

void chat_fixture_check_reopens(struct chat_fixture *fixture)
{
    char *before = chat_fixture_portrait(fixture);
    chat_fixture_reopen(fixture);
    check_text(chat_fixture_portrait(fixture), before);
    free(before);
}

void chat_fixture_check_elsewhere(struct chat_fixture *fixture)
{
    struct chat_fixture other;
    while (chat_fixture_deliver(fixture))
        continue;
    chat_fixture_open(&other, 1, NULL);
    chat_fixture_replay(&other, fixture);
    char *portrait = chat_fixture_portrait(fixture);
    char *rows = chat_fixture_rows(fixture);
    chat_fixture_check_unchanged(&other, portrait, rows);
    free(portrait);
    free(rows);
    uint8_t digests[2][LOG_DIGEST_BYTES];
    store_digest(fixture->store, digests[0]);
    store_digest(other.store, digests[1]);
    assert_memory_equal(digests[0], digests[1], LOG_DIGEST_BYTES);
    chat_fixture_check_reopens(fixture);
    chat_fixture_close(&other);
}
