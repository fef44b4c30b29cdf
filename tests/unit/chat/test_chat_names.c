/* SPDX-License-Identifier: MIT */
/* Names, patterns and text: src/chat/name.h, src/base/text.h. */
#include "base/text.h"
#include "chat/name.h"
#include "support/test.h"
#include "support/text_append.h"
#include "support/unsafe_characters.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

static void assert_name(const char *text, const char *shown, const char *folded)
{
    struct name name;
    const char *why = name_parse(text, &name);
    if (why != NULL)
        fail_msg("%s %s", text, why);
    assert_string_equal(name.shown, shown);
    assert_string_equal(name.folded, folded);
    assert_true(name_accept(name.shown, &name));
}

static void assert_refused(const char *text, const char *why)
{
    struct name name;
    const char *got = name_parse(text, &name);
    if (got == NULL)
        fail_msg("'%s' was taken, but %s", text, why);
    assert_non_null(strstr(got, why));
    assert_false(name_accept(text, &name));
}

static void assert_same(const char *one, const char *other)
{
    struct name a, b;
    assert_null(name_parse(one, &a));
    assert_null(name_parse(other, &b));
    assert_string_equal(a.folded, b.folded);
}

TEST(test_name_parse__case_is_shown_and_folded)
{
    assert_name("Alice", "Alice", "alice");
    assert_name("alice_99.x-y", "alice_99.x-y", "alice_99.x-y");
    assert_name("\xC3\x84\xC3\x96\xC3\x9C", "\xC3\x84\xC3\x96\xC3\x9C", "\xC3\xA4\xC3\xB6\xC3\xBC");
    assert_name("Stra\u00DFe", "Stra\u00DFe", "strasse");
    assert_name("\xCE\xA3\xCE\xAF\xCF\x83\xCF\x85\xCF\x86\xCE\xBF\xCF\x82",
                "\xCE\xA3\xCE\xAF\xCF\x83\xCF\x85\xCF\x86\xCE\xBF\xCF\x82",
                "\xCF\x83\xCE\xAF\xCF\x83\xCF\x85\xCF\x86\xCE\xBF\xCF\x83");
}

TEST(test_name_parse__composed_and_decomposed_are_one)
{
    assert_name("Zoe\xCC\x88", "Zo\xC3\xAB", "zo\xC3\xAB");
    assert_same("Zo\xC3\xAB", "zoe\xCC\x88");
    /* 32 letters in 96 bytes of decomposed form */
    char text[32 * 3 + 1] = "";
    for (int i = 0; i < 32; i++)
        text_append(text, sizeof text, "%s", "e\xCC\x81");
    struct name name;
    assert_null(name_parse(text, &name));
    assert_int_equal(text_characters(name.shown), 32);
}

TEST(test_name_parse__width_and_ligatures_are_one)
{
    assert_same("\xEF\xBC\xA1\xEF\xBD\x8C\xEF\xBD\x89\xEF\xBD\x83\xEF\xBD\x85", "alice");
    assert_same("\xEF\xAC\x81sh", "fish");
    assert_same("\xE2\x91\xA0", "1");
    assert_same("\xE2\x84\xAA", "k"); /* the Kelvin sign */
}

TEST(test_name_parse__invisible_makes_no_second_name)
{
    assert_same("al\u200Dice", "alice");
    assert_same("al\u200Cice", "alice");
    assert_same("alice\xEF\xB8\x8F", "alice");
    assert_refused("\xE2\x80\x8D", "something to see");
    assert_refused("\xE3\x85\xA4", "something to see"); /* the Hangul filler */
    assert_refused("al\u202Eice", "invisible");
    assert_refused("al\u200Bice", "invisible");
    assert_refused("\uFEFFalice", "invisible");
    assert_refused("a\u2066b", "invisible");
}

