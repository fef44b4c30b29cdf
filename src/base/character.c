/* SPDX-License-Identifier: MIT */
#include "base/character.h"

#include <inttypes.h>

bool character_is_unsafe(uint32_t character)
{
    bool is_control = character < 0x20 || (character >= 0x7F && character < 0xA0);
    bool ends_line = character == 0x2028 || character == 0x2029;
    bool turns = character == 0x061C || character == 0x200E || character == 0x200F ||
                 (character >= 0x202A && character <= 0x202E) ||
                 (character >= 0x2066 && character <= 0x2069);
    return is_control || ends_line || turns;
}

size_t character_decode(const char *text, uint32_t *out)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *bytes = (const unsigned char *)text;
    uint32_t code = bytes[0];
    size_t size = code < 0x80 ? 1 : code < 0xE0 ? 2 : code < 0xF0 ? 3 : 4;
    if ((code >= 0x80 && code < 0xC0) || code >= 0xF8)
        return 0;
    if (size > 1)
        code &= 0x7Fu >> size;
    for (size_t i = 1; i < size; i++) {
        if ((bytes[i] & 0xC0u) != 0x80)
            return 0; /* the NUL at the end, too */
        code = code << 6 | (bytes[i] & 0x3Fu);
    }
    if (size > 1 && (code < smallest[size] || code > 0x10FFFF || (code >= 0xD800 && code < 0xE000)))
        return 0;
    *out = code;
    return size;
}

void character_print_json(const char *json, FILE *out)
{
    const char *written = json;
    const char *at = json;
    while (*at != '\0') {
        uint32_t code = 0;
        size_t size = character_decode(at, &code);
        if (size == 0 || !character_is_unsafe(code)) {
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
