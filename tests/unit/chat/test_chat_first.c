/* SPDX-License-Identifier: MIT */
/* Every kind of delta as the first one that a store and a chat get: after a start, in a server that
 * joins, after a snapshot was installed, after a rollback; and as the one in whose middle the rows
 * that wait for the commit are written. The database must be the one of a store that was never
 * interrupted. A kind of delta without a row in `firsts` fails the test. */
#include "chat/chat_internal.h"

#include "chat_fixture.h"
#include "support/folder.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEED 7
#define PENDING_ROWS 4096 /* PENDING_ROWS_MAX of src/store/pending.c */
#define SILENCE_MS 3600000

static struct chat_session *session_of(struct chat_fixture *fixture, const char *name)
{
    struct chat_session *session = chat_fixture_session(fixture, name);
    assert_non_null(session);
    return session;
}

/* ann owns both rooms, bob has a session that has ended, cid is invited to the private room. */
static void prepare(struct chat_fixture *fixture)
{
    struct chat_session *ann = chat_fixture_person(fixture, "ann");
    struct chat_session *bob = chat_fixture_person(fixture, "bob");
    (void)chat_fixture_person(fixture, "cid");
    struct chat_session *old = chat_fixture_device(fixture, "bob", "bob's old phone");
    assert_ok(chat_fixture_join(fixture, ann, "lobby", 0));
    assert_ok(chat_fixture_join(fixture, bob, "lobby", 0));
    assert_ok(chat_fixture_join(fixture, old, "attic", 0));
    assert_ok(chat_fixture_topic(fixture, ann, "lobby", "coffee"));
    assert_ok(chat_fixture_join_private(fixture, ann, "plans"));
    assert_ok(chat_fixture_invite(fixture, ann, "plans", "cid"));
    assert_ok(chat_fixture_send(fixture, ann, "lobby", "hello", 0));
    assert_ok(chat_fixture_send(fixture, bob, "@ann", "hi", 0));
    assert_ok(chat_fixture_logout(fixture, old, 0));
    chat_note_delivered(fixture->chat, session_of(fixture, "bob"), fixture->seq);
}

static void register_dora(struct chat_fixture *fixture)
{
    assert_ok(chat_fixture_register(fixture, "dora"));
}

/* Taken over from another half, with a notice: an account and a conversation with itself. */
static void register_late(struct chat_fixture *fixture)
{
    Jackdaw__Delta delta = JACKDAW__DELTA__INIT;
    Jackdaw__AccountRegistered registered = JACKDAW__ACCOUNT_REGISTERED__INIT;
    uint8_t nonce[STORE_NONCE_BYTES] = {1};
    registered.account = 77;
    registered.name = "eve~2";
    registered.password_hash = "hash of password";
    registered.nonce = (ProtobufCBinaryData){.len = sizeof nonce, .data = nonce};
    delta.time_ms = fixture->time_ms;
    delta.late = true;
    delta.notice = "you are eve~2 now";
    delta.notice_room = 78;
    delta.change_case = JACKDAW__DELTA__CHANGE_ACCOUNT_REGISTERED;
    delta.account_registered = &registered;
    assert_int_equal(chat_fixture_apply(fixture, &delta), OK);
}

static void delete_bob(struct chat_fixture *fixture)
{
    assert_ok(chat_fixture_delete(fixture, session_of(fixture, "bob"), true));
}

/* The owner: two events in the lobby; and the private room ends. */
static void delete_ann(struct chat_fixture *fixture)
{
    assert_ok(chat_fixture_delete(fixture, session_of(fixture, "ann"), true));
}

static void log_in(struct chat_fixture *fixture)
{
    (void)chat_fixture_device(fixture, "ann", "ann's phone");
}

static void log_in_and_replace(struct chat_fixture *fixture)
{
    fixture->limits.sessions_per_account = 1;
    chat_expire(fixture->chat, fixture->monotonic_ms += SILENCE_MS, fixture->time_ms);
    (void)chat_fixture_device(fixture, "bob", "bob's new phone");
}

static void log_out(struct chat_fixture *fixture)
{
    assert_ok(chat_fixture_logout(fixture, session_of(fixture, "bob"), fixture->seq));
}

static void make_room(struct chat_fixture *fixture)
{
    assert_ok(chat_fixture_join(fixture, session_of(fixture, "cid"), "cellar", 0));
}

