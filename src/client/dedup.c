/* SPDX-License-Identifier: MIT */
#include "client/dedup.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 64

static size_t slot_count(const struct dedup *dedup)
{
    return dedup->capacity * 2;
}

/* Sessions are random; requests count up: one multiplication spreads both. */
static size_t start_of(const struct dedup *dedup, const struct dedup_uid *uid)
{
    uint64_t mixed =
        (uid->session ^ uid->request * UINT64_C(0x9E3779B97F4A7C15)) * UINT64_C(0xD6E8FEB86659FD93);
    return (size_t)(mixed >> 32) & (slot_count(dedup) - 1);
}

static bool is_same(const struct dedup_uid *left, const struct dedup_uid *right)
{
    return left->session == right->session && left->request == right->request;
}

/* The slot that holds uid, or the empty one where it would go. */
static size_t find(const struct dedup *dedup, const struct dedup_uid *uid)
{
    size_t mask = slot_count(dedup) - 1;
    size_t slot = start_of(dedup, uid);
    while (dedup->slots[slot] != 0 && !is_same(&dedup->ring[dedup->slots[slot] - 1], uid))
        slot = (slot + 1) & mask;
    return slot;
}

/* Empties a slot and closes the gap, so that no search ends early. */
static void empty_slot(struct dedup *dedup, size_t slot)
{
    size_t mask = slot_count(dedup) - 1;
    size_t next = (slot + 1) & mask;
    dedup->slots[slot] = 0;
    while (dedup->slots[next] != 0) {
        size_t home = start_of(dedup, &dedup->ring[dedup->slots[next] - 1]);
        if (((next - home) & mask) >= ((next - slot) & mask)) {
            dedup->slots[slot] = dedup->slots[next];
            dedup->slots[next] = 0;
            slot = next;
        }
        next = (next + 1) & mask;
    }
}

static bool grow(struct dedup *dedup)
{
    struct dedup larger = {.capacity = dedup->capacity == 0 ? FIRST_CAPACITY : dedup->capacity * 2};
    larger.ring = malloc(larger.capacity * sizeof *larger.ring);
    larger.slots = calloc(slot_count(&larger), sizeof *larger.slots);
    if (larger.ring == NULL || larger.slots == NULL) {
        free(larger.ring);
        free(larger.slots);
        return false;
    }
    for (size_t i = 0; i < dedup->count; i++) {
        larger.ring[i] = dedup->ring[(dedup->oldest + i) & (dedup->capacity - 1)];
        larger.slots[find(&larger, &larger.ring[i])] = (uint32_t)i + 1;
    }
    larger.count = dedup->count;
    dedup_clear(dedup);
    *dedup = larger;
    return true;
}

bool dedup_add(struct dedup *dedup, uint64_t session, uint64_t request)
{
    struct dedup_uid uid = {.session = session, .request = request};
    if (dedup->count > 0 && dedup->slots[find(dedup, &uid)] != 0)
        return true;
    if (dedup->count == dedup->capacity && (dedup->capacity == DEDUP_MAX || !grow(dedup))) {
        if (dedup->capacity == 0)
            return false;
        empty_slot(dedup, find(dedup, &dedup->ring[dedup->oldest]));
        dedup->oldest = (dedup->oldest + 1) & (dedup->capacity - 1);
        dedup->count--;
    }
    size_t index = (dedup->oldest + dedup->count) & (dedup->capacity - 1);
    dedup->ring[index] = uid;
    dedup->slots[find(dedup, &uid)] = (uint32_t)index + 1;
    dedup->count++;
    return false;
}

void dedup_clear(struct dedup *dedup)
{
    free(dedup->ring);
    free(dedup->slots);
    memset(dedup, 0, sizeof *dedup);
}
