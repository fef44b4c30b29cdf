/* SPDX-License-Identifier: MIT */
/* What strangers send: broken framing, broken frames, frames that ask for too much, peers that are
 * silent, too many or do not read. Each gets a status or a closed connection, and everyone else is
 * served as before. */
#include "base/protobuf.h"
#include "probe.h"
#include "rpc/protocol.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* The client is a bystander. */
static void start(struct probe_fixture *f, const struct rpc_server_options *options)
{
    probe_fixture_start(f, options);
    client_expect_service(&f->client);
}

static void begin(struct probe_fixture *f)
{
    start(f, NULL);
}

static void begin_few_peers(struct probe_fixture *f)
{
    start(f, &(struct rpc_server_options){.peers_max = 3});
}

#define IDLE_MS 3600000u /* the tests move the server's clock */

static void begin_impatient(struct probe_fixture *f)
{
    start(f, &(struct rpc_server_options){.idle_ms = IDLE_MS});
}

static void begin_small_frames(struct probe_fixture *f)
{
    start(f, &(struct rpc_server_options){.frame_bytes_max = 2000});
}

static void begin_few_calls(struct probe_fixture *f)
{
    start(f, &(struct rpc_server_options){.peer_calls_max = 10});
}

static void begin_peer(struct probe_fixture *f)
{
    begin(f);
    f->peer = probe_open_peer(f->probe);
}

#define INPUT_TEST(name) PROBE_TEST_ON(name, begin)
#define PEER_TEST(name) PROBE_TEST_ON(name, begin_peer)

static void expect_service(struct probe_fixture *f)
{
    client_expect_service(&f->client);
    assert_int_equal(f->client.disconnected, 0);
}

struct bytes {
    uint8_t *at;
    size_t size;
    size_t capacity;
};

static void add(struct bytes *bytes, const void *more, size_t size)
{
    if (bytes->size + size > bytes->capacity) {
        bytes->capacity = (bytes->size + size) * 2;
        bytes->at = realloc(bytes->at, bytes->capacity);
        assert_non_null(bytes->at);
    }
    memcpy(bytes->at + bytes->size, more, size);
    bytes->size += size;
}

static void add_varint(struct bytes *bytes, uint64_t value)
{
    uint8_t text[PROTOBUF_VARINT_BYTES_MAX];
    add(bytes, text, (size_t)(protobuf_put_varint(text, value) - text));
}

static void add_field(struct bytes *bytes, unsigned number, const void *value, size_t size)
{
    add_varint(bytes, number << 3 | 2);
    add_varint(bytes, size);
    add(bytes, value, size);
}

static void add_envelope(struct bytes *frame, const Jackdaw__Envelope *envelope)
{
    size_t size = jackdaw__envelope__get_packed_size(envelope);
    uint8_t *packed = malloc(size + 1);
    (void)jackdaw__envelope__pack(envelope, packed);
    add_field(frame, 1, packed, size);
    free(packed);
}

static void send_frame(struct sp_peer *peer, struct bytes *frame)
{
    assert_true(sp_send(peer, SP_REQUEST_ID, frame->at, frame->size));
    free(frame->at);
    *frame = (struct bytes){.at = NULL};
}

static struct bytes frame_of(const Jackdaw__Envelope *envelope)
{
    struct bytes frame = {.at = NULL};
    add_envelope(&frame, envelope);
    return frame;
}

static void send_envelope(struct sp_peer *peer, const Jackdaw__Envelope *envelope)
{
    struct bytes frame = frame_of(envelope);
    send_frame(peer, &frame);
}

/* The next reply, alone in its frame, must have this status; its text is copied. */
static void expect_reply(struct sp_peer *peer, uint64_t call, enum status status, char text[256])
{
    Jackdaw__Frame *frame = probe_receive_frame(peer);
    assert_int_equal(frame->n_envelopes, 1);
    const Jackdaw__Envelope *reply = frame->envelopes[0];
    assert_int_equal(reply->kind, JACKDAW__ENVELOPE__KIND__REPLY);
    assert_int_equal(reply->call, call);
    assert_int_equal(reply->protocol, RPC_PROTOCOL);
    if (reply->status != status)
        fail_msg("%s: %s", status_name((enum status)reply->status), reply->message);
    if (text != NULL)
        (void)snprintf(text, 256, "%s", reply->message);
    jackdaw__frame__free_unpacked(frame, NULL);
}

