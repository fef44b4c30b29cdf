/* SPDX-License-Identifier: MIT */
#include "chat/name.h"

#include "base/text.h"

#include <stdio.h>
#include <string.h>
#include <utf8proc.h>

#define DECOMPOSED_MAX 1024
#define ZERO_WIDTH_NON_JOINER 0x200C
#define ZERO_WIDTH_JOINER 0x200D

static const int shown_form = UTF8PROC_STABLE | UTF8PROC_COMPOSE;
static const int folded_form =
    UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT | UTF8PROC_CASEFOLD | UTF8PROC_IGNORE;

static bool is_ascii(const char *text)
{
    while ((unsigned char)*text - 1u < 0x7Fu)
        text++;
    return *text == '\0';
}

/* Writes text in a form of Unicode's; false when it does not fit in size bytes with its NUL. */
static bool transform(const char *text, int form, char *out, size_t size)
{
    int32_t points[DECOMPOSED_MAX + 1];
    ssize_t count = utf8proc_decompose((const uint8_t *)text, (ssize_t)strlen(text), points,
                                       DECOMPOSED_MAX, (utf8proc_option_t)form);
    if (count < 0 || count > DECOMPOSED_MAX)
        return false;
    ssize_t bytes = utf8proc_reencode(points, count, (utf8proc_option_t)form);
    if (bytes < 0 || (size_t)bytes >= size)
        return false;
    memcpy(out, points, (size_t)bytes + 1);
    return true;
}

static bool fold_shown(const char *shown, char folded[static NAME_FOLDED_SIZE])
{
    if (!is_ascii(shown))
        return transform(shown, folded_form, folded, NAME_FOLDED_SIZE);
    size_t at = 0;
    for (; shown[at] != '\0'; at++) {
        if (at == NAME_FOLDED_SIZE - 1)
            return false;
        folded[at] = (char)(shown[at] >= 'A' && shown[at] <= 'Z' ? shown[at] + 32 : shown[at]);
    }
    folded[at] = '\0';
    return true;
}

static const char *refuse_character(uint32_t c, bool first, bool may_be_unassigned)
{
    if (c < 0x80 && c > 0x20 && strchr("@#:/\\,!*?\"", (int)c) != NULL)
        return "must not contain any of @ # : / \\ , ! * ? \"";
    switch (utf8proc_category((int32_t)c)) {
    case UTF8PROC_CATEGORY_ZS:
    case UTF8PROC_CATEGORY_ZL:
    case UTF8PROC_CATEGORY_ZP:
        return "must not contain white space";
    case UTF8PROC_CATEGORY_CC:
        return "must not contain control characters or white space";
    case UTF8PROC_CATEGORY_CF:
        return c == ZERO_WIDTH_JOINER || c == ZERO_WIDTH_NON_JOINER
                   ? NULL
                   : "must not contain invisible characters";
    case UTF8PROC_CATEGORY_CS:
    case UTF8PROC_CATEGORY_CO:
        return "must not contain private characters";
    case UTF8PROC_CATEGORY_CN:
        return may_be_unassigned ? NULL : "must not contain characters that Unicode does not have";
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
        return first ? "must not begin with a combining mark" : NULL;
    default:
        return NULL;
    }
}

static const char *refuse_text(const char *text, bool may_be_unassigned)
{
    for (const char *at = text; *at != '\0';) {
        uint32_t c;
        size_t length = text_decode(at, &c);
        const char *why = refuse_character(c, at == text, may_be_unassigned);
        if (why != NULL)
            return why;
        at += length;
    }
    return NULL;
}

static const char *parse(const char *text, struct name *out, bool may_be_unassigned)
{
    size_t size = strlen(text);
    if (size == 0)
        return "must not be empty";
    if (!text_is_utf8(text, size))
        return "must be valid UTF-8";
    if (size > NAME_INPUT_BYTES_MAX ||
        !transform(text, shown_form, out->shown, sizeof out->shown) ||
        text_characters(out->shown) > CHAT_NAME_CHARACTERS_MAX)
        return "must have at most 32 characters";
    const char *why = refuse_text(out->shown, may_be_unassigned);
    if (why != NULL)
        return why;
    if (!fold_shown(out->shown, out->folded))
        return "must not have so many compound characters";
    if (out->folded[0] == '\0')
        return "must contain something to see";
    return refuse_text(out->folded, may_be_unassigned);
}

const char *name_parse(const char *text, struct name *out)
{
    return parse(text, out, false);
}

bool name_accept(const char *text, struct name *out)
{
    return parse(text, out, true) == NULL && strcmp(text, out->shown) == 0;
}

bool name_fold(const char *text, char folded[static NAME_FOLDED_SIZE])
{
    char shown[NAME_INPUT_BYTES_MAX + 1];
    size_t size = strlen(text);
    if (size > NAME_INPUT_BYTES_MAX || !text_is_utf8(text, size))
        return false;
    if (is_ascii(text))
        return fold_shown(text, folded);
    return transform(text, shown_form, shown, sizeof shown) && fold_shown(shown, folded);
}

void name_tombstone(uint64_t id, char out[static CHAT_NAME_BYTES_MAX])
{
    snprintf(out, CHAT_NAME_BYTES_MAX, "deleted:%06x", (unsigned)(id & 0xFFFFFF));
}

/* ---- patterns ---- */

bool pattern_parse(const char *text, struct pattern *out)
{
    if (text[0] == '\0')
        text = "*";
    if (!name_fold(text, out->folded))
        return false;
    out->prefix = strcspn(out->folded, "*?");
    return true;
}

static const char *next_character(const char *text)
{
    do
        text++;
    while (((unsigned char)*text & 0xC0) == 0x80);
    return text;
}

/* Only the last star has to be retried: it can match all that an earlier star could. */
bool pattern_matches(const struct pattern *pattern, const char *folded)
{
    const char *wanted = pattern->folded;
    const char *after_star = NULL;
    const char *retry = NULL;
    while (*folded != '\0') {
        if (*wanted == '*') {
            after_star = ++wanted;
            retry = folded;
        } else if (*wanted == '?') {
            wanted++;
            folded = next_character(folded);
        } else if (*wanted == *folded) {
            wanted++;
            folded++;
        } else if (after_star != NULL) {
            wanted = after_star;
            retry = next_character(retry);
            folded = retry;
        } else {
            return false;
        }
    }
    while (*wanted == '*')
        wanted++;
    return *wanted == '\0';
}