TEST(test_name_parse__emoji_and_scripts)
{
    assert_name("\xF0\x9F\x90\xA6", "\xF0\x9F\x90\xA6", "\xF0\x9F\x90\xA6");
    struct name name;
    assert_null(name_parse("\xF0\x9F\x91\xA9\xE2\x80\x8D\xF0\x9F\x92\xBB", &name));
    assert_null(name_parse("\xD7\x93\xD7\x95\xD7\x93", &name));             /* Hebrew */
    assert_null(name_parse("\xD8\xB9\xD9\x84\xD9\x8A", &name));             /* Arabic */
    assert_null(name_parse("\xE5\xBC\xA0\xE4\xBC\x9F", &name));             /* Chinese */
    assert_null(name_parse("\xE0\xA4\xA8\xE0\xA5\x80\xE0\xA4\xB2", &name)); /* Hindi */
    /* Look-alikes of other scripts stay apart: Cyrillic a. */
    struct name other;
    assert_null(name_parse("\xD0\xB0lice", &other));
    assert_null(name_parse("alice", &name));
    assert_string_not_equal(name.folded, other.folded);
}

TEST(test_name_parse__forbidden_characters)
{
    for (const char *c = "@#:/\\,!*?\""; *c != '\0'; c++) {
        char text[] = {'a', *c, 'b', '\0'};
        assert_refused(text, "any of");
        char first[] = {*c, 'b', '\0'};
        assert_refused(first, "any of");
    }
    assert_refused("a b", "white space");
    assert_refused(" a", "white space");
    assert_refused("a\u00A0b", "white space");
    assert_refused("a\u3000b", "white space");
    assert_refused("a\u2028b", "white space");
    assert_refused("a\tb", "control");
    assert_refused("a\nb", "control");
    assert_refused("a\x7F", "control");
    assert_refused("a\xC2\x85", "control");
    assert_refused("a\xEE\x80\x80", "private");
    assert_refused("\u0301a", "combining mark");
}

TEST(test_name_parse__unassigned_only_from_a_server_that_may_know_more)
{
    struct name name;
    const char *why = name_parse("a\xCD\xB8", &name); /* U+0378 */
    assert_string_equal(why, "must not contain characters that Unicode does not have");
    assert_true(name_accept("a\xCD\xB8", &name));
}

TEST(test_name_parse__forbidden_ones_in_disguise)
{
    assert_refused("\uFF20bob", "any of");                 /* fullwidth @ */
    assert_refused("a\uFF0Fb", "any of");                  /* fullwidth / */
    assert_refused("a\xE2\x80\xA5\xEF\xBC\x9A", "any of"); /* fullwidth : */
    assert_refused("a\u00A8b", "white space");             /* a diaeresis decomposes to a space */
    assert_refused("deleted:1f3a00", "any of");
}

TEST(test_name_parse__lengths_from_both_sides)
{
    struct name name;
    assert_refused("", "empty");
    assert_null(name_parse("a", &name));
    char text[4 * 40 + 1];
    memset(text, 'x', sizeof text);
    text[32] = '\0';
    assert_null(name_parse(text, &name));
    text[32] = 'x';
    text[33] = '\0';
    assert_refused(text, "32 characters");
    text[0] = '\0';
    for (int i = 0; i < 32; i++)
        text_append(text, sizeof text, "%s", "\xF0\x9F\x90\xA6");
    assert_null(name_parse(text, &name));
    assert_int_equal(strlen(name.shown), 128);
    text_append(text, sizeof text, "%s", "\xF0\x9F\x90\xA6");
    assert_refused(text, "32 characters");
}

TEST(test_name_parse__folding_may_not_explode)
{
    char text[3 * 32 + 1] = "";
    for (int i = 0; i < 32; i++)
        text_append(text, sizeof text, "%s",
                    "\xEF\xB7\xBA"); /* folds to 18 characters, some of them spaces */
    struct name name;
    assert_non_null(name_parse(text, &name));
    text[0] = '\0';
    for (int i = 0; i < 32; i++)
        text_append(text, sizeof text, "%s",
                    "\xE3\x8C\xA2"); /* a square of three katakana: 9 bytes */
    assert_refused(text, "compound");
}

