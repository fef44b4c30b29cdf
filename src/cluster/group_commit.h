/* SPDX-License-Identifier: MIT */
/* group_commit.h - when the next commit had better wait for more (DeWitt et al., "Implementation
 * Techniques for Main Memory Database Systems", 1984; PostgreSQL's commit_delay).
 *
 * A commit costs about the same for one request as for fifty. Those whose requests have just been
 * committed are likely to ask again at once; without waiting for them they and those who asked in the
 * meantime go on in two groups that take turns, each half as large. So the next commit waits until as
 * many have come as may come, but not once nobody has come for a moment. Pure: no clock. */
#ifndef JACKDAW_CLUSTER_GROUP_COMMIT_H
#define JACKDAW_CLUSTER_GROUP_COMMIT_H

#include <stdbool.h>
#include <stdint.h>

#define GROUP_COMMIT_QUIET_US \
    100u /* nobody has come: about a turn of a client on the same network */
#define GROUP_COMMIT_US_MAX 2000u /* in all, though they come and come */

/* Zeroed: waits for nobody. */
struct group_commit {
    uint64_t expected; /* requests in the next commit, if all come back; 0: nobody is waited for */
    uint64_t count;    /* of them there are, as of the last look */
    uint64_t quiet_us; /* until then somebody has to come; 0: not asked since somebody came */
    uint64_t end_us;   /* 0: the first look is still to come */
};

/* So many were answered, while the next commit had `count` requests already. */
void group_commit_answered(struct group_commit *group, uint64_t answered, uint64_t count);

/* Whether the next commit, which has `count` requests now, waits. To be asked after
 * group_commit_answered, whenever a request has come, and at the deadline. */
bool group_commit_waits(struct group_commit *group, uint64_t count, uint64_t now_us);

/* To be asked when there is nothing left to do but to wait: until when, if nobody comes. UINT64_MAX:
 * nobody is waited for. */
uint64_t group_commit_deadline_us(struct group_commit *group, uint64_t now_us);

#endif