static void join_room(struct chat_fixture *fixture)
{
    assert_ok(chat_fixture_join(fixture, session_of(fixture, "cid"), "lobby", 0));
}

static void leave_room(struct chat_fixture *fixture)
{
    assert_ok(chat_fixture_leave(fixture, session_of(fixture, "bob"), "lobby"));
}

static void owner_leaves(struct chat_fixture *fixture)
{
    assert_ok(chat_fixture_leave(fixture, session_of(fixture, "ann"), "lobby"));
}

static void ban_bob(struct chat_fixture *fixture)
{
    assert_ok(chat_fixture_kick(fixture, session_of(fixture, "ann"), "lobby", "bob", true));
}

static void set_topic(struct chat_fixture *fixture)
{
    assert_ok(chat_fixture_topic(fixture, session_of(fixture, "bob"), "lobby", "tea"));
}

static void clear_topic(struct chat_fixture *fixture)
{
    assert_ok(chat_fixture_topic(fixture, session_of(fixture, "bob"), "lobby", ""));
}

static void invite_bob(struct chat_fixture *fixture)
{
    assert_ok(chat_fixture_invite(fixture, session_of(fixture, "ann"), "plans", "bob"));
}

static void send_to_room(struct chat_fixture *fixture)
{
    assert_ok(chat_fixture_send(fixture, session_of(fixture, "bob"), "lobby", "x", 0));
}

static void send_to_person(struct chat_fixture *fixture)
{
    assert_ok(chat_fixture_send(fixture, session_of(fixture, "cid"), "@bob", "x", 0));
}

static void deliver(struct chat_fixture *fixture)
{
    assert_true(chat_fixture_deliver(fixture));
}

static void refuse(struct chat_fixture *fixture)
{
    assert_status(chat_fixture_send(fixture, session_of(fixture, "bob"), "nowhere", "x", 0),
                  STATUS_NOT_FOUND);
}

static void change_nothing(struct chat_fixture *fixture)
{
    assert_ok(chat_fixture_join(fixture, session_of(fixture, "bob"), "lobby", 0));
}

#define FIRST(kind, function)                              \
    {                                                      \
        JACKDAW__DELTA__CHANGE_##kind, #function, function \
    }
static const struct first {
    Jackdaw__Delta__ChangeCase kind;
    const char *name;
    void (*happen)(struct chat_fixture *fixture);
} firsts[] = {
    FIRST(ACCOUNT_REGISTERED, register_dora),
    FIRST(ACCOUNT_REGISTERED, register_late),
    FIRST(ACCOUNT_DELETED, delete_bob),
    FIRST(ACCOUNT_DELETED, delete_ann),
    FIRST(SESSION_STARTED, log_in),
    FIRST(SESSION_STARTED, log_in_and_replace),
    FIRST(SESSION_ENDED, log_out),
    FIRST(ROOM_JOINED, make_room),
    FIRST(ROOM_JOINED, join_room),
    FIRST(ROOM_LEFT, leave_room),
    FIRST(ROOM_LEFT, owner_leaves),
    FIRST(ROOM_LEFT, ban_bob),
    FIRST(TOPIC_SET, set_topic),
    FIRST(TOPIC_SET, clear_topic),
    FIRST(INVITED, invite_bob),
    FIRST(MESSAGE_SENT, send_to_room),
    FIRST(MESSAGE_SENT, send_to_person),
    FIRST(DELIVERED, deliver),
    FIRST(REFUSED, refuse),
    FIRST(UNCHANGED, change_nothing),
};
#define FIRSTS (sizeof firsts / sizeof firsts[0])

/* The entries [from, to) of the log of another world; the start of the epoch is there already. */
static void follow(struct chat_fixture *fixture, const struct chat_fixture *leader, size_t from,
                   size_t to)
{
    for (size_t i = from; i < to; i++) {
        Jackdaw__Delta *delta = chat_fixture_unpack(&leader->deltas[i]);
        if (chat_fixture_apply(fixture, delta) != OK)
            fail_msg("delta %zu: %s", i, store_last_problem(fixture->store));
        jackdaw__delta__free_unpacked(delta, NULL);
    }
}

/* Where an interrupted world stands, and what it is to apply next. */
struct scene {
    struct chat_fixture fixture;
    const struct delta_bytes *next;
    char *snapshot;
};

static void nothing_happens(struct scene *scene)
{
    (void)scene;
}

static void start_again(struct scene *scene)
{
    chat_fixture_reopen(&scene->fixture);
}

