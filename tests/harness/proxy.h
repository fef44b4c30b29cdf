/* SPDX-License-Identifier: MIT */
/* proxy.h - a bad wire between clients and a server: a TCP proxy that knows where SP messages begin
 * and end, so that it can lose, double, swap and delay whole ones, take nothing more, or break off
 * in the middle of one. It works in a thread of its own; faults are counted, not drawn. */
#ifndef JACKDAW_TESTS_PROXY_H
#define JACKDAW_TESTS_PROXY_H

#include "base/address.h"
#include "harness/netns.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct proxy;

enum proxy_way { PROXY_TO_SERVER, PROXY_TO_CLIENT, PROXY_WAYS };

/* Of each connection, one message in so many; 0: none. */
struct proxy_faults {
    unsigned drop_every;
    unsigned double_every;
    unsigned swap_every;  /* goes after the next one */
    unsigned break_every; /* half of it goes through, then the connection ends */
    unsigned delay_ms;    /* all messages; a connection's order stays */
};

/* Listens at `listen` in place `here` of netns, and dials `target` in place `there`. NULL: a port
 * could not be had. netns NULL: both on this machine. */
struct proxy *proxy_open(struct netns *netns, size_t here, const struct address *listen,
                         size_t there, const struct address *target);
/* NULL is allowed. */
void proxy_close(struct proxy *proxy);

/* Where it listens. */
struct address proxy_address(const struct proxy *proxy);

/* From the next message on. */
void proxy_set(struct proxy *proxy, enum proxy_way way, const struct proxy_faults *faults);

/* Neither reads nor writes nor accepts, while on: what is under way stays there. */
void proxy_hold(struct proxy *proxy, bool on);

/* Ends all connections there are. */
void proxy_cut(struct proxy *proxy);

/* Faults that were made. */
uint64_t proxy_faults_made(struct proxy *proxy);

#endif
