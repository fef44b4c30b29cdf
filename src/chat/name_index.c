/* SPDX-License-Identifier: MIT */
#include "chat/name_index.h"

#include "base/error.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

bool name_index_reserve(struct name_index *name_index, size_t more)
{
    if (more <= name_index->capacity - name_index->count)
        return true;
    size_t capacity =
        name_index->capacity < 2 ? 2 : name_index->capacity + name_index->capacity / 2;
    if (capacity < name_index->count + more)
        capacity = name_index->count + more;
    struct name_index_entry *entries = reallocarray(name_index->entries, capacity, sizeof *entries);
    if (entries == NULL)
        return false;
    name_index->entries = entries;
    name_index->capacity = capacity;
    return true;
}

size_t name_index_seek(const struct name_index *name_index, const char *folded)
{
    size_t low = 0;
    size_t high = name_index->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (strcmp(name_index->entries[middle].folded, folded) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

void name_index_add(struct name_index *name_index, const char *folded, void *item)
{
    ASSERT(name_index->count < name_index->capacity);
    size_t at = name_index_seek(name_index, folded);
    memmove(&name_index->entries[at + 1], &name_index->entries[at],
            (name_index->count - at) * sizeof *name_index->entries);
    name_index->entries[at] = (struct name_index_entry){.folded = folded, .item = item};
    name_index->count++;
}

void name_index_remove(struct name_index *name_index, const char *folded)
{
    size_t at = name_index_seek(name_index, folded);
    if (at == name_index->count || strcmp(name_index->entries[at].folded, folded) != 0)
        return;
    name_index->count--;
    memmove(&name_index->entries[at], &name_index->entries[at + 1],
            (name_index->count - at) * sizeof *name_index->entries);
}

void name_index_append(struct name_index *name_index, const char *folded, void *item)
{
    ASSERT(name_index->count < name_index->capacity);
    name_index->entries[name_index->count++] =
        (struct name_index_entry){.folded = folded, .item = item};
}

static int compare(const void *left, const void *right)
{
    const struct name_index_entry *a = left;
    const struct name_index_entry *b = right;
    return strcmp(a->folded, b->folded);
}

void name_index_sort(struct name_index *name_index)
{
    if (name_index->count > 1)
        qsort(name_index->entries, name_index->count, sizeof *name_index->entries, compare);
}

void name_index_release(struct name_index *name_index)
{
    free(name_index->entries);
    *name_index = (struct name_index){.entries = NULL};
}
