/* SPDX-License-Identifier: MIT */
/* Calls that go right, and those that are refused: one request, one reply. */
#include "probe.h"
#include "rpc/protocol.h"

#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

PROBE_TEST(test_call__gets_its_reply)
{
    struct outcome outcome = {.number = 0};
    client_echo(&f->client, "hello", 77, &outcome);
    assert_true(f->client.stub.call != 0);
    assert_int_equal(rpc_channel_open_calls(f->client.channel), 1);
    WAIT_UNTIL(&f->client, outcome.ended);
    assert_int_equal(outcome.result.status, STATUS_OK);
    assert_string_equal(outcome.text, "hello");
    assert_int_equal(outcome.number, 77);
    assert_int_equal(outcome.replies, 1);
    assert_string_equal(outcome.message, "");
    assert_string_equal(outcome.master, "");
    assert_int_equal(rpc_channel_open_calls(f->client.channel), 0);
    assert_true(rpc_channel_is_connected(f->client.channel));
    assert_int_equal(f->client.connected, 1);
}

/* A request and a reply of zero bytes: both messages are all defaults. */
PROBE_TEST(test_call__empty_request_and_reply)
{
    struct outcome outcome = {.number = 5};
    client_echo(&f->client, "", 0, &outcome);
    WAIT_UNTIL(&f->client, outcome.ended);
    assert_int_equal(outcome.result.status, STATUS_OK);
    assert_int_equal(outcome.number, 0);
    assert_string_equal(outcome.text, "");
}

PROBE_TEST(test_call__carries_the_token)
{
    uint8_t token[RPC_TOKEN_BYTES_MAX];
    for (size_t i = 0; i < sizeof token; i++)
        token[i] = (uint8_t)(i * 7);
    for (size_t size = 0; size <= sizeof token; size += 32) {
        f->client.stub.token = token;
        f->client.stub.token_size = size;
        struct outcome outcome = client_ask(&f->client, "t", 0);
        assert_int_equal(outcome.token_size, size);
        assert_memory_equal(outcome.token, token, size);
    }
}

PROBE_TEST(test_call__token_too_long_is_refused)
{
    static const uint8_t token[RPC_TOKEN_BYTES_MAX + 1];
    f->client.stub.token = token;
    f->client.stub.token_size = sizeof token;
    struct outcome outcome = client_ask(&f->client, "t", 0);
    assert_int_equal(outcome.result.status, STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(outcome.message, "64"));
}

#define MANY 500

PROBE_TEST(test_call__many_at_once_each_its_own_reply)
{
    struct outcome *outcomes = probe_fixture_take(f, MANY);
    char text[32];
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(text, sizeof text, "text %u", i);
        if (i % 3 == 0)
            client_work(&f->client, text, &outcomes[i]);
        else
            client_echo(&f->client, text, 0, &outcomes[i]);
    }
    for (unsigned i = 0; i < MANY; i++) {
        WAIT_UNTIL(&f->client, outcomes[i].ended);
        (void)snprintf(text, sizeof text, "text %u", i);
        assert_string_equal(outcomes[i].text, text);
        assert_int_equal(outcomes[i].replies, 1);
    }
}

/* More in one turn than a frame may have envelopes: requests, replies and control messages are
 * spread over as many frames as are needed. */
PROBE_TEST(test_call__more_in_one_turn_than_fit_a_frame)
{
    const unsigned count = RPC_ENVELOPES_MAX * 3 + 17;
    struct outcome *outcomes = probe_fixture_take(f, count);
    client_expect_service(&f->client);
    probe_pause(f->probe);
    for (unsigned i = 0; i < count; i++)
        client_echo(&f->client, "", 0, &outcomes[i]);
    /* All are in the server's queue before it answers the first. */
    for (int i = 0; i < 50; i++)
        client_turn(&f->client, 2);
    probe_resume(f->probe);
    client_expect_all(&f->client, outcomes, count, STATUS_OK);
    assert_int_equal(f->client.disconnected, 0);
}

