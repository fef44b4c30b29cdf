/* SPDX-License-Identifier: MIT */
/* netns.h - a network of a test's own, with several places in it, that can be cut between any two.
 *
 * Each place is a network namespace with one address; a bridge joins them. What is sent where the
 * way is cut is dropped without a word, as a dead switch would do it; one way at a time. Nothing
 * here has a name in the system: all of it goes with the last process that uses it, however the
 * test ends.
 *
 * Where a program runs, and where a socket is, is decided when it is made: between netns_enter and
 * netns_return everything that this thread starts or opens is in that place.
 *
 * One thread. What fails once the network stands fails the test. */
#ifndef JACKDAW_TESTS_NETNS_H
#define JACKDAW_TESTS_NETNS_H

#include <stdbool.h>
#include <stddef.h>

#define NETNS_PLACES_MAX 8
#define NETNS_SKIPPED \
    77 /* exit status of a test that cannot have one: ctest then calls it skipped */
#define NETNS_HOST_SIZE 32

struct netns;

/* NULL where the system does not let us, or has no `ip`; why then tells. */
struct netns *netns_new(size_t places, char why[static 128]);
/* Tries it, and prints what is in the way. */
bool netns_is_possible(void);
/* NULL is allowed. */
void netns_free(struct netns *netns);

/* The IPv4 address of a place: higher for higher places. Valid as long as netns. */
const char *netns_host(const struct netns *netns, size_t place);

/* With netns NULL nothing happens. */
void netns_enter(struct netns *netns, size_t place);
void netns_return(struct netns *netns);

/* From now on this thread, and those that it starts, are in that place whenever netns_return has
 * been called. */
void netns_stay(struct netns *netns, size_t place);

/* Takes a place off the bridge, or puts it back: no packet goes in or out, no connection closes. */
void netns_plug(struct netns *netns, size_t place, bool in);

/* From now on, whoever dials `other` in this place gets to this place itself: to whatever listens at
 * the other's address there. */
void netns_impersonate(struct netns *netns, size_t place, size_t other);

/* From now on the place has no IPv4 address, but this IPv6 address, in one network with all places that
 * this was done to. Ways cannot be cut there. Valid as long as netns. */
const char *netns_use_ipv6(struct netns *netns, size_t place);

/* Whatever is sent from one place to the other is dropped from now on. */
void netns_cut(struct netns *netns, size_t from, size_t to);
/* Both ways. */
void netns_part(struct netns *netns, size_t left, size_t right);
/* All ways are open again. */
void netns_heal(struct netns *netns);

#endif
