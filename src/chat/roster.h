/* SPDX-License-Identifier: MIT */
/* roster.h - things that have a name, in alphabetical order of its folded form: accounts, rooms,
 * the members of a room. A sorted array: found by bisection, walked from anywhere, no allocation
 * per entry. Core thread only. */
#ifndef JACKDAW_CHAT_ROSTER_H
#define JACKDAW_CHAT_ROSTER_H

#include <stdbool.h>
#include <stddef.h>

struct roster_entry {
    const char *folded; /* the item's; never changes while it is in here */
    void *item;
};

struct roster { /* all zero: empty */
    struct roster_entry *entries;
    size_t count;
    size_t capacity;
};

/* Makes room for `more` further entries, so that adding them cannot fail. False: no memory. */
bool roster_reserve(struct roster *roster, size_t more);

/* The place of the first entry that is not before folded. */
size_t roster_seek(const struct roster *roster, const char *folded);

/* Puts an item in its place; room for it was reserved, and its name is not in there yet. */
void roster_add(struct roster *roster, const char *folded, void *item);

/* Takes the item of this name out; nothing happens when there is none. */
void roster_remove(struct roster *roster, const char *folded);

/* For loading: adds at the end (room was reserved), to be sorted before anything else. */
void roster_append(struct roster *roster, const char *folded, void *item);
void roster_sort(struct roster *roster);

/* Frees the array, not the items. */
void roster_release(struct roster *roster);

#endif
