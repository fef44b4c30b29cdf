/* SPDX-License-Identifier: MIT */
/* group_commit.h - decides when the next commit waits for more requests (DeWitt et al.,
 * "Implementation Techniques for Main Memory Database Systems", 1984; PostgreSQL's commit_delay).
 *
 * A commit costs about the same for one request as for fifty. Clients whose requests have just been
 * committed probably send again at once. Without a delay, they and the clients that sent in the
 * meantime would form two alternating groups of half the size. So the next commit waits until as
 * many requests have come as may come, or until none came for a moment. Pure: no clock. */
#ifndef JACKDAW_COMMIT_GROUP_COMMIT_H
#define JACKDAW_COMMIT_GROUP_COMMIT_H

#include <stdbool.h>
#include <stdint.h>

#define GROUP_COMMIT_QUIET_US \
    100u /* time without a request: about a turn of a client on the same network */
#define GROUP_COMMIT_US_MAX 2000u /* limit in total, although requests keep coming */

/* Zeroed: does not wait. */
struct group_commit {
    uint64_t expected; /* requests in the next commit if all clients send again; 0: no delay */
    uint64_t count;    /* of them there are, as of the last look */
    uint64_t quiet_us; /* deadline of the next request; 0: not computed since the last one */
    uint64_t end_us;   /* 0: the first look is still to come */
};

/* So many were answered, while the next commit had `count` requests already. */
void group_commit_answered(struct group_commit *group, uint64_t answered, uint64_t count);

/* Whether the next commit, which has `count` requests now, waits. To be asked after
 * group_commit_answered, whenever a request has come, and at the deadline. */
bool group_commit_waits(struct group_commit *group, uint64_t count, uint64_t now_us);

/* To be asked when there is nothing left to do but to wait: until when, if nobody comes.
 * UINT64_MAX: no delay. */
uint64_t group_commit_deadline_us(struct group_commit *group, uint64_t now_us);

#endif
