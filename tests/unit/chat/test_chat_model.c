/* SPDX-License-Identifier: MIT */
/* Random requests, compared with a model of what chat means that is too simple to be wrong: flat
 * arrays, no index, no store. What each request is answered, who is where, what each device got
 * live and what it would read.
 *
 * test_chat_model [SEED [REQUESTS]] replays one seed. */
#include "chat_fixture.h"
#include "support/test.h"
#include "support/text_append.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PEOPLE 7
#define ROOM_NAMES 5
#define DEVICES 2
#define ACCOUNTS_MAX 256
#define ROOMS_MAX 1024
#define EVENTS_MAX 8192
#define MEMBERS_LIMIT 4
#define ROOMS_LIMIT 3
#define COMPARE_EVERY 40

enum membership { STRANGER, INVITED, IN, OUT, BANNED };

struct model_account {
    uint64_t id;
    bool alive;
    char name[16];
};

struct model_room {
    uint64_t id;
    bool exists;
    bool is_private;
    int pair[2]; /* accounts of a direct conversation; -1: a room */
    char name[16];
    char topic[24];
    int owner; /* -1: nobody */
    uint64_t number;
    enum membership standing[ACCOUNTS_MAX];
    uint64_t since[ACCOUNTS_MAX];
    uint64_t until[ACCOUNTS_MAX];
};

struct model_event {
    const char *kind;
    int room;
    int from;
    int subject; /* -1: none */
    char text[24];
    uint64_t seq;
};

struct model_answer {
    enum status status;
    uint64_t number;
    uint64_t room;
};

struct device {
    bool logged_in;
    uint64_t last; /* request */
    struct model_answer answers[EVENTS_MAX];
    int live[EVENTS_MAX]; /* events */
    int live_count;
};

struct model {
    struct chat_fixture fixture;
    struct model_account accounts[ACCOUNTS_MAX];
    int accounts_count;
    int holder[PEOPLE]; /* account of a name, -1: none */
    struct device devices[PEOPLE][DEVICES];
    struct model_room rooms[ROOMS_MAX];
    int rooms_count;
    struct model_event events[EVENTS_MAX];
    int events_count;
    uint64_t dice;
};

static const char *const people[PEOPLE] = {"Ann", "Bob", "Cat", "Dan", "Eve", "Fay", "Gus"};
static const char *const room_names[ROOM_NAMES] = {"red", "green", "blue", "grey", "pink"};

static uint64_t roll(struct model *model, uint64_t sides)
{
    return chat_fixture_draw(&model->dice) % sides;
}

static const char *token_of(int person, int device)
{
    static char token[2][16];
    static int turn;
    char *text = token[turn++ % 2];
    snprintf(text, sizeof token[0], "%s%d", people[person], device);
    return text;
}

static struct chat_session *session_of(struct model *model, int person, int device)
{
    return chat_fixture_session(&model->fixture, token_of(person, device));
}

static void tell(struct model *model, int event, int account)
{
    for (int person = 0; person < PEOPLE; person++)
        for (int d = 0; d < DEVICES; d++) {
            struct device *device = &model->devices[person][d];
            if (model->holder[person] == account && device->logged_in)
                device->live[device->live_count++] = event;
        }
}

static void happen(struct model *model, const char *kind, int room, int from, int subject,
                   const char *text)
{
    assert_true(model->events_count < EVENTS_MAX);
    int index = model->events_count++;
    struct model_event *event = &model->events[index];
    *event = (struct model_event){
        .kind = kind, .room = room, .from = from, .subject = subject, .seq = model->fixture.seq};
    snprintf(event->text, sizeof event->text, "%s", text);
    const struct model_room *where = &model->rooms[room];
    for (int account = 0; account < model->accounts_count; account++) {
        bool sees =
            strcmp(kind, "INVITED") == 0 ? account == subject : where->standing[account] == IN;
        if (sees)
            tell(model, index, account);
    }
}

#define NAME_SIZE 32
#define STORY_SIZE (1u << 20)

static void shown_name(const struct model *model, int account, char text[static NAME_SIZE])
{
    const struct model_account *who = &model->accounts[account];
    if (who->alive)
        snprintf(text, NAME_SIZE, "%s", who->name);
    else
        snprintf(text, NAME_SIZE, "deleted:%06x", (unsigned)(who->id & 0xFFFFFF));
}