/* Calls Echo by hand: it succeeds. */
static void expect_echo(struct sp_peer *peer, uint64_t call)
{
    Jackdaw__Envelope request = probe_request("Echo", call);
    send_envelope(peer, &request);
    expect_reply(peer, call, STATUS_OK, NULL);
}

struct bytes_row {
    const char *bytes;
    size_t size;
};

static void expect_kicked(struct probe_fixture *f, struct sp_peer *peer)
{
    assert_true(sp_wait_closed(peer, PATIENCE_MS));
    sp_close(peer);
    WAIT_UNTIL(&f->client, probe_stats(f->probe).peers == 1);
    expect_service(f);
}

PEER_TEST(test_version__another_major_names_both)
{
    static const uint32_t versions[] = {0, 7, 0x0000ffff, 2u << 16 | 5, 0xffffffff};
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        Jackdaw__Envelope request = probe_request("Echo", i + 1);
        request.protocol = versions[i];
        send_envelope(&f->peer, &request);
        char text[256];
        char theirs[32];
        expect_reply(&f->peer, i + 1, STATUS_FAILED_PRECONDITION, text);
        (void)snprintf(theirs, sizeof theirs, "%u.%u", versions[i] >> 16, versions[i] & 0xffff);
        assert_non_null(strstr(text, theirs));
        assert_non_null(strstr(text, "1.0"));
    }
    assert_int_equal(f->counters->echoed, 1);
}

PEER_TEST(test_version__another_minor_is_served)
{
    Jackdaw__Envelope request = probe_request("Echo", 9);
    request.protocol = RPC_PROTOCOL + 77;
    send_envelope(&f->peer, &request);
    expect_reply(&f->peer, 9, STATUS_OK, NULL);
}

/* What a later minor version may add: unknown kinds, unknown fields. */
PEER_TEST(test_version__unknown_kinds_and_fields_are_ignored)
{
    struct bytes envelope = {.at = NULL};
    struct bytes frame = {.at = NULL};
    Jackdaw__Envelope odd = probe_request("Echo", 1);
    odd.kind = (Jackdaw__Envelope__Kind)77;
    add_envelope(&frame, &odd);
    odd.kind = JACKDAW__ENVELOPE__KIND__REPLY;
    add_envelope(&frame, &odd);
    Jackdaw__Envelope request = probe_request("Echo", 2);
    uint8_t packed[200];
    add(&envelope, packed, jackdaw__envelope__pack(&request, packed));
    add_field(&envelope, 100, "a field of a later version", 26);
    add_varint(&envelope, 101u << 3);
    add_varint(&envelope, 5);
    add_field(&frame, 1, envelope.at, envelope.size);
    add_field(&frame, 9, "and one of the frame", 20);
    free(envelope.at);
    send_frame(&f->peer, &frame);
    expect_reply(&f->peer, 2, STATUS_OK, NULL);
    sp_close(&f->peer);
    expect_service(f);
}

PEER_TEST(test_unknown_names__cannot_forge_the_sentence)
{
    Jackdaw__Envelope request = probe_request("Echo", 1);
    request.service = (char *)"evil\x1b[2J\xff\xc3";
    send_envelope(&f->peer, &request);
    char text[256];
    expect_reply(&f->peer, 1, STATUS_UNIMPLEMENTED, text);
    for (const char *at = text; *at != '\0'; at++)
        assert_in_range((unsigned char)*at, 0x20, 0x7e);
    assert_non_null(strstr(text, "evil"));
    char long_name[5000];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    request = probe_request(long_name, 2);
    send_envelope(&f->peer, &request);
    expect_reply(&f->peer, 2, STATUS_UNIMPLEMENTED, text);
    assert_true(strlen(text) < 120);
}

PEER_TEST(test_payload__that_is_no_such_message)
{
    static const uint8_t payloads[][4] = {
        {0x0a, 0x7f, 'x', 'y'},   /* a string longer than the payload */
        {0x0f, 0x01, 0x01, 0x01}, /* no such wire type */
        {0xff, 0xff, 0xff, 0xff}, /* a key without end */
        {0x0a, 0x02, 'x', 0x00},  /* a NUL within a text */
        {0x10, 0x80, 0x80, 0x80}, /* a number without end */
    };
    for (size_t i = 0; i < sizeof payloads / sizeof payloads[0]; i++) {
        Jackdaw__Envelope request = probe_request("Echo", i + 1);
        request.payload.data = (uint8_t *)payloads[i];
        request.payload.len = 4;
        send_envelope(&f->peer, &request);
        expect_reply(&f->peer, i + 1, STATUS_INVALID_ARGUMENT, NULL);
    }
    assert_int_equal(f->counters->echoed, 1);
    sp_close(&f->peer);
    expect_service(f);
}

