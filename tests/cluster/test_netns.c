/* SPDX-License-Identifier: MIT */
/* The network that the partition tests stand on: it carries, drops one way, and carries again. */
#include "harness/netns.h"
#include "support/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define PLACES 3
#define ARRIVES_MS 5000
#define DROPPED_MS 50 /* what is not there by then was dropped: the way takes microseconds */

struct fixture {
    struct netns *netns;
    int sockets[PLACES]; /* UDP, one in each place */
};

static struct sockaddr_in address_of(const struct fixture *fixture, size_t place)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(7)};
    (void)inet_pton(AF_INET, netns_host(fixture->netns, place), &address.sin_addr);
    return address;
}

static int setup(void **state)
{
    static struct fixture fixture;
    char why[128];
    fixture.netns = netns_new(PLACES, why);
    assert_non_null(fixture.netns);
    for (size_t i = 0; i < PLACES; i++) {
        netns_enter(fixture.netns, i);
        fixture.sockets[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in address = address_of(&fixture, i);
        assert_int_equal(
            bind(fixture.sockets[i], (const struct sockaddr *)&address, sizeof address), 0);
        netns_return(fixture.netns);
    }
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *fixture = *state;
    for (size_t i = 0; i < PLACES; i++)
        (void)close(fixture->sockets[i]);
    netns_free(fixture->netns);
    return 0;
}

static bool carries(const struct fixture *fixture, size_t from, size_t to, int patience_ms)
{
    struct sockaddr_in address = address_of(fixture, to);
    char byte = 'x';
    assert_int_equal(sendto(fixture->sockets[from], &byte, 1, 0, (const struct sockaddr *)&address,
                            sizeof address),
                     1);
    struct pollfd entry = {.fd = fixture->sockets[to], .events = POLLIN};
    return poll(&entry, 1, patience_ms) == 1 && recv(fixture->sockets[to], &byte, 1, 0) == 1;
}

static void assert_all_carry(const struct fixture *fixture)
{
    for (size_t i = 0; i < PLACES; i++)
        for (size_t j = 0; j < PLACES; j++)
            if (!carries(fixture, i, j, ARRIVES_MS))
                fail_msg("nothing arrives from place %zu at place %zu", i, j);
}

TEST_WITH(test_netns__cuts_one_way_and_heals, setup, teardown)
{
    struct fixture *fixture = *state;
    assert_all_carry(fixture);
    netns_cut(fixture->netns, 0, 1);
    assert_false(carries(fixture, 0, 1, DROPPED_MS));
    assert_true(carries(fixture, 1, 0, ARRIVES_MS));
    assert_true(carries(fixture, 0, 2, ARRIVES_MS));
    netns_part(fixture->netns, 1, 2);
    assert_false(carries(fixture, 1, 2, DROPPED_MS));
    assert_false(carries(fixture, 2, 1, DROPPED_MS));
    netns_heal(fixture->netns);
    assert_all_carry(fixture);
}

TEST_PREPARE()
{
    if (!netns_is_possible())
        return NETNS_SKIPPED;
    return 0;
}
