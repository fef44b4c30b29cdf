/* SPDX-License-Identifier: MIT */
/* Peers that break every rule there is, against a real server, while two people chat: each peer
 * gets an answer or its connection closed, the two notice nothing, and the server does not grow. */
#include "harness/cluster_fixture.h"
#include "harness/raw_chat.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CLOSED_MS 60000          /* nng lets a peer say hello for 10 s */
#define GROWTH_BYTES (32u << 20) /* resident memory that all of this may cost a server */
#define DESCRIPTORS_SLACK 8
#define CONNECTIONS_MAX 400 /* as the server is told below */

static struct {
    struct address address;
    size_t descriptors; /* before the test */
    size_t resident_bytes;
    size_t growth_bytes; /* that is allowed */
} server;
static uint32_t random_state;

/* A line each way, and both see both. */
static void chat(struct cluster_fixture *fixture)
{
    struct json_client *const people[] = {fixture->ann, fixture->bob};
    fixture->said++;
    for (size_t i = 0; i < 2; i++)
        json_client_say(people[i], "line %u of %s", fixture->said, json_client_account(people[i]));
    PROCESS_GROUP_WAIT(fixture->group,
                       json_client_messages(fixture->ann) == 2 * fixture->said &&
                           json_client_messages(fixture->bob) == 2 * fixture->said &&
                           json_client_sent(fixture->ann) == fixture->said &&
                           json_client_sent(fixture->bob) == fixture->said);
}

static void begin(struct cluster_fixture *fixture)
{
    /* What each peer that sent garbage leaves in the log is of no use when this fails. */
    fixture->node.options[0] = "--max_clients=400";
    random_state = 12345;
    server.growth_bytes = GROWTH_BYTES;
    node_start(&fixture->node);
    server.address = node_address(&fixture->node);
    fixture->ann = cluster_fixture_visit(fixture, "ann");
    fixture->bob = cluster_fixture_visit(fixture, "bob");
    for (int i = 0; i < 10; i++)
        chat(fixture);
    server.descriptors = process_descriptors(fixture->node.process);
    server.resident_bytes = process_resident_bytes(fixture->node.process);
}

/* The end of each test: the two never lost their connection, and the server is as it was. */
static void assert_unharmed(struct cluster_fixture *fixture)
{
    chat(fixture);
    PROCESS_GROUP_WAIT_MS(fixture->group, CLOSED_MS,
                          process_descriptors(fixture->node.process) <=
                              server.descriptors + DESCRIPTORS_SLACK);
    size_t resident_bytes = process_resident_bytes(fixture->node.process);
    if (PROCESS_GROUP_SLOWER == 1 && resident_bytes > server.resident_bytes + server.growth_bytes)
        process_group_fail(fixture->group, "the server has grown by %zu KiB",
                           (resident_bytes - server.resident_bytes) / 1024);
    assert_null(json_client_find(fixture->ann, 0, "{s:s}", "type", "notice"));
    assert_null(json_client_find(fixture->bob, 0, "{s:s}", "type", "notice"));
    assert_int_equal(json_client_leave(fixture->ann), 0);
    assert_int_equal(json_client_leave(fixture->bob), 0);
    assert_int_equal(node_stop(&fixture->node), 0);
    struct checker *checker = checker_new();
    checker_was_in(json_client_report(fixture->ann, checker), "lobby", 1, UINT64_MAX);
    checker_was_in(json_client_report(fixture->bob, checker), "lobby", 1, UINT64_MAX);
    checker_verify(checker, CHECK_ALL);
    assert_int_equal(checker_acknowledged(checker), 2 * fixture->said);
    checker_free(checker);
}

#define HOSTILE_TEST(name) CLUSTER_TEST_ON(name, begin, assert_unharmed)

/* xorshift32: the same garbage each time. */
static uint32_t draw(void)
{
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    return random_state;
}

static void fill(uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)draw();
}