static void shown_room(const struct model *model, const struct model_room *room, int viewer,
                       char text[static NAME_SIZE + 1])
{
    if (room->pair[0] >= 0) {
        text[0] = '@';
        shown_name(model, room->pair[0] == viewer ? room->pair[1] : room->pair[0], text + 1);
    } else if (room->exists) {
        snprintf(text, NAME_SIZE, "%s", room->name);
    } else {
        snprintf(text, NAME_SIZE, "deleted:%06x", (unsigned)(room->id & 0xFFFFFF));
    }
}

static void add_line(const struct model *model, const struct model_event *event, int viewer,
                     char story[static STORY_SIZE])
{
    char room[NAME_SIZE + 1], from[NAME_SIZE], subject[NAME_SIZE] = "";
    shown_room(model, &model->rooms[event->room], viewer, room);
    shown_name(model, event->from, from);
    if (event->subject >= 0)
        shown_name(model, event->subject, subject);
    text_append(story, STORY_SIZE, "%s%s %s %s", story[0] != '\0' ? "; " : "", event->kind, room,
                from);
    if (subject[0] != '\0')
        text_append(story, STORY_SIZE, " %s", subject);
    if (event->text[0] != '\0')
        text_append(story, STORY_SIZE, " %s", event->text);
}

static bool would_read(const struct model *model, const struct model_event *event, int viewer)
{
    const struct model_room *room = &model->rooms[event->room];
    if (!room->exists || room->since[viewer] == 0 || event->seq < room->since[viewer])
        return false;
    if (room->until[viewer] != 0 && event->seq > room->until[viewer])
        return false;
    return strcmp(event->kind, "INVITED") != 0 || event->subject == viewer;
}

static int room_named(const struct model *model, const char *name)
{
    for (int i = 0; i < model->rooms_count; i++)
        if (model->rooms[i].exists && model->rooms[i].pair[0] < 0 &&
            strcmp(model->rooms[i].name, name) == 0)
            return i;
    return -1;
}

static int count_members(const struct model *model, int room)
{
    int count = 0;
    for (int i = 0; i < model->accounts_count; i++)
        count += model->rooms[room].standing[i] == IN;
    return count;
}

static int count_rooms(const struct model *model, int account)
{
    int count = 0;
    for (int i = 0; i < model->rooms_count; i++)
        count += model->rooms[i].exists && model->rooms[i].pair[0] < 0 &&
                 model->rooms[i].standing[account] == IN;
    return count;
}

static int new_room(struct model *model, const char *name, uint64_t id)
{
    assert_true(model->rooms_count < ROOMS_MAX);
    int index = model->rooms_count++;
    struct model_room *room = &model->rooms[index];
    memset(room, 0, sizeof *room);
    room->id = id;
    room->exists = true;
    room->pair[0] = room->pair[1] = -1;
    room->owner = -1;
    snprintf(room->name, sizeof room->name, "%s", name);
    return index;
}

static int eldest(const struct model *model, int room)
{
    int best = -1;
    for (int i = 0; i < model->accounts_count; i++)
        if (model->rooms[room].standing[i] == IN &&
            (best < 0 || model->rooms[room].since[i] < model->rooms[room].since[best]))
            best = i;
    return best;
}

/* Somebody's standing changes from IN to another; events go to those who were in before. */
static void move_out(struct model *model, int room, int account, enum membership to,
                     const char *kind, int subject, const char *text, bool tells_leaver)
{
    struct model_room *where = &model->rooms[room];
    bool was_in = where->standing[account] == IN;
    int successor = -1;
    if (where->owner == account) {
        where->standing[account] = OUT;
        successor = eldest(model, room);
        where->standing[account] = IN;
        where->owner = successor;
    }
    if (!tells_leaver)
        where->standing[account] = to;
    happen(model, kind, room, account, subject, text);
    if (successor >= 0)
        happen(model, "OWNER", room, successor, -1, "");
    where->standing[account] = to;
    if (was_in)
        where->until[account] = model->fixture.seq;
    if (was_in && where->is_private && count_members(model, room) == 0)
        where->exists = false;
}

static enum status expect_in(const struct model *model, int room, int account)
{
    if (room < 0)
        return STATUS_NOT_FOUND;
    enum membership standing = model->rooms[room].standing[account];
    if (model->rooms[room].is_private && standing != IN && standing != INVITED)
        return STATUS_NOT_FOUND;
    return standing == IN ? STATUS_OK : STATUS_PERMISSION_DENIED;
}

