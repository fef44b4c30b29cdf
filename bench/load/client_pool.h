/* SPDX-License-Identifier: MIT */
/* client_pool.h - many logged-in clients on one loop: registers accounts, logs in, joins rooms, many at
 * a time. What they do then is the scenarios' business. One thread. */
#ifndef JACKDAW_BENCH_CLIENT_POOL_H
#define JACKDAW_BENCH_CLIENT_POOL_H

#include "base/address.h"
#include "base/error.h"
#include "reply_parser.h"
#include "request.h"
#include "sp_connection.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CLIENT_POOL_NAME_SIZE 40
#define CLIENT_POOL_CALL_TIMEOUT_MS 10000u           /* deadline in every request but Receive */
#define CLIENT_POOL_RECEIVE_CALL (UINT64_C(1) << 40) /* calls below it are numbers of requests */
#define CLIENT_POOL_OTHER_CALL (UINT64_C(2) << 40)

enum client_stage {
    CLIENT_CONNECTING,
    CLIENT_REGISTERING,
    CLIENT_LOGGING_IN,
    CLIENT_JOINING,
    CLIENT_READY,
};

struct client {
    struct connection connection; /* first */
    enum client_stage stage;
    size_t index;
    uint64_t retry_at_ns; /* the stage's request is to be sent again then; 0: no */
    char name[CLIENT_POOL_NAME_SIZE];
    char room[CLIENT_POOL_NAME_SIZE];
    uint8_t token[REQUEST_TOKEN_BYTES];
    uint64_t session;
    struct parse_position position; /* where Receive starts */
    uint64_t room_number;           /* of the room's last message when it was joined */
    uint64_t next_request;
};

struct pool {
    struct loop loop;
    struct client *clients;
    size_t count;
    size_t started;
    size_t ready;
    struct error_text problem; /* what made it fail, "" at first */
};

struct client_pool_options {
    struct address address;
    size_t count;
    size_t room_size;             /* so many share a room; 1: each has its own */
    const struct address *places; /* of all clients but the first, in turn; borrowed */
    size_t places_count;          /* 0: all are at address */
    const char *tag; /* makes names differ from those of another run: 1 to 16 letters and digits */
};

/* Returns when every client is ready. *client pool: ended with client_pool_close, also after an error. The
 * loop's handler is the client pool's until the caller sets its own. */
enum error client_pool_open(struct pool *pool, const struct client_pool_options *options,
                            struct error_text *why);
void client_pool_close(struct pool *pool);

/* Makes one call (service NULL: Chat) of one ready client and waits for its reply, with the client pool's handler in place of
 * the scenario's: what else arrives meanwhile is dropped. *reply: ended with
 * protobuf_c_message_free_unpacked. Refusals are ERROR_REFUSED with the server's sentence. */
enum error client_pool_call(struct pool *pool, struct client *client, const char *service,
                            const char *method, const ProtobufCMessage *payload,
                            const ProtobufCMessageDescriptor *type, ProtobufCMessage **reply,
                            struct error_text *why);

/* Opens client's stream of events from client->position on, with this many credits. */
bool client_pool_receive(struct client *client, uint32_t credits);

/* Sends what an idle client must send every CLIENT_POOL_HEARTBEAT_MS (docs/protocol.md); false: no memory. */
#define CLIENT_POOL_HEARTBEAT_MS 15000u
bool client_pool_heartbeat(struct client *client);

/* Remembers the first problem; later ones are mostly its consequences. */
void client_pool_fail(struct pool *pool, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool client_pool_has_failed(const struct pool *pool);

#endif
