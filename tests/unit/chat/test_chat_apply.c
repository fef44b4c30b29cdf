/* SPDX-License-Identifier: MIT */
/* Deltas from elsewhere: what contradicts the state is refused and changes nothing, whatever its
 * bytes; what does not gives the same rows everywhere (src/chat/apply*.c, load.c). */
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

static int open_scene(void **state)
{
    struct scene *scene = calloc(1, sizeof *scene);
    struct chat_fixture *fixture = &scene->fixture;
    chat_fixture_open(fixture, 8, NULL);
    static const char *const names[] = {"alice", "bob", "carol", "dave"};
    for (size_t i = 0; i < 4; i++)
        chat_fixture_person(fixture, names[i]);
    scene->alice = account_of(fixture, "alice");
    scene->bob = account_of(fixture, "bob");
    scene->carol = account_of(fixture, "carol");
    scene->dave = account_of(fixture, "dave");
    scene->alices = chat_session_id(by(scene, "alice"));
    scene->bobs = chat_session_id(by(scene, "bob"));
    scene->general = chat_fixture_join(fixture, by(scene, "alice"), "general", 0).outcome.room;
    chat_fixture_join(fixture, by(scene, "bob"), "general", 0);
    chat_fixture_kick(fixture, by(scene, "alice"), "general", "carol", true);
    scene->secret = chat_fixture_join_private(fixture, by(scene, "alice"), "secret").outcome.room;
    chat_fixture_invite(fixture, by(scene, "alice"), "secret", "dave");
    scene->direct = chat_fixture_send(fixture, by(scene, "alice"), "@bob", "hi", 0).outcome.room;
    scene->portrait = chat_fixture_portrait(fixture);
    scene->rows = chat_fixture_rows(fixture);
    *state = scene;
    return 0;
}

static int close_scene(void **state)
{
    struct scene *scene = *state;
    chat_fixture_close(&scene->fixture);
    free(scene->portrait);
    free(scene->rows);
    free(scene);
    return 0;
}

static void assert_unchanged(struct scene *scene)
{
    char *portrait = chat_fixture_portrait(&scene->fixture);
    char *rows = chat_fixture_rows(&scene->fixture);
    assert_string_equal(portrait, scene->portrait);
    assert_string_equal(rows, scene->rows);
    free(portrait);
    free(rows);
}

static void assert_corrupt(struct scene *scene, const Jackdaw__Delta *delta)
{
    size_t seen = scene->fixture.seen_count;
    assert_int_equal(chat_fixture_apply(&scene->fixture, delta), ERROR_CORRUPT);
    assert_unchanged(scene);
    assert_int_equal(scene->fixture.seen_count, seen);
}

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

TEST_WITH(test_corrupt__no_change, open_scene, close_scene)
{
    struct scene *scene = *state;
    Jackdaw__Delta delta = JACKDAW__DELTA__INIT;
    assert_corrupt(scene, &delta);
    delta.change_case = JACKDAW__DELTA__CHANGE_MESSAGE_SENT;
    assert_corrupt(scene, &delta);
    Jackdaw__Unchanged unchanged = JACKDAW__UNCHANGED__INIT;
    delta.unchanged = &unchanged;
    delta.change_case = (Jackdaw__Delta__ChangeCase)9;
    assert_corrupt(scene, &delta);
    delta.change_case = (Jackdaw__Delta__ChangeCase)1000;
    assert_corrupt(scene, &delta);
    delta.change_case = (Jackdaw__Delta__ChangeCase)-1;
    assert_corrupt(scene, &delta);
}

/* Receipts are no request of a session. */
TEST_WITH(test_corrupt__uid_of_a_receipt, open_scene, close_scene)
{
    struct scene *scene = *state;
    uint64_t account = scene->alice, seq = 1;
    Jackdaw__Delivered delivered = JACKDAW__DELIVERED__INIT;
    delivered.n_accounts = delivered.n_seqs = 1;
    delivered.accounts = &account;
    delivered.seqs = &seq;
    const Jackdaw__Delta delta = alices(scene, JACKDAW__DELTA__CHANGE_DELIVERED, &delivered);
    assert_corrupt(scene, &delta);
}

