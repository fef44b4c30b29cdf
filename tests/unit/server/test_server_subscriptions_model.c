/* SPDX-License-Identifier: MIT */
/* Whatever people do and whatever becomes of their streams, every session receives exactly what its
 * account was to see, once and in order.
 *
 * A seeded generator plays sends, joins, leaves, kicks, invitations, logins, logouts, deletions,
 * rollbacks, streams with few credits, lost pages, lost connections, old and foreign cursors. The
 * model is a list per account: what the chat told, at the moment it was applied, that the account
 * shall see. One thing may be missing from a stream that was filled from the store: what lies
 * before the account came into a room again (see chat_plan_receive).
 *
 * JACKDAW_TEST_SEED=n in the environment plays that seed alone. */
#include "base/log.h"
#include "server/subscriptions.h"
#include "support/core_fixture.h"
#include "support/fake_call.h"
#include "support/folder.h"
#include "support/stream_recorder.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PEOPLE 6
#define GUESTS_MAX 40
#define ACCOUNTS_MAX (PEOPLE + GUESTS_MAX)
#define SESSIONS_MAX 24 /* with a subscription, at a time */
#define ROOMS 5         /* the last one is private: it is person 0's, who never leaves it */
#define STEPS 1500

struct message_record {
    uint64_t seq;
    uint64_t room;
    uint64_t number;
    Jackdaw__Event__Kind kind;
    size_t text_size;
    char name[32]; /* of the room; "" for a direct conversation: the other one may be deleted */
    bool enters;   /* the account came into the room, or was invited */
};

struct person {
    char name[16];
    uint64_t account;
    uint64_t
        anchor; /* a session that stays, so that the chat always tells what is for the account */
    struct message_record *seen;
    size_t count;
    size_t capacity;
};

struct device {
    struct stream_recorder recorder;
    struct person *person; /* NULL: a free place */
    uint64_t start;        /* what came after this seq was to be received */
};

struct play {
    struct core_fixture core;
    struct person people[ACCOUNTS_MAX];
    size_t people_count;
    struct device devices[SESSIONS_MAX];
    uint64_t dice;
};

static uint64_t playing; /* the seed, for the one who reads that it failed */