/* A frame with good and bad requests: each gets its own answer, in order. */
PEER_TEST(test_frame__of_good_and_bad)
{
    struct bytes frame = {.at = NULL};
    Jackdaw__Envelope one = probe_request("Echo", 1);
    add_envelope(&frame, &one);
    Jackdaw__Envelope two = probe_request("Sing", 2);
    add_envelope(&frame, &two);
    Jackdaw__Envelope three = probe_request("Echo", 3);
    three.protocol = 0;
    add_envelope(&frame, &three);
    Jackdaw__Envelope four = probe_request("Echo", 4);
    add_envelope(&frame, &four);
    send_frame(&f->peer, &frame);
    Jackdaw__Frame *replies = probe_receive_frame(&f->peer);
    static const uint32_t expected[] = {STATUS_OK, STATUS_UNIMPLEMENTED, STATUS_FAILED_PRECONDITION,
                                        STATUS_OK};
    assert_int_equal(replies->n_envelopes, 4);
    for (size_t i = 0; i < 4; i++) {
        assert_int_equal(replies->envelopes[i]->call, i + 1);
        assert_int_equal(replies->envelopes[i]->status, expected[i]);
    }
    jackdaw__frame__free_unpacked(replies, NULL);
}

PEER_TEST(test_frame__empty)
{
    assert_true(sp_send(&f->peer, SP_REQUEST_ID, "", 0));
    expect_echo(&f->peer, 1);
}

/* Replies go to the request id of their own frame. */
PEER_TEST(test_frame__ids_are_kept_apart)
{
    probe_pause(f->probe);
    for (uint32_t i = 0; i < 20; i++) {
        Jackdaw__Envelope request = probe_request("Echo", 100 + i);
        struct bytes frame = frame_of(&request);
        assert_true(sp_send(&f->peer, 0x80000000u | i, frame.at, frame.size));
        free(frame.at);
    }
    probe_resume(f->probe);
    for (uint32_t i = 0; i < 20; i++) {
        struct sp_message message;
        assert_int_equal(sp_receive(&f->peer, PATIENCE_MS, &message), SP_MESSAGE);
        assert_int_equal(message.id, 0x80000000u | i);
        Jackdaw__Frame *frame = jackdaw__frame__unpack(NULL, message.size, message.body);
        assert_int_equal(frame->n_envelopes, 1);
        assert_int_equal(frame->envelopes[0]->call, 100 + i);
        jackdaw__frame__free_unpacked(frame, NULL);
        free(message.body);
    }
}

/* A request that came through relays carries their ids; the reply goes the same way back. */
PEER_TEST(test_frame__hops_come_back)
{
    struct bytes frame = {.at = NULL};
    add(&frame, "\x00\x00\x00\x07\x80\x00\x00\x09", 8); /* a second hop and the request's id */
    Jackdaw__Envelope request = probe_request("Echo", 1);
    add_envelope(&frame, &request);
    assert_true(sp_send(&f->peer, 5, frame.at, frame.size));
    free(frame.at);
    struct sp_message message;
    assert_int_equal(sp_receive(&f->peer, PATIENCE_MS, &message), SP_MESSAGE);
    assert_int_equal(message.id, 5);
    assert_memory_equal(message.body, "\x00\x00\x00\x07\x80\x00\x00\x09", 8);
    free(message.body);
}

INPUT_TEST(test_garbage__every_kind)
{
    static const struct bytes_row cases[] = {
        {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12}, /* a key without end */
        {"\x0a\x05"
         "abc",
         5}, /* an envelope cut short */
        {"\x0a\x03"
         "abc",
         5},                                                  /* an envelope of rubbish */
        {"\x0b", 1},                                          /* a group */
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11}, /* 2^64 - 1 bytes of envelope */
        {"\x0a", 1},
        {"hello server", 12},
        {"GET / HTTP/1.1\r\n\r\n", 18},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sp_peer peer = probe_open_peer(f->probe);
        assert_true(sp_send(&peer, SP_REQUEST_ID, cases[i].bytes, cases[i].size));
        expect_kicked(f, &peer);
        assert_int_equal(probe_stats(f->probe).peers_kicked, i + 1);
    }
}

