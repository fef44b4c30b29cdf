/* SPDX-License-Identifier: MIT */
/* state.h - the state in memory: an index over the store's rows that answers every question of the
 * write path without touching the disk.
 *
 * Accounts, sessions, rooms and members, each in one struct, found by id, by name, by token or by
 * pair. A member links a room and an account, and both list it. The room has it in `members`
 * (current members, sorted by name, for the fan-out) or `others` (invited, gone, banned). The
 * account has it in `places` (sorted by the room's id). A deleted account is not in memory:
 * name_tombstone computes its name from its id.
 *
 * Functions that add return NULL or false when there is no memory and leave everything consistent;
 * functions that remove cannot fail. Core thread only. */
#ifndef JACKDAW_CHAT_STATE_H
#define JACKDAW_CHAT_STATE_H

#include "chat/chat.h"
#include "chat/name.h"
#include "chat/name_index.h"
#include "chat/rate.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uthash.h>

struct member;

struct account {
    uint64_t id;
    const char *name; /* both within this allocation */
    const char *folded;
    uint64_t created_ms;
    uint64_t delivered_seq;        /* as applied */
    uint64_t noted_seq;            /* at least that, and what chat_note_delivered told since */
    struct chat_session *sessions; /* linked by next_of_account, newest first */
    struct member **memberships;   /* sorted by the room's id */
    uint32_t memberships_count;
    uint32_t memberships_capacity;
    uint32_t rooms_in; /* rooms with a name it is in */
    uint32_t
        past_memberships; /* places it was in or is invited to: bounded by PAST_MEMBERSHIPS_MAX */
    uint32_t present;     /* sessions that are not silent; online while there is one */
    uint64_t mark;        /* equals state.mark: visited by the walk under way */
    struct account *dirty_next; /* accounts with noted_seq > delivered_seq */
    struct account *dirty_previous;
    bool dirty;
    UT_hash_handle by_id;
    UT_hash_handle by_name;
    char text[];
};

/* Why a slave counts a session as present or silent. */
enum presence_source {
    PRESENCE_BEGUN, /* it began here after the last chat_ask_presence */
    PRESENCE_ASKED, /* an earlier answer of the master */
    PRESENCE_TOLD,  /* chat_set_present, after the last chat_ask_presence */
};

struct chat_session {
    uint64_t id;
    struct account *account;
    uint64_t last_request;
    uint8_t token_hash[STORE_TOKEN_HASH_BYTES];
    void *attachment;
    uint64_t last_seen_ms;
    uint64_t heard_ms; /* by this server, for its report to the master; 0: not yet */
    bool silent;
    bool listed;                          /* by the master, during chat_set_presence */
    enum presence_source presence_source; /* on a slave */
    bool ended;                           /* only its number of the last request still counts */
    uint64_t ended_seq;                   /* when */
    struct rate rate;
    struct chat_session *next_of_account;
    struct chat_session *present_next; /* sessions that are not silent, longest unheard first */
    struct chat_session *present_previous;
    UT_hash_handle by_id;
    UT_hash_handle by_token;
    UT_hash_handle by_ended;
};

struct room {
    uint64_t id;
    const char *name; /* both within this allocation; "" for a direct conversation */
    const char *folded;
    char *topic;
    uint64_t owner;
    uint64_t direct[2]; /* low and high account of a direct conversation, or 0, 0 */
    uint64_t created_ms;
    uint64_t last_number;
    uint64_t last_seq;
    struct name_index members; /* of struct member: the current members */
    struct member **non_members;
    uint32_t non_members_count;
    uint32_t non_members_capacity;
    uint32_t banned;
    bool is_private;
    UT_hash_handle by_id;
    UT_hash_handle by_key; /* folded name or pair */
    char text[];
};

struct member {
    struct room *room;
    struct account *account;
    uint64_t since_seq; /* first seq of the room that Receive shows to the account; 0: none, */
    uint64_t until_seq; /* to here, inclusive; 0: for ever */
    enum member_state state;
    uint32_t non_members_index;
};

/* How many rooms an account was in, or is invited to, are remembered; the oldest is forgotten
 * when another one comes. A constant, because applying must not depend on an option. */
#define PAST_MEMBERSHIPS_MAX 256

/* How many ended sessions are remembered, with their outcomes, so that requests of theirs that come
 * from another half of a split cluster are not carried out twice. A constant for the same reason. */
#define SESSIONS_ENDED_MAX 4096

