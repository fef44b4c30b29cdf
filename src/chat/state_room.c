/* SPDX-License-Identifier: MIT */
/* Rooms and members of the state; the rest is in state.c. */
#include "chat/state.h"
#include "chat/state_index.h"

#include <stdlib.h>

/* ---- rooms ---- */

static bool index_room(struct state *state, struct room *room)
{
    HASH_ADD_KEYPTR_BYHASHVALUE(by_id, state->rooms_by_id, &room->id, sizeof room->id,
                                hash_id(room->id), room);
    if (room->by_id.tbl == NULL)
        return false;
    if (room_is_direct(room))
        HASH_ADD_KEYPTR_BYHASHVALUE(by_key, state->rooms_by_pair, room->direct, sizeof room->direct,
                                    hash_pair(room->direct), room);
    else
        HASH_ADD_KEYPTR_BYHASHVALUE(by_key, state->rooms_by_name, room->folded,
                                    strlen(room->folded), hash_name(state, room->folded), room);
    if (room->by_key.tbl != NULL)
        return true;
    HASH_DELETE(by_id, state->rooms_by_id, room);
    return false;
}

static struct room *new_room(uint64_t id, const char *shown, const char *folded,
                             const uint64_t direct[static 2])
{
    size_t shown_size = strlen(shown) + 1;
    size_t folded_size = strlen(folded) + 1;
    struct room *room = calloc(1, sizeof *room + shown_size + folded_size);
    if (room == NULL)
        return NULL;
    room->id = id;
    room->name = memcpy(room->text, shown, shown_size);
    room->folded = memcpy(room->text + shown_size, folded, folded_size);
    memcpy(room->direct, direct, sizeof room->direct);
    if (!state_set_topic(room, "")) {
        free(room);
        return NULL;
    }
    return room;
}

struct room *state_add_room(struct state *state, uint64_t id, const char *shown, const char *folded,
                            const uint64_t direct[static 2], bool is_sorted)
{
    struct room *room = new_room(id, shown, folded, direct);
    if (room == NULL)
        return NULL;
    if (!roster_reserve(&state->rooms, 1) || !index_room(state, room)) {
        free(room->topic);
        free(room);
        return NULL;
    }
    if (room_is_direct(room))
        return room;
    if (is_sorted)
        roster_add(&state->rooms, room->folded, room);
    else
        roster_append(&state->rooms, room->folded, room);
    return room;
}

struct room *state_room(const struct state *state, uint64_t id)
{
    struct room *room;
    HASH_FIND_BYHASHVALUE(by_id, state->rooms_by_id, &id, sizeof id, hash_id(id), room);
    return room;
}

struct room *state_room_named(const struct state *state, const char *folded)
{
    struct room *room;
    HASH_FIND_BYHASHVALUE(by_key, state->rooms_by_name, folded, strlen(folded),
                          hash_name(state, folded), room);
    return room;
}

struct room *state_room_direct(const struct state *state, uint64_t one, uint64_t other)
{
    const uint64_t pair[2] = {one < other ? one : other, one < other ? other : one};
    struct room *room;
    HASH_FIND_BYHASHVALUE(by_key, state->rooms_by_pair, pair, sizeof pair, hash_pair(pair), room);
    return room;
}

bool state_set_topic(struct room *room, const char *topic)
{
    char *copy = strdup(topic);
    if (copy == NULL)
        return false;
    free(room->topic);
    room->topic = copy;
    return true;
}

void state_remove_room(struct state *state, struct room *room)
{
    while (room->members.count > 0)
        state_remove_member(room->members.entries[room->members.count - 1].item);
    while (room->others_count > 0)
        state_remove_member(room->others[room->others_count - 1]);
    HASH_DELETE(by_id, state->rooms_by_id, room);
    if (room_is_direct(room)) {
        HASH_DELETE(by_key, state->rooms_by_pair, room);
    } else {
        HASH_DELETE(by_key, state->rooms_by_name, room);
        roster_remove(&state->rooms, room->folded);
    }
    roster_release(&room->members);
    free(room->others);
    free(room->topic);
    free(room);
}

/* ---- members ---- */

