/* SPDX-License-Identifier: MIT */
/* More than the owner can take: every call is answered, nothing is dropped, memory stays bounded. */
#include "probe.h"
#include "rpc/protocol.h"

#include <stdlib.h>
#include <string.h>

#define WAITING_CALLS 500
#define WAITING_BYTES (1u << 20)
#define COUNT 5000

static void start(struct probe_fixture *f, const struct rpc_server_options *options)
{
    probe_fixture_start(f, options);
    client_expect_service(&f->client);
}

static void begin_few_calls(struct probe_fixture *f)
{
    start(f, &(struct rpc_server_options){.waiting_calls_max = WAITING_CALLS,
                                          .peer_calls_max = 100000});
}

static void begin_few_bytes(struct probe_fixture *f)
{
    start(f, &(struct rpc_server_options){.waiting_bytes_max = WAITING_BYTES});
}

static size_t count_ended(const struct probe_fixture *f, enum status status)
{
    size_t count = 0;
    for (size_t i = 0; i < COUNT; i++)
        count += f->outcomes[i].ended && f->outcomes[i].result.status == status;
    return count;
}

/* Waits until the stuck server has received so many calls since `before`, and the client has heard of all that
 * it rejected. nng drops answers when over 64 wait at a connection. */
static void wait_for_rejections(struct probe_fixture *f, const struct rpc_server_stats *before,
                                uint64_t calls)
{
    struct rpc_server_stats stats = *before;
    WAIT_UNTIL(&f->client, (stats = probe_paused_stats(f->probe)).calls_received >=
                               before->calls_received + calls);
    WAIT_UNTIL(&f->client, count_ended(f, STATUS_RESOURCE_EXHAUSTED) >=
                               stats.calls_rejected - before->calls_rejected);
}

static void call_all(struct probe_fixture *f, const char *text)
{
    struct rpc_server_stats before = probe_paused_stats(f->probe);
    for (size_t i = 0; i < COUNT; i++) {
        client_echo(&f->client, text, 0, &f->outcomes[i]);
        rpc_channel_flush(f->client.channel);
        if (i % 40 == 0) {
            client_turn(&f->client, 0); /* frames of all sizes */
            wait_for_rejections(f, &before, i + 1);
        }
    }
}

/* While the owner is stuck, callers hear at once that the queue is full; what was taken before is
 * answered when the owner goes on. */
PROBE_TEST_ON(test_full_queue__every_call_is_answered, begin_few_calls)
{
    probe_pause(f->probe);
    call_all(f, "x");
    WAIT_UNTIL(&f->client, count_ended(f, STATUS_RESOURCE_EXHAUSTED) >= COUNT - WAITING_CALLS);
    size_t rejected = count_ended(f, STATUS_RESOURCE_EXHAUSTED);
    assert_true(rejected < COUNT);
    for (size_t i = 0; i < COUNT; i++) {
        if (f->outcomes[i].ended) {
            assert_true(f->outcomes[i].result.retry_ms > 0);
            assert_true(strlen(f->outcomes[i].message) > 0);
        }
    }
    probe_resume(f->probe);
    for (size_t i = 0; i < COUNT; i++)
        WAIT_UNTIL(&f->client, f->outcomes[i].ended);
    assert_int_equal(count_ended(f, STATUS_OK) + count_ended(f, STATUS_RESOURCE_EXHAUSTED), COUNT);
    assert_int_equal(probe_stats(f->probe).calls_rejected, rejected);
    assert_int_equal(f->counters->echoed, 1 + COUNT - rejected);
    client_expect_service(&f->client);
    assert_int_equal(f->client.disconnected, 0);
}

/* A full frame of calls is rejected in one frame of answers: nng drops none of them. */
PROBE_TEST_ON(test_full_queue__frames_of_many_calls, begin_few_calls)
{
    struct sp_peer peer = probe_open_peer(f->probe);
    Jackdaw__Envelope requests[RPC_ENVELOPES_MAX];
    for (size_t i = 0; i < RPC_ENVELOPES_MAX; i++)
        requests[i] = probe_request("Echo", 0);
    ProtobufCBinaryData frame = probe_frame(requests, RPC_ENVELOPES_MAX);
    probe_pause(f->probe);
    for (int i = 0; i < 60; i++) /* all of them before reading a single answer */
        assert_true(sp_send(&peer, SP_REQUEST_ID, frame.data, frame.len));
    free(frame.data);
    size_t answers = 0;
    while (answers < (size_t)60 * RPC_ENVELOPES_MAX) {
        Jackdaw__Frame *reply = probe_receive_frame(&peer);
        for (size_t i = 0; i < reply->n_envelopes; i++) {
            assert_int_equal(reply->envelopes[i]->status, STATUS_RESOURCE_EXHAUSTED);
            assert_true(reply->envelopes[i]->retry_ms > 0);
        }
        answers += reply->n_envelopes;
        jackdaw__frame__free_unpacked(reply, NULL);
    }
    probe_resume(f->probe);
    client_expect_service(&f->client);
    sp_close(&peer);
}