TEST_WITH(test_corrupt__uid, open_scene, close_scene)
{
    struct scene *scene = *state;
    Jackdaw__MessageSent sent = JACKDAW__MESSAGE_SENT__INIT;
    sent.room = scene->general;
    sent.account = scene->alice;
    sent.text = "x";
    Jackdaw__Delta good = alices(scene, JACKDAW__DELTA__CHANGE_MESSAGE_SENT, &sent);
    Jackdaw__Delta delta = good;
    delta.request--;
    assert_corrupt(scene, &delta);
    delta.request = good.request + 1;
    assert_corrupt(scene, &delta);
    delta.request = 0;
    assert_corrupt(scene, &delta);
    delta.request = UINT64_MAX;
    assert_corrupt(scene, &delta);
    delta = good;
    delta.session = 0;
    assert_corrupt(scene, &delta);
    delta.session = 12345;
    assert_corrupt(scene, &delta);
    delta.session = scene->bobs;
    delta.request = chat_fixture_next(by(scene, "bob"));
    assert_corrupt(scene, &delta); /* bob cannot speak for alice */
    delta = good;
    delta.session = delta.request = 0;
    assert_corrupt(scene, &delta); /* a message needs a uid */
    assert_int_equal(chat_fixture_apply(&scene->fixture, &good), OK);
}

TEST_WITH(test_corrupt__position, open_scene, close_scene)
{
    struct scene *scene = *state;
    Jackdaw__Unchanged unchanged = JACKDAW__UNCHANGED__INIT;
    Jackdaw__Delta delta = alices(scene, JACKDAW__DELTA__CHANGE_UNCHANGED, &unchanged);
    struct log_position position = {scene->fixture.epoch, scene->fixture.seq};
    assert_int_equal(chat_apply(scene->fixture.chat, &delta, position), ERROR_CORRUPT);
    position.seq = 0;
    assert_int_equal(chat_apply(scene->fixture.chat, &delta, position), ERROR_CORRUPT);
    position = (struct log_position){scene->fixture.epoch - 1, scene->fixture.seq + 1};
    assert_int_equal(chat_apply(scene->fixture.chat, &delta, position), ERROR_CORRUPT);
    assert_unchanged(scene);
}

TEST_WITH(test_pass__what_comes_later_ascends, open_scene, close_scene)
{
    struct scene *scene = *state;
    struct chat_fixture *fixture = &scene->fixture;
    assert_int_equal(chat_fixture_pass(fixture), OK);
    struct answer answer = chat_fixture_send(fixture, by(scene, "bob"), "#general", "after", 0);
    assert_int_equal(answer.position.seq, fixture->seq);
    struct log_position position = {fixture->epoch, fixture->seq};
    assert_int_equal(chat_pass(fixture->chat, position), ERROR_CORRUPT);
    position = (struct log_position){fixture->epoch - 1, fixture->seq + 1};
    assert_int_equal(chat_pass(fixture->chat, position), ERROR_CORRUPT);
    position = (struct log_position){0, fixture->seq + 1};
    assert_int_equal(chat_pass(fixture->chat, position), ERROR_CORRUPT);
}

TEST_WITH(test_pass__begins_a_epoch_start, open_scene, close_scene)
{
    struct scene *scene = *state;
    struct chat_fixture *fixture = &scene->fixture;
    struct log_position old = {fixture->epoch, fixture->seq};
    chat_fixture_new_epoch(fixture);
    const struct log_position ends[] = {{old.epoch, UINT64_MAX}, {fixture->epoch, UINT64_MAX}};
    assert_int_equal(chat_common_seq(fixture->chat, &ends[0], 1), old.seq);
    assert_int_equal(chat_common_seq(fixture->chat, &ends[1], 1), old.seq + 1);
    char *before = chat_fixture_portrait(fixture);
    chat_fixture_reopen(fixture);
    char *after = chat_fixture_portrait(fixture);
    assert_string_equal(after, before);
    free(before);
    free(after);
}