static void take_snapshot(struct scene *scene, const char *folder, const char *name)
{
    struct log_position position;
    assert_true(asprintf(&scene->snapshot, "%s/%s", folder, name) > 0);
    assert_int_equal(store_snapshot_take(scene->fixture.store, scene->snapshot, &position), OK);
}

/* A server that has never run here finds a copy of the database in its folder. */
static void join(struct scene *scene)
{
    char *folder = folder_new();
    take_snapshot(scene, folder, STORE_FILE_NAME);
    chat_close(scene->fixture.chat);
    store_close(scene->fixture.store);
    folder_remove(scene->fixture.folder);
    scene->fixture.folder = folder;
    struct error_text why;
    struct store_options options = {.folder = folder, .node_id = 1};
    assert_int_equal(store_open(&scene->fixture.store, &options, &why), OK);
    const struct chat_observer observer = {0};
    assert_int_equal(chat_open(&scene->fixture.chat, scene->fixture.store, &scene->fixture.limits,
                               &observer, scene->fixture.monotonic_ms, &why),
                     OK);
}

/* A running server's database is replaced by a copy of this one. */
static void install_snapshot(struct scene *scene)
{
    struct chat_fixture fresh;
    chat_fixture_open(&fresh, SEED, folder_new());
    chat_close(fresh.chat);
    store_close(fresh.store);
    folder_remove(fresh.folder);
    fresh.folder = folder_new();
    struct error_text why;
    struct store_options options = {.folder = fresh.folder, .node_id = 1};
    const struct chat_observer observer = {0};
    assert_int_equal(store_open(&fresh.store, &options, &why), OK);
    assert_int_equal(
        chat_open(&fresh.chat, fresh.store, &fresh.limits, &observer, fresh.monotonic_ms, &why),
        OK);
    take_snapshot(scene, fresh.folder, "incoming");
    if (store_install(&fresh.store, scene->snapshot, (struct log_position){0, 0}, &options, &why) !=
        OK)
        fail_msg("%s", why.text);
    assert_int_equal(chat_move(fresh.chat, fresh.store, &why), OK);
    struct store *installed = fresh.store;
    struct chat *moved = fresh.chat;
    char *folder = fresh.folder;
    fresh.chat = scene->fixture.chat;
    fresh.store = scene->fixture.store;
    fresh.folder = scene->fixture.folder;
    scene->fixture.chat = moved;
    scene->fixture.store = installed;
    scene->fixture.folder = folder;
    char *old = fresh.folder;
    chat_fixture_close(&fresh);
    folder_remove(old);
}

/* A server has just started, and what it applies first is rolled back. */
static void roll_back(struct scene *scene)
{
    struct chat_fixture *fixture = &scene->fixture;
    chat_fixture_reopen(fixture);
    Jackdaw__Delta *delta = chat_fixture_unpack(scene->next);
    struct error_text why;
    assert_int_equal(store_begin(fixture->store), OK);
    assert_int_equal(
        chat_apply(fixture->chat, delta, (struct log_position){fixture->epoch, fixture->seq + 1}),
        OK);
    store_rollback(fixture->store);
    assert_int_equal(chat_reload(fixture->chat, &why), OK);
    jackdaw__delta__free_unpacked(delta, NULL);
}

static const struct situation {
    const char *name;
    void (*interrupt)(struct scene *scene);
} situations[] = {
    {"goes on", nothing_happens},
    {"starts", start_again},
    {"joins", join},
    {"has installed a snapshot", install_snapshot},
    {"has rolled it back", roll_back},
};

/* A world that has done everything, and where in its log `first` begins. */
static size_t lead(struct chat_fixture *leader, const struct first *first)
{
    chat_fixture_open(leader, SEED, NULL);
    prepare(leader);
    size_t begins = leader->deltas_count;
    first->happen(leader);
    if (leader->deltas_count <= begins)
        fail_msg("%s: nothing was applied", first->name);
    Jackdaw__Delta *delta = chat_fixture_unpack(&leader->deltas[begins]);
    if (delta->change_case != first->kind)
        fail_msg("%s: is of kind %d", first->name, (int)delta->change_case);
    jackdaw__delta__free_unpacked(delta, NULL);
    return begins;
}

static void check_text(char *found, char *expected, const char *name, const char *situation)
{
    if (strcmp(found, expected) != 0)
        fail_msg("%s first when a server %s:\n%s\nis not\n%s", name, situation, found, expected);
    free(found);
    free(expected);
}

