/* SPDX-License-Identifier: MIT */
#include "base/text.h"

#include <inttypes.h>
#include <string.h>
#include <utf8proc.h>

#define CHARACTER_BYTES_MAX 4

/* The first position from at on that is not ASCII. Most text is ASCII. */
static size_t skip_ascii(const char *text, size_t at, size_t size)
{
    while (size - at >= sizeof(uint64_t)) {
        uint64_t word;
        memcpy(&word, text + at, sizeof word);
        if (word & UINT64_C(0x8080808080808080))
            break;
        at += sizeof word;
    }
    while (at < size && (unsigned char)text[at] < 0x80)
        at++;
    return at;
}

/* Bytes of the first character of size bytes; 0: no valid UTF-8. */
static size_t decode(const char *text, size_t size, utf8proc_int32_t *character)
{
    utf8proc_ssize_t length =
        utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size, character);
    return length > 0 ? (size_t)length : 0;
}

bool text_is_utf8(const char *text, size_t size)
{
    size_t at = 0;
    while ((at = skip_ascii(text, at, size)) < size) {
        utf8proc_int32_t character;
        size_t length = decode(text + at, size - at, &character);
        if (length == 0)
            return false;
        at += length;
    }
    return true;
}

size_t text_decode(const char *text, uint32_t *character)
{
    if ((unsigned char)*text < 0x80) {
        *character = (unsigned char)*text;
        return 1;
    }
    utf8proc_int32_t value;
    size_t length = decode(text, strnlen(text, CHARACTER_BYTES_MAX), &value);
    if (length > 0)
        *character = (uint32_t)value;
    return length;
}

size_t text_characters(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++)
        count += ((unsigned char)*text & 0xC0) != 0x80;
    return count;
}

bool text_is_unsafe(uint32_t character)
{
    bool is_control = character < 0x20 || (character >= 0x7F && character < 0xA0);
    bool ends_line = character == 0x2028 || character == 0x2029;
    bool turns = character == 0x061C || character == 0x200E || character == 0x200F ||
                 (character >= 0x202A && character <= 0x202E) ||
                 (character >= 0x2066 && character <= 0x2069);
    return is_control || ends_line || turns;
}

bool text_has_unsafe(const char *text)
{
    while (*text != '\0') {
        uint32_t character;
        size_t length = text_decode(text, &character);
        if (length == 0 || text_is_unsafe(character))
            return true;
        text += length;
    }
    return false;
}

void text_print_json(const char *json, FILE *out)
{
    const char *written = json;
    const char *at = json;
    while (*at != '\0') {
        uint32_t code = 0;
        size_t size = text_decode(at, &code);
        if (size == 0 || !text_is_unsafe(code)) {
            at += size == 0 ? 1 : size;
            continue;
        }
        (void)fwrite(written, 1, (size_t)(at - written), out);
        (void)fprintf(out, "\\u%04" PRIX32, code);
        at += size;
        written = at;
    }
    (void)fwrite(written, 1, (size_t)(at - written), out);
}
