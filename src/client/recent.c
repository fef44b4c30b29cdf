/* SPDX-License-Identifier: MIT */
#include "client/recent.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY 64

static size_t slot_count(const struct recent *recent)
{
    return recent->capacity * 2;
}

/* Sessions are random; requests count up: one multiplication spreads both. */
static size_t start_of(const struct recent *recent, const struct recent_uid *uid)
{
    uint64_t mixed =
        (uid->session ^ uid->request * UINT64_C(0x9E3779B97F4A7C15)) * UINT64_C(0xD6E8FEB86659FD93);
    return (size_t)(mixed >> 32) & (slot_count(recent) - 1);
}

static bool is_same(const struct recent_uid *left, const struct recent_uid *right)
{
    return left->session == right->session && left->request == right->request;
}

/* The slot that holds uid, or the empty one where it would go. */
static size_t find(const struct recent *recent, const struct recent_uid *uid)
{
    size_t mask = slot_count(recent) - 1;
    size_t slot = start_of(recent, uid);
    while (recent->slots[slot] != 0 && !is_same(&recent->ring[recent->slots[slot] - 1], uid))
        slot = (slot + 1) & mask;
    return slot;
}

/* Empties a slot and closes the gap, so that no search ends early. */
static void empty_slot(struct recent *recent, size_t slot)
{
    size_t mask = slot_count(recent) - 1;
    size_t next = (slot + 1) & mask;
    recent->slots[slot] = 0;
    while (recent->slots[next] != 0) {
        size_t home = start_of(recent, &recent->ring[recent->slots[next] - 1]);
        if (((next - home) & mask) >= ((next - slot) & mask)) {
            recent->slots[slot] = recent->slots[next];
            recent->slots[next] = 0;
            slot = next;
        }
        next = (next + 1) & mask;
    }
}

static bool grow(struct recent *recent)
{
    struct recent larger = {.capacity =
                                recent->capacity == 0 ? FIRST_CAPACITY : recent->capacity * 2};
    larger.ring = malloc(larger.capacity * sizeof *larger.ring);
    larger.slots = calloc(slot_count(&larger), sizeof *larger.slots);
    if (larger.ring == NULL || larger.slots == NULL) {
        free(larger.ring);
        free(larger.slots);
        return false;
    }
    for (size_t i = 0; i < recent->count; i++) {
        larger.ring[i] = recent->ring[(recent->oldest + i) & (recent->capacity - 1)];
        larger.slots[find(&larger, &larger.ring[i])] = (uint32_t)i + 1;
    }
    larger.count = recent->count;
    recent_clear(recent);
    *recent = larger;
    return true;
}

bool recent_add(struct recent *recent, uint64_t session, uint64_t request)
{
    struct recent_uid uid = {.session = session, .request = request};
    if (recent->count > 0 && recent->slots[find(recent, &uid)] != 0)
        return true;
    if (recent->count == recent->capacity && (recent->capacity == RECENT_MAX || !grow(recent))) {
        if (recent->capacity == 0)
            return false;
        empty_slot(recent, find(recent, &recent->ring[recent->oldest]));
        recent->oldest = (recent->oldest + 1) & (recent->capacity - 1);
        recent->count--;
    }
    size_t index = (recent->oldest + recent->count) & (recent->capacity - 1);
    recent->ring[index] = uid;
    recent->slots[find(recent, &uid)] = (uint32_t)index + 1;
    recent->count++;
    return false;
}

void recent_clear(struct recent *recent)
{
    free(recent->ring);
    free(recent->slots);
    memset(recent, 0, sizeof *recent);
}
