/* SPDX-License-Identifier: MIT */
/* The network that the partition tests stand on: it carries, drops one way, and carries again. */
#include "harness/netns.h"
#include "support/test.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#define PLACES 3
#define ARRIVES_MS 60000
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

static void begin(struct fixture *f)
{
    char why[128];
    f->netns = netns_new(PLACES, why);
    assert_non_null(f->netns);
    for (size_t i = 0; i < PLACES; i++) {
        netns_enter(f->netns, i);
        f->sockets[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        struct sockaddr_in address = address_of(f, i);
        assert_int_equal(bind(f->sockets[i], (const struct sockaddr *)&address, sizeof address), 0);
        netns_return(f->netns);
    }
}

static void end(struct fixture *f)
{
    for (size_t i = 0; i < PLACES; i++)
        (void)close(f->sockets[i]);
    netns_free(f->netns);
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

TEST_F(test_netns__cuts_one_way_and_heals)
{
    assert_all_carry(f);
    netns_cut(f->netns, 0, 1);
    assert_false(carries(f, 0, 1, DROPPED_MS));
    assert_true(carries(f, 1, 0, ARRIVES_MS));
    assert_true(carries(f, 0, 2, ARRIVES_MS));
    netns_part(f->netns, 1, 2);
    assert_false(carries(f, 1, 2, DROPPED_MS));
    assert_false(carries(f, 2, 1, DROPPED_MS));
    netns_heal(f->netns);
    assert_all_carry(f);
}

TEST_PREPARE()
{
    return netns_is_possible() ? 0 : NETNS_SKIPPED;
}