/* The clock must not go back after a restart, whatever the log ends with. */
TEST_WITH(test_open__finds_the_last_time_before_other_entries, open_scene, close_scene)
{
    struct scene *scene = *state;
    struct chat_fixture *fixture = &scene->fixture;
    fixture->time_ms += 5000;
    struct chat_call call = chat_fixture_call(fixture, by(scene, "bob"));
    chat_note_delivered(fixture->chat, call.session, fixture->seq);
    assert_true(chat_fixture_deliver(fixture)); /* its time is in the log only */
    for (int i = 0; i < 5; i++)
        assert_int_equal(chat_fixture_pass(fixture), OK);
    uint64_t last = fixture->time_ms;
    chat_fixture_reopen(fixture);
    fixture->time_ms -= 5000;
    chat_fixture_send(fixture, by(scene, "bob"), "#general", "later", 0);
    struct chat_outcome outcome;
    call = chat_fixture_call(fixture, by(scene, "bob"));
    uint64_t request = chat_session_last_request(call.session);
    assert_int_equal(chat_outcome_of(fixture->chat, call.session, request, call.arena, &outcome),
                     OK);
    assert_int_equal(outcome.time_ms, last);
}

TEST_WITH(test_corrupt__account_registered, open_scene, close_scene)
{
    struct scene *scene = *state;
    Jackdaw__AccountRegistered good = JACKDAW__ACCOUNT_REGISTERED__INIT;
    good.account = 77;
    good.name = "eve";
    good.password_hash = "hash";
    good.nonce = (ProtobufCBinaryData){.len = 16, .data = (uint8_t *)"0123456789abcdef"};
    Jackdaw__AccountRegistered registered = good;
    Jackdaw__Delta delta = delta_of(JACKDAW__DELTA__CHANGE_ACCOUNT_REGISTERED, &registered);
    registered.account = 0;
    assert_corrupt(scene, &delta);
    registered.account = scene->alice;
    assert_corrupt(scene, &delta);
    registered = good;
    static char *const names[] = {"ALICE", "", "a b", "\xFF", "Zoe\xCC\x88", "@eve", NULL};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        registered.name = names[i];
        assert_corrupt(scene, &delta);
    }
    registered = good;
    registered.nonce.len = 15;
    assert_corrupt(scene, &delta);
    registered.nonce = (ProtobufCBinaryData){.len = 0, .data = NULL};
    assert_corrupt(scene, &delta);
    registered = good;
    registered.password_hash = NULL;
    assert_corrupt(scene, &delta);
    char hash[200];
    memset(hash, 'h', sizeof hash);
    hash[128] = '\0';
    registered.password_hash = hash;
    assert_corrupt(scene, &delta);
    registered = good;
    delta = alices(scene, JACKDAW__DELTA__CHANGE_ACCOUNT_REGISTERED, &registered);
    assert_corrupt(scene, &delta);
}

TEST_WITH(test_corrupt__an_id_of_the_dead, open_scene, close_scene)
{
    struct scene *scene = *state;
    assert_int_equal(chat_fixture_delete(&scene->fixture, by(scene, "dave"), true).status,
                     STATUS_OK);
    Jackdaw__AccountRegistered registered = JACKDAW__ACCOUNT_REGISTERED__INIT;
    registered.account = scene->dave;
    registered.name = "eve";
    registered.password_hash = "hash";
    registered.nonce = (ProtobufCBinaryData){.len = 16, .data = (uint8_t *)"0123456789abcdef"};
    Jackdaw__Delta delta = delta_of(JACKDAW__DELTA__CHANGE_ACCOUNT_REGISTERED, &registered);
    assert_int_equal(chat_fixture_apply(&scene->fixture, &delta), ERROR_CORRUPT);
}

TEST_WITH(test_corrupt__account_deleted, open_scene, close_scene)
{
    struct scene *scene = *state;
    Jackdaw__AccountDeleted deleted = JACKDAW__ACCOUNT_DELETED__INIT;
    Jackdaw__Delta delta = alices(scene, JACKDAW__DELTA__CHANGE_ACCOUNT_DELETED, &deleted);
    assert_corrupt(scene, &delta);
    deleted.account = scene->bob;
    assert_corrupt(scene, &delta);
}

