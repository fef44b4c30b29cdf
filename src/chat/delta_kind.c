/* SPDX-License-Identifier: MIT */
#include "chat/delta_kind.h"

/* Level 1: all kinds of deltas that spec.proto has. A new kind of delta raises the level of the build by one,
 * and its row has the new level. tests/cluster builds servers of two levels with these definitions. */
#ifndef JACKDAW_LEVEL
#define JACKDAW_LEVEL 1
#endif
#ifndef JACKDAW_LEVEL_TOPIC_SET
#define JACKDAW_LEVEL_TOPIC_SET 1
#endif

#define KIND(name) [JACKDAW__DELTA__CHANGE_##name]

static const struct delta_kind kinds[] = {
    KIND(ACCOUNT_REGISTERED) = {1, UID_NONE, apply_account_registered, merge_registered},
    KIND(ACCOUNT_DELETED) = {1, UID_ALLOWED, apply_account_deleted, merge_deleted},
    KIND(SESSION_STARTED) = {1, UID_NONE, apply_session_started, merge_started},
    KIND(SESSION_ENDED) = {1, UID_ALLOWED, apply_session_ended, merge_ended},
    KIND(ROOM_JOINED) = {1, UID_ALLOWED, apply_room_joined, merge_joined},
    KIND(ROOM_LEFT) = {1, UID_ALLOWED, apply_room_left, merge_left},
    KIND(TOPIC_SET) = {JACKDAW_LEVEL_TOPIC_SET, UID_ALLOWED, apply_topic_set, merge_topic},
    KIND(INVITED) = {1, UID_ALLOWED, apply_invited, merge_invited},
    KIND(MESSAGE_SENT) = {1, UID_NEEDED, apply_message_sent, merge_message},
    KIND(DELIVERED) = {1, UID_NONE, apply_delivered, merge_delivered},
    KIND(REFUSED) = {1, UID_NEEDED, apply_refused, merge_refused},
    KIND(UNCHANGED) = {1, UID_NEEDED, apply_unchanged, merge_unchanged},
};

const struct delta_kind *delta_kind_of(const Jackdaw__Delta *delta)
{
    size_t change_case = (size_t)delta->change_case;
    if (change_case >= sizeof kinds / sizeof kinds[0] || kinds[change_case].apply == NULL)
        return NULL;
    return delta->unchanged == NULL ? NULL : &kinds[change_case]; /* the union holds pointers */
}

uint16_t chat_level(void)
{
    return JACKDAW_LEVEL;
}

uint16_t chat_level_of(const Jackdaw__Delta *delta)
{
    const struct delta_kind *kind = delta_kind_of(delta);
    if (kind != NULL)
        return kind->level;
    return delta->base.n_unknown_fields > 0 ? UINT16_MAX : 1;
}
