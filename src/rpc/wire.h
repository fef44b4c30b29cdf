/* SPDX-License-Identifier: MIT */
/* wire.h - envelopes to bytes and back. Private to src/rpc. */
#ifndef JACKDAW_RPC_WIRE_H
#define JACKDAW_RPC_WIRE_H

#include "base/arena.h"
#include "base/error.h"
#include "rpc/server.h" /* struct rpc_chunk */
#include "spec.pb-c.h"

#include <nng/nng.h>
#include <stdbool.h>

/* Unpacks a frame into the arena, whose budget grows by what a frame of that size may take.
 * ERROR_INVALID: no frame, or more envelopes than allowed; a budget that is used up is not told
 * apart from it, because that is what malformed input runs into. */
enum error wire_decode(const void *bytes, size_t size, struct arena *arena, Jackdaw__Frame **out);

/* Unpacks a payload into the arena, whose budget grows by what a message of that size may take.
 * NULL: the payload is no such message, or takes more. */
ProtobufCMessage *wire_unpack(const ProtobufCMessageDescriptor *descriptor,
                              const ProtobufCBinaryData *payload, struct arena *arena);

/* Whether no string within a packed message of this type holds a NUL: protobuf-c would end it there
 * without a word. false also for what is no such message. */
bool wire_strings_are_whole(const ProtobufCMessageDescriptor *type, const uint8_t *bytes,
                            size_t size);

/* Bytes that head with a payload of the chunks takes within a frame. head->payload must be empty. */
size_t wire_size(const Jackdaw__Envelope *head, const struct rpc_chunk *chunks, size_t count);

/* Appends the same to a message. ERROR_NO_MEMORY: message unchanged. */
enum error wire_append(nng_msg *message, const Jackdaw__Envelope *head,
                       const struct rpc_chunk *chunks, size_t count);

#endif