/* Random bytes, and good frames with a few bytes changed. */
INPUT_TEST(test_garbage__at_random)
{
    uint32_t seed = 12345;
    struct bytes good = {.at = NULL};
    for (uint64_t i = 0; i < 5; i++) {
        Jackdaw__Envelope request = probe_request("Echo", i);
        request.payload.data = (uint8_t *)"\x0a\x03"
                                          "abc";
        request.payload.len = 5;
        add_envelope(&good, &request);
    }
    for (int round = 0; round < 400; round++) {
        struct sp_peer peer = probe_open_peer(f->probe);
        uint8_t *bad = malloc(good.size);
        memcpy(bad, good.at, good.size);
        for (int i = 0; i < (round % 2 == 0 ? 3 : 200); i++) {
            seed = seed * 1664525u + 1013904223u;
            bad[(seed >> 8) % good.size] = (uint8_t)(seed >> 24);
        }
        assert_true(sp_send(&peer, SP_REQUEST_ID, bad, good.size));
        free(bad);
        sp_close(&peer);
    }
    free(good.at);
    WAIT_UNTIL(&f->client, probe_stats(f->probe).peers == 1);
    expect_service(f);
    assert_int_equal(probe_stats(f->probe).open_calls, 0);
}

INPUT_TEST(test_framing__broken)
{
    static const struct bytes_row cases[] = {
        {"\x00\x00\x00\x00\x00\x00\x00\x00", 8},                  /* a message without id */
        {"\x00\x00\x00\x00\x00\x00\x00\x03\x80\x00\x00", 11},     /* half an id */
        {"\x00\x00\x00\x00\x00\x00\x00\x04\x00\x00\x00\x01", 12}, /* an id without its last hop */
        {"\xff\xff\xff\xff\xff\xff\xff\xff", 8},                  /* 2^64 - 1 bytes */
        {"\x00\x00\x00\x01\x00\x00\x00\x00", 8},                  /* 4 GiB */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sp_peer peer = probe_open_peer(f->probe);
        assert_true(sp_send_bytes(&peer, cases[i].bytes, cases[i].size));
        expect_kicked(f, &peer);
    }
}

INPUT_TEST(test_handshake__of_something_else)
{
    static const char *const cases[] = {
        "\x00SP\x00\x00\x31\x00\x00", /* another server */
        "\x00SP\x00\x00\x20\x00\x00", /* a publisher */
        "\x00SP\x01\x00\x30\x00\x00", /* a later SP */
        "GET / HT",
        "\xff\xff\xff\xff\xff\xff\xff\xff",
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct sp_peer peer = probe_connect_peer(f->probe, 0);
        assert_true(sp_send_bytes(&peer, cases[i], SP_HANDSHAKE_BYTES));
        expect_kicked(f, &peer);
    }
}

/* 256 KiB of frame are taken, one byte more is not. */
INPUT_TEST(test_frame__at_and_over_its_bound)
{
    for (size_t over = 0; over < 2; over++) {
        Jackdaw__Envelope request = probe_request("Echo", 1);
        struct bytes frame = frame_of(&request);
        size_t left = RPC_FRAME_BYTES_DEFAULT + over - frame.size;
        uint8_t *filling = calloc(1, left);
        add_field(&frame, 15, filling, left - 1 - 3); /* its key takes 1 byte, its length 3 */
        free(filling);
        assert_int_equal(frame.size, RPC_FRAME_BYTES_DEFAULT + over);
        struct sp_peer peer = probe_open_peer(f->probe);
        send_frame(&peer, &frame);
        if (over == 0) {
            expect_reply(&peer, 1, STATUS_OK, NULL);
            sp_close(&peer);
        } else {
            expect_kicked(f, &peer);
        }
    }
    assert_int_equal(f->counters->echoed, 3);
}

