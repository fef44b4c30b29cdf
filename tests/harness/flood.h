/* SPDX-License-Identifier: MIT */
/* flood.h - many messages quickly: one session, many requests in each frame, no client between. */
#ifndef JACKDAW_TESTS_FLOOD_H
#define JACKDAW_TESTS_FLOOD_H

#include "harness/process.h"

#include <stddef.h>

/* Registers name at the server with this client address, which must be the master, joins a room
 * of that name and sends count messages to it. Fails the test if one of them is not acknowledged.
 * Programs of the stage are served meanwhile. */
void flood(struct process_group *group, const char *address, const char *name, size_t count);

#endif
