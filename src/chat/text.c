/* SPDX-License-Identifier: MIT */
#include "chat/text.h"

#include "base/character.h"

#include <string.h>

/* Bytes of a character by its first byte; 0: no character starts so. */
static size_t length_of(unsigned char first)
{
    if (first < 0x80)
        return 1;
    if (first < 0xC2)
        return 0;
    if (first < 0xE0)
        return 2;
    if (first < 0xF0)
        return 3;
    return first < 0xF5 ? 4 : 0;
}

static bool is_continuation(unsigned char byte)
{
    return (byte & 0xC0) == 0x80;
}

/* The range of the byte after a lead byte (RFC 3629, section 4). */
static bool second_fits(unsigned char first, unsigned char second)
{
    switch (first) {
    case 0xE0:
        return second >= 0xA0 && second <= 0xBF;
    case 0xED:
        return second >= 0x80 && second <= 0x9F;
    case 0xF0:
        return second >= 0x90 && second <= 0xBF;
    case 0xF4:
        return second >= 0x80 && second <= 0x8F;
    default:
        return is_continuation(second);
    }
}

static size_t skip_ascii(const unsigned char *bytes, size_t at, size_t size)
{
    while (size - at >= sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, bytes + at, sizeof word);
        if (word & UINT64_C(0x8080808080808080))
            break;
        at += sizeof word;
    }
    while (at < size && bytes[at] < 0x80)
        at++;
    return at;
}

bool text_is_utf8(const char *text, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)text;
    size_t at = 0;
    while ((at = skip_ascii(bytes, at, size)) < size) {
        size_t length = length_of(bytes[at]);
        if (length == 0 || length > size - at || !second_fits(bytes[at], bytes[at + 1]))
            return false;
        for (size_t i = 2; i < length; i++)
            if (!is_continuation(bytes[at + i]))
                return false;
        at += length;
    }
    return true;
}

size_t text_decode(const char *text, uint32_t *character)
{
    static const unsigned char lead_bits[] = {0, 0x7F, 0x1F, 0x0F, 0x07};
    const unsigned char *bytes = (const unsigned char *)text;
    size_t length = length_of(bytes[0]);
    uint32_t value = bytes[0] & lead_bits[length];
    for (size_t i = 1; i < length; i++)
        value = value << 6 | (bytes[i] & 0x3Fu);
    *character = value;
    return length;
}

size_t text_characters(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++)
        count += !is_continuation((unsigned char)*text);
    return count;
}

bool text_has_unsafe(const char *text)
{
    while (*text != '\0') {
        uint32_t c;
        text += text_decode(text, &c);
        if (character_is_unsafe(c))
            return true;
    }
    return false;
}
