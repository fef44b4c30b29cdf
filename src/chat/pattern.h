/* SPDX-License-Identifier: MIT */
/* pattern.h - search patterns: '*' stands for any characters, '?' for exactly one.
 * Pattern and name are compared in their folded forms (name.h); an empty pattern matches all.
 * Time is at most the product of the two lengths, whatever the pattern. Pure, any thread. */
#ifndef JACKDAW_CHAT_PATTERN_H
#define JACKDAW_CHAT_PATTERN_H

#include "chat/name.h"

#include <stdbool.h>
#include <stddef.h>

struct pattern {
    char folded[NAME_FOLDED_SIZE];
    size_t prefix; /* bytes before the first wildcard: every match begins with them */
};

/* False when text is not UTF-8 or longer than any name. */
bool pattern_parse(const char *text, struct pattern *out);

/* Whether a folded name matches. */
bool pattern_matches(const struct pattern *pattern, const char *folded);

#endif
