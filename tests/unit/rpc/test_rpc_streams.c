/* SPDX-License-Identifier: MIT */
/* Streams and their credits, giving up a call, deadlines. */
#include "probe.h"
#include "rpc/protocol.h"

#include <string.h>
#include <time.h>

static struct outcome *flow(struct probe_fixture *f, uint64_t pages, uint32_t page_bytes,
                            uint32_t credits)
{
    struct outcome *outcome = probe_fixture_take(f, 1);
    client_flow(&f->client, pages, page_bytes, credits, outcome);
    return outcome;
}

static struct outcome *hold(struct probe_fixture *f)
{
    struct outcome *outcome = probe_fixture_take(f, 1);
    client_hold(&f->client, "h", outcome);
    return outcome;
}

PROBE_TEST(test_stream__as_many_pages_as_credits)
{
    struct outcome *outcome = flow(f, 0, 10, 5);
    WAIT_UNTIL(&f->client, outcome->replies == 5);
    assert_true(outcome->result.more);
    client_expect_service(&f->client);
    client_expect_service(&f->client);
    assert_int_equal(outcome->replies, 5);
    assert_int_equal(f->counters->pages, 5);
    assert_int_equal(outcome->gaps, 0);
    assert_false(outcome->ended);
}

PROBE_TEST(test_stream__one_credit_is_one_page)
{
    for (uint32_t credits = 0; credits <= 1; credits++) {
        struct outcome *outcome = flow(f, 2, 10, credits);
        WAIT_UNTIL(&f->client, outcome->ended);
        /* The probe sends page 1 on its only credit, and page 2 ends the call. */
        assert_int_equal(outcome->replies, 2);
        assert_int_equal(outcome->gaps, 0);
    }
}

PROBE_TEST(test_stream__ends_with_its_last_page)
{
    for (uint64_t pages = 1; pages <= 20; pages++) {
        struct outcome *outcome = flow(f, pages, 100, 40);
        WAIT_UNTIL(&f->client, outcome->ended);
        assert_int_equal(outcome->result.status, STATUS_OK);
        assert_int_equal(outcome->replies, pages);
        assert_int_equal(outcome->number, pages);
        assert_int_equal(outcome->gaps, 0);
        assert_int_equal(outcome->text_size, 100);
    }
    assert_int_equal(f->counters->held, 0);
    assert_int_equal(rpc_channel_open_calls(f->client.channel), 0);
}

PROBE_TEST(test_stream__empty_pages)
{
    struct outcome *outcome = flow(f, 3, 0, 10);
    WAIT_UNTIL(&f->client, outcome->ended);
    assert_int_equal(outcome->replies, 3);
}

struct credit_refill {
    struct client *client;
    uint64_t call;
    uint32_t every;
};

static void top_up(struct outcome *outcome)
{
    struct credit_refill *run = outcome->context;
    if (outcome->replies % run->every == 0)
        rpc_channel_credit(run->client->channel, run->call, run->every);
}

/* What is sent never exceeds what was granted, and nothing is missing. */
PROBE_TEST(test_stream__topped_up_flows_on)
{
    static const struct {
        uint32_t credits;
        uint32_t every;
    } cases[] = {{2, 1}, {8, 4}, {RPC_CREDITS_MAX, 16}, {1000, RPC_CREDITS_MAX}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct credit_refill run = {.client = &f->client, .every = cases[i].every};
        struct outcome *outcome = probe_fixture_take(f, 1);
        outcome->context = &run;
        outcome->then = top_up;
        client_flow(&f->client, 3000, 50, cases[i].credits, outcome);
        run.call = f->client.stub.call;
        WAIT_UNTIL(&f->client, outcome->ended);
        assert_int_equal(outcome->replies, 3000);
        assert_int_equal(outcome->gaps, 0);
    }
}

PROBE_TEST(test_stream__credits_beyond_the_most_do_not_count)
{
    struct outcome *outcome = flow(f, 0, 10, UINT32_MAX);
    uint64_t call = f->client.stub.call;
    WAIT_UNTIL(&f->client, outcome->replies == RPC_CREDITS_MAX);
    client_expect_service(&f->client);
    assert_int_equal(outcome->replies, RPC_CREDITS_MAX);
    probe_pause(f->probe);
    for (int i = 0; i < 10; i++) /* their sum overflows 32 bits */
        rpc_channel_credit(f->client.channel, call, UINT32_MAX / 4);
    rpc_channel_flush(f->client.channel);
    probe_resume(f->probe);
    WAIT_UNTIL(&f->client, outcome->replies >= 2 * RPC_CREDITS_MAX);
    client_expect_service(&f->client);
    size_t granted_in_one_frame = 10 * RPC_CREDITS_MAX;
    assert_true(outcome->replies <= RPC_CREDITS_MAX + granted_in_one_frame);
    assert_int_equal(outcome->gaps, 0);
}