PROBE_TEST_ON(test_full_queue__of_bytes, begin_few_bytes)
{
    char text[3000];
    memset(text, 't', sizeof text);
    text[sizeof text - 1] = '\0';
    probe_pause(f->probe);
    call_all(f, text);
    /* A call takes at least its text. */
    WAIT_UNTIL(&f->client,
               count_ended(f, STATUS_RESOURCE_EXHAUSTED) >= COUNT - WAITING_BYTES / sizeof text);
    assert_true(count_ended(f, STATUS_RESOURCE_EXHAUSTED) < COUNT);
    probe_resume(f->probe);
    for (size_t i = 0; i < COUNT; i++)
        WAIT_UNTIL(&f->client, f->outcomes[i].ended);
    client_expect_service(&f->client);
}

static void send_endlessly(struct probe_fixture *f, const uint8_t *body, size_t size)
{
    struct sp_peer peer = probe_open_peer(f->probe);
    uint8_t prefix[SP_PREFIX_BYTES];
    sp_prefix(prefix, SP_REQUEST_ID, size);
    uint8_t burst[SP_PREFIX_BYTES * 2000];
    size_t used = 0;
    while (used + SP_PREFIX_BYTES + size <= sizeof burst) {
        memcpy(burst + used, prefix, sizeof prefix);
        memcpy(burst + used + sizeof prefix, body, size);
        used += sizeof prefix + size;
    }
    probe_pause(f->probe);
    size_t before = resident_bytes();
    for (int i = 0; i < 60; i++)
        if (!sp_send_bytes(&peer, burst, used))
            break; /* disconnected: fine */
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    assert_true(resident_bytes() < before + (20u << 20)); /* 100,000 frames */
#endif
    (void)before;
    probe_resume(f->probe);
    client_expect_service(&f->client);
    sp_close(&peer);
    assert_int_equal(f->client.disconnected, 0);
}

/* Frames without a request have nothing to be answered, and still take memory. */
PROBE_TEST_ON(test_full_queue__of_empty_frames, begin_few_bytes)
{
    send_endlessly(f, (const uint8_t *)"", 0);
}

PROBE_TEST_ON(test_full_queue__of_control_frames, begin_few_bytes)
{
    send_endlessly(f, (const uint8_t *)"\x0a\x04\x08\x02\x18\x05", 6);
}

/* Sends frames of two calls until one is rejected. A frame of more calls may be rejected although a smaller one
 * still fits. The server counts a rejection just after the call, so the first one may be of the calls before.
 * Returns the index of the next outcome. */
static size_t fill_queue(struct probe_fixture *f, const char *text, size_t next)
{
    for (int rejections = 0; rejections < 2;) {
        struct rpc_server_stats before = probe_paused_stats(f->probe);
        assert_true(next + 4 <= COUNT);
        client_echo(&f->client, text, 0, &f->outcomes[next++]);
        client_echo(&f->client, text, 0, &f->outcomes[next++]);
        rpc_channel_flush(f->client.channel);
        WAIT_UNTIL(&f->client,
                   probe_paused_stats(f->probe).calls_received >= before.calls_received + 2);
        rejections += probe_paused_stats(f->probe).calls_rejected > before.calls_rejected;
    }
    return next;
}

/* While requests are rejected, control messages for open calls still get through, also those in a
 * frame with rejected requests. */
PROBE_TEST_ON(test_full_queue__control_gets_through, begin_few_bytes)
{
    struct client *client = &f->client;
    struct outcome *flow = &f->outcomes[0];
    struct outcome *held = &f->outcomes[1];
    client_flow(client, 0, 10, 5, flow);
    uint64_t flow_call = client->stub.call;
    client_hold(client, "h", held);
    uint64_t held_call = client->stub.call;
    WAIT_UNTIL(client, flow->replies == 5 && f->counters->held == 2);
    char text[3000];
    memset(text, 't', sizeof text);
    text[sizeof text - 1] = '\0';
    probe_pause(f->probe);
    struct rpc_server_stats before = probe_paused_stats(f->probe);
    for (size_t i = 2; i < 1000; i++) {
        client_echo(client, text, 0, &f->outcomes[i]);
        client_turn(client, 0);
        if (i % 32 == 31 || i == 999)
            wait_for_rejections(f, &before, i - 1);
    }
    size_t next = fill_queue(f, text, 1000);
    WAIT_UNTIL(client, f->outcomes[next - 1].ended);
    size_t rejected = count_ended(f, STATUS_RESOURCE_EXHAUSTED);
    client_echo(client, text, 0, &f->outcomes[next]);
    rpc_channel_credit(client->channel, flow_call, 3);
    rpc_channel_cancel(client->channel, held_call);
    client_echo(client, text, 0, &f->outcomes[next + 1]);
    rpc_channel_flush(client->channel);
    WAIT_UNTIL(client, f->outcomes[next].ended && f->outcomes[next + 1].ended);
    assert_int_equal(f->outcomes[next].result.status, STATUS_RESOURCE_EXHAUSTED);
    assert_true(rejected > 0);
    probe_resume(f->probe);
    WAIT_UNTIL(client, flow->replies == 8);
    WAIT_UNTIL(client, f->counters->cancelled == 1);
    assert_int_equal(flow->gaps, 0);
    assert_int_equal(client->disconnected, 0);
    for (size_t i = 2; i < next + 2; i++)
        WAIT_UNTIL(client, f->outcomes[i].ended);
}
