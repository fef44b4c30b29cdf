/* SPDX-License-Identifier: MIT */
/* Deltas from elsewhere: what contradicts the state is refused and changes nothing, whatever its
 * bytes; what does not gives the same rows everywhere (src/chat/apply.c, chat.c). */
#include "chat_fixture.h"
#include "support/test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* alice owns #general, where bob is; carol was banned, dave invited; alice and bob talk. */
struct scene {
    struct chat_fixture fixture;
    uint64_t alice, bob, carol, dave; /* accounts */
    uint64_t alices, bobs;            /* sessions */
    uint64_t general, secret, direct; /* rooms */
    char *portrait;
    char *rows;
};

static uint64_t account_of(struct chat_fixture *fixture, const char *token)
{
    return chat_session_account(chat_fixture_session(fixture, token));
}

static struct chat_session *by(struct scene *scene, const char *token)
{
    return chat_fixture_session(&scene->fixture, token);
}

static void begin(struct scene *f)
{
    struct chat_fixture *fixture = &f->fixture;
    chat_fixture_open_with(fixture, 8, NULL, "alice bob carol dave");
    f->alice = account_of(fixture, "alice");
    f->bob = account_of(fixture, "bob");
    f->carol = account_of(fixture, "carol");
    f->dave = account_of(fixture, "dave");
    f->alices = chat_session_id(by(f, "alice"));
    f->bobs = chat_session_id(by(f, "bob"));
    f->general = chat_fixture_join(fixture, by(f, "alice"), "general", 0).outcome.room;
    chat_fixture_join(fixture, by(f, "bob"), "general", 0);
    chat_fixture_kick(fixture, by(f, "alice"), "general", "carol", true);
    f->secret = chat_fixture_join_private(fixture, by(f, "alice"), "secret").outcome.room;
    chat_fixture_invite(fixture, by(f, "alice"), "secret", "dave");
    f->direct = chat_fixture_send(fixture, by(f, "alice"), "@bob", "hi", 0).outcome.room;
    f->portrait = chat_fixture_portrait(fixture);
    f->rows = chat_fixture_rows(fixture);
}

static void end(struct scene *f)
{
    chat_fixture_close(&f->fixture);
    free(f->portrait);
    free(f->rows);
}

static void assert_unchanged(struct scene *scene)
{
    chat_fixture_check_unchanged(&scene->fixture, scene->portrait, scene->rows);
}

/* what: of the delta, for the failure. */
static void assert_corrupt_as(struct scene *scene, const Jackdaw__Delta *delta, const char *what)
{
    size_t seen = scene->fixture.seen_count;
    enum error error = chat_fixture_apply(&scene->fixture, delta);
    if (error != ERROR_CORRUPT)
        fail_msg("%s: %s", what, error_name(error));
    assert_unchanged(scene);
    assert_int_equal(scene->fixture.seen_count, seen);
}

#define assert_corrupt(scene, delta) assert_corrupt_as((scene), (delta), #delta)