static uint64_t roll(struct play *play, uint64_t sides)
{
    uint64_t z = (play->dice += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return (z ^ z >> 31) % sides;
}

static void name_room(struct play *play, const struct chat_event *event, uint64_t viewer,
                      char name[static 32])
{
    struct arena arena;
    arena_init(&arena, 65536);
    Jackdaw__Event filled;
    assert_int_equal(chat_event_fill(play->core.chat, event, viewer, &arena, &filled), OK);
    (void)snprintf(name, 32, "%s", filled.room[0] == '@' ? "" : filled.room);
    arena_clear(&arena);
}

static void remember(struct play *play, struct person *person, const struct chat_event *event)
{
    if (person->count == person->capacity) {
        person->capacity = person->capacity * 2 + 256;
        person->seen = reallocarray(person->seen, person->capacity, sizeof *person->seen);
        assert_non_null(person->seen);
    }
    bool joined = event->kind == JACKDAW__EVENT__KIND__JOINED && event->account == person->account;
    bool invited =
        event->kind == JACKDAW__EVENT__KIND__INVITED && event->subject == person->account;
    person->seen[person->count++] = (struct message_record){
        .seq = event->position.seq,
        .room = event->room,
        .number = event->number,
        .kind = event->kind,
        .text_size = strlen(event->text),
        .enters = joined || invited,
    };
    name_room(play, event, person->account, person->seen[person->count - 1].name);
}

struct notice_fanout {
    struct play *play;
    const struct chat_event *event;
    uint64_t last; /* the account told last: its sessions follow each other */
};

static void tell(void *context, struct chat_session *session)
{
    struct notice_fanout *telling = context;
    uint64_t account = chat_session_account(session);
    if (account == telling->last)
        return;
    telling->last = account;
    for (size_t i = 0; i < telling->play->people_count; i++)
        if (telling->play->people[i].account == account)
            remember(telling->play, &telling->play->people[i], telling->event);
}

static void on_event(struct core_fixture *core, const struct chat_event *event)
{
    struct notice_fanout telling = {.play = core->context, .event = event};
    if (event->position.seq != 0)
        chat_each_recipient(core->chat, event, tell, &telling);
}

static void on_rolled_back(struct core_fixture *core)
{
    struct play *play = core->context;
    uint64_t committed = commit_log_committed(core->commit_log).seq;
    for (size_t i = 0; i < play->people_count; i++) {
        struct person *person = &play->people[i];
        while (person->count > 0 && person->seen[person->count - 1].seq > committed)
            person->count--;
    }
}

/* Whether the account came into that room again later: then it may be missing. */
static bool may_be_missing(const struct person *person, size_t index)
{
    const struct message_record *seen = &person->seen[index];
    for (size_t i = index + 1; i < person->count; i++)
        if (person->seen[i].enters && person->seen[i].room == seen->room &&
            person->seen[i].seq > seen->seq)
            return true;
    return false;
}

static bool matches(const struct message_record *seen, const struct event_record *got)
{
    bool direct = got->room[0] == '@' || strncmp(got->room, "deleted:", 8) == 0;
    return seen->seq == got->seq && seen->kind == got->kind && seen->number == got->number &&
           seen->text_size == got->text_size && strcmp(seen->name, direct ? "" : got->room) == 0;
}

/* That the device has received what lies after its start and up to its cursor. */
static void check(const struct device *device)
{
    const struct person *person = device->person;
    const struct stream_recorder *recorder = &device->recorder;
    size_t at = 0;
    for (size_t i = 0; i < person->count; i++) {
        const struct message_record *seen = &person->seen[i];
        if (seen->seq <= device->start || seen->seq > recorder->cursor.seq)
            continue;
        while (at < recorder->count && recorder->got[at].seq == 0)
            at++;
        if (at < recorder->count && matches(seen, &recorder->got[at]))
            at++;
        else if (!may_be_missing(person, i))
            fail_msg("%s: kind %d of seq %llu was not received (next came kind %d of seq %llu)",
                     person->name, (int)seen->kind, (unsigned long long)seen->seq,
                     at < recorder->count ? (int)recorder->got[at].kind : -1,
                     at < recorder->count ? (unsigned long long)recorder->got[at].seq : 0ull);
    }
    while (at < recorder->count && recorder->got[at].seq == 0)
        at++;
    if (at < recorder->count)
        fail_msg("%s: kind %d of seq %llu was received, which was not to be seen", person->name,
                 (int)recorder->got[at].kind, (unsigned long long)recorder->got[at].seq);
}

static struct person *add_person(struct play *play)
{
    struct person *person = &play->people[play->people_count];
    (void)snprintf(person->name, sizeof person->name, "p%zu", play->people_count);
    if (!core_fixture_register(&play->core, person->name))
        return NULL;
    person->anchor = core_fixture_login(&play->core, person->name);
    assert_int_not_equal(person->anchor, 0);
    person->account = chat_session_account(chat_find_session(play->core.chat, person->anchor));
    play->people_count++;
    return person;
}

static void add_device(struct play *play, struct person *person)
{
    struct device *device = play->devices;
    while (device < play->devices + SESSIONS_MAX && device->person != NULL)
        device++;
    if (device == play->devices + SESSIONS_MAX)
        return;
    uint64_t session = core_fixture_login(&play->core, person->name);
    if (session == 0)
        return;
    *device = (struct device){.person = person};
    recorder_init(&device->recorder, &play->core, session);
    device->recorder.cursor = commit_log_committed(play->core.commit_log);
    device->start = device->recorder.cursor.seq;
}

static void drop_device(struct device *device)
{
    check(device);
    recorder_release(&device->recorder);
    device->person = NULL;
}

static bool is_alive(struct play *play, const struct device *device)
{
    return chat_find_session(play->core.chat, device->recorder.session) != NULL;
}

/* Notices streams and sessions that have ended. */
static void look_around(struct play *play)
{
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct device *device = &play->devices[i];
        if (device->person == NULL)
            continue;
        if (device->recorder.call != NULL && device->recorder.call->ended)
            (void)recorder_take_end(&device->recorder);
        if (device->recorder.call == NULL && !is_alive(play, device))
            drop_device(device);
    }
}

static struct device *any_device(struct play *play)
{
    for (int i = 0; i < 10; i++) {
        struct device *device = &play->devices[roll(play, SESSIONS_MAX)];
        if (device->person != NULL && is_alive(play, device))
            return device;
    }
    return NULL;
}

static struct person *any_person(struct play *play)
{
    return &play->people[roll(play, PEOPLE)];
}

static const char *any_room(struct play *play)
{
    static const char *const rooms[ROOMS] = {"hall", "attic", "cellar", "garden", "vault"};
    return rooms[roll(play, ROOMS)];
}

