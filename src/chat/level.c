/* SPDX-License-Identifier: MIT */
#include "chat/chat.h"

/* Level 1: all kinds of deltas that spec.proto has. A new kind of delta raises the level of the build by one
 * and gets a case in chat_level_of. tests/cluster builds servers of two levels with these definitions. */
#ifndef JACKDAW_LEVEL
#define JACKDAW_LEVEL 1
#endif
#ifndef JACKDAW_LEVEL_TOPIC_SET
#define JACKDAW_LEVEL_TOPIC_SET 1
#endif

uint16_t chat_level(void)
{
    return JACKDAW_LEVEL;
}

uint16_t chat_level_of(const Jackdaw__Delta *delta)
{
    switch (delta->change_case) {
    case JACKDAW__DELTA__CHANGE_TOPIC_SET:
        return JACKDAW_LEVEL_TOPIC_SET;
    case JACKDAW__DELTA__CHANGE__NOT_SET:
        return delta->base.n_unknown_fields > 0 ? UINT16_MAX : 1;
    default:
        return 1;
    }
}
