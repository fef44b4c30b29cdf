/* SPDX-License-Identifier: MIT */
#include "base/text.h"
#include "support/test.h"
#include "support/unsafe_characters.h"

#include <stdlib.h>
#include <string.h>

TEST(test_unsafe__exactly_those)
{
    size_t count = 0;
    for (uint32_t code = 0; code <= 0x10FFFF; code++)
        count += text_is_unsafe(code);
    /* 32 of C0, DEL and 32 of C1, 2 separators, 12 of direction */
    assert_int_equal(count, 32 + 33 + 2 + 3 + 5 + 4);
    size_t found = 0;
    for (size_t i = 0; unsafe_characters[i] != 0; i++, found++)
        assert_true(text_is_unsafe(unsafe_characters[i]));
    assert_int_equal(found + 1, count); /* all but NUL */
}

TEST(test_decode__every_character)
{
    for (uint32_t code = 1; code <= 0x10FFFF; code++) {
        if (code >= 0xD800 && code < 0xE000)
            continue;
        char text[5];
        uint32_t got = 0;
        size_t size = unsafe_encode(code, text);
        assert_int_equal(text_decode(text, &got), size);
        assert_int_equal(got, code);
    }
}

TEST(test_decode__no_utf8)
{
    static const char *const texts[] = {"\x80",         "\xC0\x80",         "\xC2",
                                        "\xE2\x80",     "\xED\xA0\x80",     "\xF4\x90\x80\x80",
                                        "\xE0\x80\x80", "\xF0\x80\x80\x80", "\xFF"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        uint32_t got = 77;
        assert_int_equal(text_decode(texts[i], &got), 0);
        assert_int_equal(got, 77);
    }
}

static void assert_json(const char *json, const char *expected)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    assert_non_null(out);
    text_print_json(json, out);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, expected);
    free(text);
}

TEST(test_print_json__unsafe_ones_are_escaped)
{
    assert_json("", "");
    assert_json("{\"a\":\"h\xC3\xA4 \xF0\x9F\x90\xA6\"}", "{\"a\":\"h\xC3\xA4 \xF0\x9F\x90\xA6\"}");
    assert_json("\"a\u202Eb\x7F\xC2\x9B\"", "\"a\\u202Eb\\u007F\\u009B\"");
    assert_json("\"\xD8\x9C\"", "\"\\u061C\"");
    assert_json("\"\xFF\"", "\"\xFF\""); /* jansson makes none */
}
