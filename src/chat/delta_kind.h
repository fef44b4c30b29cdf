/* SPDX-License-Identifier: MIT */
/* delta_kind.h - the kinds of delta, each declared once: its level, its rule for uids, how chat_apply applies it,
 * and how chat_merge_orphan merges it. A new kind is a row in delta_kind.c. Core thread only. */
#ifndef JACKDAW_CHAT_DELTA_KIND_H
#define JACKDAW_CHAT_DELTA_KIND_H

#include "chat/merge.h"

/* Whether a delta of a kind is a request of a session. */
enum uid_rule { UID_NONE, UID_ALLOWED, UID_NEEDED };

struct delta_kind {
    uint16_t level; /* the lowest level of a server that knows the kind */
    enum uid_rule uid;
    enum error (*apply)(struct apply *apply);
    enum chat_merge (*merge)(struct merge *merge);
};

/* Returns the kind of delta. NULL: this program does not know the kind. */
const struct delta_kind *delta_kind_of(const Jackdaw__Delta *delta);

#endif