TEST_WITH(test_corrupt__session_started, open_scene, close_scene)
{
    struct scene *scene = *state;
    uint8_t hash[32] = {1};
    uint64_t replaces[] = {scene->alices, scene->alices};
    char device[70];
    memset(device, 'd', sizeof device);
    device[65] = '\0';
    Jackdaw__SessionStarted good = JACKDAW__SESSION_STARTED__INIT;
    good.session = 99;
    good.account = scene->alice;
    good.token_hash = (ProtobufCBinaryData){.len = 32, .data = hash};
    Jackdaw__SessionStarted started = good;
    Jackdaw__Delta delta = delta_of(JACKDAW__DELTA__CHANGE_SESSION_STARTED, &started);
    started.session = 0;
    assert_corrupt(scene, &delta);
    started.session = scene->bobs;
    assert_corrupt(scene, &delta);
    started = good;
    started.account = 1;
    assert_corrupt(scene, &delta);
    started = good;
    started.token_hash.len = 31;
    assert_corrupt(scene, &delta);
    started.token_hash = (ProtobufCBinaryData){.len = 0, .data = NULL};
    assert_corrupt(scene, &delta);
    started = good;
    started.device = device;
    assert_corrupt(scene, &delta);
    started.device = "\xFF";
    assert_corrupt(scene, &delta);
    started.device = NULL;
    assert_corrupt(scene, &delta);
    started = good;
    started.n_replaces = 1;
    started.replaces = &scene->bobs;
    assert_corrupt(scene, &delta);
    started.replaces = replaces;
    started.n_replaces = 2;
    assert_int_equal(chat_fixture_apply(&scene->fixture, &delta), ERROR_CORRUPT);
    assert_unchanged(scene);
    started = good;
    delta = alices(scene, JACKDAW__DELTA__CHANGE_SESSION_STARTED, &started);
    assert_corrupt(scene, &delta);
    delta = delta_of(JACKDAW__DELTA__CHANGE_SESSION_STARTED, &good);
    assert_int_equal(chat_fixture_apply(&scene->fixture, &delta), OK);
    good.session = 100; /* the token is in use now */
    assert_int_equal(chat_fixture_apply(&scene->fixture, &delta), ERROR_CORRUPT);
}

TEST_WITH(test_corrupt__session_ended, open_scene, close_scene)
{
    struct scene *scene = *state;
    Jackdaw__SessionEnded ended = JACKDAW__SESSION_ENDED__INIT;
    Jackdaw__Delta delta = alices(scene, JACKDAW__DELTA__CHANGE_SESSION_ENDED, &ended);
    assert_corrupt(scene, &delta);
    ended.session = scene->bobs;
    assert_corrupt(scene, &delta);
    ended.session = scene->alices;
    ended.delivered_seq = scene->fixture.seq + 1;
    assert_corrupt(scene, &delta);
}

TEST_WITH(test_corrupt__room_joined, open_scene, close_scene)
{
    struct scene *scene = *state;
    Jackdaw__RoomJoined joined = JACKDAW__ROOM_JOINED__INIT;
    Jackdaw__Delta delta = delta_of(JACKDAW__DELTA__CHANGE_ROOM_JOINED, &joined);
    struct {
        uint64_t room, account;
        char *name;
    } const bad[] = {
        {0, scene->alice, ""},
        {1, scene->alice, ""},                  /* no such room */
        {scene->general, 1, ""},                /* no such account */
        {scene->general, scene->alice, ""},     /* in it already */
        {scene->general, scene->carol, ""},     /* banned */
        {scene->secret, scene->bob, ""},        /* private */
        {scene->direct, scene->carol, ""},      /* not a room */
        {scene->direct, scene->alice, ""},      /* nor that */
        {scene->general, scene->dave, "other"}, /* making one that is there */
        {5, scene->dave, "GENERAL"},            /* its name is taken */
        {0, scene->dave, "other"},
        {5, scene->dave, "a b"},
        {5, scene->dave, "\xFF"},
        {5, scene->dave, NULL},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        joined.room = bad[i].room;
        joined.account = bad[i].account;
        joined.name = bad[i].name;
        assert_corrupt(scene, &delta);
    }
    joined.room = scene->secret;
    joined.account = scene->dave;
    joined.name = "";
    delta = alices(scene, JACKDAW__DELTA__CHANGE_ROOM_JOINED, &joined);
    assert_corrupt(scene, &delta); /* alice cannot join for dave */
    delta = delta_of(JACKDAW__DELTA__CHANGE_ROOM_JOINED, &joined);
    assert_int_equal(chat_fixture_apply(&scene->fixture, &delta), OK);
}

