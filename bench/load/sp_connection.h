/* SPDX-License-Identifier: MIT */
/* sp_connection.h - connections that speak nng's framing (SP over TCP, as a REQ socket) without nng.
 *
 * Both ends of a connection begin with 8 bytes (0, 'S', 'P', 0, the protocol's number in two bytes,
 * 0, 0). Then come frames: 8 bytes of length, most significant first, then that many bytes, the
 * first four of which are the request id, with its top bit set. The requests of a turn
 * share a frame, which goes out at the end of the turn, unless sp_connection_end_frame closes it earlier.
 *
 * One thread, as connection.h. */
#ifndef JACKDAW_BENCH_SP_CONNECTION_H
#define JACKDAW_BENCH_SP_CONNECTION_H

#include "connection.h"

/* For loop_init. A frame's body is what follows the request id. */
extern const struct framing sp_framing;

/* Returns room for size bytes at the end of the frame that is being filled; NULL: no memory, or closed.
 * connection_keep adds the first bytes of that room to the frame. */
uint8_t *sp_connection_append(struct connection *connection, size_t size);
void sp_connection_end_frame(struct connection *connection);

#endif
