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

/* An allocator for protobuf-c that takes from the arena; giving back is the arena's. */
ProtobufCAllocator wire_allocator(struct arena *arena);

/* Unpacks a frame into the arena. ERROR_INVALID: no frame, or more envelopes than allowed;
 * ERROR_NO_MEMORY is not told apart from it, because the budget is what malformed input hits. */
enum error wire_decode(const void *bytes, size_t size, struct arena *arena, Jackdaw__Frame **out);

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
