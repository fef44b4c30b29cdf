/* SPDX-License-Identifier: MIT */
/* names.h - an ordered list of names without repetition, bounded: rooms joined, people seen. Names
 * are compared as servers do. One owner. */
#ifndef JACKDAW_APP_NAMES_H
#define JACKDAW_APP_NAMES_H

#include <stdbool.h>
#include <stddef.h>

#define NAMES_MAX 512 /* beyond, the first is forgotten */

struct names {
    char **items;
    size_t count;
};

/* Puts name at the end, also when it was there before. Out of memory it is not added. */
void names_add(struct names *names, const char *name);
void names_remove(struct names *names, const char *name);
/* The name as it was added, or NULL. */
const char *names_find(const struct names *names, const char *name);
/* The last one, or NULL. */
const char *names_last(const struct names *names);
void names_clear(struct names *names);

#endif