/* The place of the first entry of the account's that is not before the room. */
static uint32_t seek_place(const struct account *account, uint64_t room)
{
    uint32_t low = 0;
    uint32_t high = account->places_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (account->places[middle]->room->id < room)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct member *state_member(const struct account *account, const struct room *room)
{
    uint32_t at = seek_place(account, room->id);
    if (at == account->places_count || account->places[at]->room != room)
        return NULL;
    return account->places[at];
}

static bool reserve(struct member ***array, uint32_t count, uint32_t *capacity)
{
    if (count < *capacity)
        return true;
    uint32_t more = *capacity < 2 ? 2 : *capacity + *capacity / 2;
    struct member **grown = reallocarray(*array, more, sizeof *grown);
    if (grown == NULL)
        return false;
    *array = grown;
    *capacity = more;
    return true;
}

static bool is_former(enum member_state state)
{
    return state == MEMBER_OUT || state == MEMBER_INVITED;
}

static void count(struct member *member, int by)
{
    uint32_t step = (uint32_t)by;
    if (is_former(member->state))
        member->account->former += step;
    if (member->state == MEMBER_BANNED)
        member->room->banned += step;
    if (member->state == MEMBER_IN && !room_is_direct(member->room))
        member->account->rooms_in += step;
}

static void enter_others(struct member *member)
{
    struct room *room = member->room;
    member->others_index = room->others_count;
    room->others[room->others_count++] = member;
}

static void leave_others(struct member *member)
{
    struct room *room = member->room;
    struct member *last = room->others[--room->others_count];
    room->others[member->others_index] = last;
    last->others_index = member->others_index;
}

struct member *state_reserve_member(struct room *room, struct account *account)
{
    if (!roster_reserve(&room->members, 1) ||
        !reserve(&room->others, room->others_count, &room->others_capacity) ||
        !reserve(&account->places, account->places_count, &account->places_capacity))
        return NULL;
    struct member *member = state_member(account, room);
    if (member != NULL)
        return member;
    member = calloc(1, sizeof *member);
    if (member == NULL)
        return NULL;
    *member = (struct member){.room = room, .account = account, .state = MEMBER_OUT};
    uint32_t at = seek_place(account, room->id);
    memmove(&account->places[at + 1], &account->places[at],
            (account->places_count - at) * sizeof(struct member *));
    account->places[at] = member;
    account->places_count++;
    enter_others(member);
    count(member, 1);
    return member;
}

void state_move_member(struct member *member, enum member_state to, bool is_sorted)
{
    struct roster *members = &member->room->members;
    bool was_in = member->state == MEMBER_IN;
    count(member, -1);
    member->state = to;
    count(member, 1);
    if (was_in == (to == MEMBER_IN))
        return;
    if (was_in) {
        roster_remove(members, member->account->folded);
        enter_others(member);
        return;
    }
    leave_others(member);
    if (is_sorted)
        roster_add(members, member->account->folded, member);
    else
        roster_append(members, member->account->folded, member);
}

void state_remove_member(struct member *member)
{
    struct account *account = member->account;
    count(member, -1);
    if (member->state == MEMBER_IN)
        roster_remove(&member->room->members, account->folded);
    else
        leave_others(member);
    uint32_t at = seek_place(account, member->room->id);
    account->places_count--;
    memmove(&account->places[at], &account->places[at + 1],
            (account->places_count - at) * sizeof(struct member *));
    free(member);
}

struct account *state_eldest(const struct room *room, uint64_t except)
{
    const struct member *eldest = NULL;
    for (size_t i = 0; i < room->members.count; i++) {
        const struct member *member = room->members.entries[i].item;
        if (member->account->id == except)
            continue;
        if (eldest == NULL || member->since_seq < eldest->since_seq)
            eldest = member;
    }
    return eldest == NULL ? NULL : eldest->account;
}

struct member *state_oldest_former(const struct account *account)
{
    struct member *oldest = NULL;
    for (uint32_t i = 0; i < account->places_count; i++) {
        struct member *member = account->places[i];
        if (!is_former(member->state))
            continue;
        if (oldest == NULL || member->until_seq < oldest->until_seq)
            oldest = member;
    }
    return oldest;
}

void state_sort(struct state *state)
{
    roster_sort(&state->accounts);
    roster_sort(&state->rooms);
    state_sort_ended(state);
    struct room *room, *next;
    HASH_ITER(by_id, state->rooms_by_id, room, next)
        roster_sort(&room->members);
}
