/* SPDX-License-Identifier: MIT */
/* crowd.h - many clients of one peer system on one loop, which enter a few at a time. One thread. */
#ifndef JACKDAW_BENCH_CROWD_H
#define JACKDAW_BENCH_CROWD_H

#include "peer.h"

struct crowd {
    struct loop loop;
    struct peer_work work;
    struct peer *peers;
    size_t count;
    size_t started;
    size_t ready;
    struct error_text problem; /* the first one; "": none */
    /* Called for each event of a client that has entered, but PEER_NOTHING. Set it before the first
     * request. */
    void (*on_event)(void *context, struct peer *peer, const struct peer_event *event);
    void *context;
};

struct crowd_options {
    struct address address;
    struct peer_work work;
    size_t count;
    size_t room_size; /* so many clients share a room */
    bool has_sender;  /* the last client sends, and receives no messages */
};

/* Returns when all clients have entered. *crowd: ended with crowd_close, also after an error. */
enum error crowd_open(struct crowd *crowd, const struct crowd_options *options,
                      struct error_text *why);
void crowd_close(struct crowd *crowd);

/* Remembers the first problem: a client that lost its connection or could not enter, or the
 * scenario's. */
void crowd_fail(struct crowd *crowd, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool crowd_has_failed(const struct crowd *crowd);

#endif