static enum status expect_join(const struct model *model, int room, int account)
{
    if (room >= 0) {
        enum membership standing = model->rooms[room].standing[account];
        if (standing == IN)
            return STATUS_OK;
        if (standing == BANNED || (model->rooms[room].is_private && standing != INVITED))
            return STATUS_PERMISSION_DENIED;
        if (count_members(model, room) >= MEMBERS_LIMIT)
            return STATUS_RESOURCE_EXHAUSTED;
    }
    return count_rooms(model, account) >= ROOMS_LIMIT ? STATUS_RESOURCE_EXHAUSTED : STATUS_OK;
}

struct actor {
    int person;
    int device;
    int account;
    struct device *state;
    struct chat_session *session;
};

static bool pick_actor(struct model *model, struct actor *actor)
{
    for (int attempt = 0; attempt < 20; attempt++) {
        actor->person = (int)roll(model, PEOPLE);
        actor->device = (int)roll(model, DEVICES);
        actor->state = &model->devices[actor->person][actor->device];
        if (!actor->state->logged_in)
            continue;
        actor->account = model->holder[actor->person];
        actor->session = session_of(model, actor->person, actor->device);
        assert_non_null(actor->session);
        return true;
    }
    return false;
}

static void check_answer(struct actor *actor, const struct answer *answer, enum status expected,
                         const char *what)
{
    if (answer->status != expected)
        fail_msg("%s by %s: %s (%s), expected %s", what, people[actor->person],
                 status_name(answer->status), answer->text, status_name(expected));
    actor->state->answers[++actor->state->last] = (struct model_answer){
        .status = answer->status, .number = answer->outcome.number, .room = answer->outcome.room};
}

static void do_join(struct model *model, struct actor *actor, bool is_private)
{
    const char *name = room_names[roll(model, ROOM_NAMES)];
    int room = room_named(model, name);
    enum status expected = expect_join(model, room, actor->account);
    bool was_in = room >= 0 && model->rooms[room].standing[actor->account] == IN;
    struct answer answer = is_private
                               ? chat_fixture_join_private(&model->fixture, actor->session, name)
                               : chat_fixture_join(&model->fixture, actor->session, name, 0);
    check_answer(actor, &answer, expected, "join");
    if (expected != STATUS_OK || was_in)
        return;
    assert_int_equal(answer.outcome.created, room < 0);
    if (room < 0) {
        room = new_room(model, name, answer.outcome.room);
        model->rooms[room].is_private = is_private;
    }
    struct model_room *where = &model->rooms[room];
    bool becomes_owner = count_members(model, room) == 0;
    where->standing[actor->account] = IN;
    where->since[actor->account] = model->fixture.seq;
    where->until[actor->account] = 0;
    happen(model, "JOINED", room, actor->account, -1, "");
    if (becomes_owner) {
        where->owner = actor->account;
        happen(model, "OWNER", room, actor->account, -1, "");
    }
}

static void do_leave(struct model *model, struct actor *actor)
{
    const char *name = room_names[roll(model, ROOM_NAMES)];
    int room = room_named(model, name);
    enum status expected = expect_in(model, room, actor->account);
    struct answer answer = chat_fixture_leave(&model->fixture, actor->session, name);
    check_answer(actor, &answer, expected, "leave");
    if (expected == STATUS_OK)
        move_out(model, room, actor->account, OUT, "LEFT", -1, "", true);
}

static void do_topic(struct model *model, struct actor *actor)
{
    const char *name = room_names[roll(model, ROOM_NAMES)];
    const char *topic = roll(model, 2) ? "work" : "play";
    int room = room_named(model, name);
    enum status expected = expect_in(model, room, actor->account);
    struct answer answer = chat_fixture_topic(&model->fixture, actor->session, name, topic);
    check_answer(actor, &answer, expected, "topic");
    if (expected != STATUS_OK || strcmp(model->rooms[room].topic, topic) == 0)
        return;
    snprintf(model->rooms[room].topic, sizeof model->rooms[room].topic, "%s", topic);
    happen(model, "TOPIC", room, actor->account, -1, topic);
}