TEST_WITH(test_corrupt__room_left, open_scene, close_scene)
{
    struct scene *scene = *state;
    Jackdaw__RoomLeft left = JACKDAW__ROOM_LEFT__INIT;
    Jackdaw__Delta delta = delta_of(JACKDAW__DELTA__CHANGE_ROOM_LEFT, &left);
    enum { LEFT, KICKED, BANNED };
    struct {
        uint64_t room, account;
        int reason;
        uint64_t by;
    } const bad[] = {
        {1, scene->alice, LEFT, 0},
        {scene->general, 1, LEFT, 0},
        {scene->general, scene->carol, LEFT, 0}, /* not in it */
        {scene->secret, scene->dave, LEFT, 0},   /* invited only */
        {scene->direct, scene->alice, LEFT, 0},  /* not a room */
        {scene->direct, scene->alice, KICKED, 0},
        {scene->general, scene->alice, LEFT, scene->bob},   /* leaving is one's own */
        {scene->general, scene->alice, KICKED, scene->bob}, /* not the owner */
        {scene->general, scene->bob, KICKED, 0},
        {scene->general, scene->alice, KICKED, scene->alice},
        {scene->general, scene->carol, KICKED, scene->alice}, /* not in it */
        {scene->general, scene->carol, BANNED, scene->alice}, /* banned already */
        {scene->general, scene->bob, 3, scene->alice},
        {scene->general, scene->bob, -1, scene->alice},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        left.room = bad[i].room;
        left.account = bad[i].account;
        left.reason = (Jackdaw__RoomLeft__Reason)bad[i].reason;
        left.by = bad[i].by;
        assert_corrupt(scene, &delta);
    }
    left.room = scene->general;
    left.account = scene->bob;
    left.reason = JACKDAW__ROOM_LEFT__REASON__LEFT;
    left.by = 0;
    delta = alices(scene, JACKDAW__DELTA__CHANGE_ROOM_LEFT, &left);
    assert_corrupt(scene, &delta); /* alice cannot leave for bob */
}

TEST_WITH(test_corrupt__topic_set, open_scene, close_scene)
{
    struct scene *scene = *state;
    char topic[300];
    memset(topic, 't', sizeof topic);
    topic[257] = '\0';
    Jackdaw__TopicSet set = JACKDAW__TOPIC_SET__INIT;
    Jackdaw__Delta delta = delta_of(JACKDAW__DELTA__CHANGE_TOPIC_SET, &set);
    struct {
        uint64_t room, account;
        char *topic;
    } const bad[] = {
        {1, scene->alice, "x"},
        {scene->general, 1, "x"},
        {scene->general, scene->carol, "x"},
        {scene->direct, scene->alice, "x"},
        {scene->general, scene->alice, "\xFF"},
        {scene->general, scene->alice, "a\nb"},
        {scene->general, scene->alice, topic},
        {scene->general, scene->alice, NULL},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        set.room = bad[i].room;
        set.account = bad[i].account;
        set.topic = bad[i].topic;
        assert_corrupt(scene, &delta);
    }
}

TEST_WITH(test_corrupt__invited, open_scene, close_scene)
{
    struct scene *scene = *state;
    Jackdaw__Invited invited = JACKDAW__INVITED__INIT;
    Jackdaw__Delta delta = delta_of(JACKDAW__DELTA__CHANGE_INVITED, &invited);
    struct {
        uint64_t room, account, by;
    } const bad[] = {
        {1, scene->dave, scene->alice},
        {scene->general, 1, scene->alice},
        {scene->general, scene->dave, 1},
        {scene->general, scene->dave, scene->carol}, /* not in it */
        {scene->general, scene->bob, scene->alice},  /* in it */
        {scene->secret, scene->dave, scene->alice},  /* invited already */
        {scene->general, scene->carol, scene->bob},  /* banned, and not by the owner */
        {scene->direct, scene->carol, scene->alice},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        invited.room = bad[i].room;
        invited.account = bad[i].account;
        invited.by = bad[i].by;
        assert_corrupt(scene, &delta);
    }
}

