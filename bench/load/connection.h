/* SPDX-License-Identifier: MIT */
/* connection.h - TCP connections of a load generator, and the loop that drives them: one thread, epoll,
 * non-blocking sockets, one read and one write per turn of a connection. The loop's framing divides
 * the bytes into frames: sp_connection.h has that of nng.
 *
 * The functions of one loop and its connections: one thread. */
#ifndef JACKDAW_BENCH_CONNECTION_H
#define JACKDAW_BENCH_CONNECTION_H

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
    bool established; /* connected, and both handshakes are done */
    bool waits_to_write;
    bool queued; /* among those with output */
    struct connection *next_queued;
    size_t frame; /* the framing's: where in output the open frame begins, or SIZE_MAX */
    uint8_t *input;
    size_t input_used;
    size_t input_size;
    uint8_t *output;
    size_t output_sent;
    size_t output_used;
    size_t output_size;
};

/* How the bytes of a connection become frames. */
struct framing {
    /* Appends the handshake of a client; false: no memory. NULL: there is none, and a connection is
     * established when it is connected. */
    bool (*begin)(struct connection *connection);
    /* Takes the first frame of the input with connection_pass, or an answer to the handshake, which
     * sets established. Returns the size of what it took; 0: it is not complete, or the connection is
     * closed. */
    size_t (*take)(struct connection *connection, const uint8_t *bytes, size_t size);
    /* Completes the output before the loop writes it. NULL: output is always complete. */
    void (*finish)(struct connection *connection);
};

/* Functions that the loop calls. body: a frame without what the framing adds; valid during the call. A closed
 * connection has been closed by connection_close already. */
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
    const struct framing *framing;
    struct loop_handler handler;
};

/* framing: borrowed for the life of the loop. */
enum error loop_init(struct loop *loop, const struct framing *framing, struct error_text *why);
void loop_release(struct loop *loop); /* connections first */

/* Sends what is waiting, then handles what arrives within timeout_ms, once. */
void loop_turn(struct loop *loop, int timeout_ms);

uint64_t loop_read_clock(struct loop *loop); /* also into now_ns */

/* Starts to connect. address: an IP address or a name of this machine, without TLS. */
enum error connection_open(struct connection *connection, struct loop *loop,
                           const struct address *address, struct error_text *why);
void connection_close(struct connection *connection); /* also frees; a second call does nothing */

/* Returns room for size bytes at the end of the output; NULL: no memory, or closed. connection_keep
 * adds the first bytes of that room to the output. */
uint8_t *connection_extend(struct connection *connection, size_t size);
void connection_keep(struct connection *connection, size_t size);
/* Lets the loop write the output at the end of its turn. */
void connection_queue(struct connection *connection);
/* Copies bytes to the output and queues it. False: no memory, or closed. */
bool connection_send(struct connection *connection, const void *bytes, size_t size);

/* For a framing. FRAME_BROKEN as the size of a frame: the bytes cannot begin one. */
#define FRAME_BROKEN SIZE_MAX
/* Gives the frame that bytes begin with to the handler. size: 0 if the frame is not complete, or
 * FRAME_BROKEN, which closes the connection. Returns what `take` returns. */
size_t connection_pass(struct connection *connection, const uint8_t *bytes, size_t size);
/* Closes the connection and reports it to the handler. */
void connection_lose(struct connection *connection, const char *reason);

#endif
