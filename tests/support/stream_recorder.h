/* SPDX-License-Identifier: MIT */
/* stream_recorder.h - the receiving end of a subscription, for tests: one session's stream, what came on it, and
 * whether the pages kept the promises of ReceiveReply (each begins where the last one ended, holds
 * whole positions in ascending order, stays within its bounds). */
#ifndef JACKDAW_TESTS_RECORDER_H
#define JACKDAW_TESTS_RECORDER_H

#include "support/core_fixture.h"
#include "support/fake_call.h"

struct event_record {
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

struct stream_recorder {
    struct core_fixture *core;
    uint64_t session;
    struct rpc_call *call; /* NULL: none open */
    struct log_position cursor;
    bool fresh;  /* no page since it was opened: may be rewound */
    bool losing; /* pages get lost on their way from now on */
    struct event_record *got;
    size_t count;
    size_t capacity;
    unsigned pages;
    unsigned rewinds;
    size_t largest_page; /* events */
    uint64_t *page_ends; /* count at the end of each page; only the first few are kept */
    void *context;
};

#define RECORDER_PAGE_ENDS 64

void recorder_init(struct stream_recorder *recorder, struct core_fixture *core, uint64_t session);
void recorder_release(struct stream_recorder *recorder); /* its call must have ended */

/* Asks for what comes after the cursor; the call before it, if open, must be replaced by this. */
void recorder_open(struct stream_recorder *recorder, uint32_t credits);
void recorder_open_at(struct stream_recorder *recorder, struct log_position after,
                      uint32_t credits);

/* What the subscription ended the call with; then the call is gone. Fails if it is still open. */
enum status recorder_take_end(struct stream_recorder *recorder);
bool recorder_is_open(const struct stream_recorder *recorder); /* has a call that has not ended */

/* The connection is lost. */
void recorder_disconnect(struct stream_recorder *recorder);

/* Forgets what came. */
void recorder_clear(struct stream_recorder *recorder);

/* How many events that are not ephemeral came. */
size_t recorder_kept(const struct stream_recorder *recorder);

#endif