PROBE_TEST(test_cancel__more_in_one_turn_than_fit_a_frame)
{
    const unsigned count = RPC_ENVELOPES_MAX * 2 + 100;
    struct outcome *outcomes = probe_fixture_take(f, count);
    uint64_t first = 0;
    for (unsigned i = 0; i < count; i++) {
        client_hold(&f->client, "h", &outcomes[i]);
        if (i == 0)
            first = f->client.stub.call;
    }
    WAIT_UNTIL(&f->client, f->counters->held == count);
    for (unsigned i = 0; i < count; i++)
        rpc_channel_cancel(f->client.channel, first + i);
    WAIT_UNTIL(&f->client, f->counters->held == 0);
    assert_int_equal(f->counters->cancelled, count);
    for (unsigned i = 0; i < count; i++)
        assert_int_equal(outcomes[i].result.status, STATUS_CANCELLED);
    client_expect_service(&f->client);
    assert_int_equal(f->client.disconnected, 0);
}

PROBE_TEST(test_call__answered_later_in_another_order)
{
    struct outcome held[3] = {{.number = 0}};
    client_hold(&f->client, "a", &held[0]);
    client_hold(&f->client, "b", &held[1]);
    client_hold(&f->client, "c", &held[2]);
    WAIT_UNTIL(&f->client, f->counters->held == 3);
    client_expect_service(&f->client);
    assert_false(held[0].ended || held[1].ended || held[2].ended);
    assert_int_equal(probe_stats(f->probe).open_calls, 3);
    probe_release(f->probe, 2, STATUS_OK);
    WAIT_UNTIL(&f->client, held[0].ended && held[1].ended);
    assert_false(held[2].ended);
    assert_string_equal(held[0].text, "a");
    assert_string_equal(held[1].text, "b");
    probe_release(f->probe, 1, STATUS_DATA_LOSS);
    WAIT_UNTIL(&f->client, held[2].ended);
    assert_int_equal(held[2].result.status, STATUS_DATA_LOSS);
    assert_int_equal(probe_stats(f->probe).open_calls, 0);
}

PROBE_TEST(test_call__answered_from_other_threads)
{
    struct outcome *outcomes = probe_fixture_take(f, MANY);
    probe_block_workers(f->probe, true);
    for (unsigned i = 0; i < MANY; i++)
        client_work(&f->client, "w", &outcomes[i]);
    WAIT_UNTIL(&f->client, f->counters->working == MANY);
    client_expect_service(&f->client);
    probe_block_workers(f->probe, false);
    client_expect_all(&f->client, outcomes, MANY, STATUS_OK);
    for (size_t i = 0; i < MANY; i++)
        assert_string_equal(outcomes[i].text, "w");
}

static struct outcome refuse_with(struct probe_fixture *f, const Probe__Refusal *refusal)
{
    struct outcome *outcome = probe_fixture_take(f, 1);
    probe__probe__refuse(&f->client.stub.service, refusal, on_text, outcome);
    WAIT_UNTIL(&f->client, outcome->ended);
    return *outcome;
}

PROBE_TEST(test_fail__every_status_with_sentence_and_retry)
{
    for (unsigned elsewhere = 0; elsewhere < 2; elsewhere++) {
        for (unsigned status = 1; status < STATUS_COUNT; status++) {
            Probe__Refusal refusal = PROBE__REFUSAL__INIT;
            refusal.status = status;
            refusal.retry_ms = status * 10;
            refusal.text = (char *)"because";
            refusal.elsewhere = elsewhere == 1;
            struct outcome outcome = refuse_with(f, &refusal);
            assert_int_equal(outcome.result.status, status);
            assert_int_equal(outcome.result.retry_ms, status * 10);
            assert_string_equal(outcome.message, "because");
            assert_string_equal(outcome.master, "");
            assert_int_equal(outcome.replies, 1);
        }
    }
}

