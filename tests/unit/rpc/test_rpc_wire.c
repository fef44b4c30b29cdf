/* SPDX-License-Identifier: MIT */
/* Envelopes to bytes and back, without a connection. */
#include "rpc/protocol.h"
#include "rpc/wire.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

static Jackdaw__Envelope some_envelope(uint64_t call)
{
    Jackdaw__Envelope envelope = JACKDAW__ENVELOPE__INIT;
    envelope.kind = JACKDAW__ENVELOPE__KIND__REPLY;
    envelope.protocol = RPC_PROTOCOL;
    envelope.call = call;
    envelope.message = (char *)"a sentence";
    envelope.status = 5;
    return envelope;
}

/* What is appended is what was measured, and what comes back is what was meant, whatever the sizes:
 * around those where a length takes one more byte, and in how many pieces. */
TEST(test_append__is_what_decode_reads)
{
    static const size_t sizes[] = {0, 1, 90, 100, 110, 127, 128, 16000, 16383, 16384, 70000};
    uint8_t *bytes = malloc(70000);
    for (size_t i = 0; i < 70000; i++)
        bytes[i] = (uint8_t)(i * 31);
    for (size_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        for (size_t pieces = 0; pieces <= 3; pieces++) {
            size_t size = pieces == 0 ? 0 : sizes[s];
            struct rpc_chunk chunks[3];
            for (size_t i = 0; i < pieces; i++) {
                size_t from = size * i / pieces;
                chunks[i] = (struct rpc_chunk){bytes + from, size * (i + 1) / pieces - from};
            }
            nng_msg *message;
            assert_int_equal(nng_msg_alloc(&message, 0), 0);
            for (uint64_t call = 1; call <= 4; call++) {
                Jackdaw__Envelope head = some_envelope(call);
                size_t before = nng_msg_len(message);
                assert_int_equal(wire_append(message, &head, chunks, pieces), OK);
                assert_int_equal(nng_msg_len(message) - before, wire_size(&head, chunks, pieces));
            }
            struct arena arena;
            arena_init(&arena, 0);
            Jackdaw__Frame *frame = NULL;
            assert_int_equal(
                wire_decode(nng_msg_body(message), nng_msg_len(message), &arena, &frame), OK);
            assert_int_equal(frame->n_envelopes, 4);
            for (size_t i = 0; i < 4; i++) {
                const Jackdaw__Envelope *envelope = frame->envelopes[i];
                assert_int_equal(envelope->kind, JACKDAW__ENVELOPE__KIND__REPLY);
                assert_int_equal(envelope->call, i + 1);
                assert_int_equal(envelope->status, 5);
                assert_string_equal(envelope->message, "a sentence");
                assert_int_equal(envelope->payload.len, size);
                if (size > 0)
                    assert_memory_equal(envelope->payload.data, bytes, size);
            }
            arena_clear(&arena);
            nng_msg_free(message);
        }
    }
    free(bytes);
}

static enum error decode(const void *bytes, size_t size, size_t *held_bytes)
{
    struct arena arena;
    arena_init(&arena, 0);
    Jackdaw__Frame *frame = NULL;
    enum error error = wire_decode(bytes, size, &arena, &frame);
    if (held_bytes != NULL)
        *held_bytes = arena_held_bytes(&arena);
    arena_clear(&arena);
    return error;
}

TEST(test_decode__refuses)
{
    static const struct {
        const char *bytes;
        size_t size;
    } cases[] = {
        {"\x0a", 1},
        {"\x0a\x05"
         "a",
         3},
        {"\x0a\x80", 2},
        {"\x09\x01\x02\x03", 4},                                  /* a fixed64 cut short */
        {"\x0d\x01", 2},                                          /* a fixed32 */
        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12}, /* 11 bytes of number */
        {"\x0b\x0c", 2},                                          /* a group */
        {"\x0f", 1},                                              /* no such wire type */
        {"\x0a\x02\x2a\x7f", 4}, /* a method longer than its envelope */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        /* In a block of its own size: reading behind it would show. */
        uint8_t *copy = malloc(cases[i].size);
        memcpy(copy, cases[i].bytes, cases[i].size);
        if (decode(copy, cases[i].size, NULL) != ERROR_INVALID)
            fail_msg("case %zu", i);
        free(copy);
    }
    assert_int_equal(decode(NULL, 0, NULL), OK);
}

/* The bound on envelopes is checked before they take memory. */
TEST(test_decode__counts_before_it_allocates)
{
    enum { SIZE = 2 * (RPC_ENVELOPES_MAX + 1) };
    uint8_t frame[SIZE];
    for (size_t i = 0; i < SIZE; i += 2) {
        frame[i] = 0x0a;
        frame[i + 1] = 0;
    }
    size_t held = 1;
    assert_int_equal(decode(frame, SIZE, &held), ERROR_INVALID);
    assert_int_equal(held, 0);
    assert_int_equal(decode(frame, SIZE - 2, &held), OK);
    assert_true(held < 600000);
}

TEST(test_unpack__budget)
{
    /* 20,000 empty deltas want some 2 MB; 40,000 bytes may have 32 times as much. */
    uint8_t *packed = malloc(40000);
    for (size_t i = 0; i < 40000; i += 2) {
        packed[i] = 0x1a;
        packed[i + 1] = 0;
    }
    struct arena arena;
    arena_init(&arena, 0);
    const ProtobufCBinaryData payload = {.len = 40000, .data = packed};
    assert_null(wire_unpack(&jackdaw__batch__descriptor, &payload, &arena));
    assert_true(arena.used_bytes <= 40000 * RPC_DECODE_FACTOR + RPC_DECODE_FLOOR);
    arena_clear(&arena);
    arena_init(&arena, 0);
    const ProtobufCBinaryData nothing = {.len = 0, .data = NULL};
    assert_non_null(wire_unpack(&jackdaw__batch__descriptor, &nothing, &arena));
    arena_clear(&arena);
    free(packed);
}

