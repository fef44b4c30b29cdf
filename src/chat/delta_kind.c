/* SPDX-License-Identifier: MIT */
#include "chat/delta_kind.h"

#define KIND(name) [JACKDAW__DELTA__CHANGE_##name]

static const struct delta_kind kinds[] = {
    KIND(ACCOUNT_REGISTERED) = {UID_NONE, apply_account_registered, merge_registered},
    KIND(ACCOUNT_DELETED) = {UID_ALLOWED, apply_account_deleted, merge_deleted},
    KIND(SESSION_STARTED) = {UID_NONE, apply_session_started, merge_started},
    KIND(SESSION_ENDED) = {UID_ALLOWED, apply_session_ended, merge_ended},
    KIND(ROOM_JOINED) = {UID_ALLOWED, apply_room_joined, merge_joined},
    KIND(ROOM_LEFT) = {UID_ALLOWED, apply_room_left, merge_left},
    KIND(TOPIC_SET) = {UID_ALLOWED, apply_topic_set, merge_topic},
    KIND(INVITED) = {UID_ALLOWED, apply_invited, merge_invited},
    KIND(MESSAGE_SENT) = {UID_NEEDED, apply_message_sent, merge_message},
    KIND(DELIVERED) = {UID_NONE, apply_delivered, merge_delivered},
    KIND(REFUSED) = {UID_NEEDED, apply_refused, merge_refused},
    KIND(UNCHANGED) = {UID_NEEDED, apply_unchanged, merge_unchanged},
};

const struct delta_kind *delta_kind_of(const Jackdaw__Delta *delta)
{
    size_t change_case = (size_t)delta->change_case;
    if (change_case >= sizeof kinds / sizeof kinds[0] || kinds[change_case].apply == NULL)
        return NULL;
    return delta->unchanged == NULL ? NULL : &kinds[change_case]; /* the union holds pointers */
}
