/* SPDX-License-Identifier: MIT */
/* sender.h - one client that keeps some Send requests in flight, numbered 1, 2, 3 ... in its
 * session's order, sends again what is to be retried, and checks every acknowledgement. One thread.
 *
 *   FREE -> OPEN (on the wire) -> FREE (acknowledged, or refused for good)
 *            |  ^
 *            v  |  retry_ms later, or when no answer came for a while: the same number again
 *          WAITING
 */
#ifndef JACKDAW_BENCH_SENDER_H
#define JACKDAW_BENCH_SENDER_H

#include "client_pool.h"
#include "measure.h"
#include "request.h"
#include "sequence_set.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum slot_state { SLOT_FREE, SLOT_OPEN, SLOT_WAITING };

struct slot {
    enum slot_state state;
    uint64_t begun_ns; /* first sent: what latency counts from */
    uint64_t sent_ns;  /* last sent */
};

struct sender {
    struct pool *pool;
    struct client *client;
    struct measure *measure;
    struct sequence_set *sequence_set; /* of its room; shared by those who send to the same */
    struct send_template template;
    struct slot *slots; /* ring by request number */
    size_t slot_mask;
    size_t depth;
    size_t open;          /* not FREE */
    uint64_t first;       /* the first Send's request number */
    uint64_t oldest;      /* no number below is open */
    uint64_t next;        /* the next Send's */
    uint64_t retry_at_ns; /* when there is something to send again; 0: nothing */
    struct parse_send_reply last;
    uint64_t last_request; /* that last answers */
};

bool sender_init(struct sender *sender, struct pool *pool, struct client *client,
                 struct measure *measure, struct sequence_set *sequence_set, const char *text,
                 size_t depth);
void sender_release(struct sender *sender);

/* Sends one more message, if fewer than depth are under way. */
bool sender_send(struct sender *sender);
void sender_fill(struct sender *sender); /* as many as there may be */

/* A reply. True: a message was acknowledged with *out (and counted in measure). */
bool sender_take(struct sender *sender, const struct parse_envelope *envelope,
                 struct parse_send_reply *out);

/* Sends again what waited long enough. Call every turn. */
void sender_tick(struct sender *sender);

#endif
