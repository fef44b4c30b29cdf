/* SPDX-License-Identifier: MIT */
/* silence.h - learns how late the messages of a peer usually are, or the ends of writes, and tells how long a
 * silence may last before it is a fault.
 *
 * The detector is adaptive, as accrual detectors are (Hayashibara, Defago, Yared, Katayama, "The phi Accrual
 * Failure Detector", SRDS 2004). That paper fits a normal distribution. Delays of a busy machine have a longer
 * tail: most are short and few are very long. So this detector keeps the longest recent delay, and allows
 * SILENCE_FACTOR times as much. The detector assumes no distribution. A peer that is much later than ever before is a
 * suspect; the poll that follows asks other nodes, and takes a late message as an answer (election.c).
 *
 * Integers only, so a simulated run is the same on every machine. */
#ifndef JACKDAW_REPLICATION_SILENCE_H
#define JACKDAW_REPLICATION_SILENCE_H

#include <stdbool.h>
#include <stdint.h>

#define SILENCE_FACTOR 4
#define SILENCE_LEARN_MS 1000  /* of watching, */
#define SILENCE_LEARN_COUNT 20 /* and gaps, before the limit may be shorter than the longest one */
#define SILENCE_DECAY_MS 15000 /* after which the longest delay loses 1/32: half in 5.5 minutes */

/* The bounds of a limit. */
struct silence_bounds {
    uint32_t due_ms; /* a message is due this long after the one before; 0: at once */
    uint32_t min_ms;
    uint32_t max_ms; /* at least min_ms */
};

/* The delays so far. All zero: none yet. */
struct silence {
    uint64_t first_ms;   /* of the first gap that taught something, */
    uint64_t last_ms;    /* and of the last one */
    uint64_t decayed_ms; /* when longest_us lost a part last */
    uint32_t gaps;       /* at most SILENCE_LEARN_COUNT */
    uint32_t longest_us; /* the longest recent delay: time between the due moment and the message */
};

/* A message has come gap_ms after the one before. A gap of bounds.max_ms or more is an outage, which
 * teaches nothing. now_ms: of the event. */
void silence_learn(struct silence *silence, const struct silence_bounds *bounds, uint64_t gap_ms,
                   uint64_t now_ms);

/* Returns how long a silence may last, within the bounds; max_ms until enough is learned. In ms. */
uint32_t silence_limit_ms(const struct silence *silence, const struct silence_bounds *bounds);

/* Returns the same by what is learned so far, for a node that confirms what another node suspects. */
uint32_t silence_confirmation_ms(const struct silence *silence,
                                 const struct silence_bounds *bounds);

#endif
