/* SPDX-License-Identifier: MIT */
/* sp_peer.h - one end of an SP connection over TCP, spoken by hand: for tests and measurements that
 * need a peer which breaks the rules, or which costs nothing itself.
 *
 * SP over TCP: each side sends 8 bytes (00 'S' 'P' 00, its protocol number as u16, 00 00), then
 * messages, each behind its length as u64; all numbers big-endian. The first 4 bytes of a request
 * are its id, with the top bit set; the reply carries the same id. See docs/protocol.md.
 *
 * Sockets block, with a timeout for everything: SP_PATIENCE_MS where none is given. Writing to a
 * peer that has gone fails, it raises no signal. One thread at a time. */
#ifndef JACKDAW_TESTS_SP_PEER_H
#define JACKDAW_TESTS_SP_PEER_H

#include "base/address.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SP_SUB 0x21u
#define SP_REQ 0x30u
#define SP_REP 0x31u
#define SP_REQUEST_ID 0x80000001u
#define SP_HANDSHAKE_BYTES 8
#define SP_PATIENCE_MS 60000

struct sp_peer {
    int descriptor; /* -1: closed */
};

/* Connects by TCP, without handshake. receive_buffer_bytes: SO_RCVBUF, 0 for the system's. */
bool sp_connect(struct sp_peer *peer, const struct address *address, int receive_buffer_bytes);

/* Sends our 8 bytes and reads theirs; false unless theirs are those of the opposite protocol. */
bool sp_handshake(struct sp_peer *peer, unsigned protocol);

/* Connects and shakes hands as REQ. */
bool sp_open(struct sp_peer *peer, const struct address *address);

/* Sends size bytes as they are; false when the peer has gone or takes nothing for too long. */
bool sp_send_bytes(struct sp_peer *peer, const void *bytes, size_t size);

/* Sends as much as the peer takes at once; returns how many bytes that was. */
size_t sp_try_send_bytes(struct sp_peer *peer, const void *bytes, size_t size);

/* Writes the 12 bytes that come before a message's body: its length and its id. */
#define SP_PREFIX_BYTES 12
void sp_prefix(uint8_t out[static SP_PREFIX_BYTES], uint32_t id, size_t body_size);

/* Sends one message. */
bool sp_send(struct sp_peer *peer, uint32_t id, const void *body, size_t size);

struct sp_message {
    uint32_t id;
    uint8_t *body; /* malloc: the caller's to free */
    size_t size;
};
enum sp_event { SP_MESSAGE, SP_CLOSED, SP_TIMEOUT };

/* Waits for a message. SP_CLOSED also when the peer broke the framing. */
enum sp_event sp_receive(struct sp_peer *peer, int timeout_ms, struct sp_message *out);

/* Reads and drops until the peer closes; false when it does not in time. */
bool sp_wait_closed(struct sp_peer *peer, int timeout_ms);

/* Ends the connection: with FIN, with FIN and then RST for whatever still comes, or with RST. */
void sp_close(struct sp_peer *peer);
void sp_close_with_reset(struct sp_peer *peer);
void sp_reset(struct sp_peer *peer);

#endif
