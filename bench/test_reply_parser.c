/* SPDX-License-Identifier: MIT */
/* reply_parser.c reads messages that protobuf-c packs, and reads no bytes past their end. */
#include "reply_parser.h"
#include "spec.pb-c.h"
#include "support/test.h"

#include <stdlib.h>
#include <string.h>

static struct parse_bytes pack(const ProtobufCMessage *message)
{
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(size + 1);
    assert_non_null(bytes);
    assert_int_equal(protobuf_c_message_pack(message, bytes), size);
    return (struct parse_bytes){bytes, size};
}

static void release(struct parse_bytes bytes)
{
    free((void *)bytes.at);
}

static struct parse_cursor cursor_of(struct parse_bytes bytes)
{
    return (struct parse_cursor){bytes.at, bytes.at + bytes.size};
}

TEST(test_scan_envelope__reads_what_replies_hold)
{
    Jackdaw__Envelope first = JACKDAW__ENVELOPE__INIT;
    first.kind = JACKDAW__ENVELOPE__KIND__REPLY;
    first.protocol = 65536;
    first.call = UINT64_MAX;
    first.payload = (ProtobufCBinaryData){3, (uint8_t *)"abc"};
    first.more = 1;
    Jackdaw__Envelope second = JACKDAW__ENVELOPE__INIT;
    second.status = 8;
    second.message = (char *)"full";
    second.master = (char *)"host:1";
    second.retry_ms = 500;
    Jackdaw__Envelope *both[] = {&first, &second};
    Jackdaw__Frame frame = JACKDAW__FRAME__INIT;
    frame.n_envelopes = 2;
    frame.envelopes = both;
    struct parse_bytes bytes = pack(&frame.base);

    struct parse_cursor cursor = cursor_of(bytes);
    struct parse_envelope read;
    assert_int_equal(parse_envelope(&cursor, &read), PARSE_FOUND);
    assert_int_equal(read.kind, JACKDAW__ENVELOPE__KIND__REPLY);
    assert_true(read.call == UINT64_MAX);
    assert_int_equal(read.payload.size, 3);
    assert_memory_equal(read.payload.at, "abc", 3);
    assert_true(read.more);
    assert_int_equal(read.status, 0);
    assert_int_equal(parse_envelope(&cursor, &read), PARSE_FOUND);
    assert_int_equal(read.status, 8);
    assert_int_equal(read.message.size, 4);
    assert_memory_equal(read.message.at, "full", 4);
    assert_int_equal(read.retry_ms, 500);
    assert_false(read.more);
    assert_int_equal(parse_envelope(&cursor, &read), PARSE_END);
    release(bytes);
}

TEST(test_scan_send_reply__reads_number_and_position)
{
    Jackdaw__Position position = JACKDAW__POSITION__INIT;
    position.epoch = 65537;
    position.seq = 123456789012;
    Jackdaw__SendReply reply = JACKDAW__SEND_REPLY__INIT;
    reply.number = 300;
    reply.position = &position;
    reply.time_ms = 1790000000000;
    reply.room = (char *)"lobby";
    struct parse_bytes bytes = pack(&reply.base);
    struct parse_send_reply read;
    assert_true(parse_send_reply(bytes, &read));
    assert_int_equal(read.number, 300);
    assert_true(read.position.epoch == 65537);
    assert_true(read.position.seq == 123456789012);
    release(bytes);
}

static struct parse_bytes make_page(void)
{
    Jackdaw__Event message = JACKDAW__EVENT__INIT;
    message.kind = JACKDAW__EVENT__KIND__MESSAGE;
    message.seq = 7;
    message.room = (char *)"lobby";
    message.from = (char *)"ann";
    message.number = 129;
    message.session = 0xfedcba9876543210;
    message.request = 16384;
    message.time_ms = 1790000000000;
    message.text = (char *)"hi";
    Jackdaw__Event joined = JACKDAW__EVENT__INIT;
    joined.kind = JACKDAW__EVENT__KIND__JOINED;
    Jackdaw__Event *events[] = {&message, &joined};
    Jackdaw__Position after = JACKDAW__POSITION__INIT;
    after.seq = 6;
    Jackdaw__Position next = JACKDAW__POSITION__INIT;
    next.seq = 8;
    Jackdaw__ReceiveReply page = JACKDAW__RECEIVE_REPLY__INIT;
    page.n_events = 2;
    page.events = events;
    page.after = &after;
    page.next = &next;
    return pack(&page.base);
}