TEST_WITH(test_corrupt__message_sent, open_scene, close_scene)
{
    struct scene *scene = *state;
    char *huge = malloc(1048578);
    memset(huge, 'x', 1048577);
    huge[1048577] = '\0';
    Jackdaw__MessageSent sent = JACKDAW__MESSAGE_SENT__INIT;
    Jackdaw__Delta delta = alices(scene, JACKDAW__DELTA__CHANGE_MESSAGE_SENT, &sent);
    struct {
        uint64_t room, account, peer;
        char *text;
    } const bad[] = {
        {1, scene->alice, 0, "x"},
        {scene->general, scene->bob, 0, "x"},
        {scene->direct, scene->alice, 0, "x"},            /* needs its peer */
        {scene->direct, scene->alice, scene->carol, "x"}, /* another pair's */
        {scene->general, scene->alice, scene->bob, "x"},
        {5, scene->alice, scene->bob, "x"}, /* they have a room */
        {0, scene->alice, scene->carol, "x"},
        {5, scene->alice, 1, "x"},
        {scene->general, scene->alice, 0, ""},
        {scene->general, scene->alice, 0, NULL},
        {scene->general, scene->alice, 0, "\xFF"},
        {scene->general, scene->alice, 0, huge},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sent.room = bad[i].room;
        sent.account = bad[i].account;
        sent.peer = bad[i].peer;
        sent.text = bad[i].text;
        assert_corrupt(scene, &delta);
    }
    free(huge);
}

TEST_WITH(test_corrupt__delivered, open_scene, close_scene)
{
    struct scene *scene = *state;
    uint64_t accounts[] = {scene->alice, scene->bob};
    uint64_t seqs[] = {1, 2};
    Jackdaw__Delivered delivered = JACKDAW__DELIVERED__INIT;
    Jackdaw__Delta delta = delta_of(JACKDAW__DELTA__CHANGE_DELIVERED, &delivered);
    delivered.accounts = accounts;
    delivered.seqs = seqs;
    delivered.n_accounts = 2;
    delivered.n_seqs = 1;
    assert_corrupt(scene, &delta);
    delivered.n_seqs = 2;
    accounts[1] = 1;
    assert_corrupt(scene, &delta);
    accounts[1] = scene->bob;
    seqs[1] = scene->fixture.seq + 1;
    assert_corrupt(scene, &delta);
    seqs[1] = scene->fixture.seq;
    assert_int_equal(chat_fixture_apply(&scene->fixture, &delta), OK);
}

TEST_WITH(test_corrupt__refused_and_unchanged, open_scene, close_scene)
{
    struct scene *scene = *state;
    char text[600];
    memset(text, 't', sizeof text);
    text[513] = '\0';
    Jackdaw__Refused refused = JACKDAW__REFUSED__INIT;
    Jackdaw__Delta delta = alices(scene, JACKDAW__DELTA__CHANGE_REFUSED, &refused);
    assert_corrupt(scene, &delta); /* refused with OK */
    refused.status = 17;
    assert_corrupt(scene, &delta);
    refused.status = 5;
    refused.message = text;
    assert_corrupt(scene, &delta);
    refused.message = "\xFF";
    assert_corrupt(scene, &delta);
    refused.message = NULL;
    assert_corrupt(scene, &delta);
    refused.message = "no";
    delta = delta_of(JACKDAW__DELTA__CHANGE_REFUSED, &refused);
    assert_corrupt(scene, &delta);
    Jackdaw__Unchanged unchanged = JACKDAW__UNCHANGED__INIT;
    delta = delta_of(JACKDAW__DELTA__CHANGE_UNCHANGED, &unchanged);
    assert_corrupt(scene, &delta);
    delta = alices(scene, JACKDAW__DELTA__CHANGE_UNCHANGED, &unchanged);
    unchanged.room = 1;
    assert_corrupt(scene, &delta);
}

