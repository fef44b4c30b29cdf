/* SPDX-License-Identifier: MIT */
/* advertise.h - the addresses that a server announces to others. Asks the kernel for this machine's
 * addresses and for the one that leads to another machine; sends nothing but questions to name
 * servers. Any thread. */
#ifndef JACKDAW_CLUSTER_ADVERTISE_H
#define JACKDAW_CLUSTER_ADVERTISE_H

#include "base/address.h"
#include "cluster/settings.h"

#include <ifaddrs.h>

/* The hosts for addresses that leave theirs open. */
struct advertise_hosts {
    char any[ADDRESS_HOST_SIZE];  /* of either family, for ":port" and "[::]:port" */
    char ipv4[ADDRESS_HOST_SIZE]; /* for "0.0.0.0:port" */
    bool is_given;                /* by --advertise_host: announced to clients in any case */
};

/* Finds them. Each is the first of these that there is, of its family:
 * 1. --advertise_host;
 * 2. this machine's address towards a member of --master_address, in their order, not on loopback;
 * 3. loopback, where a way to one of these members begins there: all are on this machine;
 * 4. its address towards the world, IPv4 first;
 * 5. a global address of an interface that is up, IPv4 first;
 * 6. loopback: 127.0.0.1. */
void advertise_find(const struct cluster_settings *settings, struct advertise_hosts *out);

/* Step 5 alone, over a list of interfaces; family: AF_INET, AF_INET6. false: there is none. Link-local
 * addresses do not count, because they mean nothing on another machine. */
bool advertise_interface(const struct ifaddrs *list, int family,
                         char host[static ADDRESS_HOST_SIZE]);

/* Whether nobody but this machine reaches the host: 127.0.0.0/8, ::1 or localhost. */
bool advertise_is_loopback(const char *host);

/* Writes where clients reach what listens at `bound`. */
void advertise_to_clients(const struct advertise_hosts *hosts, const struct address *bound,
                          char text[static ADDRESS_TEXT_SIZE]);

/* Where the other servers do. An internal address with a host is announced unchanged, independent
 * of the host for clients: the servers may have a network of their own. */
void advertise_to_servers(const struct advertise_hosts *hosts, const struct address *bound,
                          char text[static ADDRESS_TEXT_SIZE]);

/* Returns whether bound has no host and the server announces a loopback address for it. */
bool advertise_hides(const struct advertise_hosts *hosts, const struct address *bound);

#endif
