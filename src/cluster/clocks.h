/* SPDX-License-Identifier: MIT */
/* clocks.h - the wall clocks of all servers, and the time that this one stamps.
 *
 * A wall clock can be wrong: for a moment, while an operator sets it, or for long. Positions order
 * messages, so a wrong time loses no message, but users read the times. Two rules bound the error:
 *
 *   1. A step of a server's own wall clock against its monotonic one counts only after it has lasted
 *      CLOCKS_SETTLE_MS. Until then the server goes on from the time before the step. Each server
 *      tells the others this settled clock.
 *   2. A server whose settled clock differs from the median of all that it has heard lately by more
 *      than CLOCK_TOLERANCE_MS stamps the median. Of an even number the earlier one of the two in
 *      the middle counts: of two servers that differ, the one that is behind.
 *
 * Clocks before CLOCKS_UNSET_BEFORE_MS were never set and do not count. Pure: times are arguments.
 * One owner. */
#ifndef JACKDAW_CLUSTER_CLOCKS_H
#define JACKDAW_CLUSTER_CLOCKS_H

#include "base/clock.h"
#include "replication/replica.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLOCKS_SETTLE_MS 60000
#define CLOCKS_FRESH_MS 10000                          /* older clocks do not count */
#define CLOCKS_TOLD_MS 60000                           /* between two warnings about one server */
#define CLOCKS_UNSET_BEFORE_MS UINT64_C(1735689600000) /* 2025-01-01 */

/* Wall minus monotonic time, in ms. */
struct clocks_other {
    uint16_t node;
    uint64_t last_seen_ms; /* monotonic */
    int64_t offset_ms;
    uint64_t told_ms; /* monotonic; 0: never */
};

struct clocks {
    uint16_t own;
    bool has_time;            /* clocks_set was called */
    uint64_t now_ms;          /* monotonic */
    int64_t latest_offset_ms; /* of the own clock, as it is read */
    int64_t offset_ms;        /* as it counts */
    bool has_stepped;         /* the two differ */
    uint64_t stepped_ms;      /* since when, monotonic */
    uint64_t told_ms;         /* of a difference of the own clock, monotonic; 0: never */
    struct clocks_other others[REPLICA_MEMBERS_MAX];
    size_t others_count;
};

/* own: this server's id. */
void clocks_init(struct clocks *clocks, uint16_t own);

/* Reads the own clocks, at the start of each turn. now_ms: monotonic, never decreases. */
void clocks_set(struct clocks *clocks, uint64_t now_ms, uint64_t wall_ms);

/* Server node, a member, tells its settled clock; 0: it tells none. More than REPLICA_MEMBERS_MAX
 * servers are not heard. */
void clocks_note(struct clocks *clocks, uint16_t node, uint64_t wall_ms);

/* The clock announced to the others: the settled clock; 0 before clocks_set. */
uint64_t clocks_own(const struct clocks *clocks);

/* The time to stamp, in ms since 1970. Goes back where a clock was ahead and is corrected. */
uint64_t clocks_time(const struct clocks *clocks);

/* How far the clock of node is ahead of clocks_time, in ms; of this server the one that is read, of
 * others the settled one. false: no recent message of that server. */
bool clocks_difference(const struct clocks *clocks, uint16_t node, int64_t *out);

/* Calls tell for each server, this one included, whose clock differs by more than
 * CLOCK_TOLERANCE_MS and that was not told of for CLOCKS_TOLD_MS. About once a second. */
void clocks_check(struct clocks *clocks,
                  void (*tell)(void *context, uint16_t node, int64_t difference_ms), void *context);

#endif
