/* SPDX-License-Identifier: MIT */
/* dedup.h - which messages were seen lately, by uid, in bounded memory.
 *
 * Positions identify new events. Uids are needed only after a cursor reset: then all events since
 * the reset may come a second time, which can be many after a long partition. So DEDUP_MAX is
 * large (6 MiB when full). Grows as needed: an idle client pays for 64. One owner. */
#ifndef JACKDAW_CLIENT_DEDUP_H
#define JACKDAW_CLIENT_DEDUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEDUP_MAX 262144 /* a power of two */

struct dedup_uid {
    uint64_t session;
    uint64_t request;
};

struct dedup {
    struct dedup_uid *ring; /* in the order of adding; capacity is a power of two */
    uint32_t *slots;        /* open addressing, twice the capacity: index into ring + 1, or 0 */
    size_t capacity;
    size_t count;
    size_t oldest;
};

/* Adds a uid; true when it is there already. Out of memory, the oldest is forgotten earlier (and
 * with none at all, nothing is ever found). *recent starts zeroed. */
bool dedup_add(struct dedup *dedup, uint64_t session, uint64_t request);

/* Forgets all and frees. */
void dedup_clear(struct dedup *dedup);

#endif