PROBE_TEST(test_stream__credit_of_zero_and_of_unknown_calls)
{
    struct outcome *outcome = flow(f, 0, 10, 2);
    uint64_t call = f->client.stub.call;
    WAIT_UNTIL(&f->client, outcome->replies == 2);
    rpc_channel_credit(f->client.channel, call, 0);
    rpc_channel_credit(f->client.channel, call + 1000, 5);
    rpc_channel_cancel(f->client.channel, call + 1000);
    client_expect_service(&f->client);
    assert_int_equal(outcome->replies, 2);
    assert_int_equal(f->counters->credited, 0);
}

/* Two streams on one connection do not use each other's credits. */
PROBE_TEST(test_stream__two_at_once)
{
    struct outcome *one = flow(f, 0, 10, 3);
    struct outcome *two = flow(f, 0, 10, 7);
    uint64_t call_two = f->client.stub.call;
    WAIT_UNTIL(&f->client, one->replies == 3 && two->replies == 7);
    rpc_channel_credit(f->client.channel, call_two, 2);
    WAIT_UNTIL(&f->client, two->replies == 9);
    client_expect_service(&f->client);
    assert_int_equal(one->replies, 3);
    assert_int_equal(one->gaps + two->gaps, 0);
}

/* While the output of the channel is full, what is granted is owed, not lost. */
PROBE_TEST(test_stream__credits_survive_a_full_output)
{
    struct outcome *outcome = flow(f, 0, 10, 2);
    uint64_t call = f->client.stub.call;
    WAIT_UNTIL(&f->client, outcome->replies == 2);
    char text[10000];
    memset(text, 't', sizeof text);
    for (size_t size = sizeof text; size > 0; size /= 10) {
        text[size - 1] = '\0';
        struct outcome *filler = NULL;
        do {
            filler = probe_fixture_take(f, 1);
            client_echo(&f->client, text, 0, filler);
        } while (!filler->ended);
        assert_int_equal(filler->result.status, STATUS_RESOURCE_EXHAUSTED);
        assert_true(filler->result.retry_ms > 0);
        assert_int_equal(f->client.stub.call, 0);
    }
    for (int i = 0; i < 40; i++) /* the last frame may have room for one or two */
        rpc_channel_credit(f->client.channel, call, 1);
    WAIT_UNTIL(&f->client, outcome->replies == 42);
    WAIT_UNTIL(&f->client, rpc_channel_open_calls(f->client.channel) == 1);
    client_expect_service(&f->client);
    assert_int_equal(outcome->replies, 42);
}

static void hold_kept(struct client *client, const char *text, struct outcome *outcome)
{
    Probe__Text request = PROBE__TEXT__INIT;
    request.text = (char *)text;
    request.number = 7;
    request.keep = true;
    probe__probe__hold(&client->stub.service, &request, on_text, outcome);
}

PROBE_TEST(test_keep__is_answered_cancelled_and_timed_out)
{
    struct client *client = &f->client;
    struct outcome *answered = probe_fixture_take(f, 1);
    struct outcome *cancelled = probe_fixture_take(f, 1);
    struct outcome *late = probe_fixture_take(f, 1);
    struct outcome *plain = probe_fixture_take(f, 1);
    hold_kept(client, "one", answered);
    hold_kept(client, "two", cancelled);
    uint64_t cancelled_call = client->stub.call;
    client->stub.timeout_ms = 60000;
    hold_kept(client, "three", late);
    client->stub.timeout_ms = 3600000;
    client_hold(client, "four", plain);
    client->stub.timeout_ms = 0;
    WAIT_UNTIL(client, f->counters->held_ever == 4);
    probe_pass(f->probe, 60001);
    WAIT_UNTIL(client, late->ended && f->counters->held == 3);
    rpc_channel_cancel(client->channel, cancelled_call);
    WAIT_UNTIL(client, f->counters->held == 2);
    assert_int_equal(f->counters->cancelled, 2);
    probe_release(f->probe, 2, STATUS_OK);
    WAIT_UNTIL(client, answered->ended && plain->ended);
    assert_string_equal(answered->text, "one");
    assert_int_equal(answered->number, 7);
    assert_string_equal(plain->text, "four");
    assert_int_equal(probe_stats(f->probe).open_calls, 0);
}

