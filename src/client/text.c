/* SPDX-License-Identifier: MIT */
#include "client/text.h"

#include "base/text.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#define REPLACEMENT "\xEF\xBF\xBD" /* U+FFFD */
#define ZERO_WIDTH_NON_JOINER 0x200C
#define ZERO_WIDTH_JOINER 0x200D

bool text_is_valid(const char *text, size_t size)
{
    return text_is_utf8(text, size) && memchr(text, '\0', size) == NULL;
}

#define BRAILLE_BLANK 0x2800
#define CHARACTER_BYTES 4 /* at most */

static enum text_kind kind_of(utf8proc_int32_t character)
{
    if (character == BRAILLE_BLANK)
        return TEXT_SPACE;
    if ((character >= '\t' && character <= '\r') || character == 0x85)
        return TEXT_SPACE;
    if (utf8proc_get_property(character)->ignorable)
        return TEXT_EMPTY;
    switch (utf8proc_category(character)) {
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return TEXT_SPACE;
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CF:
        return TEXT_EMPTY;
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
        return TEXT_WORD;
    default:
        return TEXT_OTHER;
    }
}

/* The kind of the first character of text (size bytes, not 0), and how many bytes it has. */
static enum text_kind look(const char *text, size_t size, size_t *length)
{
    utf8proc_int32_t character;
    utf8proc_ssize_t taken =
        utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)size, &character);
    *length = taken > 0 ? (size_t)taken : 1;
    return taken > 0 ? kind_of(character) : TEXT_OTHER;
}

enum text_kind text_next(const char **at)
{
    size_t length;
    if (**at == '\0')
        return TEXT_END;
    enum text_kind kind = look(*at, strnlen(*at, CHARACTER_BYTES), &length);
    *at += length;
    return kind;
}

size_t text_blank_size(const char *text, size_t size)
{
    size_t blank = 0;
    while (blank < size) {
        size_t length;
        enum text_kind kind = look(text + blank, size - blank, &length);
        if (kind != TEXT_SPACE && kind != TEXT_EMPTY)
            break;
        blank += length;
    }
    return blank;
}

/* The same result for ASCII as utf8proc gives, without its cost. */
static char *fold_ascii(const char *text, size_t size)
{
    char *folded = malloc(size + 1);
    if (folded == NULL)
        return NULL;
    for (size_t i = 0; i < size; i++)
        folded[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] - 'A' + 'a' : text[i]);
    folded[size] = '\0';
    return folded;
}

char *text_fold(const char *text)
{
    size_t ascii = 0;
    while (text[ascii] != '\0' && (unsigned char)text[ascii] < 0x80)
        ascii++;
    if (text[ascii] == '\0')
        return fold_ascii(text, ascii);
    utf8proc_uint8_t *folded = NULL;
    const utf8proc_option_t options = UTF8PROC_NULLTERM | UTF8PROC_STABLE | UTF8PROC_COMPOSE |
                                      UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE;
    if (utf8proc_map((const utf8proc_uint8_t *)text, 0, &folded, options) < 0)
        return NULL;
    return (char *)folded;
}

bool text_same_name(const char *left, const char *right)
{
    char *folded_left = text_fold(left);
    char *folded_right = text_fold(right);
    bool same = folded_left != NULL && folded_right != NULL ? strcmp(folded_left, folded_right) == 0
                                                            : strcmp(left, right) == 0;
    free(folded_left);
    free(folded_right);
    return same;
}

/* The text to print for a character; NULL: the character itself. */
static const char *substitute_for(utf8proc_int32_t character, const char *line_break)
{
    if (character == '\n')
        return line_break;
    if (character == '\t')
        return " ";
    if (character == '\r' || character == ZERO_WIDTH_NON_JOINER || character == ZERO_WIDTH_JOINER)
        return character == '\r' ? "" : NULL;
    switch (utf8proc_category(character)) {
    case UTF8PROC_CATEGORY_CF:
        return "";
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return line_break;
    case UTF8PROC_CATEGORY_CC:
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
    case UTF8PROC_CATEGORY_CN:
        return REPLACEMENT;
    default:
        return NULL;
    }
}

struct buffer {
    char *bytes;
    size_t used;
    size_t size;
    bool failed;
};

static void put(struct buffer *buffer, const char *bytes, size_t size)
{
    if (buffer->failed)
        return;
    if (buffer->size - buffer->used < size + 1) {
        size_t larger = (buffer->size + size) * 2 + 32;
        char *grown = realloc(buffer->bytes, larger);
        if (grown == NULL) {
            buffer->failed = true;
            return;
        }
        buffer->bytes = grown;
        buffer->size = larger;
    }
    memcpy(buffer->bytes + buffer->used, bytes, size);
    buffer->used += size;
    buffer->bytes[buffer->used] = '\0';
}

char *text_printable(const char *text, const char *indent)
{
    struct buffer buffer = {.bytes = NULL};
    put(&buffer, "", 0);
    size_t rest = strlen(text);
    while (rest > 0) {
        utf8proc_int32_t character;
        utf8proc_ssize_t length =
            utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)rest, &character);
        size_t taken = length > 0 ? (size_t)length : 1;
        const char *line_break = indent == NULL ? " " : "\n";
        const char *shown = length > 0 ? substitute_for(character, line_break) : REPLACEMENT;
        if (shown == NULL)
            put(&buffer, text, taken);
        else
            put(&buffer, shown, strlen(shown));
        if (shown != NULL && *shown == '\n')
            put(&buffer, indent, strlen(indent));
        text += taken;
        rest -= taken;
    }
    if (buffer.failed) {
        free(buffer.bytes);
        return NULL;
    }
    return buffer.bytes;
}

size_t text_columns(const char *text)
{
    size_t columns = 0;
    size_t rest = strlen(text);
    while (rest > 0) {
        utf8proc_int32_t character;
        utf8proc_ssize_t length =
            utf8proc_iterate((const utf8proc_uint8_t *)text, (utf8proc_ssize_t)rest, &character);
        size_t taken = length > 0 ? (size_t)length : 1;
        columns += length > 0 ? (size_t)utf8proc_charwidth(character) : 1;
        text += taken;
        rest -= taken;
    }
    return columns;
}