static void send(struct play *play)
{
    struct person *person = any_person(play);
    char text[3000];
    size_t size = roll(play, 8) == 0 ? roll(play, sizeof text - 1) + 1 : roll(play, 100) + 1;
    memset(text, 'x', size);
    text[size] = '\0';
    if (roll(play, 5) != 0) {
        (void)core_fixture_send(&play->core, person->anchor, any_room(play), text);
    } else {
        char to[20];
        (void)snprintf(to, sizeof to, "@%s", any_person(play)->name);
        (void)core_fixture_send(&play->core, person->anchor, to, text);
    }
}

static void leave(struct play *play)
{
    struct person *person = any_person(play);
    const char *room = any_room(play);
    if (person != &play->people[0] || strcmp(room, "vault") != 0)
        (void)core_fixture_leave(&play->core, person->anchor, room);
}

/* A guest comes, says something everywhere, and deletes the account. */
static void visit(struct play *play)
{
    if (play->people_count == ACCOUNTS_MAX)
        return;
    struct person *guest = add_person(play);
    if (guest == NULL)
        return;
    add_device(play, guest);
    for (int i = 0; i < 4; i++) {
        const char *room = any_room(play);
        (void)core_fixture_join(&play->core, guest->anchor, room);
        (void)core_fixture_send(&play->core, guest->anchor, room, "hello");
    }
    if (roll(play, 3) == 0)
        (void)core_fixture_turn(&play->core);
    play->core.now_ms += 61000; /* other devices of the guest were not heard since */
    struct chat_session *session = chat_find_session(play->core.chat, guest->anchor);
    if (session != NULL)
        chat_touch(play->core.chat, session, play->core.now_ms, play->core.wall_ms);
    (void)core_fixture_delete(&play->core, guest->anchor);
}

/* So much that subscriptions overflow. */
static void burst(struct play *play)
{
    uint64_t count = 300 + roll(play, 1500);
    for (uint64_t i = 0; i < count; i++) {
        send(play);
        if (roll(play, 300) == 0)
            (void)core_fixture_turn(&play->core);
    }
}

static void forget_after(struct device *device, uint64_t seq)
{
    struct stream_recorder *recorder = &device->recorder;
    size_t kept = 0;
    for (size_t i = 0; i < recorder->count; i++)
        if (recorder->got[i].seq != 0 && recorder->got[i].seq <= seq)
            recorder->got[kept++] = recorder->got[i];
    recorder->count = kept;
    if (device->start > seq)
        device->start = seq;
}

static void open_stream(struct play *play)
{
    struct device *device = any_device(play);
    if (device == NULL)
        return;
    struct log_position at = device->recorder.cursor;
    uint64_t which = roll(play, 20);
    if (which == 0) {
        at.epoch += 65536; /* of a log that we do not have: all is received again */
        forget_after(device, 0);
    } else if (which <= 3 && at.seq > 0) {
        at.seq -= roll(play, at.seq < 200 ? at.seq : 200);
        forget_after(device, at.seq);
    }
    recorder_open_at(&device->recorder, at, (uint32_t)roll(play, 7));
    if (which == 0 && device->recorder.fresh)
        device->recorder.cursor = (struct log_position){0, 0}; /* should the page not come */
}

static void touch_stream(struct play *play)
{
    struct device *device = any_device(play);
    if (device == NULL || !recorder_is_open(&device->recorder))
        return;
    switch (roll(play, 6)) {
    case 0:
        device->recorder.losing = true; /* until it is opened again */
        break;
    case 1:
        recorder_disconnect(&device->recorder);
        break;
    default:
        fake_call_credit(device->recorder.call, (uint32_t)roll(play, 5) + 1);
        break;
    }
}

static void turn(struct play *play)
{
    switch (roll(play, 5)) {
    case 0: /* what the reader found is not back yet */
        (void)core_fixture_commit(&play->core);
        subscriptions_deliver(play->core.subscriptions);
        break;
    case 1:
        core_fixture_settle(&play->core);
        break;
    case 2: /* before the commit */
        core_fixture_run(&play->core);
        subscriptions_deliver(play->core.subscriptions);
        break;
    default:
        (void)core_fixture_turn(&play->core);
        break;
    }
    look_around(play);
}

static void manage_rooms(struct play *play)
{
    struct core_fixture *core = &play->core;
    struct person *person = any_person(play);
    switch (roll(play, 5)) {
    case 0:
        (void)core_fixture_kick(core, person->anchor, any_room(play), any_person(play)->name,
                                roll(play, 4) == 0);
        break;
    case 1:
    case 2:
        (void)core_fixture_invite(core, person->anchor, any_room(play), any_person(play)->name);
        break;
    case 3:
        (void)core_fixture_topic(core, person->anchor, any_room(play),
                                 roll(play, 2) == 0 ? "this" : "that");
        break;
    default:
        core_fixture_typing(core, person->anchor, any_room(play));
        break;
    }
}