struct state {
    struct account *accounts_by_id;
    struct account *accounts_by_name;
    struct name_index accounts;
    struct account *dirty;
    struct chat_session *sessions_by_id;
    struct chat_session *sessions_by_token;
    struct chat_session *sessions_ended; /* by id, the first ended first */
    struct chat_session *present_first;
    struct chat_session *present_last;
    struct room *rooms_by_id;
    struct room *rooms_by_name;
    struct room *rooms_by_pair;
    struct name_index rooms;  /* rooms with a name */
    struct log_position last; /* of the last delta applied */
    uint64_t last_time_ms;    /* of the last delta that is not late */
    uint64_t mark;
    uint8_t hash_key[16]; /* names are chosen by users: they are hashed with a secret */
};

void state_init(struct state *state);
void state_release(struct state *state);

/* ---- accounts ---- */

/* is_sorted: the name index stays sorted (false while loading: state_sort comes at the end). */
struct account *state_add_account(struct state *state, uint64_t id, const char *shown,
                                  const char *folded, bool is_sorted);
struct account *state_account(const struct state *state, uint64_t id);
struct account *state_account_named(const struct state *state, const char *folded);
/* The account's sessions and places were removed before. */
void state_remove_account(struct state *state, struct account *account);

/* Raises what devices of the account received. */
void state_note_delivered(struct state *state, struct account *account, uint64_t seq);
void state_apply_delivered(struct state *state, struct account *account, uint64_t seq);

/* ---- sessions ---- */

struct chat_session *state_add_session(struct state *state, uint64_t id, struct account *account,
                                       const uint8_t token_hash[static STORE_TOKEN_HASH_BYTES]);
struct chat_session *state_session(const struct state *state, uint64_t id);
struct chat_session *state_session_of_token(const struct state *state,
                                            const uint8_t hash[static STORE_TOKEN_HASH_BYTES]);
void state_remove_session(struct state *state, struct chat_session *session);

/* The session is found as an ended one only. False: no memory, nothing was changed. */
bool state_end_session(struct state *state, struct chat_session *session, uint64_t seq);
struct chat_session *state_ended_session(const struct state *state, uint64_t id);
/* Adds a session that ended at seq, later than those that are known. NULL: no memory. */
struct chat_session *state_add_ended_session(struct state *state, uint64_t id,
                                             struct account *account, uint64_t seq);
/* After loading: brings them into the order they ended in. */
void state_sort_ended(struct state *state);
/* The one to be forgotten because there are too many; NULL: there are not. */
struct chat_session *state_oldest_ended(const struct state *state);

/* Puts the session at the end of the list of those heard; counts it where it was silent. */
void state_mark_seen(struct state *state, struct chat_session *session, uint64_t monotonic_ms);
/* Takes it off that list and out of the count. */
void state_silence(struct state *state, struct chat_session *session);

/* ---- rooms ---- */

struct room *state_add_room(struct state *state, uint64_t id, const char *shown, const char *folded,
                            const uint64_t direct[static 2], bool is_sorted);
struct room *state_room(const struct state *state, uint64_t id);
struct room *state_room_named(const struct state *state, const char *folded);
struct room *state_room_direct(const struct state *state, uint64_t one, uint64_t other);
/* Copies the topic; false: no memory, the old one stays. */
bool state_set_topic(struct room *room, const char *topic);
/* Also frees its members. */
void state_remove_room(struct state *state, struct room *room);

static inline bool room_is_direct(const struct room *room)
{
    return room->direct[0] != 0;
}

/* The other account of a direct conversation; the same one in a conversation with oneself. */
static inline uint64_t room_peer(const struct room *room, uint64_t account)
{
    return room->direct[0] == account ? room->direct[1] : room->direct[0];
}

/* ---- members ---- */

/* NULL when the account never had to do with the room. */
struct member *state_member(const struct account *account, const struct room *room);

/* Finds or makes the member (in state MEMBER_OUT, with nothing seen) and reserves what
 * state_move_member needs, so that it cannot fail. NULL: no memory. */
struct member *state_reserve_member(struct room *room, struct account *account);

/* Moves the member between the room's lists and keeps every count. Reserved before. */
void state_move_member(struct member *member, enum member_state to, bool is_sorted);
void state_remove_member(struct member *member);

static inline bool member_is_in(const struct member *member)
{
    return member != NULL && member->state == MEMBER_IN;
}

/* Returns the member with the longest membership other than `except`; NULL: none. */
struct account *state_eldest(const struct room *room, uint64_t except);

/* Of the places that the account was in or is invited to, the one left to itself for longest. */
struct member *state_oldest_past_membership(const struct account *account);

/* After loading: brings every name index into order. */
void state_sort(struct state *state);

#endif