PROBE_TEST(test_fail__names_the_master)
{
    Probe__Refusal refusal = PROBE__REFUSAL__INIT;
    refusal.status = STATUS_UNAVAILABLE;
    refusal.master = (char *)"192.0.2.7:2625";
    struct outcome outcome = refuse_with(f, &refusal);
    assert_int_equal(outcome.result.status, STATUS_UNAVAILABLE);
    assert_string_equal(outcome.master, "192.0.2.7:2625");
    assert_string_equal(outcome.message, "");
}

PROBE_TEST(test_fail__names_the_expected_request)
{
    for (unsigned elsewhere = 0; elsewhere < 2; elsewhere++) {
        Probe__Refusal refusal = PROBE__REFUSAL__INIT;
        refusal.status = STATUS_ABORTED;
        refusal.retry_ms = 1;
        refusal.next_request = UINT64_MAX - elsewhere;
        refusal.elsewhere = elsewhere == 1;
        struct outcome outcome = refuse_with(f, &refusal);
        assert_int_equal(outcome.result.status, STATUS_ABORTED);
        assert_true(outcome.result.next_request == UINT64_MAX - elsewhere);
        refusal.next_request = 0;
        outcome = refuse_with(f, &refusal);
        assert_true(outcome.result.next_request == 0);
    }
    struct outcome good = {.result = {.next_request = 5}};
    client_echo(&f->client, "", 0, &good);
    WAIT_UNTIL(&f->client, good.ended);
    assert_true(good.result.next_request == 0);
}

/* The probe shows the position that it is asked for; in a refusal and in a late one, too. */
PROBE_TEST(test_show__the_position_of_the_state)
{
    f->client.stub.position = (struct log_position){.epoch = UINT64_C(1) << 40, .seq = 9};
    struct outcome good = {.number = 0};
    client_echo(&f->client, "", 0, &good);
    WAIT_UNTIL(&f->client, good.ended);
    assert_true(good.result.position.epoch == UINT64_C(1) << 40);
    assert_true(good.result.position.seq == 9);
    for (unsigned elsewhere = 0; elsewhere < 2; elsewhere++) {
        Probe__Refusal refusal = PROBE__REFUSAL__INIT;
        refusal.status = STATUS_ABORTED;
        refusal.elsewhere = elsewhere == 1;
        struct outcome outcome = refuse_with(f, &refusal);
        assert_true(outcome.result.position.seq == 9);
    }
    f->client.stub.position = (struct log_position){.epoch = 0};
    client_echo(&f->client, "", 0, &good);
    WAIT_UNTIL(&f->client, good.replies == 2);
    assert_true(good.result.position.epoch == 0 && good.result.position.seq == 0);
}

static void expect_peer(struct probe_fixture *f, const char *peer, const char *text)
{
    Probe__Text request = PROBE__TEXT__INIT;
    request.ask_peer = true;
    f->client.stub.peer = peer;
    struct outcome outcome = {.number = 0};
    probe__probe__echo(&f->client.stub.service, &request, on_text, &outcome);
    WAIT_UNTIL(&f->client, outcome.ended);
    assert_memory_equal(outcome.text, text, strlen(text));
}

/* A caller may name anything: only what may be an address comes into a log. */
PROBE_TEST(test_peer__of_a_forwarded_call)
{
    expect_peer(f, "[2001:db8::7]:50100", "[2001:db8::7]:50100 via 127.0.0.1:");
    expect_peer(f, "10.0.0.9:1\nlevel=error", "? via 127.0.0.1:");
    expect_peer(f, "1234567890123456789012345678901234567890123456789012345678901234", "? via ");
    expect_peer(f, NULL, "127.0.0.1:");
}

PROBE_TEST(test_closure__without_a_reply_is_internal)
{
    Probe__Refusal refusal = PROBE__REFUSAL__INIT;
    struct outcome outcome = refuse_with(f, &refusal);
    assert_int_equal(outcome.result.status, STATUS_INTERNAL);
}

