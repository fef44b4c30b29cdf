/* SPDX-License-Identifier: MIT */
/* inbox.h - the receiving end of a mailbox, for tests: one session's stream, what came on it, and
 * whether the pages kept the promises of ReceiveReply (each begins where the last one ended, holds
 * whole positions in ascending order, stays within its bounds). */
#ifndef JACKDAW_TESTS_INBOX_H
#define JACKDAW_TESTS_INBOX_H

#include "support/desk.h"
#include "support/fake_call.h"

struct got {
    Jackdaw__Event__Kind kind;
    uint64_t seq; /* 0: ephemeral */
    uint64_t epoch;
    uint64_t number;
    char room[64];
    char from[64];
    char subject[64];
    char text[32]; /* its beginning */
    size_t text_size;
};

struct inbox {
    struct desk *desk;
    uint64_t session;
    struct rpc_call *call; /* NULL: none open */
    struct position cursor;
    bool fresh;  /* no page since it was opened: may be rewound */
    bool losing; /* pages get lost on their way from now on */
    struct got *got;
    size_t count;
    size_t capacity;
    unsigned pages;
    unsigned rewinds;
    size_t largest_page; /* events */
    uint64_t *page_ends; /* count at the end of each page; only the first few are kept */
    void *context;
};

#define INBOX_PAGE_ENDS 64

void inbox_init(struct inbox *inbox, struct desk *desk, uint64_t session);
void inbox_release(struct inbox *inbox); /* its call must have ended */

/* Asks for what comes after the cursor; the call before it, if open, must be replaced by this. */
void inbox_open(struct inbox *inbox, uint32_t credits);
void inbox_open_at(struct inbox *inbox, struct position after, uint32_t credits);

/* What the mailbox ended the call with; then the call is gone. Fails if it is still open. */
enum status inbox_take_end(struct inbox *inbox);
bool inbox_is_open(const struct inbox *inbox); /* has a call that has not ended */

/* The connection is lost. */
void inbox_disconnect(struct inbox *inbox);

/* Forgets what came. */
void inbox_clear(struct inbox *inbox);

/* How many events that are not ephemeral came. */
size_t inbox_kept(const struct inbox *inbox);

#endif