/* One connection that ends in its handshake has ended listeners before. */
HOSTILE_TEST(test_hostile__connect_and_reset_storm)
{
    static void (*const ends[])(struct sp_peer *) = {sp_close, sp_reset, sp_close_with_reset};
    for (unsigned i = 0; i < 1500; i++) {
        struct sp_peer peer;
        if (!sp_connect(&peer, &server.address, 0))
            process_group_fail(fixture->group, "the server does not take connection %u", i);
        if (i % 4 == 1)
            (void)sp_send_bytes(&peer, "\0SP\0", 4); /* half a handshake */
        else if (i % 4 == 2)
            (void)sp_send_bytes(&peer, "\0SP\0\0\x30\0\0", 8); /* a whole one */
        ends[i % 3](&peer);
        if (i % 250 == 0)
            chat(fixture);
    }
}

HOSTILE_TEST(test_hostile__hello_of_something_else)
{
    static const char hellos[][32] = {
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n", "SSH-2.0-OpenSSH_9.2\r\n",
        "\x16\x03\x01\x02\x00\x01", /* TLS */
        "NICK ann\r\nUSER ann\r\n",          "\xff\xff\xff\xff\xff\xff\xff\xff",
    };
    for (unsigned i = 0; i < 100; i++) {
        struct sp_peer peer;
        assert_true(sp_connect(&peer, &server.address, 0));
        const char *hello = hellos[i % 5];
        (void)sp_send_bytes(&peer, hello, sizeof hellos[0]);
        if (!sp_wait_closed(&peer, CLOSED_MS))
            process_group_fail(fixture->group, "still connected after '%.8s'", hello);
        sp_close(&peer);
        if (i % 20 == 0)
            chat(fixture);
    }
    /* Another protocol of the same family: PUB, PAIR, REP. */
    static const unsigned protocols[] = {0x20, 0x10, SP_REP};
    for (size_t i = 0; i < 3; i++) {
        struct sp_peer peer;
        assert_true(sp_connect(&peer, &server.address, 0));
        const uint8_t bytes[] = {0, 'S', 'P', 0, 0, (uint8_t)protocols[i], 0, 0};
        assert_true(sp_send_bytes(&peer, bytes, sizeof bytes));
        assert_true(sp_wait_closed(&peer, CLOSED_MS));
        sp_close(&peer);
    }
}

/* More connections than the server takes: those over the limit are closed, the two stay. */
HOSTILE_TEST(test_hostile__more_connections_than_allowed)
{
    enum { MANY = 500 };
    struct sp_peer *peers = calloc(MANY, sizeof *peers);
    for (size_t i = 0; i < MANY; i++) {
        assert_true(sp_connect(&peers[i], &server.address, 0));
        (void)sp_handshake(&peers[i], SP_REQ);
        if (i % 100 == 0)
            chat(fixture);
    }
    chat(fixture);
    PROCESS_GROUP_WAIT_MS(fixture->group, CLOSED_MS,
                          process_descriptors(fixture->node.process) <
                              CONNECTIONS_MAX + server.descriptors + DESCRIPTORS_SLACK);
    for (size_t i = 0; i < MANY; i++)
        sp_close(&peers[i]);
    free(peers);
    /* There is room again. */
    PROCESS_GROUP_WAIT_MS(fixture->group, CLOSED_MS,
                          process_descriptors(fixture->node.process) <=
                              server.descriptors + DESCRIPTORS_SLACK);
    struct sp_peer peer = node_open_peer(&fixture->node);
    struct raw_reply reply;
    assert_true(raw_chat(&peer, &(struct raw_call){.method = "Info"}, &reply));
    assert_int_equal(reply.status, STATUS_OK);
    free(reply.payload);
    sp_close(&peer);
}

HOSTILE_TEST(test_hostile__garbage_frames)
{
    uint8_t bytes[2048];
    for (unsigned i = 0; i < 400; i++) {
        size_t size = draw() % sizeof bytes;
        struct sp_peer peer = node_open_peer(&fixture->node);
        fill(bytes, sizeof bytes);
        bytes[0] = 0xff; /* no tag of a frame: random bytes might be a valid, empty one */
        (void)sp_send(&peer, SP_REQUEST_ID, bytes, size + 1);
        if (!sp_wait_closed(&peer, CLOSED_MS))
            process_group_fail(fixture->group, "still connected after garbage %u", i);
        sp_close(&peer);
        if (i % 50 == 0)
            chat(fixture);
    }
}