PROBE_TEST(test_keep__streams_on)
{
    struct outcome *flow = probe_fixture_take(f, 1);
    Probe__FlowRequest request = PROBE__FLOW_REQUEST__INIT;
    request.pages = 40;
    request.page_bytes = 10;
    request.keep = true;
    f->client.stub.credits = 10;
    probe__probe__flow(&f->client.stub.service, &request, on_page, flow);
    uint64_t call = f->client.stub.call;
    WAIT_UNTIL(&f->client, flow->replies == 10);
    rpc_channel_credit(f->client.channel, call, 48);
    WAIT_UNTIL(&f->client, flow->ended);
    assert_int_equal(flow->replies, 40);
    assert_int_equal(flow->gaps, 0);
}

/* Among others of its peer, while all of them are cancelled, and when the peer goes. */
PROBE_TEST(test_keep__among_others)
{
    for (int round = 0; round < 20; round++) {
        struct client other;
        client_open(&other, probe_address(f->probe), NULL);
        struct outcome *outcomes = probe_fixture_take(f, 60);
        for (int i = 0; i < 60; i++) {
            other.stub.timeout_ms = i % 4 == 0 ? 60000 : 0;
            if (i % 3 == 0)
                client_hold(&other, "plain", &outcomes[i]);
            else
                hold_kept(&other, "kept", &outcomes[i]);
        }
        WAIT_UNTIL(&other, f->counters->held == 60);
        probe_release(f->probe, 15, STATUS_OK);
        WAIT_UNTIL(&other, rpc_channel_open_calls(other.channel) == 45);
        client_close(&other);
        WAIT_UNTIL(&f->client, f->counters->held == 0);
    }
    assert_int_equal(f->counters->cancelled, 20 * 45);
    WAIT_UNTIL(&f->client, probe_stats(f->probe).open_calls == 0);
}

PROBE_TEST(test_cancel__ends_here_and_there)
{
    struct outcome *outcome = hold(f);
    uint64_t call = f->client.stub.call;
    WAIT_UNTIL(&f->client, f->counters->held == 1);
    rpc_channel_cancel(f->client.channel, call);
    assert_true(outcome->ended);
    assert_int_equal(outcome->result.status, STATUS_CANCELLED);
    WAIT_UNTIL(&f->client, f->counters->held == 0);
    assert_int_equal(f->counters->cancelled, 1);
    client_expect_service(&f->client);
    assert_int_equal(outcome->replies, 1);
    rpc_channel_cancel(f->client.channel, call);
    assert_int_equal(outcome->replies, 1);
}

/* The handler ends the cancelled call with a failure, which is not sent. */
PROBE_TEST(test_cancel__is_not_answered)
{
    client_expect_service(&f->client);
    uint64_t sent = probe_stats(f->probe).frames_sent;
    (void)hold(f);
    WAIT_UNTIL(&f->client, f->counters->held == 1);
    rpc_channel_cancel(f->client.channel, f->client.stub.call);
    WAIT_UNTIL(&f->client, f->counters->held == 0);
    assert_int_equal(probe_stats(f->probe).frames_sent, sent);
}

PROBE_TEST(test_cancel__of_a_stream_in_flow)
{
    for (int round = 0; round < 50; round++) {
        struct credit_refill run = {.client = &f->client, .every = 4};
        struct outcome *outcome = probe_fixture_take(f, 1);
        outcome->context = &run;
        outcome->then = top_up;
        client_flow(&f->client, 0, 100, 16, outcome);
        run.call = f->client.stub.call;
        WAIT_UNTIL(&f->client, outcome->replies >= 40);
        rpc_channel_cancel(f->client.channel, run.call);
        assert_int_equal(outcome->result.status, STATUS_CANCELLED);
        unsigned replies = outcome->replies;
        WAIT_UNTIL(&f->client, f->counters->held == 0);
        client_expect_service(&f->client);
        assert_int_equal(outcome->replies, replies);
    }
}

PROBE_TEST(test_cancel__before_it_was_sent)
{
    struct outcome *outcome = hold(f);
    rpc_channel_cancel(f->client.channel, f->client.stub.call);
    assert_int_equal(outcome->result.status, STATUS_CANCELLED);
    client_expect_service(&f->client);
    WAIT_UNTIL(&f->client, f->counters->cancelled == 1);
    assert_int_equal(f->counters->held, 0);
}