TEST(test_name_parse__invalid_and_long_input)
{
    static const char *const broken[] = {
        "a\xFF",
        "\x80",
        "\xC0\xAF",
        "\xE0\x80\xAF",
        "\xED\xA0\x80",
        "\xF4\x90\x80\x80",
        "\xF5\x80\x80\x80",
        "a\xC3",
        "a\xE2\x82",
        "a\xF0\x9F\x90",
        "\xC3(",
        "\xE2\x28\xA1",
    };
    char folded[NAME_FOLDED_SIZE];
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        assert_refused(broken[i], "UTF-8");
        assert_false(name_fold(broken[i], folded));
    }
    static char huge[100000];
    memset(huge, 'a', sizeof huge - 1);
    assert_refused(huge, "32 characters");
    assert_false(name_fold(huge, folded));
    huge[600] = '\0';
    assert_refused(huge, "32 characters");
    assert_false(name_fold(huge, folded));
    huge[NAME_FOLDED_SIZE] = '\0';
    assert_false(name_fold(huge, folded));
    huge[NAME_FOLDED_SIZE - 1] = '\0';
    assert_true(name_fold(huge, folded));
}

TEST(test_name_fold__agrees_with_parse)
{
    static const char *const names[] = {"Alice",          "Zoe\xCC\x88",     "Stra\u00DFe",
                                        "\xEF\xAC\x81sh", "\xC4\xB0stanbul", "\u0345a"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct name name;
        char folded[NAME_FOLDED_SIZE];
        if (name_parse(names[i], &name) != NULL)
            continue;
        assert_true(name_fold(names[i], folded));
        assert_string_equal(folded, name.folded);
        assert_true(name_fold(name.shown, folded));
        assert_string_equal(folded, name.folded);
    }
}

TEST(test_name_accept__wants_normal_form)
{
    struct name name;
    assert_true(name_accept("Zo\xC3\xAB", &name));
    assert_false(name_accept("Zoe\xCC\x88", &name));
    assert_false(name_accept("", &name));
}

TEST(test_name_tombstone__nobody_can_have_it)
{
    char text[CHAT_NAME_BYTES_MAX];
    name_tombstone(UINT64_C(0x123456789ABCDEF0), text);
    assert_string_equal(text, "deleted:bcdef0");
    assert_refused(text, "any of");
}

static bool matches(const char *pattern, const char *name)
{
    struct pattern parsed;
    char folded[NAME_FOLDED_SIZE];
    assert_true(pattern_parse(pattern, &parsed));
    assert_true(name_fold(name, folded));
    return pattern_matches(&parsed, folded);
}

TEST(test_pattern__stars_and_question_marks)
{
    assert_true(matches("", "alice"));
    assert_true(matches("*", "alice"));
    assert_true(matches("ALICE", "alice"));
    assert_true(matches("a*", "Alice"));
    assert_true(matches("*e", "alice"));
    assert_true(matches("*li*", "alice"));
    assert_true(matches("a*i*e", "alice"));
    assert_true(matches("?lice", "alice"));
    assert_true(matches("?????", "alice"));
    assert_true(matches("alice*", "alice"));
    assert_true(matches("**", "alice"));
    assert_true(matches("*?", "a"));
    assert_true(matches("*a*b", "aab"));
    assert_true(matches("*ab", "aaab"));
    assert_false(matches("?????", "alic"));
    assert_false(matches("????", "alice"));
    assert_false(matches("?", ""));
    assert_false(matches("a", "alice"));
    assert_false(matches("*b", "alice"));
    assert_false(matches("b*", "alice"));
    assert_false(matches("alice?", "alice"));
    assert_false(matches("*?*?*?*?*?*?", "alice"));
}

TEST(test_pattern__characters_not_bytes)
{
    assert_true(matches("z?e", "z\u00EBe"));
    assert_true(matches("?", "\xF0\x9F\x90\xA6"));
    assert_false(matches("??", "\xF0\x9F\x90\xA6"));
    assert_true(matches("*?e", "z\u00EBe"));
    assert_true(matches("ZO\xC3\x8B", "zoe\xCC\x88"));
    assert_true(matches("*\xEF\xBC\x8A", "anything")); /* a fullwidth star is one too */
}

