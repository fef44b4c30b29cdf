/* SPDX-License-Identifier: MIT */
#include "cluster/clocks.h"

static bool is_far(int64_t left_ms, int64_t right_ms)
{
    int64_t difference_ms = left_ms - right_ms;
    return difference_ms > CLOCK_TOLERANCE_MS || difference_ms < -CLOCK_TOLERANCE_MS;
}

void clocks_init(struct clocks *clocks, uint16_t own)
{
    *clocks = (struct clocks){.own = own};
}

/* ---- the own clock ---- */

static void settle(struct clocks *clocks, int64_t offset_ms)
{
    bool is_another_step = !clocks->has_stepped || is_far(offset_ms, clocks->latest_offset_ms);
    clocks->latest_offset_ms = offset_ms;
    if (!is_far(offset_ms, clocks->offset_ms)) {
        clocks->has_stepped = false;
        clocks->offset_ms = offset_ms;
        return;
    }
    if (is_another_step)
        clocks->stepped_ms = clocks->now_ms;
    clocks->has_stepped = clocks->now_ms - clocks->stepped_ms < CLOCKS_SETTLE_MS;
    if (!clocks->has_stepped)
        clocks->offset_ms = offset_ms;
}

void clocks_set(struct clocks *clocks, uint64_t now_ms, uint64_t wall_ms)
{
    int64_t offset_ms = (int64_t)(wall_ms - now_ms);
    clocks->now_ms = now_ms;
    if (!clocks->has_time) {
        clocks->has_time = true;
        clocks->offset_ms = clocks->latest_offset_ms = offset_ms;
    }
    settle(clocks, offset_ms);
}

static uint64_t wall_of(const struct clocks *clocks, int64_t offset_ms)
{
    int64_t wall_ms = (int64_t)clocks->now_ms + offset_ms;
    return wall_ms > 0 ? (uint64_t)wall_ms : 0;
}

uint64_t clocks_own(const struct clocks *clocks)
{
    return clocks->has_time ? wall_of(clocks, clocks->offset_ms) : 0;
}

/* ---- the others ---- */

static bool is_fresh(const struct clocks *clocks, const struct clocks_other *other)
{
    return clocks->now_ms - other->last_seen_ms < CLOCKS_FRESH_MS;
}

static struct clocks_other *place_for(struct clocks *clocks, uint16_t node)
{
    for (size_t i = 0; i < clocks->others_count; i++)
        if (clocks->others[i].node == node)
            return &clocks->others[i];
    for (size_t i = 0; i < clocks->others_count; i++)
        if (!is_fresh(clocks, &clocks->others[i])) {
            clocks->others[i] = (struct clocks_other){.node = node};
            return &clocks->others[i];
        }
    if (clocks->others_count == REPLICA_MEMBERS_MAX)
        return NULL;
    clocks->others[clocks->others_count] = (struct clocks_other){.node = node};
    return &clocks->others[clocks->others_count++];
}

void clocks_note(struct clocks *clocks, uint16_t node, uint64_t wall_ms)
{
    if (wall_ms == 0 || wall_ms > INT64_MAX / 2 || node == clocks->own)
        return;
    struct clocks_other *other = place_for(clocks, node);
    if (other == NULL)
        return;
    other->last_seen_ms = clocks->now_ms;
    other->offset_ms = (int64_t)(wall_ms - clocks->now_ms);
}

/* ---- the time ---- */

static size_t add_sorted(int64_t *sorted, size_t count, int64_t offset_ms)
{
    size_t i = count;
    for (; i > 0 && sorted[i - 1] > offset_ms; i--)
        sorted[i] = sorted[i - 1];
    sorted[i] = offset_ms;
    return count + 1;
}

static int64_t median_of(const struct clocks *clocks)
{
    int64_t sorted[REPLICA_MEMBERS_MAX + 1];
    size_t count = 0;
    if (wall_of(clocks, clocks->offset_ms) >= CLOCKS_UNSET_BEFORE_MS)
        count = add_sorted(sorted, count, clocks->offset_ms);
    for (size_t i = 0; i < clocks->others_count; i++) {
        const struct clocks_other *other = &clocks->others[i];
        if (is_fresh(clocks, other) && wall_of(clocks, other->offset_ms) >= CLOCKS_UNSET_BEFORE_MS)
            count = add_sorted(sorted, count, other->offset_ms);
    }
    return count == 0 ? clocks->offset_ms : sorted[(count - 1) / 2];
}

static int64_t offset_of_time(const struct clocks *clocks)
{
    int64_t median_ms = median_of(clocks);
    return is_far(clocks->offset_ms, median_ms) ? median_ms : clocks->offset_ms;
}

uint64_t clocks_time(const struct clocks *clocks)
{
    return wall_of(clocks, offset_of_time(clocks));
}

bool clocks_difference(const struct clocks *clocks, uint16_t node, int64_t *out)
{
    int64_t time_ms = offset_of_time(clocks);
    if (node == clocks->own) {
        *out = clocks->latest_offset_ms - time_ms;
        return true;
    }
    for (size_t i = 0; i < clocks->others_count; i++) {
        const struct clocks_other *other = &clocks->others[i];
        if (other->node == node && is_fresh(clocks, other)) {
            *out = other->offset_ms - time_ms;
            return true;
        }
    }
    return false;
}

/* ---- warnings ---- */

static bool is_due(const struct clocks *clocks, uint64_t *told_ms, int64_t difference_ms)
{
    if (!is_far(difference_ms, 0) || (*told_ms != 0 && clocks->now_ms - *told_ms < CLOCKS_TOLD_MS))
        return false;
    *told_ms = clocks->now_ms;
    return true;
}

void clocks_check(struct clocks *clocks,
                  void (*tell)(void *context, uint16_t node, int64_t difference_ms), void *context)
{
    int64_t difference_ms;
    if (clocks_difference(clocks, clocks->own, &difference_ms) &&
        is_due(clocks, &clocks->told_ms, difference_ms))
        tell(context, clocks->own, difference_ms);
    for (size_t i = 0; i < clocks->others_count; i++) {
        struct clocks_other *other = &clocks->others[i];
        if (clocks_difference(clocks, other->node, &difference_ms) &&
            is_due(clocks, &other->told_ms, difference_ms))
            tell(context, other->node, difference_ms);
    }
}