PROBE_TEST(test_stream__ended_by_the_server)
{
    struct outcome *outcome = flow(f, 0, 10, 3);
    WAIT_UNTIL(&f->client, outcome->replies == 3);
    probe_release(f->probe, 1, STATUS_ABORTED);
    WAIT_UNTIL(&f->client, outcome->ended);
    assert_int_equal(outcome->result.status, STATUS_ABORTED);
    assert_int_equal(outcome->replies, 4);
    assert_false(outcome->result.more);
}

PROBE_TEST(test_cancel_all__handler_ends_the_others)
{
    probe_on_cancel(f->probe, PROBE_END_ALL);
    struct client more[3];
    struct outcome *outcomes = probe_fixture_take(f, 400);
    for (int i = 0; i < 3; i++)
        client_open(&more[i], probe_address(f->probe), NULL);
    for (int i = 0; i < 400; i++)
        client_hold(i % 4 == 3 ? &f->client : &more[i % 4], "h", &outcomes[i]);
    while (f->counters->held < 400) {
        for (int i = 0; i < 3; i++)
            client_turn(&more[i], 1);
        client_turn(&f->client, 1);
    }
    probe_free_server(f->probe);
    assert_int_equal(f->counters->held, 0);
    for (int i = 0; i < 400; i++)
        WAIT_UNTIL(i % 4 == 3 ? &f->client : &more[i % 4], outcomes[i].ended);
    for (int i = 0; i < 3; i++)
        client_close(&more[i]);
}

PROBE_TEST(test_disconnect__handler_ends_the_others)
{
    probe_on_cancel(f->probe, PROBE_END_ALL);
    struct client other;
    client_open(&other, probe_address(f->probe), NULL);
    struct outcome *outcomes = probe_fixture_take(f, 100);
    for (int i = 0; i < 100; i++)
        client_hold(i % 2 == 0 ? &f->client : &other, "h", &outcomes[i]);
    while (f->counters->held < 100) {
        client_turn(&other, 1);
        client_turn(&f->client, 1);
    }
    client_close(&other);
    WAIT_UNTIL(&f->client, f->counters->held == 0);
    for (int i = 0; i < 100; i += 2) {
        WAIT_UNTIL(&f->client, outcomes[i].ended);
        assert_int_equal(outcomes[i].result.status, STATUS_ABORTED);
    }
    client_expect_service(&f->client);
}

PROBE_TEST(test_deadline__of_a_call_that_is_held)
{
    f->client.stub.timeout_ms = 60000;
    uint64_t start_ms = clock_monotonic_ms();
    struct outcome *outcome = hold(f);
    uint64_t due_ms = rpc_channel_next_tick(f->client.channel);
    assert_in_range(due_ms, start_ms + 60000, clock_monotonic_ms() + 60000);
    WAIT_UNTIL(&f->client, f->counters->held == 1);
    rpc_channel_tick(f->client.channel, due_ms - 1);
    assert_false(outcome->ended);
    rpc_channel_tick(f->client.channel, due_ms);
    assert_true(outcome->ended);
    assert_int_equal(outcome->result.status, STATUS_DEADLINE_EXCEEDED);
    probe_pass(f->probe, 60001); /* the server ends it by its own clock */
    WAIT_UNTIL(&f->client, f->counters->held == 0);
    assert_int_equal(f->counters->cancelled, 1);
    assert_true(rpc_channel_next_tick(f->client.channel) == UINT64_MAX);
}

/* The server alone: a caller that never looks at its clock. */
PROBE_TEST(test_deadline__told_to_the_handler)
{
    client_expect_service(&f->client);
    f->client.stub.timeout_ms = 60000;
    struct outcome *outcome = hold(f);
    rpc_channel_flush(f->client.channel);
    WAIT_UNTIL(NULL, f->counters->held == 1);
    probe_pass(f->probe, 60001);
    WAIT_UNTIL(NULL, f->counters->cancelled == 1);
    assert_int_equal(f->counters->held, 0);
    assert_false(outcome->ended);
}

/* Tells whether a paused server's transport has queued so many calls since its start. */
static bool has_received(struct probe *probe, uint64_t calls)
{
    struct rpc_server_stats stats;
    rpc_server_stats(probe_server(probe), &stats);
    return stats.calls_received >= calls;
}

