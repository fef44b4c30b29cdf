/* SPDX-License-Identifier: MIT */
/* Taking over, with chance: three chats part from a common log, people ask for things now in this
 * part and now in that one (asking again where a request is missing, as clients do), and then one
 * takes over the others' tails, in pieces, several times. Nothing acknowledged is missing then,
 * nothing is there twice, and what one session said keeps its order. A seed that fails is told. */
#include "chat/chat_internal.h"

#include "chat_fixture.h"
#include "support/test.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ROUNDS 30
#define DEVICES 14
#define ROOMS 12
#define ACTS_BEFORE 60
#define ACTS_APART 420
#define ACTS_BETWEEN 60
#define ACTS_AFTER 60

enum { HERE, THERE, ELSEWHERE, SIDES };

struct device {
    int index;
    char name[16];
    unsigned generation; /* a new session after each logout */
    int side;            /* where its client asks now */
};

/* An answer that a client got. */
struct reply_record {
    int side;
    uint64_t session;
    uint64_t request;
    enum status status;
    bool is_message;
};

struct model {
    struct chat_fixture sides[SIDES];
    uint64_t random;
    size_t parted;
    bool are_apart;
    struct device devices[DEVICES];
    struct reply_record answered[4096];
    size_t answered_count;
    uint64_t rooms[4096];
    size_t rooms_count;
    uint64_t deleted[DEVICES * 2]; /* accounts that somebody deleted anywhere */
    size_t deleted_count;
};

static uint64_t roll(struct model *model, uint64_t sides)
{
    return chat_fixture_draw(&model->random) % sides;
}

/* What the request of this number asks for: the same everywhere. */
static uint64_t dice(uint64_t session, uint64_t request)
{
    uint64_t z = session ^ request * UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ z >> 30) * UINT64_C(0xBF58476D1CE4E5B9);
    return z ^ z >> 31;
}

static void see_room(struct model *model, uint64_t room)
{
    for (size_t i = 0; i < model->rooms_count; i++)
        if (model->rooms[i] == room)
            return;
    assert_true(model->rooms_count < 4096);
    if (room != 0)
        model->rooms[model->rooms_count++] = room;
}

static struct answer say(struct chat_fixture *fixture, struct chat_session *session,
                         uint64_t dice_now)
{
    char to[16], text[64];
    if (dice_now / 64 % 3 == 0)
        snprintf(to, sizeof to, "@p%u", (unsigned)(dice_now / 1024 % 5));
    else
        snprintf(to, sizeof to, "#r%u", (unsigned)(dice_now / 1024 % ROOMS));
    snprintf(text, sizeof text, "%" PRIx64 ":%" PRIu64, chat_session_id(session),
             chat_fixture_next(session));
    return chat_fixture_send(fixture, session, to, text, 0);
}

static struct answer ask(struct chat_fixture *fixture, struct chat_session *session,
                         uint64_t dice_now, bool *is_message)
{
    char room[16], name[16];
    snprintf(room, sizeof room, "r%u", (unsigned)(dice_now / 256 % ROOMS));
    snprintf(name, sizeof name, "p%u", (unsigned)(dice_now / 4096 % 5));
    *is_message = false;
    switch (dice_now % 24) {
    case 0:
    case 1:
    case 2:
        return chat_fixture_join(fixture, session, room, 0);
    case 3:
    case 4:
        return chat_fixture_join_private(fixture, session, room);
    case 5:
        return chat_fixture_leave(fixture, session, room);
    case 6:
        return chat_fixture_topic(fixture, session, room, name);
    case 7:
        return chat_fixture_invite(fixture, session, room, name);
    case 8:
        return chat_fixture_kick(fixture, session, room, name, false);
    case 9:
        return chat_fixture_kick(fixture, session, room, name, true);
    case 10:
        if (dice_now / 131072 % 3 == 0)
            return chat_fixture_logout(fixture, session, fixture->seq / 2);
        if (dice_now / 131072 % 24 == 1)
            return chat_fixture_delete(fixture, session, true);
        break;
    default:
        break;
    }
    *is_message = true;
    return say(fixture, session, dice_now);
}

static struct chat_session *session_of(struct chat_fixture *fixture, const struct device *device)
{
    char token[32];
    snprintf(token, sizeof token, "%s %d %u", device->name, device->index, device->generation);
    struct chat_session *session = chat_fixture_session(fixture, token);
    if (session != NULL)
        return session;
    chat_fixture_register(fixture, device->name);
    chat_fixture_login(fixture, device->name, token);
    return chat_fixture_session(fixture, token);
}

