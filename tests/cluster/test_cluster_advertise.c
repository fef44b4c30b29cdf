/* SPDX-License-Identifier: MIT */
/* Servers that listen at every address of their machine: which one they tell the others. Each machine is
 * a network namespace without a route to the world. */
#include "harness/cluster_fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MACHINES 2

static struct node nodes[MACHINES];
static char seed[ADDRESS_TEXT_SIZE + 32];

static void begin(struct cluster_fixture *fixture)
{
    cluster_fixture_use_netns(fixture, MACHINES);
    for (unsigned i = 0; i < MACHINES; i++)
        nodes[i] = (struct node){
            .group = fixture->group, .id = i + 1, .role = i == 0 ? "master" : "slave"};
}

static void listen_at(struct node *node, const char *address)
{
    (void)snprintf(node->clients, sizeof node->clients, "%s", address);
    (void)snprintf(node->internal, sizeof node->internal, "%s", address);
}

/* Starts server i on its machine. */
static void start(struct cluster_fixture *fixture, size_t i)
{
    netns_enter(fixture->netns, i);
    node_launch(&nodes[i]);
    netns_return(fixture->netns);
    node_wait_ready(&nodes[i]);
}

/* Tells the second server where the first one is, by the address of its machine. */
static void set_seed(struct cluster_fixture *fixture)
{
    struct address address;
    char text[ADDRESS_TEXT_SIZE];
    assert_int_equal(address_parse(nodes[0].internal, &address, NULL), OK);
    (void)snprintf(address.host, sizeof address.host, "%s", netns_host(fixture->netns, 0));
    address_format(&address, text);
    (void)snprintf(seed, sizeof seed, "--master_address=%s", text);
    nodes[1].options[0] = seed;
}

/* Each server is in sync, and the others are told the address of its machine. */
static void assert_told(const struct cluster_fixture *fixture)
{
    for (size_t i = 0; i < MACHINES; i++) {
        char host[64];
        char expected[128];
        bool is_ipv6 = strchr(netns_host(fixture->netns, i), ':') != NULL;
        (void)snprintf(host, sizeof host, is_ipv6 ? "[%s]" : "%s", netns_host(fixture->netns, i));
        (void)snprintf(expected, sizeof expected, "id=%zu internal=%s:", i + 1, host);
        PROCESS_GROUP_WAIT(fixture->group, process_logged(nodes[0].process, expected));
        (void)snprintf(expected, sizeof expected, " client=%s:", host);
        PROCESS_GROUP_WAIT(fixture->group, process_logged(nodes[0].process, expected));
        assert_false(process_logged(nodes[i].process, "loopback"));
    }
}

CLUSTER_TEST_ON(test_advertise__without_a_default_route, begin, NULL)
{
    listen_at(&nodes[0], ":0");
    listen_at(&nodes[1], ":0");
    start(fixture, 0);
    set_seed(fixture);
    start(fixture, 1); /* and is ready: in sync */
    assert_told(fixture);
}

static bool has_ipv6(void)
{
    return access("/proc/net/if_inet6", F_OK) == 0;
}

CLUSTER_TEST_ON(test_advertise__with_ipv6_only, begin, NULL)
{
    if (!has_ipv6())
        skip();
    for (size_t i = 0; i < MACHINES; i++) {
        (void)netns_use_ipv6(fixture->netns, i);
        listen_at(&nodes[i], "[::]:0");
    }
    start(fixture, 0);
    set_seed(fixture);
    start(fixture, 1);
    assert_told(fixture);
}

/* An address of a family that this machine does not have is an error with a sentence. */
CLUSTER_TEST_ON(test_listen__ipv4_without_ipv4, begin, NULL)
{
    if (!has_ipv6())
        skip();
    (void)netns_use_ipv6(fixture->netns, 0);
    listen_at(&nodes[0], "0.0.0.0:0");
    netns_enter(fixture->netns, 0);
    node_launch(&nodes[0]);
    netns_return(fixture->netns);
    assert_int_equal(process_wait(nodes[0].process, PROCESS_GROUP_PATIENCE_MS), 1);
    assert_true(process_logged(nodes[0].process, "cannot listen on 0.0.0.0:0: "));
    assert_true(process_logged(nodes[0].process, "name an address that this machine has"));
    assert_false(process_logged(nodes[0].process, "nknown error"));
}

/* Both sides say so, and what to do. */
CLUSTER_TEST_ON(test_advertise__loopback_alone, begin, NULL)
{
    listen_at(&nodes[0], ":0");
    listen_at(&nodes[1], ":0");
    nodes[0].options[0] = "--advertise_host=127.0.0.1"; /* as where there is nothing else */
    start(fixture, 0);
    set_seed(fixture);
    netns_enter(fixture->netns, 1);
    node_launch(&nodes[1]);
    netns_return(fixture->netns);
    PROCESS_GROUP_WAIT(
        fixture->group,
        process_logged(nodes[1].process, "cluster master_on_loopback master=1 reached=10.99."));
    assert_true(process_logged(nodes[1].process, "--advertise_host"));
}

static void take_interface_down(void *unused)
{
    (void)unused;
    (void)!system("ip link set eth0 down");
}

CLUSTER_TEST_ON(test_advertise__no_address_but_loopback, begin, NULL)
{
    listen_at(&nodes[0], ":0");
    nodes[0].prepare = take_interface_down;
    start(fixture, 0);
    PROCESS_GROUP_WAIT(fixture->group, process_logged(nodes[0].process,
                                                      "cluster only_loopback internal=127.0.0.1:"));
    assert_true(process_logged(nodes[0].process, "give --advertise_host"));
}

TEST_PREPARE()
{
    return netns_is_possible() ? 0 : NETNS_SKIPPED;
}
