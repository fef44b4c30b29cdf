/* SPDX-License-Identifier: MIT */
/* What request.c writes, protobuf-c reads as the request that was meant. */
#include "request.h"
#include "rpc/protocol.h"
#include "spec.pb-c.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t token[REQUEST_TOKEN_BYTES] = {1, 2, 3, 0, 255};

/* The caller frees it with jackdaw__frame__free_unpacked. */
static Jackdaw__Frame *unpack(const uint8_t *bytes, size_t size, size_t count)
{
    Jackdaw__Frame *frame = jackdaw__frame__unpack(NULL, size, bytes);
    assert_non_null(frame);
    assert_int_equal(frame->n_envelopes, count);
    return frame;
}

static void assert_send(const Jackdaw__Envelope *envelope, uint64_t call, uint64_t request)
{
    assert_int_equal(envelope->kind, JACKDAW__ENVELOPE__KIND__REQUEST);
    assert_int_equal(envelope->protocol, RPC_PROTOCOL);
    assert_true(envelope->call == call);
    assert_string_equal(envelope->service, "jackdaw.Chat");
    assert_string_equal(envelope->method, "Send");
    assert_int_equal(envelope->timeout_ms, 5000);
    assert_int_equal(envelope->token.len, sizeof token);
    assert_memory_equal(envelope->token.data, token, sizeof token);
    Jackdaw__SendRequest *send =
        jackdaw__send_request__unpack(NULL, envelope->payload.len, envelope->payload.data);
    assert_non_null(send);
    assert_true(send->request == request);
    assert_string_equal(send->to, "lobby");
    assert_string_equal(send->text, "hello");
    jackdaw__send_request__free_unpacked(send, NULL);
}

TEST(test_send_template_write__makes_frames_of_any_number)
{
    static const uint64_t sequence_set[] = {1, 127, 128, 16384, 1u << 28, UINT64_MAX};
    struct send_template template;
    assert_true(send_template_init(&template, token, "lobby", "hello", 5000));
    size_t count = sizeof sequence_set / sizeof *sequence_set;
    uint8_t *bytes = malloc(count * send_template_size_max(&template));
    assert_non_null(bytes);
    size_t size = 0;
    for (size_t i = 0; i < count; i++) {
        size_t written = send_template_write(&template, sequence_set[i],
                                             sequence_set[count - 1 - i], bytes + size);
        assert_true(written <= send_template_size_max(&template));
        size += written;
    }
    Jackdaw__Frame *frame = unpack(bytes, size, count);
    for (size_t i = 0; i < count; i++)
        assert_send(frame->envelopes[i], sequence_set[i], sequence_set[count - 1 - i]);
    jackdaw__frame__free_unpacked(frame, NULL);
    free(bytes);
    send_template_release(&template);
}

TEST(test_send_template_write__text_of_many_bytes)
{
    static char text[20001];
    memset(text, 'x', sizeof text - 1);
    struct send_template template;
    assert_true(send_template_init(&template, token, "lobby", text, 0));
    uint8_t *bytes = malloc(send_template_size_max(&template));
    assert_non_null(bytes);
    size_t size = send_template_write(&template, 5, 6, bytes);
    Jackdaw__Frame *frame = unpack(bytes, size, 1);
    assert_true(frame->envelopes[0]->payload.len > sizeof text);
    jackdaw__frame__free_unpacked(frame, NULL);
    free(bytes);
    send_template_release(&template);
}

TEST(test_request_pack__writes_only_what_fits)
{
    Jackdaw__InfoRequest payload = JACKDAW__INFO_REQUEST__INIT;
    payload.client = (char *)"test";
    struct request request = {.method = "Info", .call = 9, .credits = 48, .payload = &payload.base};
    uint8_t bytes[256];
    memset(bytes, 0xee, sizeof bytes);
    size_t size = request_pack(&request, bytes, 4);
    assert_true(size > 4 && size < sizeof bytes);
    assert_int_equal(bytes[0], 0xee);
    assert_int_equal(request_pack(&request, bytes, size), size);
    assert_int_equal(bytes[size], 0xee);
    Jackdaw__Frame *frame = unpack(bytes, size, 1);
    assert_string_equal(frame->envelopes[0]->method, "Info");
    assert_int_equal(frame->envelopes[0]->credits, 48);
    assert_int_equal(frame->envelopes[0]->token.len, 0);
    jackdaw__frame__free_unpacked(frame, NULL);
}

TEST(test_request_pack_credit__largest_values)
{
    uint8_t bytes[REQUEST_CREDIT_BYTES_MAX];
    size_t size = request_pack_credit(UINT64_MAX, UINT32_MAX, bytes);
    assert_true(size <= sizeof bytes);
    Jackdaw__Frame *frame = unpack(bytes, size, 1);
    assert_int_equal(frame->envelopes[0]->kind, JACKDAW__ENVELOPE__KIND__CREDIT);
    assert_true(frame->envelopes[0]->call == UINT64_MAX);
    assert_true(frame->envelopes[0]->credits == UINT32_MAX);
    jackdaw__frame__free_unpacked(frame, NULL);
}
