/* SPDX-License-Identifier: MIT */
#include "server/advertise.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static struct address address_of(const char *text)
{
    struct address address;
    assert_int_equal(address_parse(text, &address, NULL), OK);
    return address;
}

static void expect_clients(const char *advertised, const char *bound, const char *expected)
{
    struct server_options options = {.advertise_host = advertised};
    char host[ADDRESS_HOST_SIZE];
    char text[ADDRESS_TEXT_SIZE];
    struct address address = address_of(bound);
    advertise_host(&options, host);
    advertise_to_clients(&options, &address, host, text);
    assert_string_equal(text, expected);
}

static void expect_servers(const char *advertised, const char *bound, const char *expected)
{
    struct server_options options = {.advertise_host = advertised};
    char host[ADDRESS_HOST_SIZE];
    char text[ADDRESS_TEXT_SIZE];
    struct address address = address_of(bound);
    advertise_host(&options, host);
    advertise_to_servers(&address, host, text);
    assert_string_equal(text, expected);
}

static void test_advertise__what_names_its_host_is_told_as_it_is(void **state)
{
    (void)state;
    expect_clients(NULL, "127.0.0.1:2625", "127.0.0.1:2625");
    expect_clients(NULL, "tls+tcp://chat.example.org:2625", "tls+tcp://chat.example.org:2625");
    expect_servers(NULL, "server1:2626", "server1:2626");
}

static void test_advertise__an_open_host_is_the_advertised_one(void **state)
{
    (void)state;
    expect_clients("chat.example.org", ":2625", "chat.example.org:2625");
    expect_clients("fd00::1", "0.0.0.0:2625", "[fd00::1]:2625");
    expect_servers("10.0.0.1", ":2626", "10.0.0.1:2626");
    expect_servers("10.0.0.1", "[::]:2626", "10.0.0.1:2626");
}

/* As in docker/compose.yaml: clients come from outside, servers have a network to themselves. */
static void test_advertise__clients_and_servers_may_be_told_different_hosts(void **state)
{
    (void)state;
    expect_clients("chat.example.org", "10.0.0.1:2625", "chat.example.org:2625");
    expect_servers("chat.example.org", "server1:2626", "server1:2626");
}

static void test_advertise__towards_a_member_on_this_machine(void **state)
{
    (void)state;
    struct address member = address_of("127.0.0.1:2626");
    struct server_options options = {.masters = {.items = &member, .count = 1}};
    char host[ADDRESS_HOST_SIZE];
    advertise_host(&options, host);
    assert_string_equal(host, "127.0.0.1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_advertise__what_names_its_host_is_told_as_it_is),
        cmocka_unit_test(test_advertise__an_open_host_is_the_advertised_one),
        cmocka_unit_test(test_advertise__clients_and_servers_may_be_told_different_hosts),
        cmocka_unit_test(test_advertise__towards_a_member_on_this_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