static void do_invite(struct model *model, struct actor *actor)
{
    const char *name = room_names[roll(model, ROOM_NAMES)];
    int room = room_named(model, name);
    int person = (int)roll(model, PEOPLE);
    int guest = model->holder[person];
    enum status expected = expect_in(model, room, actor->account);
    enum membership standing = STRANGER;
    if (expected == STATUS_OK && guest < 0)
        expected = STATUS_NOT_FOUND;
    if (expected == STATUS_OK) {
        standing = model->rooms[room].standing[guest];
        if (standing == IN)
            expected = STATUS_ALREADY_EXISTS;
        if (standing == BANNED && model->rooms[room].owner != actor->account)
            expected = STATUS_PERMISSION_DENIED;
    }
    struct answer answer =
        chat_fixture_invite(&model->fixture, actor->session, name, people[person]);
    check_answer(actor, &answer, expected, "invite");
    if (expected != STATUS_OK || standing == INVITED)
        return;
    model->rooms[room].standing[guest] = INVITED;
    model->rooms[room].since[guest] = model->rooms[room].until[guest] = model->fixture.seq;
    happen(model, "INVITED", room, actor->account, guest, "");
}

static void do_kick(struct model *model, struct actor *actor)
{
    const char *name = room_names[roll(model, ROOM_NAMES)];
    bool ban = roll(model, 2);
    int room = room_named(model, name);
    int person = (int)roll(model, PEOPLE);
    int target = model->holder[person];
    enum status expected = expect_in(model, room, actor->account);
    if (expected == STATUS_OK && model->rooms[room].owner != actor->account)
        expected = STATUS_PERMISSION_DENIED;
    if (expected == STATUS_OK && target < 0)
        expected = STATUS_NOT_FOUND;
    enum membership standing = STRANGER;
    if (expected == STATUS_OK) {
        standing = model->rooms[room].standing[target];
        int banned = 0;
        for (int i = 0; i < model->accounts_count; i++)
            banned += model->rooms[room].standing[i] == BANNED;
        if (target == actor->account)
            expected = STATUS_INVALID_ARGUMENT;
        else if (!ban && standing != IN)
            expected = STATUS_NOT_FOUND;
        else if (ban && standing != BANNED && banned >= MEMBERS_LIMIT)
            expected = STATUS_RESOURCE_EXHAUSTED;
    }
    struct answer answer =
        chat_fixture_kick(&model->fixture, actor->session, name, people[person], ban);
    check_answer(actor, &answer, expected, "kick");
    if (expected == STATUS_OK && standing != BANNED)
        move_out(model, room, target, ban ? BANNED : OUT, "LEFT", actor->account,
                 ban ? "banned" : "kicked", true);
}

static void do_send(struct model *model, struct actor *actor)
{
    const char *name = room_names[roll(model, ROOM_NAMES)];
    char text[24];
    int room = room_named(model, name);
    enum status expected = expect_in(model, room, actor->account);
    snprintf(text, sizeof text, "t%d", (int)roll(model, 1000));
    struct answer answer = chat_fixture_send(&model->fixture, actor->session, name, text, 0);
    check_answer(actor, &answer, expected, "send");
    if (expected != STATUS_OK)
        return;
    assert_int_equal(answer.outcome.number, ++model->rooms[room].number);
    happen(model, "MESSAGE", room, actor->account, -1, text);
}

static int direct_room(struct model *model, int one, int other, uint64_t id)
{
    for (int i = 0; i < model->rooms_count; i++) {
        const int *pair = model->rooms[i].pair;
        if (model->rooms[i].exists &&
            ((pair[0] == one && pair[1] == other) || (pair[0] == other && pair[1] == one)))
            return i;
    }
    int room = new_room(model, "", id);
    model->rooms[room].pair[0] = one;
    model->rooms[room].pair[1] = other;
    model->rooms[room].standing[one] = model->rooms[room].standing[other] = IN;
    model->rooms[room].since[one] = model->rooms[room].since[other] = model->fixture.seq;
    return room;
}

static void do_whisper(struct model *model, struct actor *actor)
{
    int person = (int)roll(model, PEOPLE);
    int peer = model->holder[person];
    char to[24], text[24];
    snprintf(to, sizeof to, "@%s", people[person]);
    snprintf(text, sizeof text, "w%d", (int)roll(model, 1000));
    enum status expected = peer < 0 ? STATUS_NOT_FOUND : STATUS_OK;
    struct answer answer = chat_fixture_send(&model->fixture, actor->session, to, text, 0);
    check_answer(actor, &answer, expected, "whisper");
    if (expected != STATUS_OK)
        return;
    int room = direct_room(model, actor->account, peer, answer.outcome.room);
    assert_int_equal(model->rooms[room].id, answer.outcome.room);
    assert_int_equal(answer.outcome.number, ++model->rooms[room].number);
    happen(model, "MESSAGE", room, actor->account, -1, text);
}

