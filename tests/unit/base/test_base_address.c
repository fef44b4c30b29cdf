/* SPDX-License-Identifier: MIT */
#include "base/address.h"
#include "support/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct address parsed(const char *text)
{
    struct address address;
    struct error_text why = {""};
    if (address_parse(text, &address, &why) != OK)
        fail_msg("%s: %s", text, why.text);
    return address;
}

TEST(test_address_parse__every_form)
{
    static const struct {
        const char *text;
        const char *host;
        uint16_t port;
        bool tls;
        const char *formatted;
    } cases[] = {
        {"example.org:2625", "example.org", 2625, false, "example.org:2625"},
        {"10.0.0.1:1", "10.0.0.1", 1, false, "10.0.0.1:1"},
        {":2625", "", 2625, false, ":2625"},
        {":0", "", 0, false, ":0"},
        {"[::1]:65535", "::1", 65535, false, "[::1]:65535"},
        {"[2001:db8::5]:80", "2001:db8::5", 80, false, "[2001:db8::5]:80"},
        {"tcp://a_b-c:7", "a_b-c", 7, false, "a_b-c:7"},
        {"tls+tcp://h:443", "h", 443, true, "tls+tcp://h:443"},
        {"tls+tcp://[::]:443", "::", 443, true, "tls+tcp://[::]:443"},
        {"tls+tcp://:443", "", 443, true, "tls+tcp://:443"},
        {"h:00080", "h", 80, false, "h:80"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct address address = parsed(cases[i].text);
        assert_string_equal(address.host, cases[i].host);
        assert_int_equal(address.port, cases[i].port);
        assert_int_equal(address.tls, cases[i].tls);
        char text[ADDRESS_TEXT_SIZE];
        address_format(&address, text);
        assert_string_equal(text, cases[i].formatted);
        struct address again = parsed(text);
        assert_memory_equal(&again, &address, sizeof address);
    }
}

TEST(test_address_parse__refuses)
{
    static const char *const cases[] = {
        "",
        "host",
        "host:",
        "host:65536",
        "host:-1",
        "host:1x",
        "host: 1",
        "host:000001",
        "::1:80",
        "::1",
        "[::1]",
        "[::1]80",
        "[::1:80",
        "[]:80",
        "[127.0.0.1]:80",
        "[zz]:1",
        "a b:80",
        "a/b:80",
        "a@b:80",
        "http://a:80",
        "tls+tcp://",
        "tcp://a",
        "tcp://tcp://a:1",
        "a\nb:80",
        "[fe80::1%eth0]:80",
        "h\xc3\xa9:1",
        "a:1:2",
        ":",
        "[::1]:",
        "[[::1]]:80",
    };
    struct address before = {.host = "kept", .port = 9};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct address address = before;
        struct error_text why = {""};
        if (address_parse(cases[i], &address, &why) != ERROR_INVALID)
            fail_msg("accepted \"%s\"", cases[i]);
        assert_memory_equal(&address, &before, sizeof address);
        assert_non_null(strstr(why.text, "host:port"));
        assert_int_equal(address_parse(cases[i], &address, NULL), ERROR_INVALID);
    }
}

TEST(test_address_parse__host_of_any_length)
{
    char text[2000];
    for (size_t length = 250; length < 1900; length++) {
        memset(text, 'h', length);
        memcpy(text + length, ":1", 3);
        struct address address;
        enum error error = address_parse(text, &address, NULL);
        assert_int_equal(error, length < ADDRESS_HOST_SIZE ? OK : ERROR_INVALID);
        if (error == OK) {
            char url[ADDRESS_TEXT_SIZE];
            address.tls = true;
            address_dial_url(&address, url);
            assert_int_equal(strlen(url), strlen("tls+tcp://") + length + 2);
        }
    }
}

/* The refusal is a sentence for a terminal: it shows the text without what could drive one. */
TEST(test_address_parse__quotes_what_it_refuses)
{
    struct address address;
    struct error_text why;
    assert_int_equal(address_parse("evil\x1b[2J\x07:80", &address, &why), ERROR_INVALID);
    assert_null(strchr(why.text, '\x1b'));
    assert_null(strchr(why.text, '\x07'));
    assert_non_null(strstr(why.text, "evil"));
    char text[600];
    text[0] = 'x';
    for (size_t i = 1; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "\xc3\xa9", 2);
    text[sizeof text - 1] = '\0';
    assert_int_equal(address_parse(text, &address, &why), ERROR_INVALID);
    for (size_t i = 0; why.text[i] != '\0'; i++) {
        if (why.text[i] == '\xc3') {
            i++;
            assert_int_equal((unsigned char)why.text[i], 0xa9);
        } else {
            assert_in_range((unsigned char)why.text[i], 0x20, 0x7e);
        }
    }
}

TEST(test_address_urls__empty_host)
{
    char url[ADDRESS_TEXT_SIZE];
    struct address address = parsed(":2625");
    address_listen_url(&address, url);
    assert_string_equal(url, "tcp://[::]:2625");
    address_dial_url(&address, url);
    assert_string_equal(url, "tcp://127.0.0.1:2625");
    address = parsed("tls+tcp://[::1]:7");
    address_listen_url(&address, url);
    assert_string_equal(url, "tls+tcp://[::1]:7");
    address_dial_url(&address, url);
    assert_string_equal(url, "tls+tcp://[::1]:7");
}

/* In rising order; each is compared with each. */
TEST(test_address_compare__orders)
{
    static const char *const ordered[] = {
        "9.0.0.1:1",     "10.0.0.1:9", "10.0.0.1:10",  "10.0.0.2:1", "10.0.0.10:1",
        "192.168.0.9:1", "[::1]:1",    "[::2]:1",      "[::10]:1",   "[2001:db8::]:1",
        "[fe80::1]:1",   ":1",         "10.0.0.256:1", "a:1",        "a:2",
        "ab:1",          "b:1",        "host10:1",     "host9:1",
    };
    size_t count = sizeof ordered / sizeof ordered[0];
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < count; k++) {
            struct address left = parsed(ordered[i]);
            struct address right = parsed(ordered[k]);
            int result = address_compare(&left, &right);
            if ((result > 0) - (result < 0) != (i > k) - (i < k))
                fail_msg("%s compared with %s: %d", ordered[i], ordered[k], result);
        }
    }
}

TEST(test_address_compare__one_address_spelled_twice)
{
    struct address left = parsed("[2001:DB8:0::1]:5");
    struct address right = parsed("tls+tcp://[2001:db8::0:1]:5");
    assert_int_equal(address_compare(&left, &right), 0);
    left = parsed("Host:5");
    right = parsed("host:5");
    assert_int_equal(address_compare(&left, &right), 0);
}
