/* SPDX-License-Identifier: MIT */
/* text.h - UTF-8 (RFC 3629): validity, lengths, and the characters that must not reach a terminal or a
 * log unescaped. Names, topics, device names, the log, the screens and JSON output all use the one
 * table of unsafe characters. Pure, any thread. */
#ifndef JACKDAW_BASE_TEXT_H
#define JACKDAW_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Returns whether size bytes are UTF-8: no overlong form, no surrogate, nothing above U+10FFFF. A NUL
 * is a character like any other. */
bool text_is_utf8(const char *text, size_t size);

/* Reads the first character of a NUL-terminated text and returns its size in bytes. Returns 0 and
 * leaves *character unchanged if the bytes are not valid UTF-8. A NUL is a character of one byte. */
size_t text_decode(const char *text, uint32_t *character);

/* Returns the number of characters (code points) in valid UTF-8. */
size_t text_characters(const char *text);

/* Returns whether the character is a control character (U+0000 to U+001F, U+007F to U+009F), a line
 * end (U+2028, U+2029) or a bidirectional control. The bidirectional controls are U+061C, U+200E,
 * U+200F, U+202A to U+202E and U+2066 to U+2069. Source: Unicode Standard Annex 9, table 1. */
bool text_is_unsafe(uint32_t character);

/* Returns whether text has an unsafe character or is no valid UTF-8. Text without either is a single
 * line, drives no terminal, and does not change the direction of text beside it. */
bool text_has_unsafe(const char *text);

/* Writes JSON text to out, with each unsafe character as \uXXXX: the values stay the same. */
void text_print_json(const char *json, FILE *out);

#endif