/* A good frame with some bytes turned: whatever it means now, the server lives. */
HOSTILE_TEST(test_hostile__damaged_frames)
{
    Jackdaw__SendRequest send = JACKDAW__SEND_REQUEST__INIT;
    send.request = 1;
    send.to = (char *)"lobby";
    send.text = (char *)"a text that is about to be damaged";
    uint8_t token[RAW_TOKEN_BYTES] = {7};
    size_t size;
    uint8_t *good = raw_frame(
        &(struct raw_call){.method = "Send", .message = &send.base, .token = token}, 3, &size);
    uint8_t *bad = malloc(size);
    struct sp_peer peer = node_open_peer(&fixture->node);
    for (unsigned i = 0; i < 3000; i++) {
        memcpy(bad, good, size);
        for (unsigned turns = 1 + draw() % 4; turns > 0; turns--)
            bad[draw() % size] = (uint8_t)draw();
        size_t cut = draw() % 4 == 0 ? draw() % size : size;
        struct sp_message message;
        bool answered = sp_send(&peer, SP_REQUEST_ID, bad, cut) &&
                        sp_receive(&peer, 20, &message) == SP_MESSAGE;
        if (answered) {
            free(message.body);
        } else {
            sp_close(&peer); /* or it was answered nothing: a frame without a request */
            peer = node_open_peer(&fixture->node);
        }
        if (i % 500 == 0)
            chat(fixture);
    }
    sp_close(&peer);
    free(good);
    free(bad);
}

/* Frames that never come to their end, from peers that stay and from peers that leave. */
HOSTILE_TEST(test_hostile__half_frames)
{
    enum { STAYING = 40 };
    struct sp_peer staying[STAYING];
    uint8_t prefix[SP_PREFIX_BYTES];
    uint8_t bytes[4096];
    fill(bytes, sizeof bytes);
    sp_prefix(prefix, SP_REQUEST_ID, 200000);
    for (size_t i = 0; i < STAYING; i++) {
        staying[i] = node_open_peer(&fixture->node);
        assert_true(sp_send_bytes(&staying[i], prefix, i % 2 == 0 ? sizeof prefix : 5));
        if (i % 2 == 0)
            assert_true(sp_send_bytes(&staying[i], bytes, sizeof bytes));
    }
    for (unsigned i = 0; i < 300; i++) {
        struct sp_peer peer = node_open_peer(&fixture->node);
        (void)sp_send_bytes(&peer, prefix, 1 + i % sizeof prefix);
        (void)sp_send_bytes(&peer, bytes, i % sizeof bytes);
        if (i % 2 == 0)
            sp_close(&peer);
        else
            sp_reset(&peer);
        if (i % 60 == 0)
            chat(fixture);
    }
    chat(fixture);
    for (size_t i = 0; i < STAYING; i++)
        sp_close(&staying[i]);
}

/* Sizes that no server should take at its word. */
HOSTILE_TEST(test_hostile__oversize_frames)
{
    static const uint64_t sizes[] = {300u * 1024u,           64u << 20,  UINT32_MAX,
                                     (uint64_t)INT64_MAX,    UINT64_MAX, UINT64_MAX - 3,
                                     (uint64_t)INT64_MAX + 1};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        uint8_t prefix[SP_PREFIX_BYTES] = {0};
        struct sp_peer peer = node_open_peer(&fixture->node);
        for (int at = 0; at < 8; at++)
            prefix[at] = (uint8_t)(sizes[i] >> (56 - 8 * at));
        prefix[8] = 0x80;
        (void)sp_send_bytes(&peer, prefix, sizeof prefix);
        if (!sp_wait_closed(&peer, CLOSED_MS))
            process_group_fail(fixture->group, "still connected after announcing %llu bytes",
                               (unsigned long long)sizes[i]);
        sp_close(&peer);
        chat(fixture);
    }
}

