/* SPDX-License-Identifier: MIT */
/* advertise.h - the addresses that a server is told to others by. Pure but for asking the kernel which
 * of this machine's addresses leads to another machine; nothing is sent. Any thread. */
#ifndef JACKDAW_SERVER_ADVERTISE_H
#define JACKDAW_SERVER_ADVERTISE_H

#include "base/address.h"
#include "server/options.h"

/* The host for addresses that leave theirs open, in this order: --advertise_host; this machine's
 * address towards the first member of --master_address that there is a way to; its address towards
 * the world; 127.0.0.1. */
void advertise_host(const struct server_options *options, char host[static ADDRESS_HOST_SIZE]);

/* Writes where clients reach what listens at `bound`. */
void advertise_to_clients(const struct server_options *options, const struct address *bound,
                          const char *host, char text[static ADDRESS_TEXT_SIZE]);

/* Where the other servers do. An internal address that names its host is told as it is, whatever
 * clients are told: they may come from outside of a network that the servers have to themselves. */
void advertise_to_servers(const struct address *bound, const char *host,
                          char text[static ADDRESS_TEXT_SIZE]);

#endif