PROBE_TEST_ON(test_frame__of_another_bound, begin_small_frames)
{
    struct sp_peer peer = probe_open_peer(f->probe);
    uint8_t filling[2000] = {0};
    struct bytes frame = {.at = NULL};
    add_field(&frame, 15, filling, 2000 - 3);
    assert_int_equal(frame.size, 2000);
    send_frame(&peer, &frame);
    add_field(&frame, 15, filling, 2000 - 2);
    expect_echo(&peer, 1);
    send_frame(&peer, &frame);
    expect_kicked(f, &peer);
}

/* Of one frame as many replies as it may have requests; with one more it is no frame. */
INPUT_TEST(test_frame__envelopes_at_and_over_their_bound)
{
    for (unsigned over = 0; over < 2; over++) {
        struct bytes frame = {.at = NULL};
        for (unsigned i = 0; i < RPC_ENVELOPES_MAX + over; i++) {
            Jackdaw__Envelope request = probe_request("Echo", i);
            add_envelope(&frame, &request);
        }
        struct sp_peer peer = probe_open_peer(f->probe);
        send_frame(&peer, &frame);
        if (over == 0) {
            uint64_t replies = 0;
            while (replies < RPC_ENVELOPES_MAX) {
                Jackdaw__Frame *got = probe_receive_frame(&peer);
                for (size_t i = 0; i < got->n_envelopes; i++)
                    assert_int_equal(got->envelopes[i]->call, replies++);
                jackdaw__frame__free_unpacked(got, NULL);
            }
            sp_close(&peer);
        } else {
            expect_kicked(f, &peer);
        }
    }
}

/* The smallest envelopes there are: control messages. All of a full frame are taken. */
PEER_TEST(test_frame__full_of_control)
{
    struct bytes frame = {.at = NULL};
    for (unsigned i = 0; i < RPC_ENVELOPES_MAX; i++) {
        Jackdaw__Envelope control = JACKDAW__ENVELOPE__INIT;
        control.kind =
            i % 2 == 0 ? JACKDAW__ENVELOPE__KIND__CANCEL : JACKDAW__ENVELOPE__KIND__CREDIT;
        control.call = i % 3;
        add_envelope(&frame, &control);
    }
    send_frame(&f->peer, &frame);
    expect_echo(&f->peer, 1);
}

static size_t cpu_ms(void)
{
    struct timespec used;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (size_t)used.tv_sec * 1000 + (size_t)used.tv_nsec / 1000000;
}

/* Sends the frame 20 times and wants neither 30 MB nor 2 s for it. Returns on a kick, too. */
static void expect_cheap(struct probe_fixture *f, const struct bytes *frame)
{
    size_t memory_before = resident_bytes();
    size_t cpu_before = cpu_ms();
    for (int i = 0; i < 20; i++) {
        struct sp_peer peer = probe_open_peer(f->probe);
        assert_true(sp_send(&peer, SP_REQUEST_ID, frame->at, frame->size));
        Jackdaw__Envelope request = probe_request("Echo", 1);
        struct bytes end = frame_of(&request);
        (void)sp_send(&peer, SP_REQUEST_ID, end.at, end.size);
        free(end.at);
        struct sp_message message;
        enum sp_event event = sp_receive(&peer, PATIENCE_MS, &message);
        assert_int_not_equal(event, SP_TIMEOUT);
        if (event == SP_MESSAGE)
            free(message.body);
        sp_close(&peer);
    }
    expect_service(f);
    size_t memory = resident_bytes();
    assert_true(cpu_ms() - cpu_before < 4000);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(memory < memory_before + (30u << 20));
#endif
    (void)memory;
    (void)memory_before;
}

INPUT_TEST(test_bomb__empty_envelopes)
{
    struct bytes frame = {.at = NULL};
    while (frame.size + 2 <= RPC_FRAME_BYTES_DEFAULT)
        add(&frame, "\x0a\x00", 2);
    expect_cheap(f, &frame);
    free(frame.at);
}

INPUT_TEST(test_bomb__unknown_fields)
{
    struct bytes frame = {.at = NULL};
    while (frame.size + 2 <= RPC_FRAME_BYTES_DEFAULT)
        add(&frame, "\x78\x00", 2);
    expect_cheap(f, &frame);
    frame.size = 0;
    struct bytes envelope = {.at = NULL};
    while (envelope.size + 10 <= RPC_FRAME_BYTES_DEFAULT)
        add(&envelope, "\xfa\x01\x00", 3);
    add_field(&frame, 1, envelope.at, envelope.size);
    expect_cheap(f, &frame);
    free(envelope.at);
    free(frame.at);
}