/* Makes the change, after which the test's `delta` is corrupt. */
#define CORRUPT(...)                                \
    do {                                            \
        __VA_ARGS__;                                \
        assert_corrupt_as(f, &delta, #__VA_ARGS__); \
    } while (0)

static Jackdaw__Delta delta_of(Jackdaw__Delta__ChangeCase change_case, void *change)
{
    Jackdaw__Delta delta = JACKDAW__DELTA__INIT;
    delta.time_ms = 1700000000000;
    delta.change_case = change_case;
    delta.unchanged = change;
    return delta;
}

/* The next request of alice's session. */
static Jackdaw__Delta alices(struct scene *scene, Jackdaw__Delta__ChangeCase change_case,
                             void *change)
{
    Jackdaw__Delta delta = delta_of(change_case, change);
    delta.session = scene->alices;
    delta.request = chat_fixture_next(by(scene, "alice"));
    return delta;
}

TEST_ON(test_corrupt__no_change, struct scene, begin, end)
{
    Jackdaw__Delta delta = JACKDAW__DELTA__INIT;
    assert_corrupt(f, &delta);
    CORRUPT(delta.change_case = JACKDAW__DELTA__CHANGE_MESSAGE_SENT);
    Jackdaw__Unchanged unchanged = JACKDAW__UNCHANGED__INIT;
    delta.unchanged = &unchanged;
    CORRUPT(delta.change_case = (Jackdaw__Delta__ChangeCase)9);
    CORRUPT(delta.change_case = (Jackdaw__Delta__ChangeCase)1000);
    CORRUPT(delta.change_case = (Jackdaw__Delta__ChangeCase)-1);
}

/* Receipts are no request of a session. */
TEST_ON(test_corrupt__uid_of_a_receipt, struct scene, begin, end)
{
    uint64_t account = f->alice, seq = 1;
    Jackdaw__Delivered delivered = JACKDAW__DELIVERED__INIT;
    delivered.n_accounts = delivered.n_seqs = 1;
    delivered.accounts = &account;
    delivered.seqs = &seq;
    const Jackdaw__Delta delta = alices(f, JACKDAW__DELTA__CHANGE_DELIVERED, &delivered);
    assert_corrupt(f, &delta);
}

TEST_ON(test_corrupt__uid, struct scene, begin, end)
{
    Jackdaw__MessageSent sent = JACKDAW__MESSAGE_SENT__INIT;
    sent.room = f->general;
    sent.account = f->alice;
    sent.text = "x";
    Jackdaw__Delta good = alices(f, JACKDAW__DELTA__CHANGE_MESSAGE_SENT, &sent);
    Jackdaw__Delta delta = good;
    CORRUPT(delta.request--);
    CORRUPT(delta.request = good.request + 1);
    CORRUPT(delta.request = 0);
    CORRUPT(delta.request = UINT64_MAX);
    delta = good;
    CORRUPT(delta.session = 0);
    CORRUPT(delta.session = 12345);
    delta.session = f->bobs;
    CORRUPT(delta.request = chat_fixture_next(by(f, "bob"))); /* bob cannot speak for alice */
    delta = good;
    CORRUPT(delta.session = delta.request = 0); /* a message needs a uid */
    assert_int_equal(chat_fixture_apply(&f->fixture, &good), OK);
}

TEST_ON(test_corrupt__position, struct scene, begin, end)
{
    Jackdaw__Unchanged unchanged = JACKDAW__UNCHANGED__INIT;
    Jackdaw__Delta delta = alices(f, JACKDAW__DELTA__CHANGE_UNCHANGED, &unchanged);
    struct log_position position = {f->fixture.epoch, f->fixture.seq};
    assert_int_equal(chat_apply(f->fixture.chat, &delta, position), ERROR_CORRUPT);
    position.seq = 0;
    assert_int_equal(chat_apply(f->fixture.chat, &delta, position), ERROR_CORRUPT);
    position = (struct log_position){f->fixture.epoch - 1, f->fixture.seq + 1};
    assert_int_equal(chat_apply(f->fixture.chat, &delta, position), ERROR_CORRUPT);
    assert_unchanged(f);
}

TEST_ON(test_pass__what_comes_later_ascends, struct scene, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    assert_int_equal(chat_fixture_pass(fixture), OK);
    struct answer answer = chat_fixture_send(fixture, by(f, "bob"), "#general", "after", 0);
    assert_int_equal(answer.position.seq, fixture->seq);
    struct log_position position = {fixture->epoch, fixture->seq};
    assert_int_equal(chat_pass(fixture->chat, position), ERROR_CORRUPT);
    position = (struct log_position){fixture->epoch - 1, fixture->seq + 1};
    assert_int_equal(chat_pass(fixture->chat, position), ERROR_CORRUPT);
    position = (struct log_position){0, fixture->seq + 1};
    assert_int_equal(chat_pass(fixture->chat, position), ERROR_CORRUPT);
}

TEST_ON(test_pass__begins_a_epoch_start, struct scene, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    struct log_position old = {fixture->epoch, fixture->seq};
    chat_fixture_new_epoch(fixture);
    const struct log_position ends[] = {{old.epoch, UINT64_MAX}, {fixture->epoch, UINT64_MAX}};
    assert_int_equal(chat_common_seq(fixture->chat, &ends[0], 1), old.seq);
    assert_int_equal(chat_common_seq(fixture->chat, &ends[1], 1), old.seq + 1);
    chat_fixture_check_reopens(fixture);
}

/* The clock must not go back after a restart, whatever the log ends with. */
TEST_ON(test_open__finds_the_last_time_before_other_entries, struct scene, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    fixture->time_ms += 5000;
    struct chat_call call = chat_fixture_call(fixture, by(f, "bob"));
    chat_note_delivered(fixture->chat, call.session, fixture->seq);
    assert_true(chat_fixture_deliver(fixture)); /* its time is in the log only */
    for (int i = 0; i < 5; i++)
        assert_int_equal(chat_fixture_pass(fixture), OK);
    uint64_t last = fixture->time_ms;
    chat_fixture_reopen(fixture);
    fixture->time_ms -= 5000;
    chat_fixture_send(fixture, by(f, "bob"), "#general", "later", 0);
    struct chat_outcome outcome;
    call = chat_fixture_call(fixture, by(f, "bob"));
    uint64_t request = chat_session_last_request(call.session);
    assert_int_equal(chat_outcome_of(fixture->chat, call.session, request, call.arena, &outcome),
                     OK);
    assert_int_equal(outcome.time_ms, last);
}

TEST_ON(test_corrupt__account_registered, struct scene, begin, end)
{
    Jackdaw__AccountRegistered good = JACKDAW__ACCOUNT_REGISTERED__INIT;
    good.account = 77;
    good.name = "eve";
    good.password_hash = "hash";
    good.nonce = (ProtobufCBinaryData){.len = 16, .data = (uint8_t *)"0123456789abcdef"};
    Jackdaw__AccountRegistered registered = good;
    Jackdaw__Delta delta = delta_of(JACKDAW__DELTA__CHANGE_ACCOUNT_REGISTERED, &registered);
    CORRUPT(registered.account = 0);
    CORRUPT(registered.account = f->alice);
    registered = good;
    static char *const names[] = {"ALICE", "", "a b", "\xFF", "Zoe\xCC\x88", "@eve", NULL};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        CORRUPT(registered.name = names[i]);
    registered = good;
    CORRUPT(registered.nonce.len = 15);
    CORRUPT(registered.nonce = (ProtobufCBinaryData){.len = 0, .data = NULL});
    registered = good;
    CORRUPT(registered.password_hash = NULL);
    char hash[200];
    memset(hash, 'h', sizeof hash);
    hash[128] = '\0';
    CORRUPT(registered.password_hash = hash);
    registered = good;
    CORRUPT(delta = alices(f, JACKDAW__DELTA__CHANGE_ACCOUNT_REGISTERED, &registered));
}

TEST_ON(test_corrupt__an_id_of_the_dead, struct scene, begin, end)
{
    assert_ok(chat_fixture_delete(&f->fixture, by(f, "dave"), true));
    Jackdaw__AccountRegistered registered = JACKDAW__ACCOUNT_REGISTERED__INIT;
    registered.account = f->dave;
    registered.name = "eve";
    registered.password_hash = "hash";
    registered.nonce = (ProtobufCBinaryData){.len = 16, .data = (uint8_t *)"0123456789abcdef"};
    Jackdaw__Delta delta = delta_of(JACKDAW__DELTA__CHANGE_ACCOUNT_REGISTERED, &registered);
    assert_int_equal(chat_fixture_apply(&f->fixture, &delta), ERROR_CORRUPT);
}

TEST_ON(test_corrupt__account_deleted, struct scene, begin, end)
{
    Jackdaw__AccountDeleted deleted = JACKDAW__ACCOUNT_DELETED__INIT;
    Jackdaw__Delta delta = alices(f, JACKDAW__DELTA__CHANGE_ACCOUNT_DELETED, &deleted);
    assert_corrupt(f, &delta);
    CORRUPT(deleted.account = f->bob);
}

TEST_ON(test_corrupt__session_started, struct scene, begin, end)
{
    uint8_t hash[32] = {1};
    uint64_t replaces[] = {f->alices, f->alices};
    char device[70];
    memset(device, 'd', sizeof device);
    device[65] = '\0';
    Jackdaw__SessionStarted good = JACKDAW__SESSION_STARTED__INIT;
    good.session = 99;
    good.account = f->alice;
    good.token_hash = (ProtobufCBinaryData){.len = 32, .data = hash};
    Jackdaw__SessionStarted started = good;
    Jackdaw__Delta delta = delta_of(JACKDAW__DELTA__CHANGE_SESSION_STARTED, &started);
    CORRUPT(started.session = 0);
    CORRUPT(started.session = f->bobs);
    started = good;
    CORRUPT(started.account = 1);
    started = good;
    CORRUPT(started.token_hash.len = 31);
    CORRUPT(started.token_hash = (ProtobufCBinaryData){.len = 0, .data = NULL});
    started = good;
    CORRUPT(started.device = device);
    CORRUPT(started.device = "\xFF");
    CORRUPT(started.device = NULL);
    started = good;
    started.n_replaces = 1;
    CORRUPT(started.replaces = &f->bobs);
    started.replaces = replaces;
    started.n_replaces = 2;
    assert_int_equal(chat_fixture_apply(&f->fixture, &delta), ERROR_CORRUPT);
    assert_unchanged(f);
    started = good;
    CORRUPT(delta = alices(f, JACKDAW__DELTA__CHANGE_SESSION_STARTED, &started));
    delta = delta_of(JACKDAW__DELTA__CHANGE_SESSION_STARTED, &good);
    assert_int_equal(chat_fixture_apply(&f->fixture, &delta), OK);
    good.session = 100; /* the token is in use now */
    assert_int_equal(chat_fixture_apply(&f->fixture, &delta), ERROR_CORRUPT);
}

TEST_ON(test_corrupt__session_ended, struct scene, begin, end)
{
    Jackdaw__SessionEnded ended = JACKDAW__SESSION_ENDED__INIT;
    Jackdaw__Delta delta = alices(f, JACKDAW__DELTA__CHANGE_SESSION_ENDED, &ended);
    assert_corrupt(f, &delta);
    CORRUPT(ended.session = f->bobs);
    ended.session = f->alices;
    CORRUPT(ended.delivered_seq = f->fixture.seq + 1);
}

TEST_ON(test_corrupt__room_joined, struct scene, begin, end)
{
    Jackdaw__RoomJoined joined = JACKDAW__ROOM_JOINED__INIT;
    Jackdaw__Delta delta = delta_of(JACKDAW__DELTA__CHANGE_ROOM_JOINED, &joined);
    struct {
        uint64_t room, account;
        char *name;
    } const bad[] = {
        {0, f->alice, ""},
        {1, f->alice, ""},              /* no such room */
        {f->general, 1, ""},            /* no such account */
        {f->general, f->alice, ""},     /* in it already */
        {f->general, f->carol, ""},     /* banned */
        {f->secret, f->bob, ""},        /* private */
        {f->direct, f->carol, ""},      /* not a room */
        {f->direct, f->alice, ""},      /* nor that */
        {f->general, f->dave, "other"}, /* making one that is there */
        {5, f->dave, "GENERAL"},        /* its name is taken */
        {0, f->dave, "other"},
        {5, f->dave, "a b"},
        {5, f->dave, "\xFF"},
        {5, f->dave, NULL},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        joined.room = bad[i].room;
        joined.account = bad[i].account;
        CORRUPT(joined.name = bad[i].name);
    }
    joined.room = f->secret;
    joined.account = f->dave;
    joined.name = "";
    CORRUPT(delta = alices(f, JACKDAW__DELTA__CHANGE_ROOM_JOINED,
                           &joined)); /* alice cannot join for dave */
    delta = delta_of(JACKDAW__DELTA__CHANGE_ROOM_JOINED, &joined);
    assert_int_equal(chat_fixture_apply(&f->fixture, &delta), OK);
}

TEST_ON(test_corrupt__room_left, struct scene, begin, end)
{
    Jackdaw__RoomLeft left = JACKDAW__ROOM_LEFT__INIT;
    Jackdaw__Delta delta = delta_of(JACKDAW__DELTA__CHANGE_ROOM_LEFT, &left);
    enum { LEFT, KICKED, BANNED };
    struct {
        uint64_t room, account;
        int reason;
        uint64_t by;
    } const bad[] = {
        {1, f->alice, LEFT, 0},
        {f->general, 1, LEFT, 0},
        {f->general, f->carol, LEFT, 0}, /* not in it */
        {f->secret, f->dave, LEFT, 0},   /* invited only */
        {f->direct, f->alice, LEFT, 0},  /* not a room */
        {f->direct, f->alice, KICKED, 0},
        {f->general, f->alice, LEFT, f->bob},   /* leaving is one's own */
        {f->general, f->alice, KICKED, f->bob}, /* not the owner */
        {f->general, f->bob, KICKED, 0},
        {f->general, f->alice, KICKED, f->alice},
        {f->general, f->carol, KICKED, f->alice}, /* not in it */
        {f->general, f->carol, BANNED, f->alice}, /* banned already */
        {f->general, f->bob, 3, f->alice},
        {f->general, f->bob, -1, f->alice},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        left.room = bad[i].room;
        left.account = bad[i].account;
        left.reason = (Jackdaw__RoomLeft__Reason)bad[i].reason;
        CORRUPT(left.by = bad[i].by);
    }
    left.room = f->general;
    left.account = f->bob;
    left.reason = JACKDAW__ROOM_LEFT__REASON__LEFT;
    left.by = 0;
    CORRUPT(delta = alices(f, JACKDAW__DELTA__CHANGE_ROOM_LEFT,
                           &left)); /* alice cannot leave for bob */
}

TEST_ON(test_corrupt__topic_set, struct scene, begin, end)
{
    char topic[300];
    memset(topic, 't', sizeof topic);
    topic[257] = '\0';
    Jackdaw__TopicSet set = JACKDAW__TOPIC_SET__INIT;
    Jackdaw__Delta delta = delta_of(JACKDAW__DELTA__CHANGE_TOPIC_SET, &set);
    struct {
        uint64_t room, account;
        char *topic;
    } const bad[] = {
        {1, f->alice, "x"},
        {f->general, 1, "x"},
        {f->general, f->carol, "x"},
        {f->direct, f->alice, "x"},
        {f->general, f->alice, "\xFF"},
        {f->general, f->alice, "a\nb"},
        {f->general, f->alice, topic},
        {f->general, f->alice, NULL},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        set.room = bad[i].room;
        set.account = bad[i].account;
        CORRUPT(set.topic = bad[i].topic);
    }
}

TEST_ON(test_corrupt__invited, struct scene, begin, end)
{
    Jackdaw__Invited invited = JACKDAW__INVITED__INIT;
    Jackdaw__Delta delta = delta_of(JACKDAW__DELTA__CHANGE_INVITED, &invited);
    struct {
        uint64_t room, account, by;
    } const bad[] = {
        {1, f->dave, f->alice},          {f->general, 1, f->alice},
        {f->general, f->dave, 1},        {f->general, f->dave, f->carol}, /* not in it */
        {f->general, f->bob, f->alice},                                   /* in it */
        {f->secret, f->dave, f->alice},                                   /* invited already */
        {f->general, f->carol, f->bob}, /* banned, and not by the owner */
        {f->direct, f->carol, f->alice},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        invited.room = bad[i].room;
        invited.account = bad[i].account;
        CORRUPT(invited.by = bad[i].by);
    }
}

TEST_ON(test_corrupt__message_sent, struct scene, begin, end)
{
    char *huge = malloc(1048578);
    memset(huge, 'x', 1048577);
    huge[1048577] = '\0';
    Jackdaw__MessageSent sent = JACKDAW__MESSAGE_SENT__INIT;
    Jackdaw__Delta delta = alices(f, JACKDAW__DELTA__CHANGE_MESSAGE_SENT, &sent);
    struct {
        uint64_t room, account, peer;
        char *text;
    } const bad[] = {
        {1, f->alice, 0, "x"},
        {f->general, f->bob, 0, "x"},
        {f->direct, f->alice, 0, "x"},        /* needs its peer */
        {f->direct, f->alice, f->carol, "x"}, /* another pair's */
        {f->general, f->alice, f->bob, "x"},
        {5, f->alice, f->bob, "x"}, /* they have a room */
        {0, f->alice, f->carol, "x"},
        {5, f->alice, 1, "x"},
        {f->general, f->alice, 0, ""},
        {f->general, f->alice, 0, NULL},
        {f->general, f->alice, 0, "\xFF"},
        {f->general, f->alice, 0, huge},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sent.room = bad[i].room;
        sent.account = bad[i].account;
        sent.peer = bad[i].peer;
        CORRUPT(sent.text = bad[i].text);
    }
    free(huge);
}

TEST_ON(test_corrupt__delivered, struct scene, begin, end)
{
    uint64_t accounts[] = {f->alice, f->bob};
    uint64_t seqs[] = {1, 2};
    Jackdaw__Delivered delivered = JACKDAW__DELIVERED__INIT;
    Jackdaw__Delta delta = delta_of(JACKDAW__DELTA__CHANGE_DELIVERED, &delivered);
    delivered.accounts = accounts;
    delivered.seqs = seqs;
    delivered.n_accounts = 2;
    CORRUPT(delivered.n_seqs = 1);
    delivered.n_seqs = 2;
    CORRUPT(accounts[1] = 1);
    accounts[1] = f->bob;
    CORRUPT(seqs[1] = f->fixture.seq + 1);
    seqs[1] = f->fixture.seq;
    assert_int_equal(chat_fixture_apply(&f->fixture, &delta), OK);
}

TEST_ON(test_corrupt__refused_and_unchanged, struct scene, begin, end)
{
    char text[600];
    memset(text, 't', sizeof text);
    text[513] = '\0';
    Jackdaw__Refused refused = JACKDAW__REFUSED__INIT;
    Jackdaw__Delta delta = alices(f, JACKDAW__DELTA__CHANGE_REFUSED, &refused);
    assert_corrupt(f, &delta); /* refused with OK */
    CORRUPT(refused.status = 17);
    refused.status = 5;
    CORRUPT(refused.message = text);
    CORRUPT(refused.message = "\xFF");
    CORRUPT(refused.message = NULL);
    refused.message = "no";
    CORRUPT(delta = delta_of(JACKDAW__DELTA__CHANGE_REFUSED, &refused));
    Jackdaw__Unchanged unchanged = JACKDAW__UNCHANGED__INIT;
    CORRUPT(delta = delta_of(JACKDAW__DELTA__CHANGE_UNCHANGED, &unchanged));
    delta = alices(f, JACKDAW__DELTA__CHANGE_UNCHANGED, &unchanged);
    CORRUPT(unchanged.room = 1);
}

TEST_ON(test_apply__membership_without_a_request, struct scene, begin, end)
{
    Jackdaw__RoomLeft left = JACKDAW__ROOM_LEFT__INIT;
    left.room = f->general;
    left.account = f->bob;
    Jackdaw__Delta delta = delta_of(JACKDAW__DELTA__CHANGE_ROOM_LEFT, &left);
    uint64_t last = chat_session_last_request(by(f, "bob"));
    assert_int_equal(chat_fixture_apply(&f->fixture, &delta), OK);
    assert_int_equal(chat_session_last_request(by(f, "bob")), last);
    assert_members(&f->fixture, by(f, "alice"), "general", "alice*");
}

TEST_ON(test_apply__a_delta_older_than_the_last, struct scene, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    Jackdaw__MessageSent sent = JACKDAW__MESSAGE_SENT__INIT;
    sent.room = f->general;
    sent.account = f->alice;
    sent.text = "from the other half";
    Jackdaw__Delta delta = alices(f, JACKDAW__DELTA__CHANGE_MESSAGE_SENT, &sent);
    delta.time_ms = 5;
    assert_int_equal(chat_fixture_apply(fixture, &delta), OK);
    struct answer next = chat_fixture_send(fixture, by(f, "alice"), "general", "x", 0);
    assert_int_equal(next.outcome.time_ms, fixture->time_ms);
}

TEST_ON(test_apply__an_outcome_keeps_nothing_of_its_delta, struct scene, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    Jackdaw__Refused refused = JACKDAW__REFUSED__INIT;
    refused.status = 5;
    refused.message = strdup("");
    Jackdaw__Delta delta = alices(f, JACKDAW__DELTA__CHANGE_REFUSED, &refused);
    assert_int_equal(chat_fixture_apply(fixture, &delta), OK);
    free(refused.message);
    struct chat_call call = chat_fixture_call(fixture, by(f, "alice"));
    struct chat_outcome outcome;
    assert_int_equal(
        chat_outcome_of(fixture->chat, call.session, delta.request, call.arena, &outcome), OK);
    assert_int_equal(outcome.status, STATUS_NOT_FOUND);
    assert_string_equal(outcome.text, "");
}

TEST_ON(test_apply__an_outcome_that_was_undone, struct scene, begin, end)
{
    struct chat_fixture *fixture = &f->fixture;
    struct error_text why;
    Jackdaw__Unchanged unchanged = JACKDAW__UNCHANGED__INIT;
    Jackdaw__Delta delta = alices(f, JACKDAW__DELTA__CHANGE_UNCHANGED, &unchanged);
    assert_int_equal(store_begin(fixture->store), OK);
    struct log_position position = {fixture->epoch, fixture->seq + 1};
    assert_int_equal(chat_apply(fixture->chat, &delta, position), OK);
    store_rollback(fixture->store);
    assert_int_equal(chat_reload(fixture->chat, &why), OK);
    struct chat_call call = chat_fixture_call(fixture, by(f, "alice"));
    struct chat_outcome outcome;
    assert_int_equal(
        chat_outcome_of(fixture->chat, call.session, delta.request, call.arena, &outcome),
        ERROR_NOT_FOUND);
    assert_int_equal(chat_check_request(fixture->chat, &call, delta.request), CHAT_PROPOSE);
}

static uint64_t seed;

static void apply_bytes(struct scene *scene, const uint8_t *bytes, size_t size)
{
    Jackdaw__Delta *delta = jackdaw__delta__unpack(NULL, size, bytes);
    if (delta == NULL)
        return;
    enum error error = chat_fixture_apply(&scene->fixture, delta);
    jackdaw__delta__free_unpacked(delta, NULL);
    if (error == OK) {
        free(scene->portrait);
        free(scene->rows);
        scene->portrait = chat_fixture_portrait(&scene->fixture);
        scene->rows = chat_fixture_rows(&scene->fixture);
    } else {
        assert_true(error == ERROR_CORRUPT || error == ERROR_VERSION);
        assert_unchanged(scene);
    }
}

TEST_ON(test_fuzz__random_bytes, struct scene, begin, end)
{
    print_message("seed %" PRIu64 "\n", seed);
    f->fixture.random = seed;
    uint8_t bytes[64];
    for (int i = 0; i < 20000; i++) {
        size_t size = chat_fixture_random(&f->fixture) % sizeof bytes;
        for (size_t k = 0; k < size; k++)
            bytes[k] = (uint8_t)chat_fixture_random(&f->fixture);
        if (size > 2 && i % 2) { /* a change with some length behind it */
            uint32_t key = (uint32_t)(10 + bytes[0] % 13) << 3 | 2;
            bytes[0] = (uint8_t)(key | 0x80);
            bytes[1] = (uint8_t)(key >> 7);
            bytes[2] = (uint8_t)(size - 3);
        }
        apply_bytes(f, bytes, size);
    }
}

TEST_ON(test_fuzz__damaged_deltas, struct scene, begin, end)
{
    print_message("seed %" PRIu64 "\n", seed);
    f->fixture.random = seed;
    struct chat_fixture *fixture = &f->fixture;
    chat_fixture_logout(fixture, by(f, "carol"), fixture->seq);
    chat_note_delivered(fixture->chat, by(f, "bob"), fixture->seq);
    chat_fixture_deliver(fixture);
    chat_fixture_topic(fixture, by(f, "bob"), "general", "topic");
    chat_fixture_leave(fixture, by(f, "bob"), "general");
    free(f->portrait);
    free(f->rows);
    f->portrait = chat_fixture_portrait(fixture);
    f->rows = chat_fixture_rows(fixture);
    size_t deltas = fixture->deltas_count;
    for (int i = 0; i < 3000; i++) {
        const struct delta_bytes *packed =
            &fixture->deltas[1 + chat_fixture_random(fixture) % (deltas - 1)];
        uint8_t bytes[512];
        size_t size = packed->size < sizeof bytes ? packed->size : sizeof bytes;
        memcpy(bytes, packed->bytes, size);
        for (uint64_t hits = chat_fixture_random(fixture) % 4; hits > 0 && size > 0; hits--)
            bytes[chat_fixture_random(fixture) % size] = (uint8_t)chat_fixture_random(fixture);
        apply_bytes(f, bytes, size);
    }
}

/* Puts one bad row beside the good ones: the chat must not open. */
static void assert_not_loaded(struct scene *scene)
{
    struct chat *chat = NULL;
    struct error_text why = {.text = ""};
    assert_int_equal(chat_open(&chat, scene->fixture.store, &scene->fixture.limits, NULL, 0, &why),
                     ERROR_CORRUPT);
    assert_null(chat);
    assert_true(strlen(why.text) > 20);
    assert_int_equal(chat_reload(scene->fixture.chat, &why), ERROR_CORRUPT);
    assert_int_equal(chat_open(&chat, scene->fixture.store, &scene->fixture.limits, NULL, 0, NULL),
                     ERROR_CORRUPT);
    store_rollback(scene->fixture.store);
    assert_int_equal(chat_reload(scene->fixture.chat, &why), OK);
    assert_unchanged(scene);
}

TEST_ON(test_load__contradictions, struct scene, begin, end)
{
    struct store *store = f->fixture.store;
    assert_int_equal(store_begin(store), OK);
    struct session_row session = {.id = 5, .account = 1, .device = ""};
    assert_int_equal(store_put_session(store, &session), OK);
    assert_not_loaded(f);
    assert_int_equal(store_begin(store), OK);
    struct member_row member = {.room = 1, .account = f->alice, .state = MEMBER_IN};
    assert_int_equal(store_put_member(store, &member), OK);
    assert_not_loaded(f);
    assert_int_equal(store_begin(store), OK);
    member = (struct member_row){.room = f->general, .account = 1, .state = MEMBER_IN};
    assert_int_equal(store_put_member(store, &member), OK);
    assert_not_loaded(f);
    assert_int_equal(store_begin(store), OK);
    assert_int_equal(store_delete_member(store, f->general, f->alice), OK);
    assert_not_loaded(f); /* an owner who is not in it */
    assert_int_equal(store_begin(store), OK);
    struct room_row room = {
        .id = 5, .name = "", .folded = "", .topic = "", .direct_low = 0, .direct_high = 0};
    if (store_put_room(store, &room) == OK)
        assert_not_loaded(f); /* neither a name nor a pair */
    else
        store_rollback(store);
}

TEST_ON(test_load__twenty_thousand_accounts, struct scene, begin, end)
{
    struct store *store = f->fixture.store;
    assert_int_equal(store_begin(store), OK);
    for (uint64_t i = 0; i < 20000; i++) {
        char name[32];
        snprintf(name, sizeof name, "n%" PRIu64, i * 7919 % 20000);
        struct account_row row = {
            .id = 1000000 + i, .name = name, .folded = name, .password_hash = ""};
        assert_int_equal(store_put_account(store, &row), OK);
    }
    struct chat *chat = NULL;
    clock_t start = clock();
    assert_int_equal(chat_open(&chat, store, &f->fixture.limits, NULL, 0, NULL), OK);
    chat_close(chat);
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 5);
    store_rollback(store);
}

TEST_PREPARE()
{
    seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL);
    return 0;
}
