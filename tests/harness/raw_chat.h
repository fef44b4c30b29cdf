/* SPDX-License-Identifier: MIT */
/* raw_chat.h - calls of the Chat service made by hand over sp_peer: one request, one reply, every
 * status as the server gave it. For tests that must see what the client library would hide. */
#ifndef JACKDAW_TESTS_RAW_CHAT_H
#define JACKDAW_TESTS_RAW_CHAT_H

#include "base/log_entry.h"
#include "base/status.h"
#include "harness/sp_peer.h"
#include "spec.pb-c.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define RAW_TOKEN_BYTES 32

struct raw_call {
    const char *method;
    const ProtobufCMessage *message; /* NULL: payload */
    const void *payload;
    size_t payload_size;
    const uint8_t *token;         /* RAW_TOKEN_BYTES, or NULL */
    const char *service;          /* NULL: jackdaw.Chat */
    uint32_t protocol;            /* 0: the right one */
    uint32_t credits;             /* of a stream; 0: none */
    struct log_position position; /* that the state of the answer must contain */
};

/* How a call ended. text: the sentence, cut if it is long. */
struct raw_reply {
    enum status status;
    uint32_t retry_ms;
    char text[256];
    struct log_position position; /* of its state */
    uint8_t *payload;             /* malloc: the caller's to free; NULL where there is none */
    size_t payload_size;
};

/* The bytes of a frame with count envelopes that all make this call: malloc, the caller's. */
uint8_t *raw_frame(const struct raw_call *call, size_t count, size_t *size);

/* Makes a call; waits for the next reply, whatever call it answers. false: the server closed the
 * connection, or does not answer in time. */
bool raw_ask(struct sp_peer *peer, const struct raw_call *call);
bool raw_answer(struct sp_peer *peer, struct raw_reply *reply);

/* Makes a call and waits for its reply. false: the server closed the connection, or did not answer
 * in time. */
bool raw_chat(struct sp_peer *peer, const struct raw_call *call, struct raw_reply *reply);

/* Registers if need be and logs in, on an open connection; false when that did not go well. */
bool raw_login(struct sp_peer *peer, const char *name, const uint8_t token[static RAW_TOKEN_BYTES]);

/* Sends a message with the request number given; what the server answers. */
bool raw_send(struct sp_peer *peer, const uint8_t token[static RAW_TOKEN_BYTES], uint64_t request,
              const char *to, const char *text, struct raw_reply *reply);

#endif