/* The client alone: a server that is stuck. */
PROBE_TEST(test_deadline__of_a_server_that_is_stuck)
{
    client_expect_service(&f->client);
    probe_pause(f->probe);
    struct outcome *outcome = probe_fixture_take(f, 1);
    f->client.stub.timeout_ms = 40;
    client_echo(&f->client, "x", 0, outcome);
    rpc_channel_flush(f->client.channel);
    WAIT_UNTIL(NULL, has_received(f->probe, 2));
    uint64_t received_ms = clock_monotonic_ms();
    WAIT_UNTIL(&f->client, outcome->ended && clock_monotonic_ms() > received_ms + 40);
    assert_int_equal(outcome->result.status, STATUS_DEADLINE_EXCEEDED);
    size_t echoed = f->counters->echoed;
    probe_resume(f->probe);
    f->client.stub.timeout_ms = 0;
    client_expect_service(&f->client);
    /* It had waited in the server's queue past its deadline: it was not carried out. */
    assert_int_equal(f->counters->echoed, echoed + 1);
    assert_int_equal(outcome->replies, 1);
}

PROBE_TEST(test_deadline__passed_in_the_servers_queue)
{
    client_expect_service(&f->client);
    probe_pause(f->probe);
    struct outcome *outcome = probe_fixture_take(f, 1);
    f->client.stub.timeout_ms = 30;
    client_echo(&f->client, "x", 0, outcome);
    rpc_channel_flush(f->client.channel);
    WAIT_UNTIL(NULL, has_received(f->probe, 2));
    uint64_t start_ms = clock_monotonic_ms();
    WAIT_UNTIL(NULL, clock_monotonic_ms() > start_ms + 60);
    probe_resume(f->probe);
    /* No tick here: the answer is the server's. */
    while (!outcome->ended) {
        task_queue_wait(f->client.queue, 100);
        (void)task_queue_run(f->client.queue, SIZE_MAX);
        assert_true(clock_monotonic_ms() - start_ms < PATIENCE_MS);
    }
    assert_int_equal(outcome->result.status, STATUS_DEADLINE_EXCEEDED);
    assert_non_null(strstr(outcome->message, "waited"));
    assert_int_equal(f->counters->echoed, 1);
}

/* An owner that had nothing to do for long does not make its next call with an old clock. */
PROBE_TEST(test_deadline__after_a_long_silence)
{
    client_expect_service(&f->client);
    uint64_t start_ms = clock_monotonic_ms();
    WAIT_UNTIL(NULL, clock_monotonic_ms() > start_ms + 150);
    f->client.stub.timeout_ms = 100;
    struct outcome *outcome = hold(f);
    rpc_channel_tick(f->client.channel, start_ms + 200);
    assert_false(outcome->ended);
    assert_true(rpc_channel_next_tick(f->client.channel) >= start_ms + 250);
}

PROBE_TEST(test_deadline__without_a_connection)
{
    struct address nowhere = probe_free_address();
    struct client client;
    client_open(&client, &nowhere, NULL);
    struct outcome *outcomes = probe_fixture_take(f, 3);
    static const uint32_t timeouts[] = {80, 40, 60};
    for (int i = 0; i < 3; i++) {
        client.stub.timeout_ms = timeouts[i];
        client_echo(&client, "x", 0, &outcomes[i]);
    }
    WAIT_UNTIL(&client, outcomes[1].ended);
    WAIT_UNTIL(&client, outcomes[2].ended);
    WAIT_UNTIL(&client, outcomes[0].ended);
    for (int i = 0; i < 3; i++)
        assert_int_equal(outcomes[i].result.status, STATUS_DEADLINE_EXCEEDED);
    assert_false(rpc_channel_is_connected(client.channel));
    assert_int_equal(client.connected, 0);
    client_close(&client);
}

static void cancel_next(struct outcome *outcome)
{
    struct credit_refill *run = outcome->context;
    /* Ends the calls on both sides of this one. */
    rpc_channel_cancel(run->client->channel, run->call - 1);
    rpc_channel_cancel(run->client->channel, run->call + 1);
}

/* Closures that end other calls while the channel walks over them. */
PROBE_TEST(test_deadline__closure_ends_other_calls)
{
    enum { COUNT = 300 };
    struct outcome *outcomes = probe_fixture_take(f, COUNT);
    static struct credit_refill runs[COUNT];
    f->client.stub.timeout_ms = 1000;
    for (int i = 0; i < COUNT; i++) {
        outcomes[i].context = &runs[i];
        outcomes[i].then = cancel_next;
        f->client.stub.timeout_ms = i % 5 == 0 ? 1000000 : 1000;
        client_hold(&f->client, "h", &outcomes[i]);
        runs[i] = (struct credit_refill){.client = &f->client, .call = f->client.stub.call};
    }
    rpc_channel_tick(f->client.channel, clock_monotonic_ms() + 500000);
    for (int i = 0; i < COUNT; i++) {
        assert_true(outcomes[i].ended);
        assert_int_equal(outcomes[i].replies, 1);
    }
    assert_int_equal(rpc_channel_open_calls(f->client.channel), 0);
}