/* Makes a call that the generated functions would not: past their check of the descriptor. */
static struct outcome call_as(struct probe_fixture *f, const ProtobufCServiceDescriptor *descriptor)
{
    struct outcome *outcome = probe_fixture_take(f, 1);
    struct rpc_stub stub;
    rpc_stub_init(&stub, f->client.channel, descriptor);
    Probe__Text request = PROBE__TEXT__INIT;
    stub.service.invoke(&stub.service, 0, &request.base, (ProtobufCClosure)on_text, outcome);
    WAIT_UNTIL(&f->client, outcome->ended);
    return *outcome;
}

PROBE_TEST(test_call__unknown_service)
{
    ProtobufCServiceDescriptor descriptor = probe__probe__descriptor;
    descriptor.name = "probe.Other";
    struct outcome outcome = call_as(f, &descriptor);
    assert_int_equal(outcome.result.status, STATUS_UNIMPLEMENTED);
    assert_non_null(strstr(outcome.message, "probe.Other"));
}

PROBE_TEST(test_call__unknown_method)
{
    ProtobufCServiceDescriptor descriptor = probe__probe__descriptor;
    ProtobufCMethodDescriptor methods[8];
    memcpy(methods, descriptor.methods, descriptor.n_methods * sizeof methods[0]);
    methods[0].name = "Sing";
    descriptor.methods = methods;
    struct outcome outcome = call_as(f, &descriptor);
    assert_int_equal(outcome.result.status, STATUS_UNIMPLEMENTED);
    assert_non_null(strstr(outcome.message, "Sing"));
    assert_non_null(strstr(outcome.message, "probe.Probe"));
}

/* Hold has the default limit, 4096 bytes; Echo has 100,000. */
PROBE_TEST(test_call__request_at_and_over_its_limit)
{
    char *text = malloc(300000);
    memset(text, 't', 300000);
    struct outcome *held = probe_fixture_take(f, 2);

    text[4096 - 3] = '\0'; /* key and a two-byte length make 3 */
    client_hold(&f->client, text, &held[0]);
    WAIT_UNTIL(&f->client, f->counters->held == 1);
    probe_release(f->probe, 1, STATUS_OK);
    WAIT_UNTIL(&f->client, held[0].ended);
    assert_int_equal(held[0].result.status, STATUS_OK);
    assert_int_equal(held[0].text_size, 4093);
    text[4096 - 3] = 't';

    text[4096 - 2] = '\0';
    client_hold(&f->client, text, &held[1]);
    WAIT_UNTIL(&f->client, held[1].ended);
    assert_int_equal(held[1].result.status, STATUS_INVALID_ARGUMENT);
    assert_non_null(strstr(held[1].message, "4096"));
    assert_non_null(strstr(held[1].message, "4097"));
    text[4096 - 2] = 't';

    text[99996] = '\0';
    struct outcome outcome = client_ask(&f->client, text, 0);
    assert_int_equal(outcome.result.status, STATUS_OK);
    assert_int_equal(outcome.text_size, 99996);
    text[99996] = 't';

    text[99997] = '\0';
    outcome = client_ask(&f->client, text, 0);
    assert_int_equal(outcome.result.status, STATUS_INVALID_ARGUMENT);
    text[99997] = 't';

    /* Over the frame's: refused before it is sent. */
    text[299999] = '\0';
    outcome = (struct outcome){.number = 0};
    client_echo(&f->client, text, 0, &outcome);
    assert_true(outcome.ended);
    assert_int_equal(f->client.stub.call, 0);
    assert_int_equal(outcome.result.status, STATUS_INVALID_ARGUMENT);
    client_expect_service(&f->client);
    assert_int_equal(f->client.disconnected, 0);
    free(text);
}

static struct outcome *echo_large(struct probe_fixture *f, uint32_t reply_bytes)
{
    struct outcome *outcome = probe_fixture_take(f, 1);
    Probe__Text request = PROBE__TEXT__INIT;
    request.reply_bytes = reply_bytes;
    probe__probe__echo(&f->client.stub.service, &request, on_text, outcome);
    return outcome;
}

