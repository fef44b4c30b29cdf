/* SPDX-License-Identifier: MIT */
/* text.h - text from people: checking it, comparing names, and making it harmless to show.
 * Pure but for allocation, any thread. */
#ifndef JACKDAW_CLIENT_TEXT_H
#define JACKDAW_CLIENT_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/* Whether size bytes are UTF-8 without NUL (RFC 3629). */
bool text_is_valid(const char *text, size_t size);

/* The kind of a character. */
enum text_kind {
    TEXT_END,   /* the NUL */
    TEXT_WORD,  /* a letter, a mark on one, or a digit */
    TEXT_SPACE, /* white space of any width (Unicode's White_Space), line breaks included */
    TEXT_EMPTY, /* shows nothing and takes no place: control, format and default ignorable ones */
    TEXT_OTHER, /* punctuation, symbols, and bytes that are not UTF-8 */
};

/* The kind of the character at *at, which is moved behind it, but not past the NUL. */
enum text_kind text_next(const char **at);

/* How many bytes at the beginning of text (size bytes) are TEXT_SPACE and TEXT_EMPTY. */
size_t text_blank_size(const char *text, size_t size);

/* A copy in which case, width, composition and TEXT_EMPTY characters make no difference (NFKC,
 * folded). NULL: out of memory, or not UTF-8; the caller frees it. */
char *text_fold(const char *text);

/* Whether two names are one in the servers' eyes: case, width and composition do not count. */
bool text_same_name(const char *left, const char *right);

/* A printable copy of text (any bytes). The copy has no control characters (C0, C1, DEL), and so no
 * escape sequences, and no unassigned or private characters. Nor does it have characters that
 * reorder or hide text (bidirectional controls and other invisible formatting), except the joiners
 * that scripts and emoji need. If a dropped character in the middle of text was visible, U+FFFD
 * replaces it. A line break becomes a new line that starts with `indent`, or a space where indent
 * is NULL; a tab a space. NULL when out of memory; the caller frees it. */
char *text_printable(const char *text, const char *indent);

/* How many columns text takes, which came from text_printable without line breaks. */
size_t text_columns(const char *text);

#endif
