/* SPDX-License-Identifier: MIT */
#include "cluster/advertise.h"
#include "support/test.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <string.h>

static struct address address_of(const char *text)
{
    struct address address;
    assert_int_equal(address_parse(text, &address, NULL), OK);
    return address;
}

static void expect_clients(const char *advertised, const char *bound, const char *expected)
{
    struct cluster_settings settings = {.advertise_host = advertised};
    struct advertise_hosts hosts;
    char text[ADDRESS_TEXT_SIZE];
    struct address address = address_of(bound);
    advertise_find(&settings, &hosts);
    advertise_to_clients(&hosts, &address, text);
    assert_string_equal(text, expected);
}

static void expect_servers(const char *advertised, const char *bound, const char *expected)
{
    struct cluster_settings settings = {.advertise_host = advertised};
    struct advertise_hosts hosts;
    char text[ADDRESS_TEXT_SIZE];
    struct address address = address_of(bound);
    advertise_find(&settings, &hosts);
    advertise_to_servers(&hosts, &address, text);
    assert_string_equal(text, expected);
}

TEST(test_advertise__what_names_its_host_is_told_as_it_is)
{
    expect_clients(NULL, "127.0.0.1:2625", "127.0.0.1:2625");
    expect_clients(NULL, "tls+tcp://chat.example.org:2625", "tls+tcp://chat.example.org:2625");
    expect_servers(NULL, "server1:2626", "server1:2626");
}

TEST(test_advertise__an_open_host_is_the_advertised_one)
{
    expect_clients("chat.example.org", ":2625", "chat.example.org:2625");
    expect_clients("fd00::1", "0.0.0.0:2625", "[fd00::1]:2625");
    expect_servers("10.0.0.1", ":2626", "10.0.0.1:2626");
    expect_servers("10.0.0.1", "[::]:2626", "10.0.0.1:2626");
}

/* As in docker/compose.yaml: clients come from outside, servers have a network to themselves. */
TEST(test_advertise__clients_and_servers_may_be_told_different_hosts)
{
    expect_clients("chat.example.org", "10.0.0.1:2625", "chat.example.org:2625");
    expect_servers("chat.example.org", "server1:2626", "server1:2626");
}

TEST(test_advertise__towards_a_member_on_this_machine)
{
    struct address member = address_of("127.0.0.1:2626");
    struct cluster_settings settings = {.masters = {.items = &member, .count = 1}};
    struct advertise_hosts hosts;
    advertise_find(&settings, &hosts);
    assert_string_equal(hosts.any, "127.0.0.1");
    assert_string_equal(hosts.ipv4, "127.0.0.1");
}

TEST(test_advertise__each_open_host_has_its_family)
{
    const struct advertise_hosts hosts = {.any = "2001:db8::5", .ipv4 = "127.0.0.1"};
    static const struct {
        const char *bound;
        const char *told;
        bool is_hidden;
    } cases[] = {
        {":1", "[2001:db8::5]:1", false},      {"[::]:1", "[2001:db8::5]:1", false},
        {"0.0.0.0:1", "127.0.0.1:1", true},    {"127.0.0.1:1", "127.0.0.1:1", false},
        {"192.0.2.7:1", "192.0.2.7:1", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct address bound = address_of(cases[i].bound);
        char text[ADDRESS_TEXT_SIZE];
        advertise_to_servers(&hosts, &bound, text);
        assert_string_equal(text, cases[i].told);
        advertise_to_clients(&hosts, &bound, text);
        assert_string_equal(text, cases[i].told);
        assert_int_equal(advertise_hides(&hosts, &bound), cases[i].is_hidden);
    }
}

/* ---- interfaces ---- */

struct interface {
    const char *address;
    unsigned flags;
};

/* The host that is found among interfaces; "" where there is none. */
static const char *found_among(const struct interface *interfaces, size_t count, int family)
{
    static char host[ADDRESS_HOST_SIZE];
    struct ifaddrs list[8];
    struct sockaddr_storage addresses[8];
    memset(list, 0, sizeof list);
    memset(addresses, 0, sizeof addresses);
    assert_true(count > 0 && count <= 8);
    for (size_t i = 0; i < count; i++) {
        struct sockaddr_in *ipv4 = (struct sockaddr_in *)&addresses[i];
        struct sockaddr_in6 *ipv6 = (struct sockaddr_in6 *)&addresses[i];
        list[i].ifa_flags = interfaces[i].flags;
        list[i].ifa_next = i + 1 < count ? &list[i + 1] : NULL;
        if (interfaces[i].address == NULL)
            continue; /* as a tunnel without an address */
        list[i].ifa_addr = (struct sockaddr *)&addresses[i];
        if (inet_pton(AF_INET, interfaces[i].address, &ipv4->sin_addr) == 1)
            ipv4->sin_family = AF_INET;
        else if (inet_pton(AF_INET6, interfaces[i].address, &ipv6->sin6_addr) == 1)
            ipv6->sin6_family = AF_INET6;
    }
    return advertise_interface(list, family, host) ? host : "";
}

TEST(test_advertise_interface)
{
    const struct interface machine[] = {
        {"127.0.0.1", IFF_UP | IFF_LOOPBACK},
        {NULL, IFF_UP},
        {"::1", IFF_UP | IFF_LOOPBACK},
        {"10.0.0.9", 0}, /* down */
        {"169.254.7.7", IFF_UP},
        {"fe80::7", IFF_UP},
        {"10.0.0.7", IFF_UP},
        {"fd00::7", IFF_UP},
    };
    assert_string_equal(found_among(machine, 8, AF_INET), "10.0.0.7");
    assert_string_equal(found_among(machine, 8, AF_INET6), "fd00::7");
    assert_string_equal(found_among(machine, 6, AF_INET), "");
    assert_string_equal(found_among(machine, 6, AF_INET6), "");
    char host[ADDRESS_HOST_SIZE];
    assert_false(advertise_interface(NULL, AF_INET, host));
}

TEST(test_advertise_is_loopback)
{
    static const char *const here[] = {"127.0.0.1", "127.1.2.3", "::1", "localhost"};
    static const char *const elsewhere[] = {"128.0.0.1", "0.0.0.0", "::", "fd00::1", "server1", ""};
    for (size_t i = 0; i < sizeof here / sizeof *here; i++)
        assert_true(advertise_is_loopback(here[i]));
    for (size_t i = 0; i < sizeof elsewhere / sizeof *elsewhere; i++)
        assert_false(advertise_is_loopback(elsewhere[i]));
}