static void act(struct model *model)
{
    struct device *device = &model->devices[roll(model, DEVICES)];
    if (roll(model, 12) == 0)
        device->side = (int)roll(model, SIDES);
    int side = model->are_apart ? device->side : HERE;
    struct chat_fixture *fixture = &model->sides[side];
    fixture->time_ms += roll(model, 50);
    struct chat_session *session = session_of(fixture, device);
    if (session == NULL)
        return;
    uint64_t id = chat_session_id(session);
    uint64_t account = chat_session_account(session);
    uint64_t request = chat_fixture_next(session);
    bool is_message;
    struct answer answer = ask(fixture, session, dice(id, request), &is_message);
    see_room(model, answer.outcome.room);
    if (chat_find_session(fixture->chat, id) == NULL)
        device->generation++;
    if (state_account(&fixture->chat->state, account) == NULL)
        model->deleted[model->deleted_count++] = account;
    assert_true(model->answered_count < 4096);
    model->answered[model->answered_count++] = (struct reply_record){
        .side = side,
        .session = id,
        .request = request,
        .status = answer.status,
        .is_message = is_message,
    };
    if (roll(model, 40) == 0) {
        if (chat_find_session(fixture->chat, id) != NULL)
            chat_note_delivered(fixture->chat, chat_find_session(fixture->chat, id), fixture->seq);
        chat_fixture_deliver(fixture);
    }
}

static void part(struct model *model)
{
    struct chat_fixture *here = &model->sides[HERE];
    for (int side = THERE; side < SIDES; side++)
        chat_fixture_replay(&model->sides[side], here);
    model->parted = model->sides[THERE].deltas_count;
    chat_fixture_new_epoch(here);
    model->are_apart = true;
}

/* The number of those that must wait. */
static size_t take(struct model *model, int into, int from, size_t first, size_t count)
{
    struct chat_fixture *here = &model->sides[into];
    const struct chat_fixture *there = &model->sides[from];
    size_t waiting = 0;
    for (size_t i = first; i - first < count && i < there->deltas_count; i++) {
        Jackdaw__Delta *delta = chat_fixture_unpack(&there->deltas[i]);
        struct chat_call call = chat_fixture_call(here, NULL);
        enum chat_merge merge = chat_merge_orphan(here->chat, &call, delta);
        if (merge == CHAT_APPLY)
            assert_int_equal(chat_fixture_apply(here, call.delta), OK);
        waiting += merge == CHAT_WAIT;
        jackdaw__delta__free_unpacked(delta, NULL);
    }
    return waiting;
}

/* Each tail is whole by itself, so nothing of it waits for what only another one has. */
static void take_all(struct model *model)
{
    for (int side = THERE; side < SIDES; side++)
        assert_int_equal(take(model, HERE, side, model->parted, SIZE_MAX / 2), 0);
}

/* The beginning of the tail of one, now or then more than once. */
static void take_pieces(struct model *model, int into, int from, uint64_t most)
{
    size_t tail = model->sides[from].deltas_count - model->parted;
    for (uint64_t pieces = roll(model, most); pieces > 0; pieces--)
        take(model, into, from, model->parted, roll(model, tail + 1));
}

/* What is taken over may have been taken over before, by one that did not stay. */
static void meet_elsewhere(struct model *model)
{
    take_pieces(model, THERE, ELSEWHERE, 3);
    for (int i = 0; i < ACTS_BETWEEN; i++)
        act(model);
    take_pieces(model, ELSEWHERE, THERE, 3);
}

static void meet(struct model *model)
{
    model->are_apart = false;
    struct chat_fixture *here = &model->sides[HERE];
    for (int i = 0; i < SIDES; i++)
        take_pieces(model, HERE, THERE + (int)roll(model, SIDES - THERE), 4);
    take_all(model);
    char *before = chat_fixture_rows(here);
    uint64_t seq = here->seq;
    if (roll(model, 2) == 0)
        chat_fixture_reopen(here);
    take_all(model);
    assert_int_equal(here->seq, seq);
    char *after = chat_fixture_rows(here);
    assert_string_equal(after, before);
    free(before);
    free(after);
}

struct uid {
    uint64_t session;
    uint64_t request;
    uint64_t seq;
};

struct uids {
    struct uid items[4096];
    size_t count;
};

static enum error add_uid(void *context, const struct timeline_row *row)
{
    struct uids *uids = context;
    char text[64];
    if (row->kind != JACKDAW__EVENT__KIND__MESSAGE)
        return OK;
    snprintf(text, sizeof text, "%" PRIx64 ":%" PRIu64, row->session, row->request);
    assert_string_equal(row->text, text);
    assert_true(uids->count < 4096);
    uids->items[uids->count++] = (struct uid){row->session, row->request, row->seq};
    return OK;
}

