/* SPDX-License-Identifier: MIT */
/* sp_connection.h - connections that speak nng's framing (SP over TCP, as a REQ socket) without nng, and the
 * loop that drives them: one thread, epoll, non-blocking sockets, one read and one write per turn
 * of a connection.
 *
 * Both ends of a connection begin with 8 bytes (0, 'S', 'P', 0, the protocol's number in two bytes,
 * 0, 0). Then come frames: 8 bytes of length, most significant first, then that many bytes, the
 * first four of which are the request id, with its top bit set. What is appended during a turn
 * shares a frame and goes out at the end of the turn, unless sp_connection_end_frame closes it earlier.
 *
 * The functions of one loop and its links: one thread. */
#ifndef JACKDAW_BENCH_SP_CONNECTION_H
#define JACKDAW_BENCH_SP_CONNECTION_H

#include "base/address.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;

/* One connection; the fields are the loop's. */
struct connection {
    struct loop *loop;
    int descriptor;   /* -1: closed */
    bool established; /* both handshakes are done */
    bool waits_to_write;
    bool queued; /* among those with output */
    struct connection *next_queued;
    size_t frame; /* where in output the open frame begins, or SIZE_MAX */
    uint8_t *input;
    size_t input_used;
    size_t input_size;
    uint8_t *output;
    size_t output_sent;
    size_t output_used;
    size_t output_size;
};

/* What the loop tells. body: the frame after the request id; valid during the call. A closed link
 * has been closed by sp_connection_close already. */
struct loop_handler {
    void *context;
    void (*established)(void *context, struct connection *connection); /* may be NULL */
    void (*frame)(void *context, struct connection *connection, const uint8_t *body, size_t size);
    void (*closed)(void *context, struct connection *connection, const char *reason);
};

struct loop {
    int epoll;
    uint64_t now_ns; /* monotonic; when the input that is being handled was read */
    struct connection *queued;
    struct loop_handler handler;
};

enum error loop_init(struct loop *loop, struct error_text *why);
void loop_release(struct loop *loop); /* links first */

/* Sends what is waiting, then handles what arrives within timeout_ms, once. */
void loop_turn(struct loop *loop, int timeout_ms);

uint64_t loop_read_clock(struct loop *loop); /* also into now_ns */

/* Starts to connect. address: an IP address or a name of this machine, without TLS. */
enum error sp_connection_open(struct connection *connection, struct loop *loop,
                              const struct address *address, struct error_text *why);
void sp_connection_close(struct connection *connection); /* also frees; again: nothing */

/* Room for size bytes at the end of the frame that is being filled; NULL: no memory. sp_connection_keep says
 * how many of them were used. */
uint8_t *sp_connection_append(struct connection *connection, size_t size);
void sp_connection_keep(struct connection *connection, size_t size);
void sp_connection_end_frame(struct connection *connection);

#endif