PROBE_TEST(test_call__large_replies)
{
    static const uint32_t sizes[] = {1000, 1024, 65536, 400000, 4100000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        struct outcome *outcome = echo_large(f, sizes[i]);
        WAIT_UNTIL(&f->client, outcome->ended);
        assert_int_equal(outcome->result.status, STATUS_OK);
        assert_int_equal(outcome->text_size, sizes[i]);
    }
}

/* Over 4 MiB: the client hangs up on a server that breaks its bound, and connects again. */
PROBE_TEST(test_call__reply_larger_than_a_frame_may_be)
{
    struct outcome *outcome = echo_large(f, 4300000);
    WAIT_UNTIL(&f->client, outcome->ended);
    assert_int_equal(outcome->result.status, STATUS_UNAVAILABLE);
    assert_int_equal(f->client.disconnected, 1);
    client_expect_service(&f->client);
}

/* As many large answers as the transport holds for one connection, all in one turn. */
PROBE_TEST(test_call__large_replies_in_one_turn_all_arrive)
{
    enum { COUNT = 60 };
    struct outcome *outcomes[COUNT];
    client_expect_service(&f->client);
    f->client.stub.timeout_ms = 10000;
    probe_pause(f->probe);
    for (int i = 0; i < COUNT; i++)
        outcomes[i] = echo_large(f, 60000);
    for (int i = 0; i < 20; i++)
        client_turn(&f->client, 2);
    probe_resume(f->probe);
    for (int i = 0; i < COUNT; i++) {
        WAIT_UNTIL(&f->client, outcomes[i]->ended);
        if (outcomes[i]->result.status != STATUS_OK)
            fail_msg("call %d: %s", i, status_name(outcomes[i]->result.status));
        assert_int_equal(outcomes[i]->text_size, 60000);
    }
}

struct in_order {
    struct client *client;
    struct outcome *outcomes;
    uint64_t made;
    uint64_t answered;
    unsigned wrong;
};

static void next_in_order(struct outcome *outcome)
{
    struct in_order *run = outcome->context;
    if (outcome->result.status != STATUS_OK || outcome->number != run->answered + 1)
        run->wrong++;
    run->answered++;
}

PROBE_TEST(test_call__order_is_kept_under_load)
{
    const uint64_t total = 100000;
    const uint64_t window = 3000;
    struct in_order run = {.client = &f->client};
    run.outcomes = calloc(window, sizeof *run.outcomes);
    uint64_t start_ms = clock_monotonic_ms();
    while (run.answered < total) {
        assert_true(clock_monotonic_ms() - start_ms < 4 * PATIENCE_MS);
        while (run.made < total && run.made - run.answered < window) {
            struct outcome *outcome = &run.outcomes[run.made % window];
            *outcome = (struct outcome){.context = &run, .then = next_in_order};
            client_echo(&f->client, "in order", ++run.made, outcome);
        }
        client_turn(&f->client, 10);
    }
    assert_int_equal(run.wrong, 0);
    assert_int_equal(f->counters->out_of_order, 0);
    assert_int_equal(f->counters->echoed, total);
    free(run.outcomes);
}

static void *run_client(void *argument)
{
    const struct address *address = argument;
    struct client client;
    client_open(&client, address, NULL);
    struct outcome outcomes[50];
    size_t good = 0;
    for (int round = 0; round < 40; round++) {
        memset(outcomes, 0, sizeof outcomes);
        for (int i = 0; i < 50; i++)
            client_echo(&client, "x", 0, &outcomes[i]);
        uint64_t until_ms = clock_monotonic_ms() + PATIENCE_MS;
        while (rpc_channel_open_calls(client.channel) > 0 && clock_monotonic_ms() < until_ms)
            client_turn(&client, 10);
        for (int i = 0; i < 50; i++)
            good += outcomes[i].ended && outcomes[i].result.status == STATUS_OK;
    }
    client_close(&client);
    return (void *)good;
}