/* ---- without a uid, and late ---- */

TEST_WITH(test_apply__membership_without_a_request, open_scene, close_scene)
{
    struct scene *scene = *state;
    Jackdaw__RoomLeft left = JACKDAW__ROOM_LEFT__INIT;
    left.room = scene->general;
    left.account = scene->bob;
    Jackdaw__Delta delta = delta_of(JACKDAW__DELTA__CHANGE_ROOM_LEFT, &left);
    uint64_t last = chat_session_last_request(by(scene, "bob"));
    assert_int_equal(chat_fixture_apply(&scene->fixture, &delta), OK);
    assert_int_equal(chat_session_last_request(by(scene, "bob")), last);
    assert_string_equal(chat_fixture_members(&scene->fixture, by(scene, "alice"), "general"),
                        "alice*");
}

TEST_WITH(test_apply__a_delta_older_than_the_last, open_scene, close_scene)
{
    struct scene *scene = *state;
    struct chat_fixture *fixture = &scene->fixture;
    Jackdaw__MessageSent sent = JACKDAW__MESSAGE_SENT__INIT;
    sent.room = scene->general;
    sent.account = scene->alice;
    sent.text = "from the other half";
    Jackdaw__Delta delta = alices(scene, JACKDAW__DELTA__CHANGE_MESSAGE_SENT, &sent);
    delta.time_ms = 5;
    assert_int_equal(chat_fixture_apply(fixture, &delta), OK);
    struct answer next = chat_fixture_send(fixture, by(scene, "alice"), "general", "x", 0);
    assert_int_equal(next.outcome.time_ms, fixture->time_ms);
}

TEST_WITH(test_apply__an_outcome_keeps_nothing_of_its_delta, open_scene, close_scene)
{
    struct scene *scene = *state;
    struct chat_fixture *fixture = &scene->fixture;
    Jackdaw__Refused refused = JACKDAW__REFUSED__INIT;
    refused.status = 5;
    refused.message = strdup("");
    Jackdaw__Delta delta = alices(scene, JACKDAW__DELTA__CHANGE_REFUSED, &refused);
    assert_int_equal(chat_fixture_apply(fixture, &delta), OK);
    free(refused.message);
    struct chat_call call = chat_fixture_call(fixture, by(scene, "alice"));
    struct chat_outcome outcome;
    assert_int_equal(
        chat_outcome_of(fixture->chat, call.session, delta.request, call.arena, &outcome), OK);
    assert_int_equal(outcome.status, STATUS_NOT_FOUND);
    assert_string_equal(outcome.text, "");
}

TEST_WITH(test_apply__an_outcome_that_was_undone, open_scene, close_scene)
{
    struct scene *scene = *state;
    struct chat_fixture *fixture = &scene->fixture;
    struct error_text why;
    Jackdaw__Unchanged unchanged = JACKDAW__UNCHANGED__INIT;
    Jackdaw__Delta delta = alices(scene, JACKDAW__DELTA__CHANGE_UNCHANGED, &unchanged);
    assert_int_equal(store_begin(fixture->store), OK);
    struct log_position position = {fixture->epoch, fixture->seq + 1};
    assert_int_equal(chat_apply(fixture->chat, &delta, position), OK);
    store_rollback(fixture->store);
    assert_int_equal(chat_reload(fixture->chat, &why), OK);
    struct chat_call call = chat_fixture_call(fixture, by(scene, "alice"));
    struct chat_outcome outcome;
    assert_int_equal(
        chat_outcome_of(fixture->chat, call.session, delta.request, call.arena, &outcome),
        ERROR_NOT_FOUND);
    assert_int_equal(chat_check_request(fixture->chat, &call, delta.request), CHAT_PROPOSE);
}

/* ---- any bytes ---- */

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

