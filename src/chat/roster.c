/* SPDX-License-Identifier: MIT */
#include "chat/roster.h"

#include "base/error.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

bool roster_reserve(struct roster *roster, size_t more)
{
    if (more <= roster->capacity - roster->count)
        return true;
    size_t capacity = roster->capacity < 2 ? 2 : roster->capacity + roster->capacity / 2;
    if (capacity < roster->count + more)
        capacity = roster->count + more;
    struct roster_entry *entries = reallocarray(roster->entries, capacity, sizeof *entries);
    if (entries == NULL)
        return false;
    roster->entries = entries;
    roster->capacity = capacity;
    return true;
}

size_t roster_seek(const struct roster *roster, const char *folded)
{
    size_t low = 0;
    size_t high = roster->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(roster->entries[middle].folded, folded) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void roster_add(struct roster *roster, const char *folded, void *item)
{
    ASSERT(roster->count < roster->capacity);
    size_t at = roster_seek(roster, folded);
    memmove(&roster->entries[at + 1], &roster->entries[at],
            (roster->count - at) * sizeof *roster->entries);
    roster->entries[at] = (struct roster_entry){.folded = folded, .item = item};
    roster->count++;
}

void roster_remove(struct roster *roster, const char *folded)
{
    size_t at = roster_seek(roster, folded);
    if (at == roster->count || strcmp(roster->entries[at].folded, folded) != 0)
        return;
    roster->count--;
    memmove(&roster->entries[at], &roster->entries[at + 1],
            (roster->count - at) * sizeof *roster->entries);
}

void roster_append(struct roster *roster, const char *folded, void *item)
{
    ASSERT(roster->count < roster->capacity);
    roster->entries[roster->count++] = (struct roster_entry){.folded = folded, .item = item};
}

static int compare(const void *left, const void *right)
{
    const struct roster_entry *a = left;
    const struct roster_entry *b = right;
    return strcmp(a->folded, b->folded);
}

void roster_sort(struct roster *roster)
{
    if (roster->count > 1)
        qsort(roster->entries, roster->count, sizeof *roster->entries, compare);
}

void roster_release(struct roster *roster)
{
    free(roster->entries);
    *roster = (struct roster){.entries = NULL};
}