static void do_logout(struct model *model, struct actor *actor)
{
    assert_ok(chat_fixture_logout(&model->fixture, actor->session, 0));
    actor->state->logged_in = false;
    assert_null(session_of(model, actor->person, actor->device));
}

static int compare_room_ids(const void *left, const void *right)
{
    const struct model_room *a = *(const struct model_room *const *)left;
    const struct model_room *b = *(const struct model_room *const *)right;
    return a->id < b->id ? -1 : a->id > b->id;
}

static void do_delete(struct model *model, struct actor *actor)
{
    int account = actor->account;
    bool other = model->devices[actor->person][1 - actor->device].logged_in;
    enum status expected = other ? STATUS_FAILED_PRECONDITION : STATUS_OK;
    struct answer answer = chat_fixture_delete(&model->fixture, actor->session, true);
    if (expected != STATUS_OK) {
        check_answer(actor, &answer, expected, "delete");
        return;
    }
    assert_int_equal(answer.status, STATUS_OK);
    actor->state->logged_in = false;
    model->holder[actor->person] = -1;
    struct model_room *sorted[ROOMS_MAX];
    for (int i = 0; i < model->rooms_count; i++)
        sorted[i] = &model->rooms[i];
    qsort(sorted, (size_t)model->rooms_count, sizeof(struct model_room *), compare_room_ids);
    for (int i = 0; i < model->rooms_count; i++) {
        struct model_room *room = sorted[i];
        int index = (int)(room - model->rooms);
        bool is_last = count_members(model, index) == 1;
        if (room->exists && room->standing[account] == IN) {
            if (is_last && (room->is_private || room->pair[0] >= 0))
                room->exists = false;
            else
                move_out(model, index, account, STRANGER, "REMOVED", -1, "", false);
        }
        room->standing[account] = STRANGER;
        room->since[account] = room->until[account] = 0;
    }
    model->accounts[account].alive = false;
}

static void do_repeat(struct model *model, struct actor *actor)
{
    if (actor->state->last == 0)
        return;
    uint64_t window = actor->state->last < 256 ? actor->state->last : 256;
    uint64_t request = actor->state->last - roll(model, window);
    const struct model_answer *first = &actor->state->answers[request];
    uint64_t seq = model->fixture.seq;
    struct answer again =
        chat_fixture_send(&model->fixture, actor->session, "red", "again", request);
    assert_int_equal(again.status, first->status);
    assert_int_equal(again.outcome.number, first->number);
    assert_int_equal(again.outcome.room, first->room);
    assert_int_equal(model->fixture.seq, seq);
    assert_status(chat_fixture_send(&model->fixture, actor->session, "red", "skip",
                                    actor->state->last + 2 + roll(model, 5)),
                  STATUS_ABORTED);
}

static void do_arrive(struct model *model)
{
    int person = (int)roll(model, PEOPLE);
    int d = (int)roll(model, DEVICES);
    struct device *device = &model->devices[person][d];
    if (device->logged_in)
        return;
    if (model->holder[person] < 0) {
        assert_ok(chat_fixture_register(&model->fixture, people[person]));
        int index = model->accounts_count++;
        assert_true(index < ACCOUNTS_MAX);
        model->holder[person] = index;
        model->accounts[index].alive = true;
        snprintf(model->accounts[index].name, sizeof model->accounts[index].name, "%s",
                 people[person]);
    } else {
        assert_status(chat_fixture_register(&model->fixture, people[person]),
                      STATUS_ALREADY_EXISTS);
    }
    struct chat_session *session =
        chat_fixture_device(&model->fixture, people[person], token_of(person, d));
    model->accounts[model->holder[person]].id = chat_session_account(session);
    *device = (struct device){.logged_in = true};
}

