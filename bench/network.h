/* SPDX-License-Identifier: MIT */
/* network.h - a network of this program's own, in which packets can be lost: network namespaces,
 * one for this program with a bridge in it, and one for each server, plugged into the bridge. A
 * server that is unplugged sends and receives nothing, and no connection of its is closed. Nothing
 * outside is touched, and all of it goes with the processes in it. Needs root, or the right to make
 * user namespaces, and the program `ip`. One thread. */
#ifndef JACKDAW_BENCH_NETWORK_H
#define JACKDAW_BENCH_NETWORK_H

#include "base/address.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>

#define NETWORK_PLUGS_MAX 8

/* Puts this process into a namespace of its own, in which the loopback works and no port is taken.
 * Before any thread is started. ERROR_REFUSED: not possible here, for the reason in why. */
enum error network_enter(struct error_text *why);

struct network {
    size_t count;
    int plugs[NETWORK_PLUGS_MAX]; /* descriptors of the servers' namespaces */
};

/* Makes the bridge and `count` namespaces. After network_enter; one at a time. *network: ended with
 * network_close, also after an error. */
enum error network_open(struct network *network, size_t count, struct error_text *why);
void network_close(struct network *network);

/* The host in namespace i, as it is reached from everywhere else. */
void network_host(size_t i, char host[static ADDRESS_HOST_SIZE]);

/* Takes namespace i off the bridge, or puts it back. False: `ip` failed. */
bool network_plug(size_t i, bool in);

#endif