static void call_again(struct outcome *outcome)
{
    struct credit_refill *run = outcome->context;
    if (outcome->result.status == STATUS_DEADLINE_EXCEEDED && run->every < 10) {
        run->every++;
        client_hold(run->client, "again", outcome);
    }
}

/* A retry made in the closure is not ended by the same tick, and has its own deadline. */
PROBE_TEST(test_deadline__closure_calls_again)
{
    static struct credit_refill run;
    run = (struct credit_refill){.client = &f->client};
    struct outcome *outcome = probe_fixture_take(f, 1);
    outcome->context = &run;
    outcome->then = call_again;
    f->client.stub.timeout_ms = 1000;
    client_hold(&f->client, "first", outcome);
    uint64_t later_ms = clock_monotonic_ms() + 3600000;
    rpc_channel_tick(f->client.channel, later_ms);
    assert_int_equal(outcome->replies, 1);
    assert_int_equal(rpc_channel_open_calls(f->client.channel), 1);
    assert_int_equal(rpc_channel_next_tick(f->client.channel), later_ms + 1000);
}

static uint64_t thread_time_us(void)
{
    struct timespec used;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000000 + (uint64_t)used.tv_nsec / 1000;
}

/* Thousands of calls without deadline in front of thousands with one. */
PROBE_TEST(test_deadline__many_calls_take_no_time)
{
    const unsigned count = 20000;
    probe_pause(f->probe);
    for (unsigned i = 0; i < 2 * count; i++) {
        f->client.stub.timeout_ms = i < count ? 0 : 1000;
        client_hold(&f->client, "", probe_fixture_take(f, 1));
    }
    uint64_t start_us = thread_time_us();
    rpc_channel_tick(f->client.channel, clock_monotonic_ms() + 5000);
    assert_true(thread_time_us() - start_us < 2000000);
    assert_int_equal(rpc_channel_open_calls(f->client.channel), count);
    probe_resume(f->probe);
}

PROBE_TEST(test_deadline__handler_ends_the_others)
{
    probe_on_cancel(f->probe, PROBE_END_ALL);
    for (uint32_t round = 1; round <= 5; round++) {
        uint32_t timeout_ms =
            round * 100000; /* after those before, which have moved the server's clock */
        struct outcome *outcomes = probe_fixture_take(f, 300);
        for (int i = 0; i < 300; i++) {
            f->client.stub.timeout_ms = i % 3 == 0 ? 0 : timeout_ms;
            client_hold(&f->client, "h", &outcomes[i]);
        }
        WAIT_UNTIL(&f->client, f->counters->held == 300);
        probe_pass(f->probe, timeout_ms + 1);
        for (int i = 0; i < 300; i++)
            WAIT_UNTIL(&f->client, outcomes[i].ended);
        WAIT_UNTIL(&f->client, f->counters->held == 0);
    }
    f->client.stub.timeout_ms = 0;
    client_expect_service(&f->client);
    assert_int_equal(probe_stats(f->probe).open_calls, 0);
}

/* A handler that does not end its call when it is told: the call stays until it does. */
PROBE_TEST(test_deadline__handler_takes_its_time)
{
    probe_on_cancel(f->probe, PROBE_KEEP_IT);
    f->client.stub.timeout_ms = 60000;
    struct outcome *outcome = hold(f);
    WAIT_UNTIL(&f->client, f->counters->held == 1);
    probe_pass(f->probe, 60001);
    assert_int_equal(f->counters->cancelled, 1);
    rpc_channel_tick(f->client.channel, clock_monotonic_ms() + 60001);
    assert_true(outcome->ended);
    for (int i = 0; i < 5; i++)
        (void)probe_stats(f->probe);
    assert_int_equal(f->counters->held, 1);
    assert_int_equal(f->counters->cancelled, 1); /* told once */
    probe_release(f->probe, 1, STATUS_OK);
    f->client.stub.timeout_ms = 0;
    client_expect_service(&f->client);
    assert_int_equal(outcome->replies, 1);
    assert_int_equal(probe_stats(f->probe).open_calls, 0);
}