static void do_something(struct model *model)
{
    struct actor actor;
    uint64_t what = roll(model, 100);
    if (what < 8 || !pick_actor(model, &actor)) {
        do_arrive(model);
        return;
    }
    if (what < 22)
        do_join(model, &actor, false);
    else if (what < 26)
        do_join(model, &actor, true);
    else if (what < 36)
        do_leave(model, &actor);
    else if (what < 41)
        do_topic(model, &actor);
    else if (what < 48)
        do_invite(model, &actor);
    else if (what < 55)
        do_kick(model, &actor);
    else if (what < 78)
        do_send(model, &actor);
    else if (what < 88)
        do_whisper(model, &actor);
    else if (what < 92)
        do_repeat(model, &actor);
    else if (what < 95)
        do_logout(model, &actor);
    else if (what < 97)
        do_delete(model, &actor);
    else if (what < 98)
        chat_fixture_new_epoch(&model->fixture);
    else if (what < 99)
        chat_note_delivered(model->fixture.chat, actor.session,
                            model->fixture.seq - roll(model, 20));
    else
        chat_fixture_deliver(&model->fixture);
    model->fixture.time_ms += roll(model, 3);
}

static void compare_members(struct model *model, struct chat_session *session, int account)
{
    for (int i = 0; i < ROOM_NAMES; i++) {
        char expected[200] = "";
        int room = room_named(model, room_names[i]);
        bool is_hidden = room < 0 || (model->rooms[room].is_private &&
                                      model->rooms[room].standing[account] != IN &&
                                      model->rooms[room].standing[account] != INVITED);
        for (int p = 0; p < PEOPLE && !is_hidden; p++) {
            int other = model->holder[p];
            if (other < 0 || model->rooms[room].standing[other] != IN)
                continue;
            text_append(expected, sizeof expected, "%s%s%s", expected[0] != '\0' ? " " : "",
                        people[p], model->rooms[room].owner == other ? "*" : "");
        }
        assert_members(&model->fixture, session, room_names[i], is_hidden ? "NOT_FOUND" : expected);
    }
}

static void compare_device(struct model *model, int person, int d)
{
    static char expected[STORY_SIZE];
    const struct device *device = &model->devices[person][d];
    struct chat_session *session = session_of(model, person, d);
    int account = model->holder[person];
    assert_non_null(session);
    assert_int_equal(chat_session_last_request(session), device->last);
    expected[0] = '\0';
    for (int i = 0; i < device->live_count; i++)
        add_line(model, &model->events[device->live[i]], account, expected);
    assert_story(&model->fixture, session, expected);
    uint64_t after = roll(model, 2) ? 0 : roll(model, model->fixture.seq + 1);
    expected[0] = '\0';
    for (int i = 0; i < model->events_count; i++)
        if (model->events[i].seq > after && would_read(model, &model->events[i], account))
            add_line(model, &model->events[i], account, expected);
    assert_reads(&model->fixture, session, after, expected);
    compare_members(model, session, account);
}

static void compare(struct model *model)
{
    for (int person = 0; person < PEOPLE; person++)
        for (int d = 0; d < DEVICES; d++)
            if (model->devices[person][d].logged_in)
                compare_device(model, person, d);
}

static void run(uint64_t seed, int requests)
{
    struct model *model = calloc(1, sizeof *model);
    assert_non_null(model);
    chat_fixture_open(&model->fixture, seed, NULL);
    model->fixture.limits.members_per_room = MEMBERS_LIMIT;
    model->fixture.limits.rooms_per_account = ROOMS_LIMIT;
    chat_fixture_reopen(&model->fixture);
    model->dice = seed * 77;
    for (int i = 0; i < PEOPLE; i++)
        model->holder[i] = -1;
    for (int i = 1; i <= requests; i++) {
        do_something(model);
        if (i % COMPARE_EVERY == 0)
            compare(model);
    }
    compare(model);
    chat_fixture_check_elsewhere(&model->fixture);
    compare(model);
    chat_fixture_close(&model->fixture);
    free(model);
}

static uint64_t first_seed;
static int seeds;
static int requests;

TEST(test_model__random_requests)
{
    for (int i = 0; i < seeds; i++) {
        print_message("seed %" PRIu64 "\n", first_seed + (uint64_t)i);
        run(first_seed + (uint64_t)i, requests);
    }
}

TEST_PREPARE()
{
    first_seed = argc > 1 ? strtoull(argv[1], NULL, 0) : (uint64_t)time(NULL);
    requests = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 1000;
    seeds = argc > 1 ? 1 : 8;
    return 0;
}