TEST_WITH(test_fuzz__random_bytes, open_scene, close_scene)
{
    struct scene *scene = *state;
    print_message("seed %" PRIu64 "\n", seed);
    scene->fixture.random = seed;
    uint8_t bytes[64];
    for (int i = 0; i < 20000; i++) {
        size_t size = chat_fixture_random(&scene->fixture) % sizeof bytes;
        for (size_t k = 0; k < size; k++)
            bytes[k] = (uint8_t)chat_fixture_random(&scene->fixture);
        if (size > 2 && i % 2) { /* a change with some length behind it */
            uint32_t key = (uint32_t)(10 + bytes[0] % 13) << 3 | 2;
            bytes[0] = (uint8_t)(key | 0x80);
            bytes[1] = (uint8_t)(key >> 7);
            bytes[2] = (uint8_t)(size - 3);
        }
        apply_bytes(scene, bytes, size);
    }
}

TEST_WITH(test_fuzz__damaged_deltas, open_scene, close_scene)
{
    struct scene *scene = *state;
    print_message("seed %" PRIu64 "\n", seed);
    scene->fixture.random = seed;
    struct chat_fixture *fixture = &scene->fixture;
    chat_fixture_logout(fixture, by(scene, "carol"), fixture->seq);
    chat_note_delivered(fixture->chat, by(scene, "bob"), fixture->seq);
    chat_fixture_deliver(fixture);
    chat_fixture_topic(fixture, by(scene, "bob"), "general", "topic");
    chat_fixture_leave(fixture, by(scene, "bob"), "general");
    free(scene->portrait);
    free(scene->rows);
    scene->portrait = chat_fixture_portrait(fixture);
    scene->rows = chat_fixture_rows(fixture);
    size_t deltas = fixture->deltas_count;
    for (int i = 0; i < 3000; i++) {
        const struct delta_bytes *packed =
            &fixture->deltas[1 + chat_fixture_random(fixture) % (deltas - 1)];
        uint8_t bytes[512];
        size_t size = packed->size < sizeof bytes ? packed->size : sizeof bytes;
        memcpy(bytes, packed->bytes, size);
        for (uint64_t hits = chat_fixture_random(fixture) % 4; hits > 0 && size > 0; hits--)
            bytes[chat_fixture_random(fixture) % size] = (uint8_t)chat_fixture_random(fixture);
        apply_bytes(scene, bytes, size);
    }
}

/* ---- loading ---- */

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

TEST_WITH(test_load__contradictions, open_scene, close_scene)
{
    struct scene *scene = *state;
    struct store *store = scene->fixture.store;
    assert_int_equal(store_begin(store), OK);
    struct session_row session = {.id = 5, .account = 1, .device = ""};
    assert_int_equal(store_put_session(store, &session), OK);
    assert_not_loaded(scene);
    assert_int_equal(store_begin(store), OK);
    struct member_row member = {.room = 1, .account = scene->alice, .state = MEMBER_IN};
    assert_int_equal(store_put_member(store, &member), OK);
    assert_not_loaded(scene);
    assert_int_equal(store_begin(store), OK);
    member = (struct member_row){.room = scene->general, .account = 1, .state = MEMBER_IN};
    assert_int_equal(store_put_member(store, &member), OK);
    assert_not_loaded(scene);
    assert_int_equal(store_begin(store), OK);
    assert_int_equal(store_delete_member(store, scene->general, scene->alice), OK);
    assert_not_loaded(scene); /* an owner who is not in it */
    assert_int_equal(store_begin(store), OK);
    struct room_row room = {
        .id = 5, .name = "", .folded = "", .topic = "", .direct_low = 0, .direct_high = 0};
    if (store_put_room(store, &room) == OK)
        assert_not_loaded(scene); /* neither a name nor a pair */
    else
        store_rollback(store);
}

TEST_WITH(test_load__twenty_thousand_accounts, open_scene, close_scene)
{
    struct scene *scene = *state;
    struct store *store = scene->fixture.store;
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
    assert_int_equal(chat_open(&chat, store, &scene->fixture.limits, NULL, 0, NULL), OK);
    chat_close(chat);
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 5);
    store_rollback(store);
}

TEST_PREPARE()
{
    seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL);
    return 0;
}