INPUT_TEST(test_bomb__fields_given_again_and_again)
{
    struct bytes envelope = {.at = NULL};
    while (envelope.size + 40 <= RPC_FRAME_BYTES_DEFAULT)
        add(&envelope,
            "\x2a\x04"
            "Echo"
            "\x3a\x06"
            "tokens"
            "\x42\x02"
            "\x0a\x00",
            18);
    struct bytes frame = {.at = NULL};
    add_field(&frame, 1, envelope.at, envelope.size);
    expect_cheap(f, &frame);
    free(envelope.at);
    free(frame.at);
}

/* Payloads of 64 KiB for Swallow, in one frame each. */
static void expect_cheap_payload(struct probe_fixture *f, const char *unit, size_t unit_size)
{
    struct bytes payload = {.at = NULL};
    while (payload.size + unit_size <= 65536)
        add(&payload, unit, unit_size);
    Jackdaw__Envelope request = probe_request("Swallow", 1);
    request.payload.data = payload.at;
    request.payload.len = payload.size;
    struct bytes frame = {.at = NULL};
    for (int i = 0; i < 3; i++)
        add_envelope(&frame, &request);
    expect_cheap(f, &frame);
    free(frame.at);
    free(payload.at);
}

static const struct {
    const char *rule;
    struct bytes_row unit;
} payload_bombs[] = {
    {"empty repeated messages", {"\x0a\x00", 2}},
    {"one message merged again and again", {"\x12\x02\x08\x01", 4}},
    {"its list grows with each merge", {"\x12\x02\x20\x01", 4}},
    {"its text is copied with each merge", {"\x12\x03\x1a\x01\x78", 5}},
    {"its unknown fields pile up", {"\x12\x02\x78\x01", 4}},
    {"unknown fields of a request", {"\x78\x00", 2}},
};

INPUT_TEST(test_bomb__payloads)
{
    for (size_t i = 0; i < sizeof payload_bombs / sizeof payload_bombs[0]; i++) {
        print_message("%s\n", payload_bombs[i].rule);
        expect_cheap_payload(f, payload_bombs[i].unit.bytes, payload_bombs[i].unit.size);
    }
}

/* A request of its full size and an honest shape is not taken for a bomb. */
INPUT_TEST(test_bomb__honest_requests_are_no_bombs)
{
    static const struct bytes_row cases[] = {
        {"\x0a\x08\x08\x05\x10\x05\x1a\x02"
         "ab",
         10}, /* pieces with three fields */
        {"\x0a\x06\x08\x01\x1a\x02"
         "ab",
         8},
    };
    for (size_t i = 0; i < 2; i++) {
        struct bytes payload = {.at = NULL};
        uint64_t pieces = 0;
        for (; payload.size + cases[i].size <= 65536; pieces++)
            add(&payload, cases[i].bytes, cases[i].size);
        struct sp_peer peer = probe_open_peer(f->probe);
        Jackdaw__Envelope request = probe_request("Swallow", 1);
        request.payload.data = payload.at;
        request.payload.len = payload.size;
        send_envelope(&peer, &request);
        Jackdaw__Frame *frame = probe_receive_frame(&peer);
        assert_int_equal(frame->envelopes[0]->status, STATUS_OK);
        Probe__Text *text = probe__text__unpack(NULL, frame->envelopes[0]->payload.len,
                                                frame->envelopes[0]->payload.data);
        assert_int_equal(text->number, pieces);
        probe__text__free_unpacked(text, NULL);
        jackdaw__frame__free_unpacked(frame, NULL);
        sp_close(&peer);
        free(payload.at);
    }
}