TEST(test_strings_are_whole)
{
    static const struct {
        const ProtobufCMessageDescriptor *type;
        const char *bytes;
        size_t size;
        bool whole;
    } cases[] = {
        {&jackdaw__send_request__descriptor, "", 0, true},
        {&jackdaw__send_request__descriptor, "\x08\x01\x12\x02hi\x1a\x03you", 11, true},
        {&jackdaw__send_request__descriptor, "\x12\x02h\x00", 4, false},
        {&jackdaw__send_request__descriptor, "\x12\x00", 2, true},
        {&jackdaw__send_request__descriptor, "\x7a\x02h\x00", 4, true}, /* no field of ours */
        {&jackdaw__send_request__descriptor, "\x12\x09h", 3, false},
        {&jackdaw__login_request__descriptor, "\x1a\x02\x00\x00", 4, true}, /* bytes may */
        {&jackdaw__batch__descriptor,
         "\x1a\x06\x12\x04\x0a\x02"
         "a\x00",
         8, true}, /* session is no
                                                                                     message */
        {&jackdaw__history_reply__descriptor,
         "\x0a\x04\x22\x02"
         "a\x00",
         6, false}, /* nested */
        {&jackdaw__history_reply__descriptor,
         "\x0a\x04\x22\x02"
         "ab",
         6, true},
        {&jackdaw__send_request__descriptor, "\xfa\xff\xff\xff\xff\xff\xff\xff\xff\x01\x01\x00", 12,
         true}, /* a field number over 32 bits */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool whole =
            wire_strings_are_whole(cases[i].type, (const uint8_t *)cases[i].bytes, cases[i].size);
        if (whole != cases[i].whole)
            fail_msg("case %zu", i);
    }
    assert_true(wire_strings_are_whole(&jackdaw__send_request__descriptor, NULL, 0));
}

/* The example of docs/protocol.md, byte by byte. */
TEST(test_documented_call)
{
    static const uint8_t request[] = {0x0a, 0x25, 0x10, 0x80, 0x80, 0x04, 0x18, 0x01, 0x22, 0x0c,
                                      0x6a, 0x61, 0x63, 0x6b, 0x64, 0x61, 0x77, 0x2e, 0x43, 0x68,
                                      0x61, 0x74, 0x2a, 0x04, 0x49, 0x6e, 0x66, 0x6f, 0x30, 0xd0,
                                      0x0f, 0x42, 0x06, 0x0a, 0x04, 0x64, 0x65, 0x6d, 0x6f};
    static const uint8_t reply[] = {
        0x0a, 0x51, 0x08, 0x01, 0x10, 0x80, 0x80, 0x04, 0x18, 0x01, 0x42, 0x47, 0x0a, 0x0d,
        0x6a, 0x61, 0x63, 0x6b, 0x64, 0x61, 0x77, 0x20, 0x30, 0x2e, 0x31, 0x2e, 0x30, 0x10,
        0x01, 0x18, 0x01, 0x22, 0x0e, 0x31, 0x32, 0x37, 0x2e, 0x30, 0x2e, 0x30, 0x2e, 0x31,
        0x3a, 0x32, 0x36, 0x32, 0x35, 0x28, 0x80, 0x80, 0x04, 0x32, 0x06, 0x08, 0x81, 0x80,
        0x04, 0x10, 0x01, 0x3a, 0x16, 0x08, 0x80, 0x80, 0x01, 0x10, 0x20, 0x18, 0x02, 0x20,
        0x80, 0x02, 0x28, 0x80, 0x08, 0x30, 0xe8, 0x07, 0x38, 0x0a, 0x40, 0x80, 0x02};
    Jackdaw__Envelope head = JACKDAW__ENVELOPE__INIT;
    head.protocol = RPC_PROTOCOL;
    head.call = 1;
    head.service = (char *)"jackdaw.Chat";
    head.method = (char *)"Info";
    head.timeout_ms = 2000;
    static const uint8_t payload[] = {0x0a, 0x04, 'd', 'e', 'm', 'o'};
    nng_msg *message;
    assert_int_equal(nng_msg_alloc(&message, 0), 0);
    assert_int_equal(wire_append(message, &head, &(struct rpc_chunk){payload, sizeof payload}, 1),
                     OK);
    assert_int_equal(nng_msg_len(message), sizeof request);
    assert_memory_equal(nng_msg_body(message), request, sizeof request);
    nng_msg_free(message);

    struct arena arena;
    arena_init(&arena, 0);
    Jackdaw__Frame *frame = NULL;
    assert_int_equal(wire_decode(reply, sizeof reply, &arena, &frame), OK);
    assert_int_equal(frame->n_envelopes, 1);
    assert_int_equal(frame->envelopes[0]->kind, JACKDAW__ENVELOPE__KIND__REPLY);
    assert_int_equal(frame->envelopes[0]->call, 1);
    const Jackdaw__InfoReply *info = (const Jackdaw__InfoReply *)wire_unpack(
        &jackdaw__info_reply__descriptor, &frame->envelopes[0]->payload, &arena);
    assert_non_null(info);
    assert_true(info->master);
    assert_int_equal(info->n_servers, 1);
    assert_string_equal(info->servers[0], "127.0.0.1:2625");
    assert_int_equal(info->protocol, RPC_PROTOCOL);
    assert_int_equal(info->position->epoch, 65537);
    assert_int_equal(info->limits->page_events, 256);
    arena_clear(&arena);
}
