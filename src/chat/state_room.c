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
    if (!name_index_reserve(&state->rooms, 1) || !index_room(state, room)) {
        free(room->topic);
        free(room);
        return NULL;
    }
    if (room_is_direct(room))
        return room;
    if (is_sorted)
        name_index_add(&state->rooms, room->folded, room);
    else
        name_index_append(&state->rooms, room->folded, room);
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
    while (room->non_members_count > 0)
        state_remove_member(room->non_members[room->non_members_count - 1]);
    HASH_DELETE(by_id, state->rooms_by_id, room);
    if (room_is_direct(room)) {
        HASH_DELETE(by_key, state->rooms_by_pair, room);
    } else {
        HASH_DELETE(by_key, state->rooms_by_name, room);
        name_index_remove(&state->rooms, room->folded);
    }
    name_index_release(&room->members);
    free(room->non_members);
    free(room->topic);
    free(room);
}

/* ---- members ---- */

/* The place of the first entry of the account's that is not before the room. */
static uint32_t seek_membership(const struct account *account, uint64_t room)
{
    uint32_t low = 0;
    uint32_t high = account->memberships_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (account->memberships[middle]->room->id < room)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct member *state_member(const struct account *account, const struct room *room)
{
    uint32_t at = seek_membership(account, room->id);
    if (at == account->memberships_count || account->memberships[at]->room != room)
        return NULL;
    return account->memberships[at];
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

static bool is_past_membership(enum member_state state)
{
    return state == MEMBER_OUT || state == MEMBER_INVITED;
}

static void count(struct member *member, int by)
{
    uint32_t step = (uint32_t)by;
    if (is_past_membership(member->state))
        member->account->past_memberships += step;
    if (member->state == MEMBER_BANNED)
        member->room->banned += step;
    if (member->state == MEMBER_IN && !room_is_direct(member->room))
        member->account->rooms_in += step;
}

static void enter_non_members(struct member *member)
{
    struct room *room = member->room;
    member->non_members_index = room->non_members_count;
    room->non_members[room->non_members_count++] = member;
}

static void leave_non_members(struct member *member)
{
    struct room *room = member->room;
    struct member *last = room->non_members[--room->non_members_count];
    room->non_members[member->non_members_index] = last;
    last->non_members_index = member->non_members_index;
}

struct member *state_reserve_member(struct room *room, struct account *account)
{
    if (!name_index_reserve(&room->members, 1) ||
        !reserve(&room->non_members, room->non_members_count, &room->non_members_capacity) ||
        !reserve(&account->memberships, account->memberships_count, &account->memberships_capacity))
        return NULL;
    struct member *member = state_member(account, room);
    if (member != NULL)
        return member;
    member = calloc(1, sizeof *member);
    if (member == NULL)
        return NULL;
    *member = (struct member){.room = room, .account = account, .state = MEMBER_OUT};
    uint32_t at = seek_membership(account, room->id);
    memmove(&account->memberships[at + 1], &account->memberships[at],
            (account->memberships_count - at) * sizeof(struct member *));
    account->memberships[at] = member;
    account->memberships_count++;
    enter_non_members(member);
    count(member, 1);
    return member;
}

void state_move_member(struct member *member, enum member_state to, bool is_sorted)
{
    struct name_index *members = &member->room->members;
    bool was_in = member->state == MEMBER_IN;
    count(member, -1);
    member->state = to;
    count(member, 1);
    if (was_in == (to == MEMBER_IN))
        return;
    if (was_in) {
        name_index_remove(members, member->account->folded);
        enter_non_members(member);
        return;
    }
    leave_non_members(member);
    if (is_sorted)
        name_index_add(members, member->account->folded, member);
    else
        name_index_append(members, member->account->folded, member);
}

void state_remove_member(struct member *member)
{
    struct account *account = member->account;
    count(member, -1);
    if (member->state == MEMBER_IN)
        name_index_remove(&member->room->members, account->folded);
    else
        leave_non_members(member);
    uint32_t at = seek_membership(account, member->room->id);
    account->memberships_count--;
    memmove(&account->memberships[at], &account->memberships[at + 1],
            (account->memberships_count - at) * sizeof(struct member *));
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

struct member *state_oldest_past_membership(const struct account *account)
{
    struct member *oldest = NULL;
    for (uint32_t i = 0; i < account->memberships_count; i++) {
        struct member *member = account->memberships[i];
        if (!is_past_membership(member->state))
            continue;
        if (oldest == NULL || member->until_seq < oldest->until_seq)
            oldest = member;
    }
    return oldest;
}

void state_sort(struct state *state)
{
    name_index_sort(&state->accounts);
    name_index_sort(&state->rooms);
    state_sort_ended(state);
    struct room *room, *next;
    HASH_ITER(by_id, state->rooms_by_id, room, next)
        name_index_sort(&room->members);
}
