/* SPDX-License-Identifier: MIT */
/* flights.h - numbered messages under way to several receivers, at most so many at once. A message is in flight
 * until all its parts have arrived: its deliveries and, where there is one, its acknowledgement. One thread. */
#ifndef JACKDAW_BENCH_FLIGHTS_H
#define JACKDAW_BENCH_FLIGHTS_H

#include "measure.h"

struct flight {
    uint64_t begun_ns;
    size_t parts; /* that have not arrived */
};

struct flights {
    struct flight *items; /* ring by number */
    size_t mask;
    size_t limit;
    size_t parts;       /* of each message */
    uint64_t next;      /* number of the next message */
    uint64_t completed; /* number of the oldest message in flight; next: there is none */
};

/* limit, parts: at least 1. first: number of the first message. False: no memory. Ended with
 * flights_release in either case. */
bool flights_init(struct flights *flights, size_t limit, size_t parts, uint64_t first);
void flights_release(struct flights *flights);

bool flights_may_begin(const struct flights *flights);
/* Counts the message `next` as sent at now_ns. Only if flights_may_begin. */
void flights_begin(struct flights *flights, uint64_t now_ns);

/* Counts one part of a message; with its last part the measure gets its latency. False: no such
 * message is in flight. */
bool flights_arrive(struct flights *flights, uint64_t number, uint64_t now_ns,
                    struct measure *measure);

uint64_t flights_open(const struct flights *flights); /* messages in flight */

#endif
