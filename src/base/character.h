/* SPDX-License-Identifier: MIT */
/* character.h - characters of UTF-8 text that must not reach a terminal or a log unescaped. Names,
 * topics, device names, the log, the screens and JSON output all use this one table. Pure, any
 * thread. */
#ifndef JACKDAW_BASE_CHARACTER_H
#define JACKDAW_BASE_CHARACTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Returns whether the character is a control character (U+0000 to U+001F, U+007F to U+009F), a line
 * end (U+2028, U+2029) or a bidirectional control. The bidirectional controls are U+061C, U+200E,
 * U+200F, U+202A to U+202E and U+2066 to U+2069. Source: Unicode Standard Annex 9, table 1. */
bool character_is_unsafe(uint32_t character);

/* Reads one character of a NUL-terminated text and returns its size in bytes. Returns 0 and leaves
 * *out unchanged if the bytes are not valid UTF-8 (RFC 3629). A NUL is a character of one byte. */
size_t character_decode(const char *text, uint32_t *out);

/* Writes JSON text to out, with each unsafe character as \uXXXX: the values stay the same. */
void character_print_json(const char *json, FILE *out);

#endif
