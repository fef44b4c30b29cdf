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
#define PENDING_ROWS 4096 /* PENDING_ROWS_MAX of src/store/change_write.c */
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

static void log_in(struct chat_fixture *f)
{
    (void)chat_fixture_device(f, "ann", "ann's phone");
}

static void log_in_and_replace(struct chat_fixture *f)
{
    f->limits.sessions_per_account = 1;
    chat_expire(f->chat, f->monotonic_ms += SILENCE_MS, f->time_ms);
    (void)chat_fixture_device(f, "bob", "bob's new phone");
}

static void deliver(struct chat_fixture *fixture)
{
    assert_true(chat_fixture_deliver(fixture));
}

enum verb { REGISTER, DELETE, LOG_OUT, JOIN, LEAVE, BAN, SET_TOPIC, INVITE, SEND };

#define KIND(kind) JACKDAW__DELTA__CHANGE_##kind

static const struct first {
    const char *name;
    Jackdaw__Delta__ChangeCase kind;
    void (*happen)(struct chat_fixture *fixture); /* NULL: `who` asks */
    const char *who;
    enum verb verb;
    const char *where; /* a room; of SEND also a person */
    const char *what;  /* a text; of BAN and INVITE a person */
    enum status status;
} firsts[] = {
    {"register", KIND(ACCOUNT_REGISTERED), .who = "dora", .verb = REGISTER},
    {"register late", KIND(ACCOUNT_REGISTERED), .happen = register_late},
    {"delete bob", KIND(ACCOUNT_DELETED), .who = "bob", .verb = DELETE},
    /* The owner: two events in the lobby; and the private room ends. */
    {"delete the owner", KIND(ACCOUNT_DELETED), .who = "ann", .verb = DELETE},
    {"log in", KIND(SESSION_STARTED), .happen = log_in},
    {"log in and replace", KIND(SESSION_STARTED), .happen = log_in_and_replace},
    {"log out", KIND(SESSION_ENDED), .who = "bob", .verb = LOG_OUT},
    {"make a room", KIND(ROOM_JOINED), .who = "cid", .verb = JOIN, .where = "cellar"},
    {"join a room", KIND(ROOM_JOINED), .who = "cid", .verb = JOIN, .where = "lobby"},
    {"leave a room", KIND(ROOM_LEFT), .who = "bob", .verb = LEAVE, .where = "lobby"},
    {"the owner leaves", KIND(ROOM_LEFT), .who = "ann", .verb = LEAVE, .where = "lobby"},
    {"ban bob", KIND(ROOM_LEFT), .who = "ann", .verb = BAN, .where = "lobby", .what = "bob"},
    {"set a topic", KIND(TOPIC_SET), .who = "bob", .verb = SET_TOPIC, .where = "lobby",
     .what = "tea"},
    {"clear the topic", KIND(TOPIC_SET), .who = "bob", .verb = SET_TOPIC, .where = "lobby",
     .what = ""},
    {"invite bob", KIND(INVITED), .who = "ann", .verb = INVITE, .where = "plans", .what = "bob"},
    {"send to a room", KIND(MESSAGE_SENT), .who = "bob", .verb = SEND, .where = "lobby",
     .what = "x"},
    {"send to a person", KIND(MESSAGE_SENT), .who = "cid", .verb = SEND, .where = "@bob",
     .what = "x"},
    {"deliver", KIND(DELIVERED), .happen = deliver},
    {"refuse", KIND(REFUSED), .who = "bob", .verb = SEND, .where = "nowhere", .what = "x",
     .status = STATUS_NOT_FOUND},
    {"change nothing", KIND(UNCHANGED), .who = "bob", .verb = JOIN, .where = "lobby"},
};
#define FIRSTS (sizeof firsts / sizeof firsts[0])

static struct answer ask(struct chat_fixture *fixture, const struct first *first)
{
    if (first->verb == REGISTER)
        return chat_fixture_register(fixture, first->who);
    struct chat_session *session = session_of(fixture, first->who);
    switch (first->verb) {
    case DELETE:
        return chat_fixture_delete(fixture, session, true);
    case LOG_OUT:
        return chat_fixture_logout(fixture, session, fixture->seq);
    case JOIN:
        return chat_fixture_join(fixture, session, first->where, 0);
    case LEAVE:
        return chat_fixture_leave(fixture, session, first->where);
    case BAN:
        return chat_fixture_kick(fixture, session, first->where, first->what, true);
    case SET_TOPIC:
        return chat_fixture_topic(fixture, session, first->where, first->what);
    case INVITE:
        return chat_fixture_invite(fixture, session, first->where, first->what);
    default:
        return chat_fixture_send(fixture, session, first->where, first->what, 0);
    }
}

static void happen(struct chat_fixture *fixture, const struct first *first)
{
    if (first->happen != NULL) {
        first->happen(fixture);
        return;
    }
    struct answer answer = ask(fixture, first);
    if (answer.status != first->status)
        fail_msg("%s: %s", first->name, status_name(answer.status));
}

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

/* A server that has done nothing yet finds a copy of the database in its folder. */
static void join(struct scene *scene)
{
    char *folder = folder_new();
    struct error_text why;
    struct store *empty;
    struct store_options options = {.folder = folder, .node_id = 1};
    assert_int_equal(store_open(&empty, &options, &why), OK);
    store_close(empty);
    take_snapshot(scene, folder, STORE_FILE_NAME);
    chat_close(scene->fixture.chat);
    store_close(scene->fixture.store);
    folder_remove(scene->fixture.folder);
    scene->fixture.folder = folder;
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
    if (store_install(&fresh.store, scene->snapshot, (struct log_position){0, 0}, &why) != OK)
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
    happen(leader, first);
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