/* A frame that arrives byte by byte from one, while the others are served. */
INPUT_TEST(test_half_frames__do_not_hold_up_others)
{
    Jackdaw__Envelope request = probe_request("Echo", 1);
    struct bytes frame = frame_of(&request);
    uint8_t prefix[SP_PREFIX_BYTES];
    sp_prefix(prefix, SP_REQUEST_ID, frame.size);
    struct sp_peer peer = probe_open_peer(f->probe);
    for (size_t i = 0; i < sizeof prefix; i++) {
        assert_true(sp_send_bytes(&peer, &prefix[i], 1));
        expect_service(f);
    }
    for (size_t i = 0; i < frame.size; i++) {
        assert_true(sp_send_bytes(&peer, &frame.at[i], 1));
        if (i % 8 == 0)
            expect_service(f);
    }
    expect_reply(&peer, 1, STATUS_OK, NULL);
    /* The next one is never finished. */
    assert_true(sp_send_bytes(&peer, prefix, sizeof prefix));
    assert_true(sp_send_bytes(&peer, frame.at, frame.size / 2));
    expect_service(f);
    sp_close(&peer);
    WAIT_UNTIL(&f->client, probe_stats(f->probe).peers == 1);
    assert_int_equal(f->counters->out_of_order, 0);
    free(frame.at);
}

PROBE_TEST_ON(test_peers__one_too_many_is_turned_away, begin_few_peers)
{
    for (int round = 0; round < 20; round++) {
        struct sp_peer two = probe_open_peer(f->probe);
        struct sp_peer three = probe_open_peer(f->probe);
        expect_echo(&two, 1);
        expect_echo(&three, 1);
        for (int i = 0; i < 5; i++) {
            struct sp_peer four = probe_connect_peer(f->probe, 0);
            (void)sp_handshake(&four, SP_REQ);
            assert_true(sp_wait_closed(&four, PATIENCE_MS));
            sp_close(&four);
        }
        assert_int_equal(probe_stats(f->probe).peers, 3);
        sp_close(&two);
        sp_close(&three);
        WAIT_UNTIL(&f->client, probe_stats(f->probe).peers == 1);
    }
    expect_service(f);
    assert_int_equal(probe_stats(f->probe).peers_kicked, 100);
}

static void tick(struct probe *probe, void *monotonic_ms)
{
    rpc_server_tick(probe_server(probe), *(const uint64_t *)monotonic_ms);
}

PROBE_TEST_ON(test_peers__silent_ones_are_disconnected, begin_impatient)
{
    uint64_t connected_ms = clock_monotonic_ms();
    struct sp_peer silent = probe_open_peer(f->probe);
    struct sp_peer talking = probe_open_peer(f->probe);
    WAIT_UNTIL(&f->client, probe_stats(f->probe).peers == 3);
    uint64_t idle_ms = clock_monotonic_ms() + IDLE_MS + 1; /* for the silent one alone */
    WAIT_UNTIL(NULL, clock_monotonic_ms() + IDLE_MS > idle_ms);
    expect_echo(&talking, 1);
    expect_service(f);
    uint64_t early_ms = connected_ms + IDLE_MS;
    probe_do(f->probe, tick, &early_ms);
    assert_int_equal(probe_stats(f->probe).peers_kicked, 0);
    probe_do(f->probe, tick, &idle_ms);
    assert_true(sp_wait_closed(&silent, PATIENCE_MS));
    WAIT_UNTIL(&f->client, probe_stats(f->probe).peers == 2);
    assert_int_equal(probe_stats(f->probe).peers_kicked, 1);
    sp_close(&silent);
    sp_close(&talking);
}

/* An owner reads its clock, then runs its queue, then ticks: a peer that it met in between is newer
 * than its clock, which is no silence of 2^64 milliseconds. */
PROBE_TEST_ON(test_peers__new_ones_are_not_idle, begin_impatient)
{
    for (int i = 0; i < 50; i++) {
        struct sp_peer peer = probe_connect_peer(f->probe, 0);
        probe_pause(f->probe);
        uint64_t clock_ms = clock_monotonic_ms();
        assert_true(sp_handshake(&peer, SP_REQ));
        WAIT_UNTIL(NULL, clock_monotonic_ms() > clock_ms + 3); /* for the connection to be queued */
        probe_post(f->probe, tick, &clock_ms);
        probe_resume(f->probe);
        expect_echo(&peer, 1);
        sp_close(&peer);
        expect_service(f);
    }
    assert_int_equal(probe_stats(f->probe).peers_kicked, 0);
}

