/* SPDX-License-Identifier: MIT */
/* name_index.h - things that have a name, in alphabetical order of its folded form: accounts, rooms,
 * the members of a room. A sorted array: found by bisection, walked from anywhere, no allocation
 * per entry. Core thread only. */
#ifndef JACKDAW_CHAT_NAME_INDEX_H
#define JACKDAW_CHAT_NAME_INDEX_H

#include <stdbool.h>
#include <stddef.h>

struct name_index_entry {
    const char *folded; /* the item's; never changes while it is in here */
    void *item;
};

struct name_index { /* all zero: empty */
    struct name_index_entry *entries;
    size_t count;
    size_t capacity;
};

/* Makes room for `more` further entries, so that adding them cannot fail. False: no memory. */
bool name_index_reserve(struct name_index *name_index, size_t more);

/* The place of the first entry that is not before folded. */
size_t name_index_seek(const struct name_index *name_index, const char *folded);

/* Puts an item in its place; room for it was reserved, and its name is not in there yet. */
void name_index_add(struct name_index *name_index, const char *folded, void *item);

/* Removes the item of this name, if there is one. */
void name_index_remove(struct name_index *name_index, const char *folded);

/* For loading: adds at the end (room was reserved), to be sorted before anything else. */
void name_index_append(struct name_index *name_index, const char *folded, void *item);
void name_index_sort(struct name_index *name_index);

/* Frees the array, not the items. */
void name_index_release(struct name_index *name_index);

#endif