static enum error add_room(void *context, const struct room_row *row)
{
    see_room(context, row->id);
    return OK;
}

static int compare_uids(const void *left, const void *right)
{
    const struct uid *a = left, *b = right;
    if (a->session != b->session)
        return a->session < b->session ? -1 : 1;
    return a->request < b->request ? -1 : a->request > b->request;
}

/* Refused in one part, taken in another: it is kept, but comes late. */
static bool was_refused(const struct model *model, const struct uid *uid)
{
    for (size_t i = 0; i < model->answered_count; i++) {
        const struct reply_record *answered = &model->answered[i];
        if (answered->session == uid->session && answered->request == uid->request &&
            answered->status != STATUS_OK)
            return true;
    }
    return false;
}

static void collect(struct model *model, struct uids *uids)
{
    struct store *store = model->sides[HERE].store;
    uids->count = 0;
    assert_int_equal(store_each_room(store, add_room, model), OK);
    for (size_t i = 0; i < model->rooms_count; i++)
        assert_int_equal(
            store_events_after(store, model->rooms[i], 0, INT64_MAX, 100000, add_uid, uids), OK);
    qsort(uids->items, uids->count, sizeof uids->items[0], compare_uids);
    for (size_t i = 1; i < uids->count; i++) {
        const struct uid *uid = &uids->items[i];
        if (uid[-1].session != uid->session)
            continue;
        assert_true(uid[-1].request < uid->request); /* nothing twice */
        bool is_late = was_refused(model, uid) || was_refused(model, &uid[-1]);
        assert_true(is_late || uid[-1].seq < uid->seq); /* in the order they were sent in */
    }
}

static bool is_excused(const struct model *model, const struct reply_record *answered)
{
    const struct state *state = &model->sides[HERE].chat->state;
    const struct chat_session *session = state_session(state, answered->session);
    if (session == NULL)
        session = state_ended_session(state, answered->session);
    return session == NULL && model->deleted_count > 0; /* forgotten with its account */
}

static size_t check(struct model *model)
{
    struct uids *uids = calloc(1, sizeof *uids);
    size_t from_there = 0;
    collect(model, uids);
    for (size_t i = 0; i < model->answered_count; i++) {
        const struct reply_record *answered = &model->answered[i];
        if (!answered->is_message || answered->status != STATUS_OK || is_excused(model, answered))
            continue;
        const struct uid key = {.session = answered->session, .request = answered->request};
        if (bsearch(&key, uids->items, uids->count, sizeof key, compare_uids) == NULL)
            fail_msg("message %" PRIx64 ":%" PRIu64 ", acknowledged %s, is missing", key.session,
                     key.request, answered->side == HERE ? "here" : "there");
        from_there += answered->side != HERE;
    }
    free(uids);
    return from_there;
}

static size_t run(uint64_t seed)
{
    struct model *model = calloc(1, sizeof *model);
    model->random = seed;
    for (int side = HERE; side < SIDES; side++)
        chat_fixture_open(&model->sides[side], seed * SIDES + 1 + (uint64_t)side, NULL);
    for (int i = 0; i < DEVICES; i++) {
        struct device *device = &model->devices[i];
        device->index = i;
        snprintf(device->name, sizeof device->name, "p%d", i % 6);
        device->side = (int)roll(model, SIDES);
    }
    for (int i = 0; i < ACTS_BEFORE; i++)
        act(model);
    part(model);
    for (int i = 0; i < ACTS_APART; i++)
        act(model);
    meet_elsewhere(model);
    meet(model);
    size_t from_there = check(model);
    for (int i = 0; i < ACTS_AFTER; i++)
        act(model);
    chat_fixture_check_elsewhere(&model->sides[HERE]);
    for (int side = HERE; side < SIDES; side++)
        chat_fixture_close(&model->sides[side]);
    free(model);
    return from_there;
}

TEST(test_merge__random_parts)
{
    const char *given = getenv("SEED");
    uint64_t seed = given != NULL ? strtoull(given, NULL, 10) : (uint64_t)time(NULL) * 1000;
    size_t from_there = 0;
    for (uint64_t i = 0; i < (given != NULL ? 1 : ROUNDS); i++) {
        print_message("seed %" PRIu64 "\n", seed + i);
        from_there += run(seed + i);
    }
    assert_true(from_there > 10); /* else nothing was tested */
}
