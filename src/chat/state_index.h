/* SPDX-License-Identifier: MIT */
/* state_index.h - how the state's hash tables hash: for state.c and state_room.c only. */
#ifndef JACKDAW_CHAT_STATE_INDEX_H
#define JACKDAW_CHAT_STATE_INDEX_H

#include "chat/state.h"

#include <sodium.h>
#include <string.h>

/* Ids are random: their low half is as good a hash as any. */
static inline unsigned hash_id(uint64_t id)
{
    return (unsigned)(id ^ id >> 32);
}

static inline unsigned hash_pair(const uint64_t pair[static 2])
{
    return hash_id(pair[0] * UINT64_C(0x9E3779B97F4A7C15) + pair[1]);
}

/* SipHash with a secret key, so that no user can choose names that collide. */
static inline unsigned hash_name(const struct state *state, const char *folded)
{
    uint64_t hash;
    crypto_shorthash((unsigned char *)&hash, (const unsigned char *)folded, strlen(folded),
                     state->hash_key);
    return (unsigned)hash;
}

#endif