TEST(test_scan_event__reads_a_page_in_order)
{
    struct parse_bytes bytes = make_page();
    struct parse_page page;
    assert_true(parse_page(bytes, &page));
    assert_int_equal(page.after.seq, 6);
    assert_int_equal(page.next.seq, 8);
    struct parse_cursor cursor = cursor_of(bytes);
    struct parse_event event;
    assert_int_equal(parse_event(&cursor, &event), PARSE_FOUND);
    assert_int_equal(event.kind, JACKDAW__EVENT__KIND__MESSAGE);
    assert_int_equal(event.number, 129);
    assert_true(event.session == 0xfedcba9876543210);
    assert_int_equal(event.request, 16384);
    assert_int_equal(parse_event(&cursor, &event), PARSE_FOUND);
    assert_int_equal(event.kind, JACKDAW__EVENT__KIND__JOINED);
    assert_int_equal(event.number, 0);
    assert_int_equal(parse_event(&cursor, &event), PARSE_END);
    release(bytes);
}

/* Reads bytes in each way there is; the sanitizers see what it touches. */
static void read_all(struct parse_bytes bytes)
{
    struct parse_cursor cursor = cursor_of(bytes);
    struct parse_envelope envelope;
    while (parse_envelope(&cursor, &envelope) == PARSE_FOUND)
        ;
    cursor = cursor_of(bytes);
    struct parse_event event;
    while (parse_event(&cursor, &event) == PARSE_FOUND)
        ;
    struct parse_page page;
    struct parse_send_reply reply;
    (void)parse_page(bytes, &page);
    (void)parse_send_reply(bytes, &reply);
}

TEST(test_scan__stays_within_bytes_cut_anywhere)
{
    struct parse_bytes whole = make_page();
    for (size_t size = 0; size < whole.size; size++) {
        uint8_t *cut = malloc(size == 0 ? 1 : size); /* exactly as large, for the sanitizers */
        assert_non_null(cut);
        memcpy(cut, whole.at, size);
        read_all((struct parse_bytes){cut, size});
        free(cut);
    }
    release(whole);
}

TEST(test_scan__stays_within_random_bytes)
{
    uint64_t random = 1;
    for (int i = 0; i < 200000; i++) {
        uint8_t bytes[24];
        for (size_t at = 0; at < sizeof bytes; at++) {
            random = random * 6364136223846793005u + 1442695040888963407u;
            bytes[at] = (uint8_t)(random >> 56);
        }
        read_all((struct parse_bytes){bytes, sizeof bytes});
    }
}

TEST(test_scan__refuses_what_is_cut_or_overlong)
{
    static const struct parse_bytes broken[] = {
        {(const uint8_t *)"\x0a\x05x", 3},    /* longer than what follows */
        {(const uint8_t *)"\x80", 1},         /* a key without an end */
        {(const uint8_t *)"\x09\x01\x02", 3}, /* eight bytes that are not there */
        {(const uint8_t *)"\x0b", 1},         /* a group, which nobody sends */
        {(const uint8_t *)"\x18\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12},
    };
    for (size_t i = 0; i < sizeof broken / sizeof *broken; i++) {
        struct parse_cursor cursor = cursor_of(broken[i]);
        struct parse_envelope envelope;
        struct parse_page page;
        assert_int_equal(parse_envelope(&cursor, &envelope), PARSE_BROKEN);
        assert_false(parse_page(broken[i], &page));
    }
}
