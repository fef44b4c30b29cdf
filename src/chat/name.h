/* SPDX-License-Identifier: MIT */
/* name.h - names of accounts and rooms: how they are written, compared and refused.
 *
 * A name is shown in Unicode's NFC and compared in its NFKC_Casefold form (UAX #15, UAX #31), so
 * that case, width, ligatures and invisible characters make no second name. The rules, which hold
 * for the form shown and for the form compared alike:
 *   - 1 to 32 characters (code points) in NFC, at most NAME_FOLDED_SIZE - 1 bytes when folded;
 *   - none of @ # : / \ , ! * ? " and no white space, in any width;
 *   - no control, private-use, surrogate or unassigned code points, and of the invisible format
 *     characters only U+200C and U+200D, which scripts and emoji need;
 *   - the first character is not a combining mark.
 * Letters of different scripts that look alike (Latin a, Cyrillic a) are different.
 *
 * Unassigned code points are refused because only assigned ones fold alike in every later version
 * of Unicode, and servers of one cluster may be built with different ones.
 *
 * Pure, any thread, no allocation. */
#ifndef JACKDAW_CHAT_NAME_H
#define JACKDAW_CHAT_NAME_H

#include "chat/chat.h"

#include <stdbool.h>
#include <stdint.h>

#define NAME_FOLDED_SIZE 257 /* with NUL */
#define NAME_INPUT_BYTES_MAX 512

struct name {
    char shown[CHAT_NAME_BYTES_MAX];
    char folded[NAME_FOLDED_SIZE];
};

/* Normalises and checks text. NULL: *out is the name. Otherwise what is wrong, as the end of a
 * sentence that starts with "A name" ("must not contain white space"); static, *out undefined. */
const char *name_parse(const char *text, struct name *out);

/* The form names are compared by, for looking one up or as a pattern: no rule is checked. False
 * when text is not UTF-8 or too long to be anybody's name. */
bool name_fold(const char *text, char folded[static NAME_FOLDED_SIZE]);

/* For a name that another server accepted: the rules without the one on unassigned code points,
 * and the text must be shown as it is. */
bool name_accept(const char *text, struct name *out);

/* The displayed name of a deleted account (and room): "deleted:" and six digits of its id. No user
 * can register it, because of the colon. */
void name_tombstone(uint64_t id, char out[static CHAT_NAME_BYTES_MAX]);

/* ---- search patterns ---- */

/* '*' stands for any characters, '?' for exactly one. Pattern and name are compared in their folded
 * forms; an empty pattern matches all. The time is at most the product of the two lengths, whatever the pattern. */
struct pattern {
    char folded[NAME_FOLDED_SIZE];
    size_t prefix; /* bytes before the first wildcard: every match begins with them */
};

/* False when text is not UTF-8 or longer than any name. */
bool pattern_parse(const char *text, struct pattern *out);

/* Whether a folded name matches. */
bool pattern_matches(const struct pattern *pattern, const char *folded);

#endif
