/* SPDX-License-Identifier: MIT */
/* The client's small parts, which need no server: backoff, recent, servers, text. */
#include "client/backoff.h"
#include "client/dedup.h"
#include "client/servers.h"
#include "client/text.h"
#include "support/test.h"
#include "support/unsafe_characters.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

TEST(test_backoff__doubles_up_to_a_bound)
{
    struct backoff least = {.least_ms = 20, .most_ms = 2000};
    struct backoff most = least;
    uint64_t full_us = 20000;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(backoff_next_us(&least, 0, 0), full_us / 2);
        assert_in_range(backoff_next_us(&most, 0, UINT32_MAX), full_us - 1, full_us);
        full_us = full_us * 2 > 2000000 ? 2000000 : full_us * 2;
    }
    backoff_clear(&least);
    assert_int_equal(backoff_next_us(&least, 0, 0), 10000);
}

TEST(test_backoff__as_the_server_asks)
{
    struct backoff backoff = {.least_ms = 20, .most_ms = 2000};
    assert_int_equal(backoff_next_us(&backoff, 300, 0), 300000);
    assert_int_equal(backoff_next_us(&backoff, 300, UINT32_MAX), 375000);
    assert_int_equal(backoff_next_us(&backoff, 1, 0), 40000); /* the third doubling asks for more */
    assert_int_equal(backoff_next_us(&backoff, UINT32_MAX, 0), (uint64_t)UINT32_MAX * 1000);
}

TEST(test_recent__remembers_the_last)
{
    struct dedup dedup = {.ring = NULL};
    const uint64_t session = UINT64_C(0x1234567890ABCDEF);
    for (uint64_t i = 1; i <= 3 * DEDUP_MAX; i++) {
        assert_false(dedup_add(&dedup, session, i));
        assert_true(dedup_add(&dedup, session, i));
        if (i % 1000 == 0 && i > 500)
            assert_true(dedup_add(&dedup, session, i - 500));
    }
    assert_int_equal(dedup.count, DEDUP_MAX);
    for (uint64_t i = 2 * DEDUP_MAX + 1; i <= 3 * DEDUP_MAX; i++)
        assert_true(dedup_add(&dedup, session, i));
    assert_false(dedup_add(&dedup, session, 2 * DEDUP_MAX));
    assert_false(dedup_add(&dedup, session + 1, 3 * DEDUP_MAX));
    dedup_clear(&dedup);
    assert_false(dedup_add(&dedup, session, 1));
    dedup_clear(&dedup);
}

/* Against a model, with many uids that fall into the same slots. */
TEST(test_recent__against_a_list)
{
    struct dedup dedup = {.ring = NULL};
    static uint64_t order[100000];
    size_t count = 0;
    uint32_t random = 1;
    for (size_t i = 0; i < sizeof order / sizeof order[0]; i++) {
        random = random * 1664525 + 1013904223;
        uint64_t uid = (random >> 8) % 40000;
        bool known = false;
        size_t oldest = count > DEDUP_MAX ? count - DEDUP_MAX : 0;
        for (size_t k = count; k > oldest && !known && i % 50 == 0; k--)
            known = order[k - 1] == uid;
        bool got = dedup_add(&dedup, uid % 3, uid);
        if (i % 50 == 0)
            assert_int_equal(got, known);
        if (!got)
            order[count++] = uid;
    }
    dedup_clear(&dedup);
}

static struct address address(const char *text)
{
    struct address result;
    assert_int_equal(address_parse(text, &result, NULL), OK);
    return result;
}

static bool never(void *context, const struct address *address_)
{
    (void)context, (void)address_;
    return false;
}

static bool is_that(void *context, const struct address *address_)
{
    return servers_same(context, address_);
}

TEST(test_servers__given_are_kept)
{
    struct servers servers = {.items = NULL};
    struct address teller = address("192.0.2.1:1");
    struct address first = address("a:1");
    struct address second = address("b:2");
    assert_int_equal(servers_give(&servers, &first), OK);
    assert_int_equal(servers_give(&servers, &second), OK);
    assert_int_equal(servers_give(&servers, &first), OK);
    assert_int_equal(servers.count, 2);
    for (int i = 0; i < 1000; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "host%d:1", i);
        assert_true(servers_learn(&servers, text, &teller, NULL));
        assert_true(servers_learn(&servers, "keep:1", &teller, NULL));
    }
    assert_int_equal(servers.count, 2 + SERVERS_LEARNED_MAX);
    int found = 0;
    for (size_t i = 0; i < servers.count; i++) {
        const char *host = servers.items[i].address.host;
        found += strcmp(host, "a") == 0 || strcmp(host, "b") == 0 || strcmp(host, "keep") == 0 ||
                 strcmp(host, "host999") == 0;
    }
    assert_int_equal(found, 4);
    servers_release(&servers);
}

