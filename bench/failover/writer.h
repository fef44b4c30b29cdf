/* SPDX-License-Identifier: MIT */
/* writer.h - a client, made of the client library, that writes one message after the other into a
 * room, knows when each was acknowledged, and afterwards reads the room to see that all are there.
 *
 * The messages of a room are numbered in their text. Three accounts of them must agree: what was
 * acknowledged, what came as events, and what the room's history holds, each message exactly once
 * and in order. One thread: the owner's. */
#ifndef JACKDAW_BENCH_WRITER_H
#define JACKDAW_BENCH_WRITER_H

#include "base/address.h"
#include "base/error.h"
#include "client/client.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WRITER_NAME_SIZE 32

struct writer {
    struct client *client;
    char name[WRITER_NAME_SIZE];
    char room[WRITER_NAME_SIZE];
    uint64_t
        every_us; /* the time between two messages; 0: the next when the last is acknowledged */
    size_t in_flight_max;
    bool ready; /* logged in, and in the room */
    bool writing;
    uint64_t due_us;
    uint64_t written; /* messages of this room so far: their numbers are 1 to this */
    uint64_t acknowledged;
    uint64_t told; /* as events */

    /* Gaps: a mark begins a new measurement, with the gap that is open at that moment. */
    uint64_t last_us;       /* of the last acknowledgement */
    uint64_t gap_us;        /* the longest that ended since the mark */
    uint64_t marked_number; /* messages written before the mark */
    uint64_t fresh;         /* acknowledged since, and written since */

    /* Reading back, from the newest to the oldest. */
    bool reading;
    uint64_t expected;         /* the number that the next message read must have */
    struct error_text problem; /* the first that was seen; "" */
};

struct writer_options {
    const char *name;
    const struct address *addresses;
    size_t address_count;
    uint64_t every_us;
    size_t in_flight_max;
};

/* *writer: the caller's, ended with writer_release, also after an error. */
enum error writer_init(struct writer *writer, const struct writer_options *options,
                       struct error_text *why);
void writer_release(struct writer *writer);

/* Joins a new room; ready is set when that is done. Nothing of an earlier room may be under way. */
void writer_enter(struct writer *writer, const char *room);

/* From now on messages are written, and no longer. */
void writer_start(struct writer *writer);
void writer_pause(struct writer *writer);

/* Whether all that was written is acknowledged, and all of it has come as events. */
bool writer_is_even(const struct writer *writer);

/* Begins to read the room; reading is cleared when it is done. */
void writer_read(struct writer *writer);

/* Does what is due; returns when to call it again, if nothing is to be read before. */
uint64_t writer_process(struct writer *writer);

void writer_mark(struct writer *writer);

/* Between the last two acknowledgements since the mark that are furthest apart; the wait that has
 * not ended yet counts, too. */
uint64_t writer_gap_us(const struct writer *writer);

#endif
