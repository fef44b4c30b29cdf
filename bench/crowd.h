/* SPDX-License-Identifier: MIT */
/* crowd.h - many logged-in clients on one loop: registers accounts, logs in, joins rooms, many at
 * a time. What they do then is the scenarios' business. One thread. */
#ifndef JACKDAW_BENCH_CROWD_H
#define JACKDAW_BENCH_CROWD_H

#include "base/address.h"
#include "base/error.h"
#include "link.h"
#include "request.h"
#include "scan.h"

#include <protobuf-c/protobuf-c.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CROWD_NAME_SIZE 40
#define CROWD_CALL_TIMEOUT_MS 10000u           /* deadline in every request but Receive */
#define CROWD_RECEIVE_CALL (UINT64_C(1) << 40) /* calls below it are numbers of requests */
#define CROWD_OTHER_CALL (UINT64_C(2) << 40)

enum client_stage {
    CLIENT_CONNECTING,
    CLIENT_REGISTERING,
    CLIENT_LOGGING_IN,
    CLIENT_JOINING,
    CLIENT_READY,
};

struct client {
    struct link link; /* first */
    enum client_stage stage;
    size_t index;
    uint64_t retry_at_ns; /* the stage's request is to be sent again then; 0: no */
    char name[CROWD_NAME_SIZE];
    char room[CROWD_NAME_SIZE];
    uint8_t token[REQUEST_TOKEN_BYTES];
    uint64_t session;
    struct scan_position position; /* where Receive starts */
    uint64_t room_number;          /* of the room's last message when it was joined */
    uint64_t next_request;
};

struct crowd {
    struct loop loop;
    struct client *clients;
    size_t count;
    size_t started;
    size_t ready;
    struct error_text problem; /* what made it fail, "" at first */
};

struct crowd_options {
    struct address address;
    size_t count;
    size_t room_size; /* so many share a room; 1: each has its own */
    const char *tag;  /* makes names differ from those of another run: 1 to 16 letters and digits */
};

/* Returns when every client is ready. *crowd: ended with crowd_close, also after an error. The
 * loop's handler is the crowd's until the caller sets its own. */
enum error crowd_open(struct crowd *crowd, const struct crowd_options *options,
                      struct error_text *why);
void crowd_close(struct crowd *crowd);

/* Makes one call (service NULL: Chat) of one ready client and waits for its reply, with the crowd's handler in place of
 * the scenario's: what else arrives meanwhile is dropped. *reply: ended with
 * protobuf_c_message_free_unpacked. Refusals are ERROR_REFUSED with the server's sentence. */
enum error crowd_call(struct crowd *crowd, struct client *client, const char *service,
                      const char *method, const ProtobufCMessage *payload,
                      const ProtobufCMessageDescriptor *type, ProtobufCMessage **reply,
                      struct error_text *why);

/* Opens client's stream of events from client->position on, with this many credits. */
bool crowd_receive(struct client *client, uint32_t credits);

/* Remembers the first problem; later ones are mostly its consequences. */
void crowd_fail(struct crowd *crowd, const char *format, ...) __attribute__((format(printf, 2, 3)));
bool crowd_has_failed(const struct crowd *crowd);

#endif