TEST(test_servers__learned_are_completed)
{
    struct servers servers = {.items = NULL};
    struct address teller = address("192.0.2.1:1");
    struct address out;
    assert_true(servers_learn(&servers, ":2625", &teller, &out));
    assert_string_equal(out.host, "192.0.2.1");
    assert_int_equal(out.port, 2625);
    assert_false(servers_learn(&servers, "nonsense", &teller, NULL));
    assert_false(servers_learn(&servers, "host:0", &teller, NULL));
    assert_false(out.tls);
    servers.tls_only = true;
    assert_true(servers_learn(&servers, "x:1", &teller, &out));
    assert_true(out.tls);
    servers_release(&servers);
}

TEST(test_servers__take_turns)
{
    struct servers servers = {.items = NULL};
    struct address list[] = {address("a:1"), address("b:1"), address("c:1")};
    assert_null(servers_next(&servers, never, NULL));
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(servers_give(&servers, &list[i]), OK);
    for (size_t i = 0; i < 7; i++)
        assert_true(servers_same(servers_next(&servers, never, NULL), &list[i % 3]));
    assert_true(servers_same(servers_next(&servers, is_that, &list[1]), &list[2]));
    servers_release(&servers);
}

static void assert_printable(const char *text, const char *indent, const char *expected)
{
    char *got = text_printable(text, indent);
    assert_non_null(got);
    assert_string_equal(got, expected);
    free(got);
}

#define BAD "\xEF\xBF\xBD"

TEST(test_text_printable__nothing_drives_a_terminal)
{
    assert_printable("hi \xC3\xA4 \xF0\x9F\x98\x80", NULL, "hi \xC3\xA4 \xF0\x9F\x98\x80");
    assert_printable("\x1B[2J\x07\x7F", NULL, BAD "[2J" BAD BAD);
    assert_printable("\xC2\x9B"
                     "31m",
                     NULL, BAD "31m"); /* C1: CSI in one character */
    assert_printable("\x9B"
                     "31m\xFF",
                     NULL, BAD "31m" BAD);
    assert_printable("a\r\nb\tc", "    ", "a\n    b c");
    assert_printable("a\nb\u2028c", NULL, "a b c");
    assert_printable("abc\u202Edef", NULL, "abcdef");       /* right-to-left override */
    assert_printable("\xE2\x80\x8B", NULL, "");             /* zero width space */
    assert_printable("\xE2\x80\x8D", NULL, "\xE2\x80\x8D"); /* joiner */
    assert_printable("\xEE\x80\x80", NULL, BAD);            /* private use */
    assert_printable("\xE2\x82", NULL, BAD BAD);            /* cut in two */
    assert_printable("", NULL, "");
    for (int byte = 1; byte < 256; byte++) {
        char text[2] = {(char)byte, '\0'};
        char *got = text_printable(text, "");
        assert_non_null(got);
        for (const char *at = got; *at != '\0'; at++)
            assert_true((unsigned char)*at >= 0x20 || *at == '\n');
        free(got);
    }
}

TEST(test_text_printable__unsafe_characters_never_appear)
{
    for (size_t i = 0; unsafe_characters[i] != 0; i++) {
        char character[5];
        char text[8] = "a";
        (void)unsafe_encode(unsafe_characters[i], character);
        (void)strcat(text, character);
        (void)strcat(text, "b");
        char *got = text_printable(text, NULL);
        assert_non_null(got);
        assert_null(strstr(got, character));
        free(got);
    }
}

TEST(test_text_columns__wide_and_combining)
{
    assert_int_equal(text_columns("abc"), 3);
    assert_int_equal(text_columns("\xE6\xBC\xA2\xE5\xAD\x97"), 4);
    assert_int_equal(text_columns("e\xCC\x81"), 1);
}

TEST(test_text_is_valid)
{
    assert_true(text_is_valid("", 0));
    assert_true(text_is_valid("\xC3\xA4", 2));
    assert_false(text_is_valid("\xC3", 1));
    assert_false(text_is_valid("a\0b", 3));
    assert_false(text_is_valid("\xED\xA0\x80", 3)); /* surrogate */
    assert_false(text_is_valid("\xC0\x80", 2));     /* overlong */
}

TEST(test_text_same_name)
{
    assert_true(text_same_name("Ann", "aNN"));
    assert_true(text_same_name("\xC3\x84", "a\xCC\x88"));
    assert_false(text_same_name("ann", "anna"));
    assert_true(text_same_name("\xFF", "\xFF"));
    assert_false(text_same_name("\xFF", "a"));
}