PROBE_TEST_ON(test_calls__too_many_open_on_one_connection, begin_few_calls)
{
    struct sp_peer peer = probe_open_peer(f->probe);
    struct bytes frame = {.at = NULL};
    for (uint64_t i = 1; i <= 13; i++) {
        Jackdaw__Envelope request = probe_request("Hold", i);
        add_envelope(&frame, &request);
    }
    send_frame(&peer, &frame);
    Jackdaw__Frame *replies = probe_receive_frame(&peer);
    assert_int_equal(replies->n_envelopes, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(replies->envelopes[i]->call, 11 + i);
        assert_int_equal(replies->envelopes[i]->status, STATUS_RESOURCE_EXHAUSTED);
        assert_true(replies->envelopes[i]->retry_ms > 0);
    }
    jackdaw__frame__free_unpacked(replies, NULL);
    assert_int_equal(f->counters->held, 10);
    probe_release(f->probe, 1, STATUS_OK);
    expect_reply(&peer, 1, STATUS_OK, NULL);
    Jackdaw__Envelope again = probe_request("Hold", 14);
    send_envelope(&peer, &again);
    WAIT_UNTIL(&f->client, f->counters->held == 10);
    assert_int_equal(probe_stats(f->probe).calls_rejected, 3);
    sp_close(&peer);
    WAIT_UNTIL(&f->client, f->counters->held == 0);
}

/* Sends 40,000 calls with answers of 2 KB, and reads none. The others are served meanwhile, and the
 * server keeps no more than the transport's queue for it. */
INPUT_TEST(test_deaf_peer__others_are_served)
{
    struct sp_peer deaf = probe_connect_peer(f->probe, 2048);
    assert_true(sp_handshake(&deaf, SP_REQ));
    struct bytes frame = {.at = NULL};
    Probe__Text text = PROBE__TEXT__INIT;
    text.reply_bytes = 2000;
    uint8_t packed[32];
    for (uint64_t i = 1; i <= 100; i++) {
        Jackdaw__Envelope request = probe_request("Echo", i);
        request.payload.data = packed;
        request.payload.len = probe__text__pack(&text, packed);
        add_envelope(&frame, &request);
    }
    struct bytes message = {.at = NULL};
    uint8_t prefix[SP_PREFIX_BYTES];
    sp_prefix(prefix, SP_REQUEST_ID, frame.size);
    add(&message, prefix, sizeof prefix);
    add(&message, frame.at, frame.size);
    size_t before = resident_bytes();
    for (int i = 0; i < 400; i++) {
        assert_true(sp_send_bytes(&deaf, message.at, message.size));
        expect_service(f);
    }
    WAIT_UNTIL(&f->client, f->counters->echoed >= 40000 + 400);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(resident_bytes() < before + (24u << 20)); /* of 80 MB */
#endif
    (void)before;
    sp_close(&deaf);
    WAIT_UNTIL(&f->client, probe_stats(f->probe).peers == 1);
    free(message.at);
    free(frame.at);
}

/* A stream to one that does not read stops with its credits. */
INPUT_TEST(test_deaf_peer__stream_stops)
{
    struct sp_peer deaf = probe_connect_peer(f->probe, 2048);
    assert_true(sp_handshake(&deaf, SP_REQ));
    Probe__FlowRequest flow = PROBE__FLOW_REQUEST__INIT;
    flow.page_bytes = 60000;
    uint8_t packed[32];
    Jackdaw__Envelope request = probe_request("Flow", 1);
    request.credits = 1000;
    request.payload.data = packed;
    request.payload.len = probe__flow_request__pack(&flow, packed);
    send_envelope(&deaf, &request);
    WAIT_UNTIL(&f->client, f->counters->pages == RPC_CREDITS_MAX);
    expect_service(f);
    assert_int_equal(f->counters->pages, RPC_CREDITS_MAX);
    /* It was only slow: every page is there. */
    uint64_t pages = 0;
    while (pages < RPC_CREDITS_MAX) {
        Jackdaw__Frame *frame = probe_receive_frame(&deaf);
        for (size_t i = 0; i < frame->n_envelopes; i++) {
            assert_true(frame->envelopes[i]->more);
            pages++;
        }
        jackdaw__frame__free_unpacked(frame, NULL);
    }
    /* Credits that are granted later have the same bound. */
    request.kind = JACKDAW__ENVELOPE__KIND__CREDIT;
    send_envelope(&deaf, &request);
    WAIT_UNTIL(&f->client, f->counters->pages >= 2 * RPC_CREDITS_MAX);
    expect_service(f);
    assert_int_equal(f->counters->pages, 2 * RPC_CREDITS_MAX);
    sp_close(&deaf);
    WAIT_UNTIL(&f->client, f->counters->held == 0);
}
