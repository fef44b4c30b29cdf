/* SPDX-License-Identifier: MIT */
/* text.h - what counts as text: UTF-8 (RFC 3629) without NUL, and its lengths. Pure, any thread. */
#ifndef JACKDAW_CHAT_TEXT_H
#define JACKDAW_CHAT_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Whether size bytes are UTF-8: no overlong form, no surrogate, nothing above U+10FFFF. */
bool text_is_utf8(const char *text, size_t size);

/* Reads one character of UTF-8 that was checked before; returns how many bytes it takes. */
size_t text_decode(const char *text, uint32_t *character);

/* How many characters (code points) checked UTF-8 holds. */
size_t text_characters(const char *text);

/* Whether checked UTF-8 has an unsafe character (base/character.h). Text without one is a
 * single line, drives no terminal, and does not change the direction of text beside it. */
bool text_has_unsafe(const char *text);

#endif