/* Small frames that ask for much memory: thousands of empty envelopes. */
HOSTILE_TEST(test_hostile__frames_that_swell)
{
    size_t size = 200u * 1024u;
    uint8_t *bytes = calloc(1, size);
    for (size_t i = 0; i < size; i += 2)
        bytes[i] = 0x0a; /* Frame.envelopes, of length 0 */
    for (unsigned i = 0; i < 50; i++) {
        struct sp_peer peer = node_open_peer(&fixture->node);
        (void)sp_send(&peer, SP_REQUEST_ID, bytes, size);
        assert_true(sp_wait_closed(&peer, CLOSED_MS));
        sp_close(&peer);
    }
    free(bytes);
}

static void assert_status(struct cluster_fixture *fixture, struct sp_peer *peer,
                          const struct raw_call *call, enum status status, const char *naming)
{
    struct raw_reply reply;
    if (!raw_chat(peer, call, &reply))
        process_group_fail(fixture->group, "%s was not answered", call->method);
    if (reply.status != status || strstr(reply.text, naming) == NULL)
        process_group_fail(fixture->group, "%s got %s: %s", call->method, status_name(reply.status),
                           reply.text);
    free(reply.payload);
}

HOSTILE_TEST(test_hostile__calls_that_make_no_sense)
{
    struct sp_peer peer = node_open_peer(&fixture->node);
    static const uint8_t token[RAW_TOKEN_BYTES] = {1, 2, 3};
    static const uint8_t garbage[64] = {0xff, 0xff, 0xff};
    static const uint8_t large[100000] = {0};
    static const struct {
        struct raw_call call;
        enum status status;
        const char *naming;
    } cases[] = {
        {{.method = "Info", .protocol = 7 << 16}, STATUS_FAILED_PRECONDITION, "7.0"},
        {{.method = "Info", .service = "jackdaw.Shell"}, STATUS_UNIMPLEMENTED, "jackdaw.Shell"},
        {{.method = "Format"}, STATUS_UNIMPLEMENTED, "Format"},
        {{.method = "Send"}, STATUS_UNAUTHENTICATED, "log in"},
        {{.method = "Receive", .token = token}, STATUS_UNAUTHENTICATED, "log in"},
        {{.method = "Send", .payload = garbage, .payload_size = sizeof garbage},
         STATUS_INVALID_ARGUMENT,
         "SendRequest"},
        {{.method = "Login", .payload = large, .payload_size = sizeof large},
         STATUS_INVALID_ARGUMENT,
         "100000"},
        {{.method = "Info"}, STATUS_OK, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_status(fixture, &peer, &cases[i].call, cases[i].status, cases[i].naming);
    sp_close(&peer);
}

/* Returns a request to register the name. Every request has another nonce. */
static Jackdaw__RegisterRequest registering(const char *name)
{
    static uint8_t nonce[16];
    nonce[0]++;
    Jackdaw__RegisterRequest request = JACKDAW__REGISTER_REQUEST__INIT;
    request.name = (char *)name;
    request.password = (char *)"a password";
    request.nonce = (ProtobufCBinaryData){.data = nonce, .len = sizeof nonce};
    return request;
}

HOSTILE_TEST(test_hostile__strings_that_are_no_text)
{
    struct sp_peer peer = node_open_peer(&fixture->node);
    static const char *const names[] = {"",          "\xff\xfe",  "a\xc0\x80z", "\xed\xa0\x80",
                                        "tab\there", "new\nline", "\x1b[2J"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        Jackdaw__RegisterRequest request = registering(names[i]);
        assert_status(fixture, &peer,
                      &(struct raw_call){.method = "RegisterAccount", .message = &request.base},
                      STATUS_INVALID_ARGUMENT, "");
    }
    const uint8_t token[RAW_TOKEN_BYTES] = {9};
    assert_true(raw_login(&peer, "eve", token));
    static const char *const texts[] = {"", "\xff\xfe", "cut off: \xe2\x82"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct raw_reply reply;
        assert_true(raw_send(&peer, token, i + 1, "@ann", texts[i], &reply));
        assert_int_equal(reply.status, STATUS_INVALID_ARGUMENT);
        free(reply.payload);
    }
    sp_close(&peer);
}

/* What a connection that never reads may cost: so many frames wait for it, of such a size. */
#define WAITING_BYTES (64u * 64u * 1024u)

/* Asks as much as the peers take, going on in the middle of a frame where one took a part of it.
 * Returns how many bytes they took. */
static size_t ask_and_never_read(struct cluster_fixture *fixture, struct sp_peer *peers,
                                 size_t count, const uint8_t *bytes, size_t size, size_t most)
{
    size_t total = 0;
    size_t *sent = calloc(count, sizeof *sent);
    for (unsigned round = 0; round < 40; round++) {
        for (size_t i = 0; i < count; i++) {
            for (size_t got = 1; got > 0 && sent[i] < most; sent[i] += got, total += got) {
                size_t at = sent[i] % size;
                got = sp_try_send_bytes(&peers[i], bytes + at, size - at);
            }
        }
        chat(fixture);
    }
    free(sent);
    return total;
}

/* Peers that ask and ask and never read an answer. What they cost is bounded for each, and given
 * back: others may do the same after them. */
HOSTILE_TEST(test_hostile__peers_that_never_read)
{
    enum { PEERS = 16, BYTES_EACH = 4 << 20 };
    struct sp_peer peers[PEERS];
    size_t size;
    uint8_t *frame = raw_frame(&(struct raw_call){.method = "Info"}, 500, &size);
    uint8_t *bytes = malloc(SP_PREFIX_BYTES + size);
    sp_prefix(bytes, SP_REQUEST_ID, size);
    memcpy(bytes + SP_PREFIX_BYTES, frame, size);
    for (unsigned again = 0; again < 3; again++) {
        for (size_t i = 0; i < PEERS; i++) {
            assert_true(sp_connect(&peers[i], &server.address, 4096));
            assert_true(sp_handshake(&peers[i], SP_REQ));
        }
        size_t total =
            ask_and_never_read(fixture, peers, PEERS, bytes, SP_PREFIX_BYTES + size, BYTES_EACH);
        assert_true(total > 1u << 20);
        for (size_t i = 0; i < PEERS; i++)
            sp_close(&peers[i]);
    }
    free(bytes);
    free(frame);
    server.growth_bytes += (size_t)PEERS * WAITING_BYTES;
}

/* Peers that leave while the server still works for them: passwords are hashed on a thread of
 * their own. */
HOSTILE_TEST(test_hostile__leaving_with_requests_in_flight)
{
    for (unsigned i = 0; i < 200; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "visitor%u", i);
        Jackdaw__RegisterRequest request = registering(name);
        size_t size;
        uint8_t *frame = raw_frame(
            &(struct raw_call){.method = "RegisterAccount", .message = &request.base}, 20, &size);
        struct sp_peer peer = node_open_peer(&fixture->node);
        assert_true(sp_send(&peer, SP_REQUEST_ID, frame, size));
        if (i % 2 == 0)
            sp_close(&peer);
        else
            sp_reset(&peer);
        free(frame);
        if (i % 40 == 0)
            chat(fixture);
    }
}

/* A stream that is opened and never read, in a room where much is said. */
HOSTILE_TEST(test_hostile__member_that_never_reads)
{
    struct sp_peer peer;
    const uint8_t token[RAW_TOKEN_BYTES] = {11};
    assert_true(sp_connect(&peer, &server.address, 4096));
    assert_true(sp_handshake(&peer, SP_REQ));
    assert_true(raw_login(&peer, "eve", token));
    Jackdaw__JoinRoomRequest join = JACKDAW__JOIN_ROOM_REQUEST__INIT;
    join.request = 1;
    join.room = (char *)"lobby";
    assert_status(fixture, &peer,
                  &(struct raw_call){.method = "JoinRoom", .message = &join.base, .token = token},
                  STATUS_OK, "");
    size_t size;
    uint8_t *frame = raw_frame(
        &(struct raw_call){.method = "Receive", .token = token, .credits = 1000}, 1, &size);
    assert_true(sp_send(&peer, SP_REQUEST_ID, frame, size));
    free(frame);
    for (unsigned i = 0; i < 700; i++)
        chat(fixture);
    sp_close(&peer);
}
