/* SPDX-License-Identifier: MIT */
/* reader.h - what chat_read is to read. Self-contained: it is carried out on another thread while
 * the chat goes on. */
#ifndef JACKDAW_CHAT_READER_H
#define JACKDAW_CHAT_READER_H

#include "chat/chat.h"

/* Events of one room with from < seq <= to. */
struct plan_range {
    uint64_t room;
    uint64_t from;
    uint64_t to;
};

struct chat_plan {
    bool is_history;
    uint64_t viewer;

    /* History: the messages of room before a number. 0: the conversation does not exist yet. */
    uint64_t room;
    uint64_t before;
    uint32_t limit;
    uint64_t committed_seq; /* last seq of the room that the page may hold; 0: no limit */

    /* Receive */
    uint64_t until_seq;
    struct plan_range *ranges;
    size_t ranges_count;
    /* The epochs that wrote (after_seq, until_seq]: a reader's own may be older than the plan. */
    struct epoch_history epochs;
};

#endif