static void check_rows(struct chat_fixture *fixture, struct chat_fixture *leader, const char *name,
                       const char *situation)
{
    check_text(chat_fixture_rows(fixture), chat_fixture_rows(leader), name, situation);
}

/* The log and the rows are the leader's, and the state in memory is what a start loads. */
static void check_same(struct chat_fixture *fixture, struct chat_fixture *leader, const char *name,
                       const char *situation)
{
    uint8_t digests[2][LOG_DIGEST_BYTES];
    store_digest(fixture->store, digests[0]);
    store_digest(leader->store, digests[1]);
    if (memcmp(digests[0], digests[1], LOG_DIGEST_BYTES) != 0)
        fail_msg("%s first when a server %s: the logs differ", name, situation);
    check_rows(fixture, leader, name, situation);
    char *kept = chat_fixture_portrait(fixture);
    chat_fixture_reopen(fixture);
    check_text(kept, chat_fixture_portrait(fixture), name, situation);
}

static void close_scene(struct scene *scene)
{
    char *folder = scene->fixture.folder;
    chat_fixture_close(&scene->fixture);
    folder_remove(folder);
    free(scene->snapshot);
}

TEST(test_first__leaves_the_same_database)
{
    for (size_t i = 0; i < FIRSTS; i++) {
        struct chat_fixture leader;
        size_t begins = lead(&leader, &firsts[i]);
        for (size_t k = 0; k < sizeof situations / sizeof situations[0]; k++) {
            struct scene scene = {.next = &leader.deltas[begins]};
            chat_fixture_open(&scene.fixture, SEED, folder_new());
            follow(&scene.fixture, &leader, 1, begins);
            situations[k].interrupt(&scene);
            follow(&scene.fixture, &leader, begins, leader.deltas_count);
            check_same(&scene.fixture, &leader, firsts[i].name, situations[k].name);
            close_scene(&scene);
        }
        chat_fixture_close(&leader);
    }
}

/* Rows of a room that nobody is in, so many that soon no more can wait for the commit. */
static void fill(struct chat_fixture *fixture, size_t rows)
{
    struct timeline_row row = {.room = 1, .seq = fixture->seq, .text = ""};
    for (size_t i = 0; i < rows; i++)
        assert_int_equal(store_add_event(fixture->store, &row), OK);
}

static void apply_after(struct chat_fixture *fixture, const struct delta_bytes *packed, size_t rows)
{
    Jackdaw__Delta *delta = chat_fixture_unpack(packed);
    assert_int_equal(store_begin(fixture->store), OK);
    fill(fixture, rows);
    if (chat_apply(fixture->chat, delta, packed->position) != OK)
        fail_msg("%s", store_last_problem(fixture->store));
    assert_int_equal(store_commit(fixture->store), OK);
    fixture->seq = packed->position.seq;
    jackdaw__delta__free_unpacked(delta, NULL);
}

/* The first row of the delta finds no place any more, or the one after it. */
TEST(test_first__is_written_in_its_middle)
{
    for (size_t i = 0; i < FIRSTS; i++) {
        struct chat_fixture leader;
        size_t begins = lead(&leader, &firsts[i]);
        for (size_t rows = PENDING_ROWS - 2; rows <= PENDING_ROWS; rows++) {
            struct scene scene = {.snapshot = NULL};
            chat_fixture_open(&scene.fixture, SEED, folder_new());
            follow(&scene.fixture, &leader, 1, begins);
            chat_fixture_reopen(&scene.fixture);
            for (size_t at = begins; at < leader.deltas_count; at++)
                apply_after(&scene.fixture, &leader.deltas[at], rows);
            check_rows(&scene.fixture, &leader, firsts[i].name, "has much to write");
            close_scene(&scene);
        }
        chat_fixture_close(&leader);
    }
}

TEST(test_first__is_of_every_kind)
{
    const ProtobufCMessageDescriptor *delta = &jackdaw__delta__descriptor;
    for (unsigned i = 0; i < delta->n_fields; i++) {
        const ProtobufCFieldDescriptor *field = &delta->fields[i];
        bool is_covered = (field->flags & PROTOBUF_C_FIELD_FLAG_ONEOF) == 0;
        for (size_t k = 0; k < FIRSTS; k++)
            is_covered = is_covered || field->id == (uint32_t)firsts[k].kind;
        if (!is_covered)
            fail_msg("Delta.%s has no row in `firsts`", field->name);
    }
}
