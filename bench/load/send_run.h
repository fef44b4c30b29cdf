/* SPDX-License-Identifier: MIT */
/* send_run.h - C clients with D Send requests in flight each, for scenarios that write; nobody
 * reads. One thread. */
#ifndef JACKDAW_BENCH_SEND_RUN_H
#define JACKDAW_BENCH_SEND_RUN_H

#include "bench.h"
#include "sender.h"

struct send_run {
    struct pool *pool;
    struct sender *senders;            /* by client's index */
    struct sequence_set *sequence_set; /* one, or one per client */
    size_t rooms;
    size_t depth;
    uint64_t tick_ns;
    struct measure measure;
};

/* client pool, rooms (1, or as many as clients) and depth are set. False: no memory. Ended with
 * send_run_release in either case. */
bool send_run_init(struct send_run *run, const struct bench *bench);
void send_run_release(struct send_run *run);

/* The first messages. After measure_begin. */
void send_run_start(struct send_run *run);
/* Sends, reads and waits, once: an answer is followed by the next message until the measure says
 * that it is draining. */
void send_run_turn(struct send_run *run);
size_t send_run_open(const struct send_run *run); /* messages under way */

/* Whether all that was sent was answered, each number given once, and a room that one client alone
 * wrote to holds what it wrote; if not, the client pool has failed. */
void send_run_check(struct send_run *run);

#endif
