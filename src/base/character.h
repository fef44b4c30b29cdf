/* SPDX-License-Identifier: MIT */
/* character.h - characters of UTF-8 text that must not reach a terminal, a log or a line of others as
 * they are. The one table of them: what people may put into names, topics and device names, the log,
 * the screens and JSON all go by it; tests hold them to it. Pure, any thread. */
#ifndef JACKDAW_BASE_CHARACTER_H
#define JACKDAW_BASE_CHARACTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* Control characters (U+0000 to U+001F, U+007F to U+009F), those that end a line (U+2028, U+2029), and
 * those that turn the direction of the text around them (U+061C, U+200E, U+200F, U+202A to U+202E,
 * U+2066 to U+2069). Source of the latter: Unicode Standard Annex 9, table 1. */
bool character_is_unsafe(uint32_t character);

/* Reads one character; returns how many bytes it takes. 0: no valid UTF-8 (RFC 3629), *out unchanged. A
 * NUL is a character of one byte. text is NUL-terminated. */
size_t character_decode(const char *text, uint32_t *out);

/* Writes JSON text to out, with each unsafe character as \uXXXX: the values stay the same. */
void character_print_json(const char *json, FILE *out);

#endif