PROBE_TEST(test_call__many_clients)
{
    pthread_t threads[12];
    struct address address = *probe_address(f->probe);
    for (int i = 0; i < 12; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, run_client, &address), 0);
    for (int i = 0; i < 12; i++) {
        void *good = NULL;
        assert_int_equal(pthread_join(threads[i], &good), 0);
        assert_int_equal((size_t)good, 2000);
    }
    WAIT_UNTIL(&f->client, probe_stats(f->probe).peers == 1);
}

PROBE_TEST(test_stats__count)
{
    client_expect_service(&f->client);
    struct outcome held = {.number = 0};
    client_hold(&f->client, "h", &held);
    WAIT_UNTIL(&f->client, f->counters->held == 1);
    struct rpc_server_stats stats = probe_stats(f->probe);
    assert_int_equal(stats.peers, 1);
    assert_int_equal(stats.open_calls, 1);
    assert_int_equal(stats.frames_received, 2);
    assert_int_equal(stats.calls_received, 2);
    assert_int_equal(stats.calls_rejected, 0);
    assert_int_equal(stats.frames_sent, 1);
    assert_int_equal(stats.peers_kicked, 0);
    probe_release(f->probe, 1, STATUS_OK);
    WAIT_UNTIL(&f->client, held.ended);
    assert_int_equal(probe_stats(f->probe).open_calls, 0);
    assert_int_equal(probe_stats(f->probe).frames_sent, 2);
}

/* Thousands of clients can wait for an answer. The frames that their requests came in are full of
 * other calls, which are answered at once and must not be held along with them. */
PROBE_TEST(test_memory__of_an_open_call)
{
    const unsigned count = 2000;
    struct outcome *outcomes = probe_fixture_take(f, count);
    char text[4000];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\0';
    struct outcome filler = {.number = 0};
    client_expect_service(&f->client);
    struct mallinfo2 before = mallinfo2();
    for (unsigned i = 0; i < count; i++) {
        for (int k = 0; k < 4; k++)
            client_echo(&f->client, text, 0, &filler);
        Probe__Text request = PROBE__TEXT__INIT;
        request.keep = i % 2 == 0;
        probe__probe__hold(&f->client.stub.service, &request, on_text, &outcomes[i]);
        client_echo(&f->client, text, 0, &filler);
        if (i % 10 == 0)
            WAIT_UNTIL(&f->client, rpc_channel_open_calls(f->client.channel) < i + 200);
    }
    WAIT_UNTIL(&f->client,
               f->counters->held == count && rpc_channel_open_calls(f->client.channel) == count);
    struct mallinfo2 after = mallinfo2();
    size_t each = (after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) / count;
    print_message("%zu bytes for each open call, both sides together\n", each);
    assert_true(each < 1500); /* sanitizers have heaps of their own, and report 0 */
    probe_release(f->probe, count, STATUS_OK);
    WAIT_UNTIL(&f->client, rpc_channel_open_calls(f->client.channel) == 0);
}

/* Nothing is kept of a call that has ended: of no message, no frame, no reply. */
PROBE_TEST(test_memory__of_calls_that_ended)
{
    static struct outcome outcomes[200];
    size_t bytes[3];
    for (int phase = 0; phase < 3; phase++) { /* the first fills pools and caches */
        for (int round = 0; round < 50; round++) {
            memset(outcomes, 0, sizeof outcomes);
            for (int i = 0; i < 200; i++) {
                if (i % 3 == 0)
                    client_work(&f->client, "some text, so that it is not so small", &outcomes[i]);
                else
                    client_echo(&f->client, "some text, so that it is not so small", 0,
                                &outcomes[i]);
            }
            WAIT_UNTIL(&f->client, rpc_channel_open_calls(f->client.channel) == 0);
        }
        struct mallinfo2 heap = mallinfo2();
        bytes[phase] = heap.uordblks + heap.hblkhd;
    }
    assert_true(bytes[2] < bytes[1] + 20000); /* of 10,000 calls */
}
