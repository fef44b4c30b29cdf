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

TEST(test_advertise__hosts)
{
    static const struct {
        const char *rule;
        const char *advertised;
        const char *bound;
        const char *to_clients; /* NULL: does not matter */
        const char *to_servers;
    } cases[] = {
        {"what names its host is told as it is", NULL, "127.0.0.1:2625", "127.0.0.1:2625", NULL},
        {"TLS stays", NULL, "tls+tcp://a.example:2625", "tls+tcp://a.example:2625", NULL},
        {"a name is a host", NULL, "server1:2626", NULL, "server1:2626"},
        {"an open host is the advertised one", "a.example", ":2625", "a.example:2625", NULL},
        {"an open IPv4 host", "fd00::1", "0.0.0.0:2625", "[fd00::1]:2625", NULL},
        {"an open host, to servers", "10.0.0.1", ":2626", NULL, "10.0.0.1:2626"},
        {"an open IPv6 host, to servers", "10.0.0.1", "[::]:2626", NULL, "10.0.0.1:2626"},
        /* As in docker/compose.yaml: servers have a network to themselves. */
        {"clients come from outside", "a.example", "10.0.0.1:2625", "a.example:2625", NULL},
        {"servers are told their network", "a.example", "server1:2626", NULL, "server1:2626"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct cluster_settings settings = {.advertise_host = cases[i].advertised};
        struct address bound = address_of(cases[i].bound);
        struct advertise_hosts hosts;
        char clients[ADDRESS_TEXT_SIZE], servers[ADDRESS_TEXT_SIZE];
        advertise_find(&settings, &hosts);
        advertise_to_clients(&hosts, &bound, clients);
        advertise_to_servers(&hosts, &bound, servers);
        if (cases[i].to_clients != NULL && strcmp(clients, cases[i].to_clients) != 0)
            fail_msg("%s: clients are told %s", cases[i].rule, clients);
        if (cases[i].to_servers != NULL && strcmp(servers, cases[i].to_servers) != 0)
            fail_msg("%s: servers are told %s", cases[i].rule, servers);
    }
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