static void manage_sessions(struct play *play)
{
    struct device *device = any_device(play);
    uint64_t which = roll(play, 10);
    if (which < 5)
        add_device(play, any_person(play));
    else if (which < 8 && device != NULL)
        (void)core_fixture_logout(&play->core, device->recorder.session);
    else
        visit(play);
}

static void step(struct play *play)
{
    uint64_t which = roll(play, 100);
    if (which < 35)
        send(play);
    else if (which < 43)
        (void)core_fixture_join(&play->core, any_person(play)->anchor, any_room(play));
    else if (which < 48)
        leave(play);
    else if (which < 56)
        manage_rooms(play);
    else if (which < 66)
        open_stream(play);
    else if (which < 80)
        touch_stream(play);
    else if (which < 84)
        manage_sessions(play);
    else if (which == 84)
        core_fixture_break(&play->core);
    else if (which == 85 && roll(play, 4) == 0)
        burst(play);
    else if (which == 86)
        subscriptions_tidy(play->core.subscriptions, play->core.now_ms, play->core.now_ms + 1);
    else
        turn(play);
    if (which == 84)
        look_around(play);
}

static void finish(struct play *play)
{
    (void)core_fixture_turn(&play->core);
    look_around(play);
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct device *device = &play->devices[i];
        if (device->person != NULL)
            recorder_open(&device->recorder, 1000000);
    }
    core_fixture_settle(&play->core);
    look_around(play);
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        struct device *device = &play->devices[i];
        if (device->person == NULL)
            continue;
        struct person *person = device->person;
        assert_true(person->count == 0 ||
                    device->recorder.cursor.seq >= person->seen[person->count - 1].seq);
        check(device);
    }
}

static void release(struct play *play)
{
    core_fixture_close(&play->core);
    for (size_t i = 0; i < SESSIONS_MAX; i++)
        if (play->devices[i].person != NULL)
            recorder_release(&play->devices[i].recorder);
    for (size_t i = 0; i < play->people_count; i++)
        free(play->people[i].seen);
    test_free(play);
}

static void play_seed(uint64_t seed, const char *folder, unsigned steps)
{
    playing = seed;
    struct play *play = test_calloc(1, sizeof *play);
    play->dice = seed;
    core_fixture_init(&play->core, folder);
    play->core.random = seed ^ 0x5eed;
    play->core.limits.sessions_per_account = 6;
    play->core.context = play;
    play->core.event = on_event;
    play->core.rolled_back = on_rolled_back;
    core_fixture_open(&play->core);
    for (size_t i = 0; i < PEOPLE; i++)
        assert_non_null(add_person(play));
    assert_true(core_fixture_join_private(&play->core, play->people[0].anchor, "vault"));
    for (size_t i = 0; i < PEOPLE * 2; i++)
        add_device(play, &play->people[i % PEOPLE]);
    assert_int_equal(core_fixture_turn(&play->core), OK);
    for (unsigned i = 0; i < steps; i++)
        step(play);
    finish(play);
    release(play);
    playing = 0;
}

static uint64_t seed_from_environment(void)
{
    const char *text = getenv("JACKDAW_TEST_SEED");
    return text == NULL ? 0 : strtoull(text, NULL, 10);
}

static int tell_seed(void **state)
{
    (void)state;
    if (playing != 0)
        print_error("played seed %llu: JACKDAW_TEST_SEED=%llu plays it again\n",
                    (unsigned long long)playing, (unsigned long long)playing);
    playing = 0;
    return 0;
}

TEST_WITH(test_subscription_model__every_session_receives_all_of_its_own, NULL, tell_seed)
{
    uint64_t only = seed_from_environment();
    for (uint64_t seed = 1; seed <= 20; seed++)
        if (only == 0 || seed == only)
            play_seed(seed, NULL, STEPS);
    if (only > 20)
        play_seed(only, NULL, STEPS);
}

/* The reader in its own thread, with its own view of a database on disk. */
TEST_WITH(test_subscription_model__with_a_reader, NULL, tell_seed)
{
    uint64_t only = seed_from_environment();
    for (uint64_t seed = 101; seed <= 104; seed++) {
        if (only != 0 && seed != only)
            continue;
        char *folder = folder_new();
        play_seed(seed, folder, STEPS / 2);
        folder_remove(folder);
    }
}

TEST_PREPARE()
{
    log_configure(LOG_SILENT, LOG_TEXT);
    return 0;
}
