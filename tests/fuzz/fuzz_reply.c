/* SPDX-License-Identifier: MIT */
/* What a channel makes of a frame from a server: envelopes, and their payloads as the reply of every
 * method. And that frames can be taken apart and joined again. */
#include "base/error.h"
#include "fuzz.h"
#include "rpc/protocol.h"
#include "rpc/wire.h"

#include <string.h>

static void unpack_as_all(const ProtobufCBinaryData *payload)
{
    const ProtobufCServiceDescriptor *chat = &jackdaw__chat__descriptor;
    for (unsigned i = 0; i < chat->n_methods; i++) {
        struct arena arena;
        arena_init(&arena, 0);
        ProtobufCMessage *reply = wire_unpack(chat->methods[i].output, payload, &arena);
        ASSERT(reply == NULL || protobuf_c_message_check(reply));
        ASSERT(arena.used_bytes <= payload->len * RPC_DECODE_FACTOR + RPC_DECODE_FLOOR);
        ASSERT(arena_held_bytes(&arena) <= arena.used_bytes * 2 + 200000);
        arena_clear(&arena);
        (void)wire_strings_are_whole(chat->methods[i].output, payload->data, payload->len);
    }
}

/* Writes the envelopes again, one after the other, and reads that. */
static void write_again(const Jackdaw__Frame *frame)
{
    nng_msg *message;
    ASSERT(nng_msg_alloc(&message, 0) == 0);
    for (size_t i = 0; i < frame->n_envelopes; i++) {
        Jackdaw__Envelope head = *frame->envelopes[i];
        const struct rpc_chunk payload = {head.payload.data, head.payload.len};
        head.payload.len = 0;
        head.payload.data = NULL;
        head.base.n_unknown_fields = 0; /* protobuf-c writes some that it does not read */
        size_t before = nng_msg_len(message);
        ASSERT(wire_append(message, &head, &payload, 1) == OK);
        ASSERT(nng_msg_len(message) - before == wire_size(&head, &payload, 1));
    }
    struct arena arena;
    arena_init(&arena, 0);
    Jackdaw__Frame *again = NULL;
    ASSERT(wire_decode(nng_msg_body(message), nng_msg_len(message), &arena, &again) == OK);
    ASSERT(again->n_envelopes == frame->n_envelopes);
    for (size_t i = 0; i < again->n_envelopes; i++) {
        const ProtobufCBinaryData *one = &frame->envelopes[i]->payload;
        const ProtobufCBinaryData *other = &again->envelopes[i]->payload;
        ASSERT(one->len == other->len);
        ASSERT(one->len == 0 || memcmp(one->data, other->data, one->len) == 0);
    }
    arena_clear(&arena);
    nng_msg_free(message);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    arena_init(&arena, 0);
    Jackdaw__Frame *frame = NULL;
    if (wire_decode(data, size, &arena, &frame) == OK) {
        ASSERT(frame->n_envelopes <= RPC_ENVELOPES_MAX);
        for (size_t i = 0; i < frame->n_envelopes && i < 8; i++)
            unpack_as_all(&frame->envelopes[i]->payload);
        write_again(frame);
    }
    ASSERT(arena.used_bytes <= arena.budget_bytes);
    arena_clear(&arena);
    return 0;
}