TEST(test_pattern__bad_ones)
{
    struct pattern pattern;
    assert_false(pattern_parse("\xFF", &pattern));
    char huge[1000];
    memset(huge, '*', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    assert_false(pattern_parse(huge, &pattern));
}

TEST(test_pattern__many_stars_take_no_time)
{
    char text[250] = "";
    for (int i = 0; i < 100; i++)
        text_append(text, sizeof text, "%s", "*a");
    text_append(text, sizeof text, "%s", "*b");
    struct pattern pattern;
    assert_true(pattern_parse(text, &pattern));
    char name[NAME_FOLDED_SIZE];
    memset(name, 'a', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    clock_t start = clock();
    for (int i = 0; i < 100; i++)
        assert_false(pattern_matches(&pattern, name));
    assert_true((double)(clock() - start) / CLOCKS_PER_SEC < 2);
}

/* The definition of UTF-8 the slow way: every character is encoded again and compared. */
static bool slow_is_utf8(const unsigned char *bytes, size_t size)
{
    for (size_t at = 0; at < size;) {
        uint32_t c = bytes[at];
        size_t length = c < 0x80 ? 1 : c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
        if (c >= 0xF8 || (c >= 0x80 && c < 0xC0) || at + length > size)
            return false;
        c &= length == 1 ? 0x7F : 0x7Fu >> length;
        for (size_t i = 1; i < length; i++) {
            if ((bytes[at + i] & 0xC0) != 0x80)
                return false;
            c = c << 6 | (bytes[at + i] & 0x3F);
        }
        size_t shortest = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        if (shortest != length || c > 0x10FFFF || (c >= 0xD800 && c < 0xE000))
            return false;
        at += length;
    }
    return true;
}

TEST(test_text_is_utf8__every_short_sequence)
{
    unsigned char bytes[16];
    for (unsigned lead = 0x80; lead < 0x100; lead++)
        for (unsigned second = 0; second < 0x100; second++)
            for (unsigned third = 0x7E; third < 0xC2; third++)
                for (size_t size = 1; size <= 4; size++) {
                    memset(bytes, 0x80, sizeof bytes);
                    bytes[0] = (unsigned char)lead;
                    bytes[1] = (unsigned char)second;
                    bytes[2] = (unsigned char)third;
                    if (text_is_utf8((char *)bytes, size) != slow_is_utf8(bytes, size))
                        fail_msg("%02x %02x %02x, %zu bytes", lead, second, third, size);
                }
}

TEST(test_text_is_utf8__anywhere_in_long_text)
{
    char text[64];
    for (size_t at = 0; at < 40; at++) {
        memset(text, 'a', sizeof text);
        memcpy(text + at, "\xF0\x9F\x90\xA6", 4);
        assert_true(text_is_utf8(text, sizeof text));
        assert_false(text_is_utf8(text, at + 3));
        assert_true(text_is_utf8(text, at + 4));
        text[at + 1] = 'a';
        assert_false(text_is_utf8(text, sizeof text));
        memset(text, 'a', sizeof text);
        text[at] = '\xC3'; /* a lead byte that nothing follows */
        assert_false(text_is_utf8(text, sizeof text));
    }
}

TEST(test_text_has_unsafe)
{
    assert_false(text_has_unsafe("one line \xF0\x9F\x90\xA6"));
    assert_true(text_has_unsafe("two\nlines"));
    assert_true(text_has_unsafe("\x1B[31m"));
    assert_true(text_has_unsafe("\x7F"));
    assert_true(text_has_unsafe("\xC2\x9B"));
    assert_true(text_has_unsafe("\xE2\x80\xA8"));
    for (size_t i = 0; unsafe_characters[i] != 0; i++) {
        char character[5];
        char text[8] = "a";
        struct name name;
        (void)unsafe_encode(unsafe_characters[i], character);
        (void)strcat(text, character);
        (void)strcat(text, "b");
        assert_true(text_has_unsafe(text));
        assert_non_null(name_parse(text, &name)); /* a name refuses more than these */
        assert_false(name_accept(text, &name));
    }
    assert_int_equal(text_characters("a\xC3\xAB\xF0\x9F\x90\xA6"), 3);
}
